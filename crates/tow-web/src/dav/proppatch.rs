//! `PROPPATCH`: the time of a file, which it has, and properties that only clients understand.

use std::time::SystemTime;

use axum::body::Body;
use axum::http::StatusCode;
use roxmltree::Node;
use tow_node::ask::stat::Links;
use tow_proto::message::{Mtime, Request, Set, StatReply};

use super::answer::{HEAD, Halt, Outcome, xml};
use super::dead::Properties;
use super::describe::{LIVE, add_status, is_live};
use super::locks::Reach;
use super::target::Kind;
use super::xml::{Name, elements, is_dav, parse, text, whole};
use super::{Call, XML_LEN_MAX};
use crate::answer::{Failure, status_of};
use crate::body;

pub(super) async fn proppatch(call: Call, body: Body) -> Outcome {
    let body = body::read(body, XML_LEN_MAX).await?;
    let changes = changes(&body)?;
    call.may_write()?;
    call.may_change(&[(&call.target.key, Reach::Itself)]).await?;
    let stat = call.target.place.stat(Links::Follow).await?;
    let mut statuses: Vec<_> = changes.iter().map(Change::status).collect();
    if statuses.iter().all(|status| *status == StatusCode::OK) {
        apply(&call, &stat, &changes, &mut statuses).await?;
    }
    // All or nothing.
    if statuses.iter().any(|status| *status != StatusCode::OK) {
        for status in statuses.iter_mut().filter(|status| **status == StatusCode::OK) {
            *status = StatusCode::FAILED_DEPENDENCY;
        }
    }
    let href = call.target.href(Kind::Other);
    let mut out =
        format!("{HEAD}<D:multistatus xmlns:D=\"DAV:\"><D:response><D:href>{href}</D:href>");
    for (change, status) in changes.iter().zip(statuses) {
        add_status(&mut out, &change.name.empty(), status);
    }
    out.push_str("</D:response></D:multistatus>");
    Ok(xml(StatusCode::MULTI_STATUS, out))
}

struct Change {
    name: Name,
    what: What,
}

enum What {
    /// A whole element.
    Dead(String),
    Removed,
    /// `None`: it is no time.
    Time(Option<Mtime>),
    /// Attributes of Windows that a file here has not: taken for done, or it would refuse to go on.
    Ignored,
    /// What only this server says.
    Protected,
}

impl Change {
    fn status(&self) -> StatusCode {
        match self.what {
            What::Protected => StatusCode::FORBIDDEN,
            What::Time(None) => StatusCode::CONFLICT,
            _ => StatusCode::OK,
        }
    }
}

/// What the body wants changed, in order.
fn changes(body: &[u8]) -> Result<Vec<Change>, Halt> {
    let document = parse(body)?;
    let root = document.root_element();
    if !is_dav(root, "propertyupdate") {
        return Err(Halt::BAD_XML);
    }
    let mut changes = Vec::new();
    for part in elements(root) {
        let is_set = is_dav(part, "set");
        if !is_set && !is_dav(part, "remove") {
            continue;
        }
        for prop in elements(part).filter(|node| is_dav(*node, "prop")) {
            changes.extend(elements(prop).map(|node| change(node, is_set)));
        }
    }
    if changes.is_empty() { Err(Halt::BAD_XML) } else { Ok(changes) }
}

fn change(node: Node<'_, '_>, is_set: bool) -> Change {
    let name = Name::of(node);
    let time = || time(text(node).trim());
    let what = match (name.space.as_str(), name.local.as_str(), is_set) {
        ("DAV:", "getlastmodified" | "lastmodified", true) => What::Time(time()),
        (WINDOWS, "Win32LastModifiedTime", true) => What::Time(time()),
        (WINDOWS, "Win32CreationTime" | "Win32LastAccessTime" | "Win32FileAttributes", true) => {
            What::Ignored
        }
        _ if LIVE.iter().any(|local| is_live(&name, local)) => What::Protected,
        (_, _, true) => What::Dead(whole(node)),
        (_, _, false) => What::Removed,
    };
    Change { name, what }
}

fn time(text: &str) -> Option<Mtime> {
    let since =
        httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(Mtime(i64::try_from(since.as_secs()).ok()?, 0))
}

async fn apply(
    call: &Call,
    stat: &StatReply,
    changes: &[Change],
    statuses: &mut [StatusCode],
) -> Result<(), Halt> {
    let before = call.dav.dead().of(&call.target.key);
    let mut after = before.clone();
    let mut mtime = None;
    for Change { name, what } in changes {
        match what {
            What::Dead(element) => drop(after.insert(name.clone(), element.clone())),
            What::Removed => drop(after.remove(name)),
            What::Time(time) => mtime = *time,
            What::Ignored | What::Protected => {}
        }
    }
    let is_changed = after != before;
    if let Some(mtime) = mtime
        && let Err(status) = set_time(call, stat, mtime).await
    {
        fail(changes, statuses, status, |what| matches!(what, What::Time(_)));
        return Ok(());
    }
    if is_changed && !remember(call, after) {
        let status = StatusCode::INSUFFICIENT_STORAGE;
        fail(changes, statuses, status, |what| matches!(what, What::Dead(_)));
    }
    Ok(())
}

async fn set_time(call: &Call, stat: &StatReply, mtime: Mtime) -> Result<(), StatusCode> {
    // That of a link is not what clients are shown.
    let set = Set { path: stat.path.clone(), mode: None, mtime: Some(mtime) };
    match call.target.place.machine.ask::<StatReply>(&Request::Set(set)).await.map_err(Into::into) {
        Ok(_) => Ok(()),
        Err(Failure::Refused(refusal)) => Err(status_of(refusal.code)),
        Err(_) => Err(StatusCode::BAD_GATEWAY),
    }
}

fn remember(call: &Call, properties: Properties) -> bool {
    call.dav.dead().set(&call.target.key, properties)
}

fn fail(
    changes: &[Change],
    statuses: &mut [StatusCode],
    status: StatusCode,
    is_it: impl Fn(&What) -> bool,
) {
    for (change, said) in changes.iter().zip(statuses) {
        if is_it(&change.what) {
            *said = status;
        }
    }
}

const WINDOWS: &str = "urn:schemas-microsoft-com:";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(inner: &str) -> Option<Vec<Change>> {
        let body = format!(
            "<D:propertyupdate xmlns:D='DAV:' xmlns:Z='{WINDOWS}' xmlns:x='urn:x'>{inner}</D:propertyupdate>"
        );
        changes(body.as_bytes()).ok()
    }

    #[test]
    fn times_are_set_and_what_this_server_says_is_not() {
        let set = |inner: &str| read(&format!("<D:set><D:prop>{inner}</D:prop></D:set>")).unwrap();
        let time = "Tue, 14 Nov 2023 22:13:20 GMT";
        for name in ["D:getlastmodified", "Z:Win32LastModifiedTime"] {
            let changes = set(&format!("<{name}>{time}</{name}>"));
            assert!(matches!(changes[0].what, What::Time(Some(Mtime(1_700_000_000, 0)))));
            assert_eq!(set(&format!("<{name}>x</{name}>"))[0].status(), StatusCode::CONFLICT);
        }
        assert!(matches!(
            set("<Z:Win32FileAttributes>00</Z:Win32FileAttributes>")[0].what,
            What::Ignored
        ));
        assert_eq!(set("<D:getetag>x</D:getetag>")[0].status(), StatusCode::FORBIDDEN);
        assert!(matches!(&set("<x:a>b</x:a>")[0].what, What::Dead(text) if text.contains(">b<")));
    }

    #[test]
    fn changes_come_in_order_and_what_is_none_is_refused() {
        let changes = read(
            "<D:set><D:prop><x:a/><x:b/></D:prop></D:set><D:remove><D:prop><x:a/></D:prop></D:remove>",
        )
        .unwrap();
        let removed: Vec<_> =
            changes.iter().map(|change| matches!(change.what, What::Removed)).collect();
        assert_eq!(removed, [false, false, true]);
        assert!(read("").is_none() && read("<D:set/>").is_none());
    }
}
