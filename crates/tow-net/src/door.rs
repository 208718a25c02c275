//! The door: what becomes of an accepted connection before its peer is proved.
//!
//! The first byte decides: 0x16 is TLS, a letter is somebody who took this port for plain HTTP and
//! gets a readable answer, anything else is closed. Each stage has a total deadline, not one per
//! read; waiting for the first byte holds no buffer.

use std::time::Duration;

use rustix::net::{Shutdown, shutdown};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::gate::{Loss, Place, Stage};
use crate::link::{Incoming, Link, LinkError, READ_LEN_MIN};
use crate::tls::Acceptor;

/// Longest wait for a complete ClientHello.
pub const ACCEPTED_MAX: Duration = Duration::from_secs(3);
/// Longest TLS handshake after it.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// Longest wait for the first frames after that.
pub const HELLO_MAX: Duration = Duration::from_secs(5);

/// Lets a TCP connection in as far as the end of its TLS handshake; `None` where it was given up.
/// The caller drops the connection when [`Place::dropped`] resolves.
pub async fn answer(stream: TcpStream, acceptor: &Acceptor, place: &Place) -> Option<Link> {
    match handshake(stream, acceptor, place).await {
        Ok(link) => Some(link),
        Err(loss) => {
            place.lose(loss);
            None
        }
    }
}

async fn handshake(stream: TcpStream, acceptor: &Acceptor, place: &Place) -> Result<Link, Loss> {
    let deadline = Instant::now() + ACCEPTED_MAX;
    let mut incoming = Incoming::default();
    let first = timeout_at(deadline, first_byte(&stream, &mut incoming))
        .await
        .map_err(|_| Loss::Late)?
        .ok_or(Loss::Bad)?;
    match first {
        TLS_HANDSHAKE => {}
        b'A'..=b'Z' => {
            let _ = stream.try_write(HTTP_ANSWER);
            let _ = shutdown(&stream, Shutdown::Write);
            // A close with unread bytes would be a reset, and the answer lost. Boxed: the silent
            // should not hold the room for it.
            let _ = timeout_at(deadline, Box::pin(drain(&stream))).await;
            return Err(Loss::Bad);
        }
        _ => return Err(Loss::Bad),
    }
    let tls = acceptor.accept().map_err(|_| Loss::Bad)?;
    // Boxed: a connection that never gets here should not hold the room for it.
    let mut link = Box::pin(async move {
        let mut link = Link::new(stream, tls, incoming);
        until(deadline, &mut link, Link::has_answered).await?;
        place.advance(Stage::Handshake);
        let deadline = Instant::now() + HANDSHAKE_MAX;
        until(deadline, &mut link, |link| !link.is_handshaking()).await?;
        Ok(link)
    })
    .await?;
    if !matches!(link.peer_key(), Some(Ok(_))) {
        return Err(Loss::Bad);
    }
    place.advance(Stage::Hello);
    link.rest();
    Ok(link)
}

async fn until(
    deadline: Instant,
    link: &mut Link,
    is_reached: impl Fn(&Link) -> bool,
) -> Result<(), Loss> {
    while !is_reached(link) {
        match timeout_at(deadline, link.handshake_step()).await {
            Err(_) => return Err(Loss::Late),
            Ok(Err(error)) => {
                log(&error);
                return Err(Loss::Bad);
            }
            Ok(Ok(())) => {}
        }
    }
    Ok(())
}

async fn first_byte(stream: &TcpStream, incoming: &mut Incoming) -> Option<u8> {
    loop {
        stream.readable().await.ok()?;
        match incoming.fill(READ_LEN_MIN, |buffer| stream.try_read(buffer)) {
            Ok(0) => return None,
            Ok(_) => return incoming.bytes().first().copied(),
            // The runtime takes a new socket for readable, right or wrong.
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => incoming.release(),
            Err(_) => return None,
        }
    }
}

async fn drain(stream: &TcpStream) {
    let mut scratch = [0; 1024];
    for _ in 0..DRAIN_READS_MAX {
        if stream.readable().await.is_err() {
            return;
        }
        match stream.try_read(&mut scratch) {
            Ok(0) => return,
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return,
            _ => {}
        }
    }
}

fn log(error: &LinkError) {
    tracing::debug!(%error, "a connection was given up during its handshake");
}

const TLS_HANDSHAKE: u8 = 0x16;
const DRAIN_READS_MAX: usize = 64;
const HTTP_ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Connection: close\r\n\
    Content-Length: 123\r\n\
    \r\n\
    This is a towline node. It speaks TLS only.\n\
    Use the tow command: tow join HOST, or https:// where the page is switched on.\n";
