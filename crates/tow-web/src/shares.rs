//! Links that open one directory or one session (HTTP.md 9).

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Extension, Path};
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::{delete, get};
use serde::{Deserialize, Serialize};
use tow_node::ask::share::{share, share_rm, shares};
use tow_node::grant::Right;
use tow_proto::message::{Share, ShareInfo, Shared};
use tow_proto::{ByteString, Code};

use crate::answer::{Answer, empty, json};
use crate::guest::Guest;
use crate::machine::Machine;
use crate::path::{below_root, on_machine};
use crate::server::Connection;

pub(crate) fn routes() -> Router {
    Router::new()
        .route("/api/v1/shares", get(list).post(make))
        .route("/api/v1/shares/{id}", delete(remove))
}

#[derive(Deserialize)]
struct Asked {
    path: Option<ByteString>,
    session: Option<String>,
    may: Vec<Right>,
    for_secs: u64,
}

#[derive(Serialize)]
struct Made {
    id: String,
    link: String,
    expires: u64,
}

#[derive(Serialize)]
struct List {
    shares: Vec<Listed>,
}

#[derive(Serialize)]
struct Listed {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<ByteString>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    may: Vec<Right>,
    expires: u64,
    links: u32,
}

async fn make(
    Extension(connection): Extension<Connection>,
    guest: Guest,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let asked: Asked = serde_json::from_slice(&body).map_err(|_| Code::Malformed)?;
    let root = root(&guest.machine);
    let what = match (asked.path, asked.session) {
        (Some(path), None) => Shared::Path(on_machine(&root, path.as_bytes())),
        (None, Some(session)) => Shared::Session(session),
        _ => return Err(Code::BadArgument.into()),
    };
    let rights = Right::together(asked.may);
    let mut native = guest.machine.connect().await?;
    let made = share(&mut native, Share { what, rights, secs: asked.for_secs }).await?;
    guest.machine.keep(native);
    let link = reachable(&made.link, &guest.machine, &headers, connection.is_tls);
    Ok(json(StatusCode::CREATED, &Made { id: made.id, link, expires: made.expires }))
}

/// The link by the name under which this browser reaches the machine: others will too. Through a
/// tunnel it is the machine's own, because the tunnel is nobody else's.
fn reachable(link: &str, machine: &Machine, headers: &HeaderMap, is_tls: bool) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    match (machine, host, link.split_once("/#")) {
        (Machine::Here(_), Some(host), Some((_, secret))) => {
            let scheme = if is_tls { "https" } else { "http" };
            format!("{scheme}://{host}/#{secret}")
        }
        _ => link.to_owned(),
    }
}

async fn list(guest: Guest) -> Answer {
    let mut native = guest.machine.connect().await?;
    let found = shares(&mut native).await?;
    guest.machine.keep(native);
    let root = root(&guest.machine);
    let shares = found.into_iter().map(|share| listed(&root, share)).collect();
    Ok(json(StatusCode::OK, &List { shares }))
}

fn listed(root: &ByteString, share: ShareInfo) -> Listed {
    let ShareInfo { id, what, rights, expires, open: links, .. } = share;
    let (path, session) = match what {
        // One outside of what this visitor sees is known by its number alone.
        Shared::Path(path) => (below_root(root, path.as_bytes()).map(Into::into), None),
        Shared::Session(session) => (None, Some(session)),
    };
    Listed { id, path, session, may: Right::list(rights), expires, links }
}

async fn remove(guest: Guest, Path(id): Path<String>) -> Answer {
    let mut native = guest.machine.connect().await?;
    share_rm(&mut native, &id).await?;
    guest.machine.keep(native);
    Ok(empty(StatusCode::NO_CONTENT))
}

fn root(machine: &Machine) -> ByteString {
    machine.welcome().root.unwrap_or_else(|| "/".into())
}
