//! Tests of dialling: the race in virtual time, the rest on the loopback.

use std::future::pending;
use std::sync::{Arc, Mutex};

use super::*;
use crate::listen::tests::{TempDir, leave_dead_socket};
use crate::listen::{Listener, UNIX_PATH_LEN_MAX, listen};

fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn deadline() -> Instant {
    Instant::now() + DIAL_TIMEOUT
}

fn errno(errno: Errno) -> io::Error {
    errno.into()
}

/// What a candidate does in a test: by its port.
async fn behave(address: SocketAddr) -> io::Result<&'static str> {
    match address.port() {
        1 => pending().await,
        2 => Err(errno(Errno::CONNREFUSED)),
        3 => Err(errno(Errno::NETUNREACH)),
        4 => Ok("answered"),
        5 => {
            sleep(Duration::from_millis(300)).await;
            Ok("answered late")
        }
        port => panic!("no behaviour for port {port}"),
    }
}

#[test]
fn families_take_turns_from_the_first_one_found() {
    let found = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"]);
    let expected = addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]);
    assert_eq!(interleave(found.into_iter()), expected);
    let found = addresses(&["1.1.1.1:1", "[::1]:1"]);
    assert_eq!(interleave(found.clone().into_iter()), found);
    assert_eq!(interleave(std::iter::empty()), []);
}

#[tokio::test(start_paused = true)]
async fn a_silent_first_address_costs_a_quarter_of_a_second() {
    let start = Instant::now();
    let (answer, winner) =
        race(addresses(&["[::1]:1", "127.0.0.1:4"]), deadline(), behave).await.unwrap();
    assert_eq!((answer, winner.port()), ("answered", 4));
    assert_eq!(start.elapsed().as_millis(), ATTEMPT_DELAY.as_millis());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_starts_the_next_attempt_at_once() {
    let start = Instant::now();
    let (_, winner) =
        race(addresses(&["[::1]:2", "127.0.0.1:4"]), deadline(), behave).await.unwrap();
    assert_eq!(winner.port(), 4);
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_slow_first_address_still_wins_over_a_silent_second_one() {
    let (answer, winner) =
        race(addresses(&["[::1]:5", "127.0.0.1:1"]), deadline(), behave).await.unwrap();
    assert_eq!((answer, winner.port()), ("answered late", 5));
}

#[tokio::test(start_paused = true)]
async fn silence_everywhere_ends_at_the_deadline() {
    let start = Instant::now();
    let outcome = race(addresses(&["[::1]:1", "127.0.0.1:1"]), deadline(), behave).await;
    assert!(matches!(outcome, Err(DialError::TimedOut { .. })), "{outcome:?}");
    assert_eq!(start.elapsed().as_millis(), DIAL_TIMEOUT.as_millis());
}

#[tokio::test(start_paused = true)]
async fn the_error_that_tells_most_is_kept() {
    for (candidates, expected) in [
        (&["[::1]:3", "127.0.0.1:2"], "127.0.0.1:2 refused the connection"),
        (&["[::1]:2", "127.0.0.1:3"], "[::1]:2 refused the connection"),
        (&["[::1]:3", "127.0.0.1:1"], "127.0.0.1:1 did not answer"),
        (&["[::1]:2", "127.0.0.1:1"], "[::1]:2 refused the connection"),
        (&["[::1]:3", "127.0.0.1:3"], "there is no route to [::1]:3"),
    ] {
        let error = race(addresses(candidates), deadline(), behave).await.unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_that_lost_are_cancelled() {
    struct Cancelled(Arc<Mutex<Vec<u16>>>, u16);
    impl Drop for Cancelled {
        fn drop(&mut self) {
            self.0.lock().unwrap().push(self.1);
        }
    }
    let ended = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&ended);
    let connect = move |address: SocketAddr| {
        let guard = Cancelled(Arc::clone(&seen), address.port());
        async move {
            let _guard = guard;
            behave(address).await
        }
    };
    race(addresses(&["[::1]:1", "127.0.0.1:4"]), deadline(), connect).await.unwrap();
    tokio::task::yield_now().await;
    let mut ended = ended.lock().unwrap().clone();
    ended.sort_unstable();
    assert_eq!(ended, [1, 4]);
}

async fn meet(listener: &Listener, address: &str) {
    let address: Address = address.parse().unwrap();
    let (dialled, accepted) = tokio::join!(dial(&address), listener.accept());
    accepted.unwrap();
    assert_ne!(dialled.unwrap().address.to_string(), "", "the address that answered is known");
}

#[tokio::test]
async fn numbers_and_names_are_dialled() {
    let any = listen(&":0".parse().unwrap(), 8).unwrap();
    let Address::Tcp { port, .. } = any.local_address() else { panic!("not TCP") };
    for host in ["127.0.0.1", "[::1]", "localhost", "tcp://localhost"] {
        meet(&any, &format!("{host}:{port}")).await;
    }
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_refuses() {
    // Bound and not listening: nobody else can take the port during the test.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let error = dial(&address.into()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("{address} refused the connection"));
    assert!(error.is_retryable());
}

#[tokio::test]
async fn an_unknown_name_is_named() {
    // Too long a label for DNS: no resolver asks the network about it.
    let name = format!("{}.invalid", "x".repeat(64));
    let address = Address::Tcp { host: Host::Name(name.clone()), port: 1 };
    let error = dial(&address).await.unwrap_err();
    assert!(matches!(&error, DialError::NameNotFound { host, .. } if *host == name), "{error:?}");
}

#[tokio::test]
async fn a_unix_socket_is_missing_or_dead_or_has_too_long_a_name() {
    let dir = TempDir::new();
    let path = dir.join("s");
    let error = dial(&Address::Unix(path.clone())).await.unwrap_err();
    assert!(matches!(error, DialError::SocketMissing { .. }), "{error:?}");
    leave_dead_socket(&path);
    let error = dial(&Address::Unix(path)).await.unwrap_err();
    assert!(matches!(error, DialError::Refused { .. }), "{error:?}");
    let long = dir.join(&"s".repeat(UNIX_PATH_LEN_MAX));
    let error = dial(&Address::Unix(long)).await.unwrap_err();
    assert!(matches!(error, DialError::PathTooLong(_)), "{error:?}");
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn a_unix_socket_with_a_full_backlog_is_waited_for() {
    let dir = TempDir::new();
    let path = dir.join("s");
    let listener = listen(&crate::ListenAddress::Unix(path.clone()), 0).unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = UnixStream::connect(&path).await {
        queued.push(stream);
    }
    let dialling = tokio::spawn(async move { dial(&Address::Unix(path)).await });
    // The dialler gets in only after room was made.
    for _ in 0..=queued.len() {
        listener.accept().await.unwrap();
    }
    dialling.await.unwrap().unwrap();
}
