//! `PROPFIND`: what is known of something, and of what is in it.

use axum::body::Body;
use axum::http::StatusCode;
use bytes::Bytes;
use roxmltree::Node;
use tokio::task::spawn_blocking;
use tow_host::files;
use tow_node::ask::AskError;
use tow_node::ask::ls::{Depth as Listed, ls};
use tow_node::ask::stat::{Links, stat};
use tow_node::grant::{Permit, Read};
use tow_node::serve::Slot;
use tow_proto::message::{Entry, EntryKind, StatReply};
use tow_proto::{ByteString, Code};

use super::answer::{HEAD, Halt, Outcome, XML_TYPE};
use super::describe::{Facts, Wanted, describe};
use super::target::Target;
use super::xml::{Name, elements, is_dav, parse};
use super::{Call, Dav, Depth, XML_LEN_MAX};
use crate::body;
use crate::here::{Stay, reading};
use crate::machine::Machine;
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
    let Call { target, dav, connection, .. } = call;
    let mut first = format!("{HEAD}<D:multistatus xmlns:D=\"DAV:\">");
    describe(&mut first, &dav, &target, &facts, &wanted);
    let (outlet, mut streamed) = stream(PIECES_WAITING_MAX, None);
    let is_deep = depth == Depth::One && facts.is_dir;
    let stay = match &target.place.machine {
        Machine::Here(visitor) => Some(Stay::begin(visitor, &connection)),
        Machine::There(_) => None,
    };
    tokio::spawn(async move {
        let inside = Inside { dav, target, wanted, out: first, reading: None, _stay: stay };
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
    /// On this machine, and where there are many: leave to look at them, and a place among those who
    /// are sent something, until all is sent.
    reading: Option<(Permit<Read>, Slot)>,
    _stay: Option<Stay>,
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

    async fn list(&mut self) -> Result<Vec<Entry>, AskError> {
        let mut entries = Vec::new();
        let machine = &self.target.place.machine;
        let mut connection = machine.connect().await?;
        let path = self.target.on_machine();
        ls(&mut connection, path, Listed::Inside, |batch| entries.extend(batch)).await?;
        machine.keep(connection);
        if let Machine::Here(visitor) = machine {
            self.reading = Some(reading(visitor).await?);
        }
        Ok(entries)
    }

    async fn describe_all(
        &mut self,
        entries: Vec<Entry>,
        outlet: &mut Outlet,
    ) -> Result<(), Stopped> {
        for batch in entries.chunks(BATCH) {
            let inside: Vec<_> = batch.iter().map(|entry| self.inside(entry)).collect();
            for (target, facts) in inside.iter().zip(self.facts(batch, &inside).await?) {
                // Special, gone by now, or a link that leads nowhere.
                let Some(facts) = facts else { continue };
                describe(&mut self.out, &self.dav, target, &facts, &self.wanted);
                if self.out.len() >= PIECE_LEN {
                    outlet.put(Bytes::from(std::mem::take(&mut self.out))).await?;
                }
            }
        }
        Ok(())
    }

    fn inside(&self, entry: &Entry) -> Target {
        self.target.sibling(&[&self.target.path, &b"/"[..], entry.name.as_bytes()].concat())
    }

    /// What is known of each: by the listing, where that is enough.
    async fn facts(
        &self,
        entries: &[Entry],
        targets: &[Target],
    ) -> Result<Vec<Option<Facts>>, AskError> {
        let mut facts: Vec<_> = entries.iter().map(|entry| self.listed(entry)).collect();
        let unknown = |(index, facts): (usize, &Result<_, Look>)| facts.is_err().then_some(index);
        let unknown: Vec<_> = facts.iter().enumerate().filter_map(unknown).collect();
        let paths = unknown.iter().filter_map(|index| targets.get(*index));
        let paths: Vec<_> = paths.map(Target::on_machine).collect();
        let looked = self.look(paths).await?;
        for (index, found) in unknown.into_iter().zip(looked) {
            if let Some(facts) = facts.get_mut(index) {
                *facts = Ok(found.as_ref().and_then(Facts::of));
            }
        }
        Ok(facts.into_iter().map(|facts| facts.unwrap_or_default()).collect())
    }

    fn listed(&self, entry: &Entry) -> Result<Option<Facts>, Look> {
        let is_dir = match entry.kind {
            EntryKind::Dir => true,
            EntryKind::File if !self.wanted.needs_tag() => false,
            EntryKind::File | EntryKind::Link => return Err(Look),
            EntryKind::Special => return Ok(None),
        };
        Ok(Some(Facts { is_dir, size: entry.size, mtime: entry.mtime, tag: None }))
    }

    /// What is known of each path, or of what it leads to; `None` where nothing is there for the
    /// visitor.
    async fn look(&self, paths: Vec<ByteString>) -> Result<Vec<Option<StatReply>>, AskError> {
        if paths.is_empty() {
            return Ok(Vec::new());
        }
        if let Some((permit, _)) = &self.reading {
            // They come from a listing that was asked for and recorded.
            let root = permit.root().clone();
            let looked = spawn_blocking(move || {
                paths.iter().map(|path| files::stat(&root, path, Links::Follow).ok()).collect()
            });
            return looked.await.map_err(|_| AskError::Here(Code::Internal.into()));
        }
        let machine = &self.target.place.machine;
        let mut connection = machine.connect().await?;
        let mut looked = Vec::with_capacity(paths.len());
        for path in paths {
            looked.push(match stat(&mut connection, path, Links::Follow).await {
                Ok(found) => Some(found),
                Err(AskError::Refused(_)) => None,
                Err(error) => return Err(error),
            });
        }
        machine.keep(connection);
        Ok(looked)
    }
}

/// The listing does not say enough.
struct Look;

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

/// Entries that are looked at together.
const BATCH: usize = 1_000;
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
