//! Tests of listening: both families, and the life of a Unix socket's file.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use socket2::SockRef;

use super::*;
use crate::dial::dial;
use crate::stream::USER_TIMEOUT;

/// A directory that is removed with its content at the end of a test.
pub(crate) struct TempDir(pub(crate) PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tow-net-{}-{count}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn tcp(text: &str) -> Listener {
    listen(&text.parse().unwrap(), DEFAULT_BACKLOG).unwrap()
}

fn unix(path: &Path) -> Result<Listener, ListenError> {
    listen(&ListenAddress::Unix(path.to_owned()), DEFAULT_BACKLOG)
}

fn port(listener: &Listener) -> u16 {
    match listener.local_address() {
        Address::Tcp { port, .. } => *port,
        Address::Unix(_) => panic!("not a TCP listener"),
    }
}

/// Leaves a socket behind as a killed process does: the descriptor goes, the file stays.
pub(crate) fn leave_dead_socket(path: &Path) {
    drop(std::os::unix::net::UnixListener::bind(path).unwrap());
}

#[tokio::test]
async fn a_listener_on_every_address_accepts_both_families() {
    let listener = tcp(":0");
    for host in ["127.0.0.1", "[::1]"] {
        let address: Address = format!("{host}:{}", port(&listener)).parse().unwrap();
        let (dialled, accepted) = tokio::join!(dial(&address), listener.accept());
        let Peer::Tcp(peer) = accepted.unwrap().peer else { panic!("not a TCP peer") };
        let Stream::Tcp(stream) = dialled.unwrap().stream else { panic!("not TCP") };
        assert_eq!(peer, stream.local_addr().unwrap(), "{host}: an IPv4 peer is shown as one");
    }
}

#[tokio::test]
async fn a_listener_on_one_ipv6_address_does_not_take_ipv4() {
    let listener = tcp("[::1]:0");
    let address: Address = format!("127.0.0.1:{}", port(&listener)).parse().unwrap();
    assert!(matches!(dial(&address).await, Err(crate::dial::DialError::Refused { .. })));
}

#[tokio::test]
async fn both_ends_send_at_once_and_give_up_after_a_minute_of_silence() {
    let listener = tcp("127.0.0.1:0");
    let (dialled, accepted) = tokio::join!(dial(listener.local_address()), listener.accept());
    for stream in [dialled.unwrap().stream, accepted.unwrap().stream] {
        let Stream::Tcp(stream) = stream else { panic!("not TCP") };
        let socket = SockRef::from(&stream);
        assert!(socket.tcp_nodelay().unwrap());
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
    }
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let first = tcp("127.0.0.1:0");
    let address: ListenAddress = format!("127.0.0.1:{}", port(&first)).parse().unwrap();
    let error = listen(&address, 1).unwrap_err();
    assert!(matches!(error, ListenError::AddressInUse { .. }), "{error:?}");
    assert_eq!(error.to_string(), format!("{address} is in use"));
}

#[tokio::test]
async fn an_address_of_another_machine_is_refused_as_such() {
    let address: ListenAddress = "192.0.2.1:0".parse().unwrap();
    let error = listen(&address, 1).unwrap_err();
    assert!(matches!(error, ListenError::NotAvailable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_unix_peer_is_known_by_its_credentials() {
    let dir = TempDir::new();
    let listener = unix(&dir.join("s")).unwrap();
    let (dialled, accepted) = tokio::join!(dial(listener.local_address()), listener.accept());
    dialled.unwrap();
    let uid = rustix::process::getuid().as_raw();
    let pid = Some(std::process::id().cast_signed());
    assert_eq!(accepted.unwrap().peer, Peer::Unix { uid, pid });
}

#[tokio::test]
async fn a_unix_socket_is_private_and_goes_with_its_listener() {
    let dir = TempDir::new();
    let path = dir.join("s");
    let listener = unix(&path).unwrap();
    assert_eq!(fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    drop(listener);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_socket_that_a_killed_process_left_is_replaced() {
    let dir = TempDir::new();
    let path = dir.join("s");
    leave_dead_socket(&path);
    let listener = unix(&path).unwrap();
    let (dialled, accepted) = tokio::join!(dial(listener.local_address()), listener.accept());
    dialled.unwrap();
    accepted.unwrap();
}

#[tokio::test]
async fn a_socket_that_is_listened_on_is_left_alone() {
    let dir = TempDir::new();
    let path = dir.join("s");
    let first = unix(&path).unwrap();
    let error = unix(&path).unwrap_err();
    assert!(matches!(error, ListenError::AddressInUse { .. }), "{error:?}");
    assert!(path.exists());
    first.accept().await.expect("the probe itself is accepted");
    let (dialled, accepted) = tokio::join!(dial(first.local_address()), first.accept());
    dialled.unwrap();
    accepted.unwrap();
}

#[tokio::test]
async fn a_listener_does_not_remove_the_socket_of_its_successor() {
    let dir = TempDir::new();
    let path = dir.join("s");
    let first = unix(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let second = unix(&path).unwrap();
    drop(first);
    assert!(path.exists());
    drop(second);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone() {
    let dir = TempDir::new();
    let path = dir.join("notes");
    fs::write(&path, "kept").unwrap();
    let error = unix(&path).unwrap_err();
    assert!(matches!(error, ListenError::NotASocket { .. }), "{error:?}");
    assert_eq!(fs::read(&path).unwrap(), b"kept");
}

#[tokio::test]
async fn a_path_that_fits_to_the_byte_is_taken_and_one_byte_more_is_refused() {
    let dir = TempDir::new();
    let name = "s".repeat(UNIX_PATH_LEN_MAX - dir.0.as_os_str().len() - 1);
    unix(&dir.join(&name)).unwrap();
    let error = unix(&dir.join(&format!("{name}s"))).unwrap_err();
    let ListenError::PathTooLong(PathTooLong { len, .. }) = error else { panic!("{error:?}") };
    assert_eq!(len, UNIX_PATH_LEN_MAX + 1);
}

#[tokio::test]
async fn a_missing_directory_is_named_as_the_reason() {
    let dir = TempDir::new();
    let error = unix(&dir.join("no/s")).unwrap_err();
    assert!(matches!(error, ListenError::NoDirectory { .. }), "{error:?}");
}

#[tokio::test]
async fn a_socket_for_another_process_is_private_and_keeps_its_file() {
    let dir = TempDir::new();
    let path = dir.join("s");
    leave_dead_socket(&path);
    let handed_over = listen_for_another(&path, DEFAULT_BACKLOG).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    // Whoever connects waits for the other one to accept.
    let _waiting = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let second = listen_for_another(&path, DEFAULT_BACKLOG).unwrap_err();
    assert!(matches!(second, ListenError::AddressInUse { .. }), "{second:?}");
    drop(handed_over);
    assert!(path.exists(), "the other process may still listen");
}
