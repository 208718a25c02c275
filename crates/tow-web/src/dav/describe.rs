//! What is said of one file in the answer to `PROPFIND`.

use std::fmt::Write as _;
use std::time::{Duration, Instant, SystemTime};

use axum::http::StatusCode;
use tow_proto::message::{EntryKind, Mtime, StatReply};

use super::Dav;
use super::answer::status_line;
use super::dead::Properties;
use super::locks::{Lock, Scope, Span};
use super::target::{Kind, Target, href};
use super::xml::{DAV_SPACE, Name, escape};
use crate::files::{date, etag, media_type};

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Everything, and these.
    All(Vec<Name>),
    /// Only which there are.
    Names,
    /// These.
    Some(Vec<Name>),
}

/// What is known of a file or a directory.
pub(super) struct Facts {
    pub(super) is_dir: bool,
    pub(super) size: u64,
    pub(super) mtime: Mtime,
    /// Of a file, if it was asked for.
    pub(super) tag: Option<String>,
}

impl Facts {
    /// Of what is a file or a directory; `None` for others, which WebDAV has no word for.
    pub(super) fn of(stat: &StatReply) -> Option<Self> {
        let is_dir = match stat.kind {
            EntryKind::Dir => true,
            EntryKind::File => false,
            EntryKind::Link | EntryKind::Special => return None,
        };
        let tag = (!is_dir).then(|| etag(stat));
        Some(Self { is_dir, size: stat.size, mtime: stat.mtime, tag })
    }
}

impl Wanted {
    /// Whether a tag is needed, for which more than a listing has to be known.
    pub(super) fn needs_tag(&self) -> bool {
        match self {
            Self::All(_) => true,
            Self::Names => false,
            Self::Some(names) => names.iter().any(|name| is_live(name, "getetag")),
        }
    }
}

/// Adds the `response` element of what is at `target`.
pub(super) fn describe(
    out: &mut String,
    dav: &Dav,
    target: &Target,
    facts: &Facts,
    wanted: &Wanted,
) {
    let kind = if facts.is_dir { Kind::Dir } else { Kind::Other };
    let _ = write!(out, "<D:response><D:href>{}</D:href>", href(&target.path, kind));
    let dead = dav.dead().of(&target.key);
    let (mut found, mut missing) = (String::new(), String::new());
    match wanted {
        Wanted::Names => {
            for local in LIVE.iter().filter(|local| live(dav, target, facts, local).is_some()) {
                let _ = write!(found, "<D:{local}/>");
            }
            found.extend(dead.keys().map(Name::empty));
        }
        Wanted::All(more) => {
            for local in LIVE {
                add_live(&mut found, dav, target, facts, local);
            }
            found.extend(dead.values().map(String::as_str));
            let is_new = |name: &&Name| !LIVE.iter().any(|local| is_live(name, local));
            for name in more.iter().filter(is_new).filter(|name| !dead.contains_key(*name)) {
                missing.push_str(&name.empty());
            }
        }
        Wanted::Some(names) => {
            for name in names {
                if !add(&mut found, dav, target, facts, &dead, name) {
                    missing.push_str(&name.empty());
                }
            }
        }
    }
    if !found.is_empty() || missing.is_empty() {
        add_status(out, &found, StatusCode::OK);
    }
    if !missing.is_empty() {
        add_status(out, &missing, StatusCode::NOT_FOUND);
    }
    out.push_str("</D:response>");
}

/// Adds properties that have one status.
pub(super) fn add_status(out: &mut String, properties: &str, status: StatusCode) {
    let status = status_line(status);
    let _ = write!(
        out,
        "<D:propstat><D:prop>{properties}</D:prop><D:status>{status}</D:status></D:propstat>"
    );
}

fn add(
    out: &mut String,
    dav: &Dav,
    target: &Target,
    facts: &Facts,
    dead: &Properties,
    name: &Name,
) -> bool {
    if let Some(element) = dead.get(name) {
        out.push_str(element);
        return true;
    }
    let local = LIVE.iter().find(|local| is_live(name, local));
    local.is_some_and(|local| add_live(out, dav, target, facts, local))
}

fn add_live(out: &mut String, dav: &Dav, target: &Target, facts: &Facts, local: &str) -> bool {
    let Some(value) = live(dav, target, facts, local) else { return false };
    let _ = write!(out, "<D:{local}>{value}</D:{local}>");
    true
}

/// The content of a property that this server keeps itself.
fn live(dav: &Dav, target: &Target, facts: &Facts, local: &str) -> Option<String> {
    let text = |text: &str| Some(escape(text).into_owned());
    match local {
        "displayname" => text(&String::from_utf8_lossy(target.name())),
        "resourcetype" if facts.is_dir => Some("<D:collection/>".to_owned()),
        "resourcetype" => Some(String::new()),
        "getlastmodified" => text(&date(time(facts.mtime)?)?),
        "getcontentlength" if !facts.is_dir => Some(facts.size.to_string()),
        "getcontenttype" if !facts.is_dir => text(&media_type(target.name())),
        "getetag" => text(facts.tag.as_deref()?),
        "supportedlock" => Some(SUPPORTED.to_owned()),
        "lockdiscovery" => Some(locks_on(dav, target)),
        _ => None,
    }
}

fn time(Mtime(secs, _): Mtime) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(secs).ok()?))
}

fn locks_on(dav: &Dav, target: &Target) -> String {
    let locks = dav.locks();
    if locks.is_empty() {
        return String::new();
    }
    let now = Instant::now();
    locks.on(&target.key, now).iter().map(|lock| active(lock, target, now)).collect()
}

/// A lock, as it is said to everybody who may read: its token is of use only to its holder.
pub(super) fn active(lock: &Lock, target: &Target, now: Instant) -> String {
    let scope = if lock.scope == Scope::Exclusive { "exclusive" } else { "shared" };
    let depth = if lock.span == Span::Tree { "infinity" } else { "0" };
    let secs = lock.until.saturating_duration_since(now).as_secs();
    let (root, token, says) = (target.href_of_key(&lock.key), escape(&lock.token), &lock.says);
    format!(
        "<D:activelock><D:locktype><D:write/></D:locktype><D:lockscope><D:{scope}/></D:lockscope>\
        <D:depth>{depth}</D:depth>{says}<D:timeout>Second-{secs}</D:timeout>\
        <D:locktoken><D:href>{token}</D:href></D:locktoken>\
        <D:lockroot><D:href>{root}</D:href></D:lockroot></D:activelock>"
    )
}

/// Whether `name` is that of a property of RFC 4918.
pub(super) fn is_live(name: &Name, local: &str) -> bool {
    name.space == DAV_SPACE && name.local == local
}

/// The properties that this server keeps itself.
pub(super) const LIVE: [&str; 8] = [
    "displayname",
    "resourcetype",
    "getlastmodified",
    "getcontentlength",
    "getcontenttype",
    "getetag",
    "supportedlock",
    "lockdiscovery",
];
const SUPPORTED: &str = "<D:lockentry><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype>\
    </D:lockentry><D:lockentry><D:lockscope><D:shared/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockentry>";
