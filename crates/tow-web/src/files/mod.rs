//! Files over HTTP (HTTP.md 3): content and parts of it, listings, writing, and what is done to names.

mod condition;
mod content;
mod edit;
mod list;
mod put;
mod range;
mod show;

use axum::Router;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::routing::{get, post};
use serde::Serialize;
use tow_node::ask::stat::Links;
use tow_proto::message::{Request as Asked, Stat, StatReply};
use tow_proto::{ByteString, Code, Refusal};

use self::condition::Unmet;
use crate::answer::{Answer, Failure, json};
use crate::machine::Machine;
use crate::path::{below_root, decode, on_machine};

pub(crate) use self::condition::{date, etag};
pub(crate) use self::content::get as get_content;
pub(crate) use self::put::put as put_content;
pub(crate) use self::range::{Selected, select};
pub(crate) use self::show::{disposition, media_type};

pub(crate) fn routes() -> Router {
    let files = || get(content::get).put(put::put).delete(edit::remove).patch(edit::set);
    Router::new()
        .route(FILES, files())
        .route("/api/v1/files/", files())
        .route("/api/v1/files/{*path}", files())
        .route("/api/v1/mkdir", post(edit::mkdir))
        .route("/api/v1/move", post(edit::rename))
        .route("/api/v1/copy", post(edit::copy))
}

/// A path on a visitor's machine.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) machine: Machine,
    /// That of the grant, as the machine calls it.
    pub(crate) root: ByteString,
    /// The machine's own path.
    pub(crate) path: ByteString,
}

impl Place {
    /// What a URL below `/api/v1/files` names.
    ///
    /// # Errors
    /// `BadName`.
    pub(crate) fn of_uri(machine: Machine, uri: &Uri) -> Result<Self, Refusal> {
        let path = decode(uri.path().strip_prefix(FILES).unwrap_or_default())?;
        Ok(Self::of_path(machine, &path))
    }

    /// What a path of the API names.
    pub(crate) fn of_path(machine: Machine, path: &[u8]) -> Self {
        let root = machine.welcome().root.unwrap_or_else(|| "/".into());
        let path = on_machine(&root, path);
        Self { machine, root, path }
    }

    /// Another path of the API, which starts with `/`.
    ///
    /// # Errors
    /// `BadName`.
    pub(crate) fn other(&self, path: &ByteString) -> Result<ByteString, Refusal> {
        if !path.as_bytes().starts_with(b"/") {
            return Err(Refusal::about(Code::BadName, path.clone()));
        }
        Ok(on_machine(&self.root, path.as_bytes()))
    }

    /// The failure with paths as the API has them.
    pub(crate) fn say(&self, failure: impl Into<Failure>) -> Failure {
        failure.into().below(&self.root)
    }

    /// The last component.
    pub(crate) fn name(&self) -> &[u8] {
        let path = self.path.as_bytes();
        path.rsplit(|byte| *byte == b'/').find(|name| !name.is_empty()).unwrap_or_default()
    }

    /// What is known of it.
    ///
    /// # Errors
    /// The refusal.
    pub(crate) async fn stat(&self, links: Links) -> Result<StatReply, Failure> {
        let stat = Stat { path: self.path.clone(), follow: links == Links::Follow };
        self.machine.ask(&Asked::Stat(stat)).await.map_err(|error| self.say(error))
    }

    /// The same; `None` where nothing has the name.
    ///
    /// # Errors
    /// The refusal.
    pub(crate) async fn look(&self, links: Links) -> Result<Option<StatReply>, Failure> {
        match self.stat(links).await {
            Ok(stat) => Ok(Some(stat)),
            Err(Failure::Refused(refusal)) if refusal.code == Code::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Checks the conditions of a request that changes something, if it makes any.
    ///
    /// # Errors
    /// 412, or the refusal.
    pub(crate) async fn check(&self, method: &Method, headers: &HeaderMap) -> Result<(), Failure> {
        if !condition::has_any(headers) {
            return Ok(());
        }
        let there = self.look(Links::Show).await?;
        let now = std::time::SystemTime::now();
        condition::check(method, headers, there.as_ref(), now).map_err(|_: Unmet| UNMET)
    }
}

/// The options of a URL: `?name` and `?name=value`, percent-encoded.
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Those of `uri`.
    pub(crate) fn of(uri: &Uri) -> Self {
        let pairs = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name.to_owned(), value.to_owned())
        };
        Self(pairs.map(pair).collect())
    }

    /// Whether it is there: without a value, or with one that does not say no.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.value(name).is_some_and(|value| !matches!(value, "0" | "false"))
    }

    /// Its value as it stands in the URL.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(one, _)| one == name).map(|(_, value)| value.as_str())
    }
}

/// What is known of something, as the API says it.
#[derive(Serialize)]
struct Known {
    #[serde(flatten)]
    stat: StatReply,
    etag: String,
}

/// An answer that says what is known of something.
fn known(place: &Place, mut stat: StatReply) -> Answer {
    let etag = etag(&stat);
    let path = below_root(&place.root, stat.path.as_bytes());
    stat.path = path.unwrap_or_else(|| b"/".to_vec()).into();
    Ok(json(StatusCode::OK, &Known { stat, etag }))
}

/// Below what the paths of files are.
pub(crate) const FILES: &str = "/api/v1/files";
const UNMET: Failure =
    Failure::Http(StatusCode::PRECONDITION_FAILED, "it is not what the condition says");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_there_or_have_a_value() {
        let query = Query::of(&"/a?stat&follow=false&mode=644&mode=600&x=%2f".parse().unwrap());
        assert!(query.has("stat") && !query.has("follow") && !query.has("a") && query.has("mode"));
        assert_eq!((query.value("mode"), query.value("x")), (Some("644"), Some("%2f")));
        assert!(!Query::of(&"/a".parse().unwrap()).has(""));
    }
}
