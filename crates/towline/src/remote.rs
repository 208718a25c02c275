//! `HOST` and `HOST:PATH` as people write them.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use tow_proto::ByteString;
use tow_proto::byte_string::escape;

use crate::failure::Failure;

/// `HOST:PATH`, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remote {
    /// A name or an address.
    pub(crate) host: String,
    /// Empty for the start directory.
    pub(crate) path: ByteString,
}

impl Remote {
    /// Takes `HOST:PATH` apart; `None` where it is a local path.
    ///
    /// The first colon ends the host, with these exceptions: an IPv6 address is in brackets, a port
    /// between two colons belongs to the host, and a scheme belongs to it too.
    pub(crate) fn parse(word: &OsStr) -> Option<Self> {
        let bytes = word.as_bytes();
        let end = host_len(bytes)?;
        let host = String::from_utf8(bytes[..end].to_vec()).ok()?;
        Some(Self { host, path: bytes[end + 1..].into() })
    }

    /// The same, where it must be one.
    ///
    /// # Errors
    /// It is a local path.
    pub(crate) fn expect(word: &OsStr) -> Result<Self, Failure> {
        Self::parse(word).ok_or_else(|| {
            let bytes = word.as_bytes();
            let path = escape(bytes.strip_prefix(b":").unwrap_or(bytes));
            Failure::usage(format!("`{}` names no machine", escape(bytes)))
                .hint(format!("write HOST:PATH, for example box:{path}"))
        })
    }
}

fn host_len(bytes: &[u8]) -> Option<usize> {
    let skip = match bytes {
        // The path of a socket has no colon; what follows the last one is the path over there.
        [b'u', b'n', b'i', b'x', b':', ..] => {
            return bytes.iter().rposition(|byte| *byte == b':').filter(|at| *at > 4);
        }
        _ if bytes.starts_with(b"tcp://") || bytes.starts_with(b"quic://") => {
            bytes.iter().position(|byte| *byte == b':')? + 3
        }
        _ => 0,
    };
    let rest = &bytes[skip..];
    let host = match rest.first()? {
        b'[' => rest.iter().position(|byte| *byte == b']')? + 1,
        _ => rest.iter().position(|byte| *byte == b':')?,
    };
    if rest.get(host) != Some(&b':') || host == 0 || rest[..host].contains(&b'/') {
        return None;
    }
    let after = &rest[host + 1..];
    let digits = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let port = if digits > 0 && after.get(digits) == Some(&b':') { digits + 1 } else { 0 };
    Some(skip + host + port)
}

/// The bytes of a word from the command line.
pub(crate) fn bytes(word: OsString) -> ByteString {
    word.into_vec().into()
}

/// A word from the command line as a local path.
pub(crate) fn local(word: &OsStr) -> PathBuf {
    PathBuf::from(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(word: &str, expected: Option<(&str, &str)>) {
        let parsed = Remote::parse(OsStr::new(word));
        let expected =
            expected.map(|(host, path)| Remote { host: host.to_owned(), path: path.into() });
        assert_eq!(parsed, expected, "{word}");
    }

    #[test]
    fn a_host_ends_where_people_expect_it_to() {
        check("box:file", Some(("box", "file")));
        check("box:", Some(("box", "")));
        check(".:/etc/hosts", Some((".", "/etc/hosts")));
        check("box:a:b", Some(("box", "a:b")));
        check("box:8690:/x", Some(("box:8690", "/x")));
        check("box:8690", Some(("box", "8690")));
        check("[::1]:x", Some(("[::1]", "x")));
        check("[::1]:8690:x", Some(("[::1]:8690", "x")));
        check("tcp://box:8690:x", Some(("tcp://box:8690", "x")));
        check("unix:/run/node.sock:x", Some(("unix:/run/node.sock", "x")));
    }

    #[test]
    fn a_local_path_is_none() {
        for word in ["file", "./a:b", "/a:b", "dir/a:b", ":x", "", "[::1]", "unix:/run/node.sock"] {
            check(word, None);
        }
    }
}
