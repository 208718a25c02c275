//! `PUT`: a body becomes a file, whole and with its name at the end, or nothing happens.

use std::time::{Instant, SystemTime};

use axum::body::Body;
use axum::extract::{Extension, Request};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tow_host::beneath::Root;
use tow_host::files::Upload;
use tow_node::ask::AskError;
use tow_node::ask::stat::Links;
use tow_node::ask::write::{Writer, Written};
use tow_node::audit::Outcome;
use tow_node::serve::{Done, Visitor};
use tow_proto::message::{EntryKind, Exists, Known, Mtime, Stored, Write};
use tow_proto::{Code, Refusal};

use super::condition::{check, etag, has_any, wants_nothing};
use super::{Place, Query, UNMET};
use crate::answer::{Answer, Failure, empty};
use crate::body::{close_after, failure, stated_len};
use crate::guest::Guest;
use crate::here::{Stay, writing};
use crate::machine::Machine;
use crate::server::Connection;

pub(crate) async fn put(
    Extension(connection): Extension<Connection>,
    guest: Guest,
    request: Request,
) -> Answer {
    let stored = take(&connection, guest.machine, request).await;
    // What is left of the body is not waited for.
    let stored = match stored {
        Ok(stored) => stored,
        Err(failure) => return Ok(close_after(failure)),
    };
    let mut response =
        empty(if stored.created { StatusCode::CREATED } else { StatusCode::NO_CONTENT });
    if let Ok(tag) = HeaderValue::from_str(&etag(&stored.stat)) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response)
}

async fn take(
    connection: &Connection,
    machine: Machine,
    request: Request,
) -> Result<Stored, Failure> {
    let (parts, body) = request.into_parts();
    if parts.headers.contains_key(header::CONTENT_RANGE) {
        return Err(PART);
    }
    let query = Query::of(&parts.uri);
    let mut place = Place::of_uri(machine, &parts.uri)?;
    let exists = exists(&mut place, &parts.headers).await?;
    let write = Write {
        size: stated_len(&parts.headers),
        mode: query.value("mode").map(mode).transpose()?,
        mtime: query.value("mtime").map(mtime).transpose()?,
        parents: query.has("parents"),
        exists,
        ..Write::whole(place.path.clone())
    };
    let stored = match &place.machine {
        Machine::Here(visitor) => here(connection, visitor, write, body).await,
        Machine::There(_) => there(&place, write, body).await,
    };
    stored.map_err(|failure| match failure {
        // Somebody was faster than the look at what was there.
        Failure::Refused(refusal)
            if matches!(
                (exists, refusal.code),
                (Exists::Keep, Code::Exists) | (Exists::If(_), Code::Changed)
            ) =>
        {
            UNMET
        }
        failure => place.say(failure),
    })
}

/// What may become of what is there, by the conditions of the request. With `If-Match` the file is
/// meant that `GET` shows: where the path is a link, that is what it leads to.
async fn exists(place: &mut Place, headers: &HeaderMap) -> Result<Exists, Failure> {
    if wants_nothing(headers) && !headers.contains_key(header::IF_MATCH) {
        return Ok(Exists::Keep);
    }
    if !has_any(headers) {
        return Ok(Exists::Replace);
    }
    let mut there = place.look(Links::Show).await?;
    if there.as_ref().is_some_and(|stat| stat.kind == EntryKind::Link) {
        there = place.look(Links::Follow).await?;
    }
    check(&Method::PUT, headers, there.as_ref(), SystemTime::now()).map_err(|_| UNMET)?;
    Ok(match there {
        Some(stat) => {
            let known = Known::from(&stat);
            place.path = stat.path;
            Exists::If(known)
        }
        None => Exists::Replace,
    })
}

async fn here(
    connection: &Connection,
    visitor: &Visitor,
    write: Write,
    body: Body,
) -> Result<Stored, Failure> {
    let started = Instant::now();
    let path = write.path.clone();
    let (stored, bytes) = write_here(connection, visitor, write, body).await;
    let outcome = match &stored {
        Ok(_) => Outcome::Ok,
        Err(Failure::Refused(refusal)) => Outcome::Refused(refusal.code),
        Err(_) => Outcome::Cut,
    };
    visitor.audit("write", vec![path], &Done { outcome, bytes, duration: started.elapsed() });
    stored
}

/// Gives how many bytes came, too.
async fn write_here(
    connection: &Connection,
    visitor: &Visitor,
    write: Write,
    body: Body,
) -> (Result<Stored, Failure>, u64) {
    let begun = async {
        let (permit, slot) = writing(visitor).await?;
        let stay = Stay::begin(visitor, connection);
        let (root, owner, write) = (permit.root().clone(), visitor.owner(), permit.narrow(write));
        Ok::<_, Failure>((begin(root, write, owner).await?, slot, stay))
    };
    let (upload, _slot, _stay) = match begun.await {
        Ok(begun) => begun,
        Err(failure) => return (Err(failure), 0),
    };
    let (pieces, queue) = mpsc::channel(BATCHES_WAITING_MAX);
    let writer = spawn_blocking(move || append(upload, queue));
    let (passed, bytes) = pass(body, pieces).await;
    let stored = match writer.await {
        // Why it did not take everything is more than that it did not.
        Ok(Some(stored)) => stored.map_err(Into::into),
        Ok(None) => Err(passed.err().unwrap_or_else(|| Code::Internal.into())),
        Err(_) => Err(Code::Internal.into()),
    };
    (stored, bytes)
}

async fn begin(root: Root, write: Write, owner: String) -> Result<Upload, Refusal> {
    spawn_blocking(move || Upload::begin(&root, &write, &owner))
        .await
        .map_err(|_| Refusal::from(Code::Internal))?
}

enum Batch {
    Data(Vec<Bytes>),
    End,
}

/// Hands everything on in pieces that are worth a change of threads. An error is the sender's; where
/// the writer takes no more, it says why itself.
async fn pass(mut body: Body, pieces: mpsc::Sender<Batch>) -> (Result<(), Failure>, u64) {
    let (mut batch, mut batch_len, mut bytes) = (Vec::new(), 0, 0);
    loop {
        let data = match body.frame().await {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => data,
                Err(_) => continue,
            },
            Some(Err(error)) => return (Err(failure(&error)), bytes),
            None => break,
        };
        batch_len += data.len();
        bytes += data.len() as u64;
        batch.push(data);
        if batch_len >= BATCH_LEN {
            batch_len = 0;
            if pieces.send(Batch::Data(std::mem::take(&mut batch))).await.is_err() {
                return (Ok(()), bytes);
            }
        }
    }
    if pieces.send(Batch::Data(batch)).await.is_ok() {
        let _ = pieces.send(Batch::End).await;
    }
    (Ok(()), bytes)
}

/// `None` where the end never came: then nothing stays.
fn append(mut upload: Upload, mut queue: mpsc::Receiver<Batch>) -> Option<Result<Stored, Refusal>> {
    loop {
        match queue.blocking_recv()? {
            Batch::Data(batch) => {
                if let Err(refusal) = batch.iter().try_for_each(|bytes| upload.append(bytes)) {
                    return Some(Err(refusal));
                }
            }
            Batch::End => return Some(upload.publish()),
        }
    }
}

async fn there(place: &Place, write: Write, body: Body) -> Result<Stored, Failure> {
    let mut connection = place.machine.connect().await?;
    let mut writer = Writer::begin(&mut connection, write).await?;
    send(&mut writer, body).await?;
    let Written::Stored(stored) = writer.finish().await? else {
        return Err(AskError::Protocol { what: "no word of what became of the file" }.into());
    };
    place.machine.keep(connection);
    Ok(*stored)
}

async fn send(writer: &mut Writer<'_>, mut body: Body) -> Result<(), Failure> {
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            error = writer.failed() => return Err(error.into()),
        };
        match frame {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    writer.send(&data).await?;
                }
            }
            Some(Err(error)) => return Err(failure(&error)),
            None => return Ok(()),
        }
    }
}

fn mode(text: &str) -> Result<u32, Failure> {
    u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777).ok_or(BAD_MODE)
}

/// Seconds since 1970 with up to nine digits behind a point.
fn mtime(text: &str) -> Result<Mtime, Failure> {
    let (secs, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_fraction = fraction.len() <= 9 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let nanos = format!("{fraction:0<9}").parse().ok().filter(|_| is_fraction);
    let time = secs.parse().ok().zip(nanos).ok_or(BAD_TIME)?;
    // -1.5 is a second and a half before 1970.
    Ok(match time {
        (secs, 1..) if text.starts_with('-') => Mtime(secs - 1, NANOS_PER_SEC - time.1),
        (secs, nanos) => Mtime(secs, nanos),
    })
}

const BATCH_LEN: usize = 512 << 10;
const BATCHES_WAITING_MAX: usize = 4;
const NANOS_PER_SEC: u32 = 1_000_000_000;
const PART: Failure =
    Failure::Http(StatusCode::BAD_REQUEST, "a file is written as a whole, not in parts");
const BAD_MODE: Failure =
    Failure::Http(StatusCode::BAD_REQUEST, "mode is an octal number up to 777");
const BAD_TIME: Failure =
    Failure::Http(StatusCode::BAD_REQUEST, "mtime is SECONDS or SECONDS.NANOSECONDS");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_modes_are_read_or_refused() {
        for (text, expected) in [
            ("0", Mtime(0, 0)),
            ("1700000000.5", Mtime(1_700_000_000, 500_000_000)),
            ("1.000000001", Mtime(1, 1)),
            ("-1", Mtime(-1, 0)),
            ("-1.25", Mtime(-2, 750_000_000)),
            ("-0.25", Mtime(-1, 750_000_000)),
        ] {
            assert_eq!(mtime(text).unwrap(), expected, "{text}");
        }
        for bad in ["", ".", "x", "1.2.3", "1.0000000000", "1.-5", "1e3", "9223372036854775808"] {
            assert!(mtime(bad).is_err(), "{bad}");
        }
        assert_eq!((mode("644").unwrap(), mode("0").unwrap()), (0o644, 0));
        for bad in ["", "8", "1000", "4755", "-1", "u+x"] {
            assert!(mode(bad).is_err(), "{bad}");
        }
    }
}
