//! `PROPFIND`: what is known of something, and of what is in it.

use axum::body::Body;
use axum::http::StatusCode;
use bytes::Bytes;
use roxmltree::Node;
use tow_node::ask::AskError;
use tow_node::ask::ls::{Depth as Listed, ls};
use tow_node::ask::stat::{Links, stat};
use tow_proto::Code;
use tow_proto::message::{Entry, EntryKind};

use super::answer::{HEAD, Halt, Outcome, XML_TYPE};
use super::describe::{Facts, Wanted, describe};
use super::target::Target;
use super::xml::{Name, elements, is_dav, parse};
use super::{Call, Dav, Depth, XML_LEN_MAX};
use crate::body;
use crate::stream::{Outlet, Unread, stream};

pub(super) async fn propfind(call: Call, body: Body) -> Outcome {
    // Without one, everything is meant; and that is refused.
    let depth = call.depth(Depth::Infinity)?;
    if depth == Depth::Infinity {
        return Err(Halt::condition(StatusCode::FORBIDDEN, "propfind-finite-depth"));
    }
    let wanted = wanted(&body::read(body, XML_LEN_MAX).await?)?;
    call.conditions().await?;
    let found = call.target.place.stat(Links::Follow).await?;
    let facts = Facts::of(&found).ok_or(Code::SpecialFile)?;
    let Call { target, dav, .. } = call;
    let mut first = format!("{HEAD}<D:multistatus xmlns:D=\"DAV:\">");
    describe(&mut first, &dav, &target, &facts, &wanted);
    let (outlet, mut streamed) = stream(PIECES_WAITING_MAX, None);
    let is_deep = depth == Depth::One && facts.is_dir;
    tokio::spawn(async move {
        let inside = Inside { dav, target, wanted, out: first };
        inside.send(outlet, is_deep).await;
    });
    streamed.ready().await?;
    let mut response = streamed.into_response(XML_TYPE);
    *response.status_mut() = StatusCode::MULTI_STATUS;
    Ok(response)
}

/// What the body asks for; without one, everything.
fn wanted(body: &[u8]) -> Result<Wanted, Halt> {
    if body.is_empty() {
        return Ok(Wanted::All(Vec::new()));
    }
    let document = parse(body)?;
    let root = document.root_element();
    if !is_dav(root, "propfind") {
        return Err(Halt::BAD_XML);
    }
    let names = |node: Node<'_, '_>| elements(node).map(Name::of).collect::<Vec<_>>();
    let find = |local| elements(root).find(|node| is_dav(*node, local));
    match (find("prop"), find("allprop"), find("propname")) {
        (Some(node), None, None) => Ok(Wanted::Some(names(node))),
        (None, Some(_), None) => Ok(Wanted::All(find("include").map(names).unwrap_or_default())),
        (None, None, Some(_)) => Ok(Wanted::Names),
        _ => Err(Halt::BAD_XML),
    }
}

/// The body, as it grows.
struct Inside {
    dav: Dav,
    target: Target,
    wanted: Wanted,
    out: String,
}

impl Inside {
    /// Ends the body if all could be said; else it is cut.
    async fn send(mut self, mut outlet: Outlet, is_deep: bool) {
        if is_deep {
            match self.list().await {
                Ok(entries) => {
                    if let Err(error) = self.describe_all(entries, &mut outlet).await {
                        return tracing::debug!(?error, "a listing was not sent to its end");
                    }
                }
                Err(error) => return outlet.fail(error).await,
            }
        }
        self.out.push_str("</D:multistatus>");
        if outlet.put(Bytes::from(self.out)).await.is_ok() {
            outlet.end().await;
        }
    }

    async fn list(&self) -> Result<Vec<Entry>, AskError> {
        let mut entries = Vec::new();
        let mut connection = self.target.place.machine.connect().await?;
        let path = self.target.on_machine();
        ls(&mut connection, path, Listed::Inside, |batch| entries.extend(batch)).await?;
        self.target.place.machine.keep(connection);
        Ok(entries)
    }

    async fn describe_all(
        &mut self,
        entries: Vec<Entry>,
        outlet: &mut Outlet,
    ) -> Result<(), Stopped> {
        let machine = self.target.place.machine.clone();
        let mut connection = machine.connect().await?;
        for entry in entries {
            let path = [&self.target.path, &b"/"[..], entry.name.as_bytes()].concat();
            let target = self.target.sibling(&path);
            let is_known = match entry.kind {
                EntryKind::Dir => true,
                EntryKind::File => !self.wanted.needs_tag(),
                EntryKind::Link => false,
                EntryKind::Special => continue,
            };
            let facts = if is_known {
                let is_dir = entry.kind == EntryKind::Dir;
                Facts { is_dir, size: entry.size, mtime: entry.mtime, tag: None }
            } else {
                match stat(&mut connection, target.on_machine(), Links::Follow).await {
                    Ok(found) => match Facts::of(&found) {
                        Some(facts) => facts,
                        None => continue,
                    },
                    // Gone by now, or a link that leads nowhere.
                    Err(AskError::Refused(_)) => continue,
                    Err(error) => return Err(error.into()),
                }
            };
            describe(&mut self.out, &self.dav, &target, &facts, &self.wanted);
            if self.out.len() >= PIECE_LEN {
                outlet.put(Bytes::from(std::mem::take(&mut self.out))).await?;
            }
        }
        machine.keep(connection);
        Ok(())
    }
}

#[derive(Debug)]
#[expect(dead_code, reason = "it is shown by Debug")]
enum Stopped {
    Ask(AskError),
    Unread(Unread),
}

impl From<AskError> for Stopped {
    fn from(error: AskError) -> Self {
        Self::Ask(error)
    }
}

impl From<Unread> for Stopped {
    fn from(unread: Unread) -> Self {
        Self::Unread(unread)
    }
}

const PIECES_WAITING_MAX: usize = 2;
const PIECE_LEN: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_is_asked() {
        let ask = |inner: &str| {
            let body =
                format!("<?xml version='1.0'?><D:propfind xmlns:D='DAV:'>{inner}</D:propfind>");
            wanted(body.as_bytes()).ok()
        };
        let name = |space: &str, local: &str| Name { space: space.into(), local: local.into() };
        let both = vec![name("DAV:", "getetag"), name("urn:x", "a")];
        assert_eq!(
            ask("<D:prop><D:getetag/><a xmlns='urn:x'/></D:prop>"),
            Some(Wanted::Some(both))
        );
        assert_eq!(ask("<D:propname/><D:later/>"), Some(Wanted::Names));
        let included = vec![name("", "b")];
        assert_eq!(ask("<D:allprop/><D:include><b/></D:include>"), Some(Wanted::All(included)));
        for bad in ["", "<D:later/>", "<D:prop/><D:allprop/>", "<D:prop>", "<prop/>"] {
            assert_eq!(ask(bad), None, "{bad}");
        }
        assert_eq!(wanted(b"").ok(), Some(Wanted::All(Vec::new())));
        assert!(wanted(b"<a/>").is_err());
    }
}
