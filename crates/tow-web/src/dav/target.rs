//! What a URL below `/dav` means.

use axum::http::Uri;
use tow_proto::{ByteString, Code, Refusal};

use super::answer::Halt;
use super::{Call, DAV};
use crate::files::Place;
use crate::machine::Machine;
use crate::path::{decode, encode};

/// Something that may be there.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) place: Place,
    /// From the root of the grant: nothing for the root itself, else `/a/b`.
    pub(super) path: Vec<u8>,
    /// The machine's own path in the same form: the same for every visitor, whatever their root.
    pub(super) key: Vec<u8>,
}

impl Target {
    /// What the path of a URL names.
    ///
    /// # Errors
    /// 400: it can't be decoded, or has a component that goes elsewhere. 403: it is not below `/dav`.
    pub(super) fn of_uri(machine: Machine, path: &str) -> Result<Self, Halt> {
        Ok(Self::at(machine, &below_dav(path)?))
    }

    fn at(machine: Machine, path: &[u8]) -> Self {
        let whole = if path.is_empty() { b"/" } else { path };
        let place = Place::of_path(machine, whole);
        let key = place.path.as_bytes();
        let key = key.strip_suffix(b"/").unwrap_or(key).to_vec();
        Self { place, path: path.to_vec(), key }
    }

    /// Another one, of the same visitor.
    ///
    /// # Errors
    /// As [`Self::of_uri`].
    pub(super) fn other(&self, path: &str) -> Result<Self, Halt> {
        Self::of_uri(self.place.machine.clone(), path)
    }

    /// One that lies beside or below, by its path from the root.
    pub(super) fn sibling(&self, path: &[u8]) -> Self {
        Self::at(self.place.machine.clone(), path)
    }

    /// The directory that it is in; `None` for the root.
    pub(super) fn above(&self) -> Option<Self> {
        let end = self.path.iter().rposition(|byte| *byte == b'/')?;
        Some(self.sibling(self.path.get(..end)?))
    }

    /// The last component; nothing for the root.
    pub(super) fn name(&self) -> &[u8] {
        self.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
    }

    pub(super) fn is_root(&self) -> bool {
        self.path.is_empty()
    }

    /// The machine's own path.
    pub(super) fn on_machine(&self) -> ByteString {
        self.place.path.clone()
    }

    /// Its URL, without the host.
    pub(super) fn href(&self, kind: Kind) -> String {
        href(&self.path, kind)
    }

    /// The URL of another one by its key; the root of the grant, where it is above that.
    pub(super) fn href_of_key(&self, key: &[u8]) -> String {
        let root_len = self.key.len() - self.path.len();
        href(key.get(root_len..).unwrap_or_default(), Kind::Other)
    }
}

/// Whether its URL ends in a slash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Dir,
    Other,
}

/// The URL of a path from the root.
pub(super) fn href(path: &[u8], kind: Kind) -> String {
    let slash = if kind == Kind::Dir || path.is_empty() { "/" } else { "" };
    format!("{DAV}{}{slash}", encode(path))
}

impl Call {
    /// What `Destination` names.
    ///
    /// # Errors
    /// 400 where it can't be read, 502 where it is on another host, 403 where it is elsewhere on this
    /// one.
    pub(super) fn destination(&self) -> Result<Target, Halt> {
        let text = self.header("destination")?.ok_or(Halt::BAD)?.trim();
        self.resource(text)
    }

    /// What a URL in a field of the head names.
    ///
    /// # Errors
    /// As [`Self::destination`].
    pub(super) fn resource(&self, text: &str) -> Result<Target, Halt> {
        // A fragment is never sent to a server, and would be lost here.
        if text.contains('#') {
            return Err(Halt::BAD);
        }
        if text.starts_with('/') && !text.starts_with("//") {
            return self.target.other(text.split('?').next().unwrap_or_default());
        }
        let uri: Uri = text.parse().map_err(|_| Halt::BAD)?;
        let scheme = uri.scheme_str().ok_or(Halt::BAD)?;
        let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
        let is_http = matches!(scheme, "http" | "https");
        let host = self.header("host")?.unwrap_or_default();
        if !is_http || bare(authority, scheme) != bare(host, scheme) {
            return Err(Halt::OTHER_HOST);
        }
        self.target.other(uri.path())
    }
}

/// A host without the port that it has anyway.
fn bare(host: &str, scheme: &str) -> String {
    let port = if scheme == "https" { ":443" } else { ":80" };
    host.strip_suffix(port).unwrap_or(host).to_ascii_lowercase()
}

/// The path from the root that a URL's path names, in one form for all ways to write it.
fn below_dav(path: &str) -> Result<Vec<u8>, Halt> {
    let rest = path.strip_prefix(DAV).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let path = decode(rest.ok_or(Halt::ELSEWHERE)?)?;
    let mut clean = Vec::with_capacity(path.len());
    for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        // Clients have resolved these before they ask.
        if matches!(name, b"." | b"..") || name.contains(&0) {
            return Err(Refusal::about(Code::BadName, path.clone()).into());
        }
        clean.push(b'/');
        clean.extend_from_slice(name);
    }
    Ok(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_path_has_one_form() {
        for (url, path) in [
            ("/dav", ""),
            ("/dav/", ""),
            ("/dav//", ""),
            ("/dav/a", "/a"),
            ("/dav//a///b/", "/a/b"),
            ("/dav/a%2fb", "/a/b"),
            ("/dav/%61%20b", "/a b"),
            ("/dav/...", "/..."),
        ] {
            assert_eq!(below_dav(url).ok().unwrap(), path.as_bytes(), "{url}");
        }
    }

    #[test]
    fn what_leads_elsewhere_is_no_path() {
        for url in [
            "",
            "/",
            "//",
            "/davx",
            "dav",
            "/dav/..",
            "/dav/../etc",
            "/dav/%2e%2e%2fetc",
            "/dav/a/./b",
            "/dav/a%2f..%2f..%2fb",
            "/dav/%2E",
            "/dav/a%00b",
            "/dav/%",
            "/dav/%zz",
            "/api/v1/files/a",
        ] {
            assert!(below_dav(url).is_err(), "{url}");
        }
        assert_eq!(below_dav("/dav/%252e%252e").ok().unwrap(), b"/%2e%2e", "decoded once");
    }

    #[test]
    fn a_host_is_the_same_with_its_usual_port() {
        assert_eq!(bare("Box:443", "https"), bare("box", "https"));
        assert_eq!(bare("box:80", "http"), bare("box", "http"));
        assert_ne!(bare("box:80", "https"), bare("box", "https"));
        assert_ne!(bare("box:8690", "http"), bare("box:8691", "http"));
    }

    #[test]
    fn a_url_is_encoded_and_a_directory_ends_in_a_slash() {
        assert_eq!(href(b"", Kind::Other), "/dav/");
        assert_eq!(href("/a b/ü".as_bytes(), Kind::Dir), "/dav/a%20b/%C3%BC/");
        assert_eq!(href(b"/a\xff<", Kind::Other), "/dav/a%FF%3C");
    }
}
