//! Addresses as people write them: where to dial, where to listen. Nothing is resolved here.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use thiserror::Error;
use tow_proto::DEFAULT_PORT;
use tow_proto::byte_string::escape;

/// Where a node can be dialled: `host`, `host:port`, `[v6]:port`, `v6`, `tcp://…`, `unix:/path`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// TCP; the port is [`DEFAULT_PORT`] where none was written.
    Tcp {
        /// Name or number.
        host: Host,
        /// Never 0.
        port: u16,
    },
    /// A socket in the file system.
    Unix(PathBuf),
}

/// The host of an [`Address`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A number: nothing to look up.
    Ip(IpAddr),
    /// A name for the system's resolver: letters, digits, `-`, `_` and `.`, lower case.
    Name(String),
}

/// Where to listen: `ip:port`, `ip`, `:port`, `*:port`, `localhost:port`, `tcp://…`, `unix:/path`.
///
/// No host and `*` mean `[::]`, which accepts IPv4 as well. Port 0 lets the kernel choose.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// TCP.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// A text that is not an address, and why.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{}` is not an address: {kind}", escape(.text.as_bytes()))]
pub struct AddressError {
    /// What was written, cut after [`TEXT_LEN_MAX`] bytes.
    pub text: String,
    /// What is wrong with it.
    pub kind: AddressErrorKind,
}

/// What is wrong with an address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AddressErrorKind {
    /// Nothing was written.
    #[error("it is empty")]
    Empty,
    /// Longer than any address can be.
    #[error("it is {len} bytes long, at most {TEXT_LEN_MAX} are possible")]
    TooLong {
        /// Length in bytes.
        len: usize,
    },
    /// A port, but nothing before it.
    #[error("the host is missing")]
    EmptyHost,
    /// A character that no host has: spaces, controls, `%`, `/`, …
    #[error("a host has no character U+{:04X} (byte {at})", u32::from(*.char))]
    BadCharacter {
        /// The first such character.
        char: char,
        /// Its offset in bytes within the host.
        at: usize,
    },
    /// Neither a number nor a name that could exist.
    #[error("no host can be called that")]
    BadHost,
    /// Not a whole number from 1 (where listening, 0) to 65535.
    #[error("the port is not a number from 1 to 65535")]
    BadPort,
    /// Port 0 can only be listened on.
    #[error("port 0 cannot be dialled")]
    PortZero,
    /// `[` without `]`, or something other than an IPv6 address or a port beside them.
    #[error("brackets enclose one IPv6 address, as in [::1]:{DEFAULT_PORT}")]
    BadBrackets,
    /// Several colons, but not an IPv6 address.
    #[error("it has several colons but is no IPv6 address")]
    NotIpv6,
    /// A transport that no version knows.
    #[error("the known kinds of address are tcp:// and unix:")]
    UnknownScheme,
    /// A transport that this version lacks.
    #[error("{scheme} is not supported yet")]
    Unsupported {
        /// Its scheme.
        scheme: &'static str,
    },
    /// `unix:` alone.
    #[error("the path is missing")]
    EmptyPath,
    /// A path with a control character in it.
    #[error("a control character is in the path")]
    BadPath,
    /// A name where only a number can be listened on.
    #[error("one listens on an IP address, `*`, localhost or unix:/path")]
    NotListenable,
}

impl Address {
    /// The address with its scheme, for machines: `tcp://127.0.0.1:8690`, `unix:/path`.
    pub fn to_url(&self) -> String {
        match self {
            Self::Tcp { .. } => format!("tcp://{self}"),
            Self::Unix(_) => self.to_string(),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp { host: Host::Ip(address.ip()), port: address.port() }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        parse_address(text).map_err(|kind| AddressError::new(text, kind))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host: Host::Ip(ip), port } => SocketAddr::new(*ip, *port).fmt(f),
            Self::Tcp { host: Host::Name(name), port } => write!(f, "{name}:{port}"),
            Self::Unix(path) => write_unix(path, f),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl ListenAddress {
    /// True where only this machine's own programs can connect.
    pub fn is_local_only(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl Default for ListenAddress {
    /// Every address of the machine, IPv6 and IPv4, at [`DEFAULT_PORT`].
    fn default() -> Self {
        Self::Tcp(SocketAddr::new(ANY, DEFAULT_PORT))
    }
}

impl FromStr for ListenAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        parse_listen_address(text).map_err(|kind| AddressError::new(text, kind))
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write_unix(path, f),
        }
    }
}

impl AddressError {
    fn new(text: &str, kind: AddressErrorKind) -> Self {
        let mut text = text.to_owned();
        while text.len() > TEXT_LEN_MAX {
            text.pop();
        }
        Self { text, kind }
    }
}

/// What remains of an address once its scheme is known.
enum Rest<'a> {
    Tcp(&'a str),
    Unix(PathBuf),
}

fn parse_address(text: &str) -> Result<Address, AddressErrorKind> {
    let rest = match split_scheme(text)? {
        Rest::Tcp(rest) => rest,
        Rest::Unix(path) => return Ok(Address::Unix(path)),
    };
    let (host, port) = split_port(rest)?;
    let host = parse_host(host)?;
    match port.map(parse_port).transpose()?.unwrap_or(DEFAULT_PORT) {
        0 => Err(AddressErrorKind::PortZero),
        port => Ok(Address::Tcp { host, port }),
    }
}

fn parse_listen_address(text: &str) -> Result<ListenAddress, AddressErrorKind> {
    let rest = match split_scheme(text)? {
        Rest::Tcp(rest) => rest,
        Rest::Unix(path) => return Ok(ListenAddress::Unix(path)),
    };
    let (host, port) = split_port(rest)?;
    let ip = match host {
        "" | "*" => ANY,
        host => match parse_host(host)? {
            Host::Ip(ip) => ip.to_canonical(),
            Host::Name(name) if name == "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Host::Name(_) => return Err(AddressErrorKind::NotListenable),
        },
    };
    let port = port.map(parse_port).transpose()?.unwrap_or(DEFAULT_PORT);
    Ok(ListenAddress::Tcp(SocketAddr::new(ip, port)))
}

fn split_scheme(text: &str) -> Result<Rest<'_>, AddressErrorKind> {
    if text.is_empty() {
        return Err(AddressErrorKind::Empty);
    }
    if text.len() > TEXT_LEN_MAX {
        return Err(AddressErrorKind::TooLong { len: text.len() });
    }
    if let Some(path) = text.strip_prefix("unix:") {
        return parse_path(path).map(Rest::Unix);
    }
    match text.split_once("://") {
        None => Ok(Rest::Tcp(text)),
        Some(("tcp", rest)) => Ok(Rest::Tcp(rest)),
        Some(("quic", _)) => Err(AddressErrorKind::Unsupported { scheme: "quic" }),
        Some(_) => Err(AddressErrorKind::UnknownScheme),
    }
}

fn parse_path(path: &str) -> Result<PathBuf, AddressErrorKind> {
    if path.is_empty() {
        return Err(AddressErrorKind::EmptyPath);
    }
    if path.chars().any(char::is_control) {
        return Err(AddressErrorKind::BadPath);
    }
    Ok(PathBuf::from(path))
}

/// Host and port as they are written. An IPv6 address without brackets has no port.
fn split_port(text: &str) -> Result<(&str, Option<&str>), AddressErrorKind> {
    if let Some(inner) = text.strip_prefix('[') {
        let (host, rest) = inner.split_once(']').ok_or(AddressErrorKind::BadBrackets)?;
        if host.parse::<Ipv6Addr>().is_err() {
            return Err(AddressErrorKind::BadBrackets);
        }
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(AddressErrorKind::BadBrackets),
        };
    }
    match text.split_once(':') {
        None => Ok((text, None)),
        Some((host, port)) if !port.contains(':') => Ok((host, Some(port))),
        Some(_) if text.parse::<Ipv6Addr>().is_ok() => Ok((text, None)),
        Some(_) => Err(AddressErrorKind::NotIpv6),
    }
}

/// `u16::from_str` takes a sign, a port has none.
fn parse_port(text: &str) -> Result<u16, AddressErrorKind> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(AddressErrorKind::BadPort);
    }
    text.parse().map_err(|_| AddressErrorKind::BadPort)
}

fn parse_host(text: &str) -> Result<Host, AddressErrorKind> {
    if text.is_empty() {
        return Err(AddressErrorKind::EmptyHost);
    }
    if let Ok(ip) = text.parse() {
        return Ok(Host::Ip(ip));
    }
    let is_allowed = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.');
    if let Some((at, char)) = text.char_indices().find(|(_, char)| !is_allowed(*char)) {
        return Err(AddressErrorKind::BadCharacter { char, at });
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| matches!(label.len(), 1..=63) && !label.starts_with('-');
    if name.len() > NAME_LEN_MAX || !name.split('.').all(is_label) || is_numeric(name) {
        return Err(AddressErrorKind::BadHost);
    }
    Ok(Host::Name(text.to_ascii_lowercase()))
}

/// Some resolvers read `127.1`, `0x7f.1` and `2130706433` as IPv4 addresses; who writes one of
/// them hardly means it. A name's last label is never a number (RFC 3696, section 2).
fn is_numeric(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    last.bytes().all(|byte| byte.is_ascii_digit())
        || hex.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn write_unix(path: &Path, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "unix:{}", escape(path.as_os_str().as_encoded_bytes()))
}

const ANY: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// Longest text that is looked at, in bytes: `unix:` and the longest path of the system.
pub const TEXT_LEN_MAX: usize = 4101;

/// Longest host name without its final dot, in bytes (RFC 1035, section 2.3.4).
const NAME_LEN_MAX: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match text.parse::<Address>() {
            Ok(address) => address.to_string(),
            Err(error) => format!("{:?}", error.kind),
        }
    }

    fn listen_shown(text: &str) -> String {
        match text.parse::<ListenAddress>() {
            Ok(address) => address.to_string(),
            Err(error) => format!("{:?}", error.kind),
        }
    }

    #[test]
    fn every_form_of_the_manual_is_read_and_shown_in_full() {
        for (text, expected) in [
            ("box", "box:8690"),
            ("Box.Example.org.", "box.example.org.:8690"),
            ("box_1:22", "box_1:22"),
            ("192.0.2.1", "192.0.2.1:8690"),
            ("192.0.2.1:65535", "192.0.2.1:65535"),
            ("::1", "[::1]:8690"),
            ("::1:8690", "[::1:8690]:8690"),
            ("[::1]", "[::1]:8690"),
            ("[2001:db8::2]:22", "[2001:db8::2]:22"),
            ("tcp://box", "box:8690"),
            ("tcp://[::1]:9", "[::1]:9"),
            ("unix:/run/a b.sock", "unix:/run/a b.sock"),
            ("unix:node.sock", "unix:node.sock"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
            assert_eq!(shown(expected), expected, "{expected} again");
        }
    }

    #[test]
    fn odd_texts_are_refused_with_the_reason() {
        for (text, expected) in [
            ("", "Empty"),
            (":8690", "EmptyHost"),
            ("tcp://", "EmptyHost"),
            ("host:", "BadPort"),
            ("host:0", "PortZero"),
            ("host:70000", "BadPort"),
            ("host:+22", "BadPort"),
            ("host:22 ", "BadPort"),
            ("host::x", "NotIpv6"),
            ("host:1:2", "NotIpv6"),
            ("a b", "BadCharacter { char: ' ', at: 1 }"),
            ("a\nb", "BadCharacter { char: '\\n', at: 1 }"),
            ("a\0", "BadCharacter { char: '\\0', at: 1 }"),
            ("fe80::1%eth0", "NotIpv6"),
            ("a%41", "BadCharacter { char: '%', at: 1 }"),
            ("bücher.example", "BadCharacter { char: 'ü', at: 1 }"),
            ("user@box", "BadCharacter { char: '@', at: 4 }"),
            ("tcp://box:1/", "BadPort"),
            ("-box", "BadHost"),
            ("a..b", "BadHost"),
            (".", "BadHost"),
            ("127.1", "BadHost"),
            ("256.1.1.1", "BadHost"),
            ("0x7f000001", "BadHost"),
            ("[::1", "BadBrackets"),
            ("[::1]x", "BadBrackets"),
            ("[127.0.0.1]:1", "BadBrackets"),
            ("[fe80::1%1]:1", "BadBrackets"),
            ("http://box", "UnknownScheme"),
            ("quic://box:1", "Unsupported { scheme: \"quic\" }"),
            ("unix:", "EmptyPath"),
            ("unix:/a\0b", "BadPath"),
        ] {
            assert_eq!(shown(text), expected, "{text:?}");
        }
        assert_eq!(shown(&"a".repeat(64)), "BadHost");
        assert_eq!(shown(&"a".repeat(5000)), "TooLong { len: 5000 }");
    }

    #[test]
    fn an_error_never_carries_control_characters_to_the_terminal() {
        let error = "a\u{1b}[2Jb".parse::<Address>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`a\\u{1b}[2Jb` is not an address: a host has no character U+001B (byte 1)"
        );
        let error = "ü".repeat(4000).parse::<Address>().unwrap_err();
        assert!(error.text.len() <= TEXT_LEN_MAX);
    }

    #[test]
    fn one_can_listen_where_one_cannot_dial() {
        for (text, expected) in [
            (":8690", "[::]:8690"),
            ("*:80", "[::]:80"),
            ("*", "[::]:8690"),
            ("[::]:8690", "[::]:8690"),
            ("::", "[::]:8690"),
            ("0.0.0.0:0", "0.0.0.0:0"),
            ("127.0.0.1:40000", "127.0.0.1:40000"),
            ("127.0.0.1", "127.0.0.1:8690"),
            ("localhost:1", "127.0.0.1:1"),
            ("[::ffff:127.0.0.1]:1", "127.0.0.1:1"),
            ("tcp://[::1]:0", "[::1]:0"),
            ("unix:/path", "unix:/path"),
            ("box:1", "NotListenable"),
            ("quic://[::]:1", "Unsupported { scheme: \"quic\" }"),
            ("[::]:65536", "BadPort"),
            ("unix:", "EmptyPath"),
            ("", "Empty"),
        ] {
            assert_eq!(listen_shown(text), expected, "{text:?}");
        }
        assert_eq!(ListenAddress::default().to_string(), "[::]:8690");
    }

    #[test]
    fn only_loopback_and_unix_sockets_are_local() {
        for (text, expected) in [
            ("127.0.0.1:1", true),
            ("127.9.9.9:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("unix:/a", true),
            (":1", false),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("192.168.0.1:1", false),
        ] {
            let address: ListenAddress = text.parse().unwrap();
            assert_eq!(address.is_local_only(), expected, "{text}");
        }
    }

    #[test]
    fn machines_get_the_scheme_too() {
        assert_eq!("::1".parse::<Address>().unwrap().to_url(), "tcp://[::1]:8690");
        assert_eq!("unix:/a".parse::<Address>().unwrap().to_url(), "unix:/a");
    }
}
