//! Terminals: a WebSocket that carries the frames of the native protocol, one a message (HTTP.md 5).

use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Extension, FromRequestParts as _, Request};
use axum::response::IntoResponse as _;
use axum::routing::any;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::stream::SplitSink;
use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};
use tow_net::{LinkEvent, Reading};
use tow_node::ask;
use tow_proto::frame::{PREFIX_LEN, prefix};
use tow_proto::heartbeat::{Beat, Heartbeat};
use tow_proto::message::FirstHead;
use tow_proto::{Decoder, Frame, Kind, Trust, json};

use crate::answer::Answer;
use crate::guest::{By, FOREIGN, Guest, is_own_origin};
use crate::server::Connection;

pub(crate) fn routes() -> Router {
    Router::new().route("/api/v1/channel", any(open))
}

#[derive(Deserialize)]
struct Token {
    token: String,
}

async fn open(Extension(connection): Extension<Connection>, request: Request) -> Answer {
    let (mut parts, _) = request.into_parts();
    if !is_own_origin(&parts.headers, &connection) {
        return Err(FOREIGN);
    }
    let guest = Guest::of(&parts.method, &parts.headers, &connection)?;
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => upgrade,
        Err(rejection) => return Ok(rejection.into_response()),
    };
    // It has a heartbeat of its own.
    connection.leisure.give();
    Ok(upgrade
        .protocols(["tow1"])
        .max_message_size(MESSAGE_LEN_MAX)
        .max_frame_size(MESSAGE_LEN_MAX)
        .on_upgrade(move |socket| async move {
            tokio::select! {
                () = serve(socket, &guest) => {}
                () = connection.ended() => {}
            }
        }))
}

async fn serve(mut socket: WebSocket, guest: &Guest) {
    // A browser sends its cookie with whatever page asks for it.
    if guest.by != By::Password && !shows_token(&mut socket, guest).await {
        return close(socket, close_code::POLICY, "the page's token has to come first").await;
    }
    let link = match guest.machine.connect().await {
        Ok(link) => link,
        Err(ask::AskError::Refused(refusal)) => {
            let head = json::to_vec(&FirstHead::Refused(refusal));
            let _ = socket.send(Message::Binary(message(Kind::Head, &head))).await;
            return close(socket, close_code::NORMAL, "").await;
        }
        Err(_) => return close(socket, close_code::AGAIN, "the machine could not be asked").await,
    };
    if socket.send(Message::Text("{\"ready\":true}".into())).await.is_err() {
        return;
    }
    carry(socket, link).await;
}

async fn shows_token(socket: &mut WebSocket, guest: &Guest) -> bool {
    let Ok(Some(Ok(Message::Text(text)))) = timeout(TOKEN_MAX, socket.recv()).await else {
        return false;
    };
    serde_json::from_str::<Token>(text.as_str())
        .is_ok_and(|shown| guest.secret.accepts(&shown.token))
}

async fn close(mut socket: WebSocket, code: u16, reason: &'static str) {
    let frame = CloseFrame { code, reason: reason.into() };
    let _ = timeout(FAREWELL_MAX, socket.send(Message::Close(Some(frame)))).await;
}

/// Passes frames on until either side is done. Both are always awaited: a browser that does not read
/// can still type.
async fn carry(socket: WebSocket, mut native: ask::Connection) {
    let (sink, mut stream) = socket.split();
    let (down, waiting) = mpsc::channel(MESSAGES_WAITING_MAX);
    let writer = tokio::spawn(write(sink, waiting));
    let mut heartbeat = Heartbeat::new(Instant::now());
    let mut pending: Option<Message> = None;
    let farewell = loop {
        let link = native.link();
        link.set_reading(if pending.is_some() { Reading::Off } else { Reading::On });
        let has_room = link.has_room();
        tokio::select! {
            permit = down.reserve(), if pending.is_some() => match (permit, pending.take()) {
                (Ok(permit), Some(message)) => permit.send(message),
                _ => break None,
            },
            event = link.next_event() => match event {
                Ok(LinkEvent::Frame(frame)) => {
                    pending = Some(Message::Binary(message(frame.kind, &frame.payload)));
                }
                Ok(LinkEvent::Room) => {}
                Ok(LinkEvent::Closed) => break Some((close_code::NORMAL, "")),
                Err(_) => break Some((close_code::AWAY, "the machine could not be asked")),
            },
            received = stream.next(), if has_room => {
                heartbeat.handle_heard(Instant::now());
                match received {
                    Some(Ok(Message::Binary(bytes))) => match frame(&bytes) {
                        Some(Frame { kind: Kind::Ping, payload }) => {
                            let pong = Message::Binary(message(Kind::Pong, &payload));
                            // Who asks without reading the answers gets none.
                            let _ = down.try_send(pong);
                        }
                        Some(Frame { kind: Kind::Pong, .. }) => {}
                        Some(frame) => link.send(frame.kind, &frame.payload),
                        None => break Some((close_code::PROTOCOL, "a message is one frame")),
                    },
                    Some(Ok(Message::Text(_))) => break Some((close_code::UNSUPPORTED, "text")),
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(Message::Close(_)) | Err(_)) | None => break None,
                }
            }
            () = sleep_until(heartbeat.poll_timeout().into()) => {
                match heartbeat.handle_timeout(Instant::now()) {
                    Some(Beat::Dead) => break Some((close_code::AWAY, "nothing was heard")),
                    Some(Beat::Ping) => drop(down.try_send(
                        Message::Binary(message(Kind::Ping, &[])),
                    )),
                    None => {}
                }
            }
        }
    };
    if let Some((code, reason)) = farewell {
        let frame = CloseFrame { code, reason: reason.into() };
        if let Some(last) = pending {
            let _ = timeout(FAREWELL_MAX, down.send(last)).await;
        }
        let _ = timeout(FAREWELL_MAX, down.send(Message::Close(Some(frame)))).await;
    }
    drop(down);
    let _ = timeout(FAREWELL_MAX, writer).await;
    native.close().await;
}

async fn write(mut sink: SplitSink<WebSocket, Message>, mut waiting: mpsc::Receiver<Message>) {
    while let Some(message) = waiting.recv().await {
        if sink.send(message).await.is_err() {
            return;
        }
    }
    let _ = sink.close().await;
}

/// A frame as a message.
fn message(kind: Kind, payload: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(PREFIX_LEN + payload.len());
    bytes.put_slice(&prefix(kind, payload.len()));
    bytes.put_slice(payload);
    bytes.freeze()
}

/// The one frame of a message; `None` where it is not exactly one.
fn frame(message: &[u8]) -> Option<Frame> {
    let mut decoder = Decoder::new(Trust::Unproved);
    decoder.prove();
    let mut rest = message;
    let frame = decoder.read(&mut rest).ok()??;
    rest.is_empty().then_some(frame)
}

/// The largest frame.
const MESSAGE_LEN_MAX: usize = (1 << 20) + PREFIX_LEN;
const MESSAGES_WAITING_MAX: usize = 4;
const TOKEN_MAX: Duration = Duration::from_secs(2);
const FAREWELL_MAX: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_exactly_one_frame() {
        let one = message(Kind::Data, b"abc");
        assert_eq!(frame(&one).unwrap().payload, b"abc");
        assert!(frame(&one[..one.len() - 1]).is_none());
        assert!(frame(&[&one[..], b"x"].concat()).is_none());
        assert!(frame(&[&one[..], &one[..]].concat()).is_none());
        assert!(frame(b"").is_none());
    }
}
