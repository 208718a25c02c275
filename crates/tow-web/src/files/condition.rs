//! What of a file a client knows already: its tag and its time, and the conditions that a request
//! makes of them (RFC 9110, 8.8 and 13).

use std::time::{Duration, SystemTime};

use axum::http::{HeaderMap, HeaderName, Method, header};
use tow_proto::content::Tally;
use tow_proto::message::{Mtime, StatReply};

/// Why a request is not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unmet {
    /// 304: the client has it.
    NotModified,
    /// 412: it is not what the client thinks.
    Failed,
}

/// The tag of a file, with its quotation marks: strong, and nothing of the machine can be read from it.
pub(crate) fn etag(stat: &StatReply) -> String {
    let mut tally = Tally::default();
    for number in [stat.device, stat.inode, stat.size] {
        tally.update(&number.to_le_bytes());
    }
    for Mtime(secs, nanos) in [stat.mtime, stat.ctime] {
        tally.update(&secs.to_le_bytes());
        tally.update(&nanos.to_le_bytes());
    }
    format!("\"{}\"", &tally.hash().to_string()[..ETAG_DIGITS])
}

/// When it was changed, in whole seconds, as far as HTTP can say that: never in the future.
pub(crate) fn last_modified(stat: &StatReply, now: SystemTime) -> Option<SystemTime> {
    let secs = u64::try_from(stat.mtime.0).ok()?;
    Some((SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(secs))?).min(now))
}

/// A time as HTTP writes it; `None` beyond the year 9999.
pub(crate) fn date(time: SystemTime) -> Option<String> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    (since.as_secs() < YEAR_10000).then(|| httpdate::fmt_http_date(time))
}

/// Whether a request makes any condition.
pub(crate) fn has_any(headers: &HeaderMap) -> bool {
    CONDITIONS.iter().any(|name| headers.contains_key(name))
}

/// Whether a request is to be carried out on `there`, which is what has the name, or nothing; in the
/// order of RFC 9110, 13.2.2.
///
/// # Errors
/// It is not.
pub(crate) fn check(
    method: &Method,
    headers: &HeaderMap,
    there: Option<&StatReply>,
    now: SystemTime,
) -> Result<(), Unmet> {
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    let tag = there.map(etag);
    let changed = there.and_then(|stat| last_modified(stat, now));
    if let Some(wanted) = field(headers, header::IF_MATCH) {
        if !matches(&wanted, tag.as_deref(), Compare::Strong) {
            return Err(Unmet::Failed);
        }
    } else if let Some(time) = time(headers, header::IF_UNMODIFIED_SINCE)
        && changed.is_some_and(|changed| secs(changed) > secs(time))
    {
        return Err(Unmet::Failed);
    }
    if let Some(known) = field(headers, header::IF_NONE_MATCH) {
        if matches(&known, tag.as_deref(), Compare::Weak) {
            return Err(if is_read { Unmet::NotModified } else { Unmet::Failed });
        }
    } else if is_read
        && let Some(time) = time(headers, header::IF_MODIFIED_SINCE)
        && changed.is_some_and(|changed| secs(changed) <= secs(time))
    {
        return Err(Unmet::NotModified);
    }
    Ok(())
}

/// Whether `If-Range`, where there is one, allows a part of `stat` to be sent.
pub(crate) fn allows_range(headers: &HeaderMap, stat: &StatReply, now: SystemTime) -> bool {
    let Some(condition) = field(headers, header::IF_RANGE) else { return true };
    if condition.starts_with('"') {
        return condition == etag(stat);
    }
    let Ok(time) = httpdate::parse_http_date(&condition) else { return false };
    // A file that was changed within this second can be changed again without another date.
    let is_settled = |changed: SystemTime| secs(changed).is_some_and(|at| secs(now) > Some(at + 1));
    last_modified(stat, now)
        .is_some_and(|changed| secs(changed) == secs(time) && is_settled(changed))
}

/// Whether nothing may have the name: `If-None-Match: *`.
pub(crate) fn wants_nothing(headers: &HeaderMap) -> bool {
    field(headers, header::IF_NONE_MATCH).is_some_and(|known| known.trim() == "*")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Compare {
    Strong,
    Weak,
}

/// Whether `tag` is one of `list`, or there is one and the list is `*`. A list that can't be read has
/// none.
fn matches(list: &str, tag: Option<&str>, compare: Compare) -> bool {
    let Some(tag) = tag else { return false };
    if list.trim() == "*" {
        return true;
    }
    let mut rest = list;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (is_weak, quoted) = match rest.strip_prefix("W/") {
            Some(quoted) => (true, quoted),
            None => (false, rest),
        };
        let Some(open) = quoted.strip_prefix('"') else { return false };
        let Some((opaque, behind)) = open.split_once('"') else { return false };
        let is_comparable = !is_weak || compare == Compare::Weak;
        if is_comparable && tag.trim_matches('"') == opaque {
            return true;
        }
        rest = behind;
    }
}

/// All of a field, which may come in several lines. What is not text matches nothing.
fn field(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let lines: Vec<_> = headers.get_all(name).iter().map(|line| line.to_str()).collect();
    if lines.is_empty() {
        return None;
    }
    Some(lines.into_iter().map(|line| line.unwrap_or_default()).collect::<Vec<_>>().join(","))
}

/// A date that can't be read is none (RFC 9110, 13.1.3).
fn time(headers: &HeaderMap, name: HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()
}

fn secs(time: SystemTime) -> Option<u64> {
    time.duration_since(SystemTime::UNIX_EPOCH).ok().map(|since| since.as_secs())
}

const CONDITIONS: [HeaderName; 3] =
    [header::IF_MATCH, header::IF_NONE_MATCH, header::IF_UNMODIFIED_SINCE];
/// 128 bits.
const ETAG_DIGITS: usize = 32;
const YEAR_10000: u64 = 253_402_300_800;

#[cfg(test)]
mod tests {
    use tow_proto::message::EntryKind;

    use super::*;

    const DAY: &str = "Tue, 14 Nov 2023 22:13:20 GMT";
    const LATER: &str = "Tue, 14 Nov 2023 22:13:21 GMT";
    const EARLIER: &str = "Tue, 14 Nov 2023 22:13:19 GMT";

    fn stat() -> StatReply {
        StatReply {
            path: "/a".into(),
            kind: EntryKind::File,
            size: 5,
            mode: 0o644,
            uid: 0,
            gid: 0,
            links: 1,
            device: 1,
            inode: 2,
            mtime: Mtime(1_700_000_000, 5),
            ctime: Mtime(1_700_000_000, 6),
            atime: Mtime(0, 0),
            target: None,
        }
    }

    fn head(fields: &[(HeaderName, &str)]) -> HeaderMap {
        let field = |(name, value): &(HeaderName, &str)| (name.clone(), value.parse().unwrap());
        fields.iter().map(field).collect()
    }

    fn outcome(method: Method, fields: &[(HeaderName, &str)]) -> Result<(), Unmet> {
        check(&method, &head(fields), Some(&stat()), SystemTime::now())
    }

    #[test]
    fn a_tag_is_another_after_any_change_and_says_nothing_else() {
        let tag = etag(&stat());
        assert!(tag.len() == 34 && tag.bytes().filter(|byte| *byte == b'"').count() == 2);
        let changes: [fn(&mut StatReply); 5] = [
            |stat| stat.device += 1,
            |stat| stat.inode += 1,
            |stat| stat.size += 1,
            |stat| stat.mtime.1 += 1,
            |stat| stat.ctime.1 += 1,
        ];
        for change in changes {
            let mut other = stat();
            change(&mut other);
            assert_ne!(etag(&other), tag);
        }
        assert_eq!(etag(&StatReply { mode: 0, links: 9, ..stat() }), tag);
    }

    #[test]
    fn conditions_are_checked_in_the_order_of_the_standard() {
        let tag = etag(&stat());
        let weak = format!("W/{tag}");
        let list = format!("\"a,b\", {tag}");
        let (failed, known) = (Err(Unmet::Failed), Err(Unmet::NotModified));
        let (get, put) = (Method::GET, Method::PUT);
        use header::{
            IF_MATCH, IF_MODIFIED_SINCE as SINCE, IF_NONE_MATCH as NONE, IF_UNMODIFIED_SINCE as UN,
        };
        for (method, fields, expected) in [
            (&get, &[][..], Ok(())),
            (&get, &[(IF_MATCH, tag.as_str())], Ok(())),
            (&get, &[(IF_MATCH, "*")], Ok(())),
            (&get, &[(IF_MATCH, &list)], Ok(())),
            (&get, &[(IF_MATCH, "\"x\""), (IF_MATCH, &tag)], Ok(())),
            (&get, &[(IF_MATCH, &weak)], failed),
            (&get, &[(IF_MATCH, "\"x\"")], failed),
            (&get, &[(IF_MATCH, "x")], failed),
            (&get, &[(IF_MATCH, tag.as_str()), (UN, EARLIER)], Ok(())),
            (&get, &[(UN, EARLIER)], failed),
            (&get, &[(UN, DAY)], Ok(())),
            (&get, &[(UN, "yesterday")], Ok(())),
            (&get, &[(NONE, tag.as_str())], known),
            (&get, &[(NONE, &weak)], known),
            (&get, &[(NONE, "*")], known),
            (&get, &[(NONE, "\"x\""), (SINCE, LATER)], Ok(())),
            (&get, &[(SINCE, DAY)], known),
            (&get, &[(SINCE, EARLIER)], Ok(())),
            (&get, &[(IF_MATCH, "\"x\""), (NONE, tag.as_str())], failed),
            (&put, &[(NONE, "*")], failed),
            (&put, &[(NONE, tag.as_str())], failed),
            (&put, &[(SINCE, DAY)], Ok(())),
        ] {
            assert_eq!(outcome(method.clone(), fields), expected, "{method} {fields:?}");
        }
        for (fields, expected) in
            [(&[(IF_MATCH, "*")][..], failed), (&[(NONE, "*")], Ok(())), (&[(UN, DAY)], Ok(()))]
        {
            assert_eq!(check(&put, &head(fields), None, SystemTime::now()), expected);
        }
    }

    #[test]
    fn a_range_needs_the_very_same_file() {
        let tag = etag(&stat());
        let weak = format!("W/{tag}");
        for (value, expected) in [
            (tag.as_str(), true),
            (DAY, true),
            (&weak, false),
            ("\"x\"", false),
            (LATER, false),
            (EARLIER, false),
            ("nonsense", false),
        ] {
            let headers = head(&[(header::IF_RANGE, value)]);
            assert_eq!(allows_range(&headers, &stat(), SystemTime::now()), expected, "{value}");
        }
        let headers = head(&[(header::IF_RANGE, DAY)]);
        let just_then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        assert!(!allows_range(&headers, &stat(), just_then), "it may be changed again");
    }

    #[test]
    fn times_that_http_can_not_say_are_not_said() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let at = |secs| last_modified(&StatReply { mtime: Mtime(secs, 0), ..stat() }, now);
        assert_eq!(at(-1), None);
        assert_eq!(at(i64::MAX), Some(now).filter(|_| at(i64::MAX).is_some()));
        assert_eq!(at(1_700_000_000).and_then(date).as_deref(), Some(DAY));
        assert_eq!(date(SystemTime::UNIX_EPOCH + Duration::from_secs(YEAR_10000)), None);
    }
}
