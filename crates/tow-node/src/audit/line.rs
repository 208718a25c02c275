//! A record as one line of JSON, safe to be shown on a terminal as it is.

use std::borrow::Cow;
use std::time::SystemTime;

use serde::Serialize;
use tow_proto::byte_string::escape;
use tow_proto::message::Ended;
use tow_proto::{ByteString, json};

use super::{Outcome, Record, Who};
use crate::clock;
use crate::names::printable_name;

/// What the log adds to a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extra {
    /// The line's number.
    pub(super) seq: u64,
    /// The line stands for so many equal records.
    pub(super) repeated: Option<u64>,
    /// So many records before this one could not be written.
    pub(super) lost: u64,
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    seq: u64,
    who: String,
    name: String,
    from: Cow<'a, str>,
    what: &'a str,
    detail: &'a [ByteString],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    env: &'a [ByteString],
    #[serde(skip_serializing_if = "str::is_empty")]
    session: &'a str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<&'a str>,
    #[serde(with = "json::big")]
    bytes: u64,
    #[serde(with = "json::big")]
    duration_ms: u64,
    /// Elements of `detail` and `env` that were left out.
    #[serde(skip_serializing_if = "is_zero")]
    left_out: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    repeated: Option<u64>,
    #[serde(skip_serializing_if = "is_zero_u64")]
    lost: u64,
}

/// The line, with its end.
pub(super) fn render(record: &Record, wall: SystemTime, extra: &Extra) -> Vec<u8> {
    let detail = head(&record.detail);
    let env = head(&record.env);
    let (outcome, code, exit, signal) = match &record.outcome {
        Outcome::Ok => ("ok", None, None, None),
        Outcome::Begun => ("begun", None, None, None),
        Outcome::Cut => ("cut", None, None, None),
        Outcome::Refused(code) => ("refused", Some(*code), None, None),
        Outcome::Ended(Ended::Code(code)) => ("exit", None, Some(*code), None),
        Outcome::Ended(Ended::Signal { name, .. }) => ("signal", None, None, Some(name.as_str())),
    };
    let line = Line {
        time: clock::to_rfc3339_millis(wall),
        seq: extra.seq,
        who: match record.who {
            Who::Key(id) => id.to_string(),
            Who::Uid(uid) => format!("uid:{uid}"),
            Who::Unknown => "unknown".to_owned(),
        },
        name: printable_name(&record.name),
        from: Cow::Borrowed(&record.from),
        what: record.what,
        detail,
        env,
        session: &record.session,
        outcome,
        code: code.map(tow_proto::Code::number),
        why: code.map(|code| format!("{code:?}")),
        exit,
        signal,
        bytes: record.bytes,
        duration_ms: record.duration.as_millis().try_into().unwrap_or(u64::MAX),
        left_out: record.detail.len() - detail.len() + record.env.len() - env.len(),
        repeated: extra.repeated,
        lost: extra.lost,
    };
    let json = String::from_utf8(json::to_vec(&line)).unwrap_or_default();
    let mut bytes = escape_json(&json).into_bytes();
    bytes.push(b'\n');
    bytes
}

/// As many elements as there is room for.
fn head(elements: &[ByteString]) -> &[ByteString] {
    let mut room = LIST_LEN_MAX;
    let fits = elements.iter().take_while(|element| {
        let needed = element.as_bytes().len() + ELEMENT_OVERHEAD;
        let fits = needed <= room;
        room = room.saturating_sub(needed);
        fits
    });
    &elements[..fits.count()]
}

/// JSON in which no character moves a cursor or hides others. Such characters stand only inside of
/// strings, where an escape means the same.
fn escape_json(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for char in json.chars() {
        let is_safe = matches!(escape(char.encode_utf8(&mut [0; 4]).as_bytes()), Cow::Borrowed(_));
        if is_safe {
            safe.push(char);
        } else {
            for unit in char.encode_utf16(&mut [0; 2]) {
                safe.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    safe
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

fn is_zero_u64(count: &u64) -> bool {
    *count == 0
}

/// Room for arguments, and again for names of variables, in bytes before they are escaped.
const LIST_LEN_MAX: usize = 16 << 10;
/// Quotes, a comma, the braces of what is not text.
const ELEMENT_OVERHEAD: usize = 12;
