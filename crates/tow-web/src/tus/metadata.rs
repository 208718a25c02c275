//! `Upload-Metadata`: what a file is to become, as pairs of a key and base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tow_proto::message::{Exists, Mtime};
use tow_proto::{Code, Refusal};

use crate::answer::Failure;

use super::fields;

/// What a client says of a file that it will send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Metadata {
    /// Where it goes, from the root of the grant.
    pub(super) path: Vec<u8>,
    /// Whether the directories above are made too.
    pub(super) parents: bool,
    /// When it was changed.
    pub(super) mtime: Option<Mtime>,
    /// Permission bits.
    pub(super) mode: Option<u32>,
    /// What becomes of a file that is there.
    pub(super) exists: Exists,
}

impl Metadata {
    /// Reads the field.
    ///
    /// # Errors
    /// It is not of this form, a value makes no sense, or the path is missing or no path.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let pairs = pairs(text)?;
        let value = |key| pairs.iter().find(|(name, _)| *name == key).map(|(_, value)| &value[..]);
        let (path, parents) = match (value("path"), value("dir")) {
            (Some(path), _) => (path.to_vec(), false),
            (None, Some(dir)) => below(dir, value("relativePath"), value("filename"))?,
            (None, None) => return Err(fields::BAD),
        };
        if path.is_empty() || path.contains(&0) {
            return Err(Refusal::about(Code::BadName, path).into());
        }
        if path.len() > PATH_LEN_MAX {
            return Err(Code::TooLong.into());
        }
        Ok(Self {
            path,
            parents,
            mtime: value("mtime").map(mtime).transpose()?,
            mode: value("mode").map(mode).transpose()?,
            exists: match value("replace") {
                None | Some(b"true") => Exists::Replace,
                Some(b"false") => Exists::Keep,
                Some(_) => return Err(Code::BadArgument.into()),
            },
        })
    }
}

fn pairs(text: &str) -> Result<Vec<(&str, Vec<u8>)>, Failure> {
    let mut pairs: Vec<(&str, Vec<u8>)> = Vec::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once(' ').unwrap_or((pair, ""));
        if pairs.len() == PAIRS_MAX || pairs.iter().any(|(known, _)| *known == key) {
            return Err(fields::BAD);
        }
        pairs.push((key, STANDARD.decode(value.trim()).map_err(|_| fields::BAD)?));
    }
    Ok(pairs)
}

/// The path of what lies in a directory: in others below it, as a browser gives them of a whole
/// folder, or right in it.
fn below(
    dir: &[u8],
    relative: Option<&[u8]>,
    name: Option<&[u8]>,
) -> Result<(Vec<u8>, bool), Failure> {
    let (inner, parents) = match (relative.filter(|path| !path.is_empty()), name) {
        (Some(path), _) => (path, true),
        (None, Some(name)) if name.contains(&b'/') => {
            return Err(Refusal::about(Code::BadName, name).into());
        }
        (None, Some(name)) => (name, false),
        (None, None) => return Err(fields::BAD),
    };
    // Nothing that is in a folder leads out of it.
    if inner.split(|byte| *byte == b'/').any(|part| matches!(part, b"" | b"." | b"..")) {
        return Err(Refusal::about(Code::BadName, inner).into());
    }
    let dir = dir.strip_suffix(b"/").unwrap_or(dir);
    Ok(([dir, b"/", inner].concat(), parents))
}

/// `SECONDS` or `SECONDS.NANOSECONDS`; fewer than nine digits of the latter are the first ones.
fn mtime(value: &[u8]) -> Result<Mtime, Failure> {
    let bad = || Failure::from(Code::BadArgument);
    let text = std::str::from_utf8(value).map_err(|_| bad())?;
    let (secs, nanos) = text.split_once('.').unwrap_or((text, "0"));
    let is_digits = !nanos.is_empty() && nanos.bytes().all(|byte| byte.is_ascii_digit());
    if nanos.len() > 9 || !is_digits || secs.starts_with('+') {
        return Err(bad());
    }
    let nanos = format!("{nanos:0<9}").parse().map_err(|_| bad())?;
    Ok(Mtime(secs.parse().map_err(|_| bad())?, nanos))
}

/// Permission bits as `chmod` takes them, octal.
fn mode(value: &[u8]) -> Result<u32, Failure> {
    let text = std::str::from_utf8(value).map_err(|_| Code::BadArgument)?;
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 && !text.starts_with('+') => Ok(mode),
        _ => Err(Code::BadArgument.into()),
    }
}

/// Longest path, in bytes.
pub(super) const PATH_LEN_MAX: usize = 4096;
const PAIRS_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &[u8])]) -> Result<Metadata, Failure> {
        let pairs: Vec<String> =
            pairs.iter().map(|(key, value)| format!("{key} {}", STANDARD.encode(value))).collect();
        Metadata::parse(&pairs.join(","))
    }

    fn path(pairs: &[(&str, &[u8])]) -> Option<(Vec<u8>, bool)> {
        parse(pairs).ok().map(|metadata| (metadata.path, metadata.parents))
    }

    #[test]
    fn a_place_is_a_path_or_a_directory_and_what_is_below_it() {
        let whole = |text: &str, parents| Some((text.as_bytes().to_vec(), parents));
        assert_eq!(path(&[("path", b"/a/b")]), whole("/a/b", false));
        assert_eq!(path(&[("dir", b"/a/"), ("filename", b"b")]), whole("/a/b", false));
        let folder: [(&str, &[u8]); 3] =
            [("dir", b"/a"), ("relativePath", b"d/e/b"), ("filename", b"b")];
        assert_eq!(path(&folder), whole("/a/d/e/b", true));
        assert_eq!(path(&[("dir", b"/"), ("filename", b"\xff\n\"")]).unwrap().0, b"/\xff\n\"");
        let long = [b'x'; PATH_LEN_MAX + 1];
        for bad in [
            &[("filename", &b"b"[..])][..],
            &[("dir", b"/a")],
            &[("dir", b"/a"), ("filename", b"../b")],
            &[("dir", b"/a"), ("filename", b"..")],
            &[("dir", b"/a"), ("relativePath", b"../b")],
            &[("dir", b"/a"), ("relativePath", b"c//b")],
            &[("dir", b"/a"), ("relativePath", b"/b")],
            &[("dir", b"/a"), ("relativePath", b"c/./b")],
            &[("path", b"")],
            &[("path", b"/a\0b")],
            &[("path", &long)],
            &[("path", b"/a"), ("path", b"/b")],
        ] {
            assert_eq!(path(bad), None, "{bad:?}");
        }
        assert!(Metadata::parse("path !!").is_err());
        assert!(Metadata::parse("").is_err());
    }

    #[test]
    fn what_is_said_beside_the_place_is_read_or_refused() {
        let said = parse(&[
            ("path", b"/a"),
            ("mtime", b"1700000000.25"),
            ("mode", b"640"),
            ("replace", b"false"),
            ("filetype", b"text/plain"),
        ])
        .ok()
        .unwrap();
        assert_eq!(said.mtime, Some(Mtime(1_700_000_000, 250_000_000)));
        assert_eq!((said.mode, said.exists), (Some(0o640), Exists::Keep));
        assert_eq!(mtime(b"-1.500000000").ok(), Some(Mtime(-1, 500_000_000)));
        for bad in ["", "x", "1.", "1.0000000000", "1.-5", "+1", "1e9", "99999999999999999999"] {
            assert!(mtime(bad.as_bytes()).is_err(), "{bad}");
        }
        for bad in ["", "8", "4755", "-1", "+7", "0o644"] {
            assert!(mode(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(parse(&[("path", b"/a"), ("replace", b"no")]).is_err());
    }
}
