//! The door: what becomes of an accepted connection before its peer is proved.
//!
//! The first byte decides: 0x16 is TLS, whose ClientHello says which protocol is meant; a letter is
//! HTTP without TLS, which is spoken with this machine itself and redirected from elsewhere; anything
//! else is closed. Each stage has a total deadline, not one per
//! read; waiting for the first byte holds no buffer.

use std::time::Duration;

use rustix::net::{Shutdown, shutdown};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::gate::{Loss, Place, Stage};
use crate::link::{Incoming, Link, LinkError, READ_LEN_MIN};
use crate::tls::Acceptor;
use crate::web::{Hello, Prefixed, Wants, WebAcceptor, WebStream};

/// Longest wait for a complete ClientHello.
pub const ACCEPTED_MAX: Duration = Duration::from_secs(3);
/// Longest TLS handshake after it.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// Longest wait for the first frames after that.
pub const HELLO_MAX: Duration = Duration::from_secs(5);

/// Who stands in the door.
pub enum Entered {
    /// The holder of a key, at the end of its TLS handshake.
    Link(Box<Link>),
    /// A browser or an HTTP program, which has proved nothing yet.
    Web(WebStream),
}

/// How those who come in are received.
#[derive(Clone)]
pub struct Doors {
    /// Those with a key.
    pub links: Acceptor,
    /// Those with a browser, where they may.
    pub web: Option<WebAcceptor>,
}

/// Lets a TCP connection in as far as the end of its TLS handshake; `None` where it was given up.
/// The caller drops the connection when [`Place::dropped`] resolves.
pub async fn answer(stream: TcpStream, doors: &Doors, place: &Place) -> Option<Entered> {
    match enter(stream, doors, place).await {
        Ok(entered) => Some(entered),
        Err(loss) => {
            place.lose(loss);
            None
        }
    }
}

async fn enter(stream: TcpStream, doors: &Doors, place: &Place) -> Result<Entered, Loss> {
    let deadline = Instant::now() + ACCEPTED_MAX;
    let mut incoming = Incoming::default();
    timeout_at(deadline, more(&stream, &mut incoming)).await.map_err(|_| Loss::Late)??;
    match incoming.bytes().first() {
        Some(&TLS_HANDSHAKE) => {}
        Some(b'A'..=b'Z') if doors.web.is_some() && is_from_here(&stream) => {
            place.advance(Stage::Hello);
            let prefixed = Prefixed::new(incoming.bytes().to_vec(), stream);
            return Ok(Entered::Web(WebStream::Plain(prefixed)));
        }
        Some(b'A'..=b'Z') => {
            let _ = stream.try_write(&http_answer(doors, incoming.bytes()));
            let _ = shutdown(&stream, Shutdown::Write);
            // A close with unread bytes would be a reset, and the answer lost. Boxed: the silent
            // should not hold the room for it.
            let _ = timeout_at(deadline, Box::pin(drain(&stream))).await;
            return Err(Loss::Bad);
        }
        _ => return Err(Loss::Bad),
    }
    // Boxed: a connection that never gets here should not hold the room for it.
    Box::pin(async move {
        let Some(web) = &doors.web else {
            return handshake(stream, &doors.links, incoming, deadline, place).await;
        };
        let mut hello = Hello::new();
        loop {
            match hello.read(incoming.bytes()) {
                Wants::Towline => {
                    return handshake(stream, &doors.links, incoming, deadline, place).await;
                }
                Wants::Web => break,
                Wants::More if incoming.bytes().len() > HELLO_LEN_MAX => return Err(Loss::Bad),
                Wants::More => {
                    let more = more(&stream, &mut incoming);
                    timeout_at(deadline, more).await.map_err(|_| Loss::Late)??;
                }
            }
        }
        place.advance(Stage::Handshake);
        let prefixed = Prefixed::new(incoming.bytes().to_vec(), stream);
        let handshake = tokio::time::timeout(HANDSHAKE_MAX, web.accept(prefixed));
        let stream = handshake.await.map_err(|_| Loss::Late)?.map_err(|_| Loss::Bad)?;
        place.advance(Stage::Hello);
        Ok(Entered::Web(stream))
    })
    .await
}

async fn handshake(
    stream: TcpStream,
    acceptor: &Acceptor,
    incoming: Incoming,
    deadline: Instant,
    place: &Place,
) -> Result<Entered, Loss> {
    let tls = acceptor.accept().map_err(|_| Loss::Bad)?;
    let mut link = Link::new(stream, tls, incoming);
    until(deadline, &mut link, Link::has_answered).await?;
    place.advance(Stage::Handshake);
    let deadline = Instant::now() + HANDSHAKE_MAX;
    until(deadline, &mut link, |link| !link.is_handshaking()).await?;
    if !matches!(link.peer_key(), Some(Ok(_))) {
        return Err(Loss::Bad);
    }
    place.advance(Stage::Hello);
    link.rest();
    Ok(Entered::Link(Box::new(link)))
}

fn is_from_here(stream: &TcpStream) -> bool {
    stream.peer_addr().is_ok_and(|address| address.ip().to_canonical().is_loopback())
}

/// Where HTTP without TLS is not spoken: the way to where it is.
fn http_answer(doors: &Doors, head: &[u8]) -> Vec<u8> {
    match host_of(head).filter(|_| doors.web.is_some()) {
        Some(host) => format!(
            "HTTP/1.1 308 Permanent Redirect\r\nLocation: https://{host}/\r\n\
             Content-Length: 0\r\nConnection: close\r\n\r\n"
        )
        .into_bytes(),
        None => HTTP_ANSWER.to_vec(),
    }
}

/// The `Host` of a request head, where it is one that can be repeated.
fn host_of(head: &[u8]) -> Option<&str> {
    // What stands behind the last line break may be half of a name.
    let (text, _) = std::str::from_utf8(head).ok()?.rsplit_once("\r\n")?;
    let field = text.split("\r\n").skip(1).find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("host").then(|| value.trim())
    })?;
    let is_plain = |char: char| char.is_ascii_alphanumeric() || ".-:[]".contains(char);
    (!field.is_empty() && field.len() <= 255 && field.chars().all(is_plain)).then_some(field)
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

/// Waits for more bytes.
async fn more(stream: &TcpStream, incoming: &mut Incoming) -> Result<(), Loss> {
    loop {
        stream.readable().await.map_err(|_| Loss::Bad)?;
        match incoming.fill(READ_LEN_MIN, |buffer| stream.try_read(buffer)) {
            Ok(0) => return Err(Loss::Bad),
            Ok(_) => return Ok(()),
            // The runtime takes a new socket for readable, right or wrong.
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => incoming.release(),
            Err(_) => return Err(Loss::Bad),
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
/// Ten times what browsers send.
const HELLO_LEN_MAX: usize = 16 << 10;
const HTTP_ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Connection: close\r\n\
    Content-Length: 123\r\n\
    \r\n\
    This is a towline node. It speaks TLS only.\n\
    Use the tow command: tow join HOST, or https:// where the page is switched on.\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_and_plain_host_is_repeated() {
        let head = "GET / HTTP/1.1\r\nHost: box.example:8690\r\n\r\n";
        assert_eq!(host_of(head.as_bytes()), Some("box.example:8690"));
        let cut = head.find("ple").unwrap();
        assert_eq!(host_of(&head.as_bytes()[..cut]), None);
        for bad in ["a/b", "a@b", "a b", "a\tb", "", "\u{fc}"] {
            assert_eq!(host_of(format!("GET / HTTP/1.1\r\nHost: {bad}\r\n\r\n").as_bytes()), None);
        }
    }
}
