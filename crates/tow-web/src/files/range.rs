//! Parts of a file: what `Range` asks for (RFC 9110, 14).

use axum::http::HeaderMap;
use axum::http::header::RANGE;

/// Bytes of a file, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// Offset of the first one.
    pub(crate) from: u64,
    /// How many.
    pub(crate) len: u64,
}

/// What is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selected {
    /// All of it.
    Whole,
    /// These parts, at least one.
    Parts(Vec<Span>),
    /// Nothing that was asked for is there.
    Nothing,
}

impl Span {
    /// As `Content-Range` says it.
    pub(crate) fn describe(self, size: u64) -> String {
        format!("bytes {}-{}/{size}", self.from, self.end() - 1)
    }

    fn end(self) -> u64 {
        self.from + self.len
    }
}

/// The parts of a file of `size` bytes that `headers` ask for. What can't be read asks for nothing,
/// and who asks for very many parts gets the whole.
pub(crate) fn select(headers: &HeaderMap, size: u64) -> Selected {
    let mut lines = headers.get_all(RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return Selected::Whole };
    let set = line.to_str().ok().and_then(|line| line.split_once('='));
    let Some((_, set)) = set.filter(|(unit, _)| unit.trim().eq_ignore_ascii_case("bytes")) else {
        return Selected::Whole;
    };
    let asked = set.split(',').map(str::trim).filter(|one| !one.is_empty());
    let Some(parts) = asked.clone().map(|one| span(one, size)).collect::<Option<Vec<_>>>() else {
        return Selected::Whole;
    };
    if parts.is_empty() || parts.len() > PARTS_MAX {
        return Selected::Whole;
    }
    let parts = merge(parts.into_iter().flatten().collect());
    if parts.is_empty() { Selected::Nothing } else { Selected::Parts(parts) }
}

/// `None` where it can't be read, `Some(None)` where there are no such bytes.
fn span(one: &str, size: u64) -> Option<Option<Span>> {
    let (first, last) = one.split_once('-')?;
    let (from, end) = match (number(first), number(last)) {
        (None, Some(last_len)) if first.is_empty() => (size.saturating_sub(last_len), size),
        (Some(from), None) if last.is_empty() => (from, size),
        (Some(from), Some(last)) if from <= last => (from, last.saturating_add(1).min(size)),
        _ => return None,
    };
    Some(end.checked_sub(from).filter(|len| *len > 0).map(|len| Span { from, len }))
}

/// A number that is too large is larger than any file.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

/// In their order, unless some overlap: nobody gets a byte twice.
fn merge(parts: Vec<Span>) -> Vec<Span> {
    let mut sorted = parts.clone();
    sorted.sort_by_key(|part| part.from);
    if sorted.windows(2).all(|pair| pair[0].end() < pair[1].from) {
        return parts;
    }
    let mut merged: Vec<Span> = Vec::with_capacity(sorted.len());
    for part in sorted {
        match merged.last_mut() {
            Some(last) if part.from <= last.end() => {
                last.len = last.end().max(part.end()) - last.from;
            }
            _ => merged.push(part),
        }
    }
    merged
}

const PARTS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(range: &str, size: u64) -> Selected {
        select(&[(RANGE, range.parse().unwrap())].into_iter().collect(), size)
    }

    fn parts(parts: &[(u64, u64)]) -> Selected {
        Selected::Parts(parts.iter().map(|(from, len)| Span { from: *from, len: *len }).collect())
    }

    #[test]
    fn one_part_from_any_end() {
        for (range, expected) in [
            ("bytes=0-0", (0, 1)),
            ("bytes=2-4", (2, 3)),
            ("bytes=9-9", (9, 1)),
            ("bytes=5-", (5, 5)),
            ("bytes=5-99999999999999999999999", (5, 5)),
            ("bytes=-3", (7, 3)),
            ("bytes=-30", (0, 10)),
            ("Bytes = 1-1", (1, 1)),
        ] {
            assert_eq!(selected(range, 10), parts(&[expected]), "{range}");
        }
    }

    #[test]
    fn what_is_not_there_is_nothing_and_what_is_no_range_is_the_whole() {
        for range in ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=99-,50-60"] {
            assert_eq!(selected(range, 10), Selected::Nothing, "{range}");
        }
        assert_eq!(selected("bytes=0-", 0), Selected::Nothing);
        for range in
            ["bytes=4-2", "bytes=", "bytes=-", "bytes=a-b", "lines=0-1", "bytes", "bytes=+1-2"]
        {
            assert_eq!(selected(range, 10), Selected::Whole, "{range}");
        }
        assert_eq!(select(&HeaderMap::new(), 10), Selected::Whole);
    }

    #[test]
    fn several_keep_their_order_and_are_merged_where_they_overlap() {
        assert_eq!(selected("bytes=8-9, 0-1", 10), parts(&[(8, 2), (0, 2)]));
        assert_eq!(selected("bytes=0-4,2-6", 10), parts(&[(0, 7)]));
        assert_eq!(selected("bytes=5-,0-2,1-3", 10), parts(&[(0, 4), (5, 5)]));
        assert_eq!(selected("bytes=0-1,99-", 10), parts(&[(0, 2)]));
        let many = |count: u64| {
            (0..count).map(|at| format!("{}-{}", at * 3, at * 3)).collect::<Vec<_>>().join(",")
        };
        assert!(
            matches!(selected(&format!("bytes={}", many(16)), 100), Selected::Parts(parts) if parts.len() == 16)
        );
        assert_eq!(selected(&format!("bytes={}", many(17)), 100), Selected::Whole);
    }
}
