//! Paths of URLs and of the API, which start at the root of the grant (HTTP.md 3), and those of the
//! protocol, which are the machine's own.

use tow_proto::{ByteString, Code, Refusal};

/// The percent-decoded bytes of a part of a URL; decoded exactly once, never taken apart before.
///
/// # Errors
/// `BadName`: a `%` that is not followed by two hexadecimal digits.
pub(crate) fn decode(text: &str) -> Result<Vec<u8>, Refusal> {
    let bad = || Refusal::about(Code::BadName, text);
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
        let (high, low) = (digit().ok_or_else(bad)?, digit().ok_or_else(bad)?);
        decoded.push(u8::try_from(high * 16 + low).map_err(|_| bad())?);
    }
    Ok(decoded)
}

/// `bytes` as a part of a URL's path: everything but what is certain to mean itself is encoded.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                text.push(char::from(*byte));
            }
            _ => {
                text.push('%');
                for digit in [byte >> 4, byte & 15] {
                    let digit = char::from_digit(digit.into(), 16).unwrap_or('0');
                    text.push(digit.to_ascii_uppercase());
                }
            }
        }
    }
    text
}

/// The machine's own path of `path`, which starts at the grant's `root` whether it says `/` or not.
/// What it leads to is for the kernel to judge.
pub(crate) fn on_machine(root: &ByteString, path: &[u8]) -> ByteString {
    let root = root.as_bytes();
    let root = root.strip_suffix(b"/").unwrap_or(root);
    let path = path.strip_prefix(b"/").unwrap_or(path);
    [root, b"/", path].concat().into()
}

/// The path of the API for one of the machine's own; `None` outside of the root.
pub(crate) fn below_root(root: &ByteString, path: &[u8]) -> Option<Vec<u8>> {
    let root = root.as_bytes();
    let root = root.strip_suffix(b"/").unwrap_or(root);
    let rest = path.strip_prefix(root)?;
    match rest.first() {
        None => Some(b"/".to_vec()),
        Some(b'/') => Some(rest.to_vec()),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_any_bytes_survives_a_url() {
        for name in [&b"a b"[..], b"%2e%2e", b"\xff\xfe", b"\n\"<img>", "ü/é".as_bytes(), b""] {
            assert_eq!(decode(&encode(name)).unwrap(), name);
        }
        assert_eq!(decode("%2e%2E%252f").unwrap(), b"..%2f", "exactly once");
        for bad in ["%", "%4", "%zz", "a%+1"] {
            assert_eq!(decode(bad).unwrap_err().code, Code::BadName, "{bad}");
        }
    }

    #[test]
    fn paths_start_at_the_root_of_the_grant_and_nowhere_else() {
        let whole: ByteString = "/".into();
        let part: ByteString = "/srv/a".into();
        assert_eq!(on_machine(&whole, b"/etc/hosts"), "/etc/hosts".into());
        assert_eq!(on_machine(&whole, b""), "/".into());
        assert_eq!(on_machine(&part, b"/etc"), "/srv/a/etc".into());
        assert_eq!(on_machine(&part, b"../b"), "/srv/a/../b".into(), "refused further in");
        assert_eq!(below_root(&whole, b"/etc").unwrap(), b"/etc");
        assert_eq!(below_root(&part, b"/srv/a").unwrap(), b"/");
        assert_eq!(below_root(&part, b"/srv/a/b").unwrap(), b"/b");
        assert_eq!(below_root(&part, b"/srv/ab"), None);
    }
}
