//! What is asked of an upload: that it begins, how far it has come, the next bytes, that it is given
//! up.

use std::time::SystemTime;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use tow_host::files::{self, Links};
use tow_proto::message::{
    EntryKind, Request, Stat, StatReply, UploadRm, UploadRmReply, UploadStat, WriteReply,
};
use tow_proto::{ByteString, Code};

use super::Forgotten;
use super::checksum::Checksum;
use super::fields::{self, EXPIRES, LENGTH, METADATA, OFFSET};
use super::id::{Id, KEPT_FOR, Last, SIZE_MAX};
use super::incoming::Incoming;
use super::metadata::Metadata;
use super::receive::{self, Received, on_thread};
use crate::answer::{Answer, Failure, empty};
use crate::machine::Machine;

/// A request of somebody known.
pub(super) struct Asked {
    machine: Machine,
    root: ByteString,
    forgotten: Forgotten,
}

impl Asked {
    pub(super) fn new(machine: Machine, forgotten: Forgotten) -> Self {
        let root = machine.welcome().root.unwrap_or_else(|| "/".into());
        Self { machine, root, forgotten }
    }

    /// Where the paths of the visitor start.
    pub(super) fn root(&self) -> &ByteString {
        &self.root
    }

    /// Begins an upload, perhaps with its first bytes.
    pub(super) async fn create(&self, headers: &HeaderMap, incoming: &mut Incoming) -> Answer {
        if headers.contains_key(&fields::DEFER_LENGTH) || headers.contains_key(&fields::CONCAT) {
            return Err(NOT_OFFERED);
        }
        let size = fields::number(headers, &LENGTH)?;
        if size > SIZE_MAX {
            return Err(Failure::from(
                tow_proto::Refusal::from(Code::TooLong).with_count(SIZE_MAX),
            ));
        }
        let said = Metadata::parse(fields::text(headers, &METADATA)?.ok_or(fields::BAD)?)?;
        let id = Id::new(size, said, SystemTime::now())?;
        let at = if fields::is_content(headers) {
            match self.append(&id, 0, headers, incoming).await {
                Ok(at) => at,
                Err(failure) => {
                    // Its address was never said: nobody could go on with it.
                    let _ = self.remove(&id).await;
                    return Err(failure);
                }
            }
        } else {
            // Whether it could be written is known now, not after all of it was sent.
            let none = &mut Incoming::new(Body::empty());
            self.append(&id, 0, &HeaderMap::new(), none).await?
        };
        let mut response = standing(StatusCode::CREATED, at);
        let location = HeaderValue::from_str(&format!("/tus/{}", id.to_text()));
        let location = location.map_err(|_| Code::Internal)?;
        response.headers_mut().insert(header::LOCATION, location);
        Ok(response)
    }

    /// Says how far an upload has come.
    pub(super) async fn head(&self, id: &Id) -> Answer {
        let at = match self.stat(id).await {
            // It was cut right before its end.
            Ok(at) if at == id.size => self.publish(id).await?,
            Ok(at) => at,
            Err(failure) if is_missing(&failure) => self.missing(id).await?,
            Err(failure) => return Err(failure),
        };
        let mut response = standing(StatusCode::OK, at);
        let fields = response.headers_mut();
        fields.insert(LENGTH, HeaderValue::from(id.size));
        fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(response)
    }

    /// Takes the next bytes.
    pub(super) async fn patch(
        &self,
        id: &Id,
        headers: &HeaderMap,
        incoming: &mut Incoming,
    ) -> Answer {
        if !fields::is_content(headers) {
            return Err(OTHER_TYPE);
        }
        let from = fields::number(headers, &OFFSET)?;
        if id.is_old(SystemTime::now()) || self.forgotten.has(&self.own(id)) {
            // Refused where nothing is left of it.
            match self.stat(id).await {
                Err(failure) if is_missing(&failure) => self.missing(id).await?,
                known => known?,
            };
        }
        let at = match self.append(id, from, headers, incoming).await {
            // The answer to the last bytes was lost, and they were asked for again.
            Err(failure) if from == id.size && self.is_done_after(id, &failure).await => id.size,
            at => at?,
        };
        Ok(standing(StatusCode::NO_CONTENT, at))
    }

    /// Gives an upload up.
    pub(super) async fn delete(&self, id: &Id) -> Answer {
        if self.forgotten.has(&self.own(id)) {
            return Err(GONE);
        }
        match self.remove(id).await {
            Err(failure) if !is_missing(&failure) => return Err(failure),
            _ => self.forgotten.add(self.own(id)),
        }
        Ok(empty(StatusCode::NO_CONTENT))
    }

    /// What it is called among those of all keys.
    fn own(&self, id: &Id) -> String {
        let owner = match &self.machine {
            Machine::Here(visitor) => visitor.owner(),
            Machine::There(_) => String::new(),
        };
        format!("{owner} {}", id.to_text())
    }

    /// Writes what comes; with the last of it the file has its name. Gives where the upload stands.
    async fn append(
        &self,
        id: &Id,
        from: u64,
        headers: &HeaderMap,
        incoming: &mut Incoming,
    ) -> Result<u64, Failure> {
        let checksum = Checksum::of(headers)?;
        let too_long =
            || Failure::from(tow_proto::Refusal::from(Code::TooLong).with_count(id.size));
        let len =
            headers.get(header::CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse().ok());
        if from.saturating_add(len.unwrap_or(0)) > id.size {
            return Err(too_long());
        }
        let part = id.part(&self.root, from, Last::No)?;
        let received = receive::receive(&self.machine, part, incoming, checksum).await;
        let at = match received {
            Ok(Received::Whole(at)) => at,
            Ok(Received::Mismatch) => return Err(mismatch()),
            Ok(Received::Cut(failure)) => return Err(failure),
            Err(failure) => return Err(self.given_up(id, failure).await),
        };
        // On this machine it has it already.
        if at == id.size && matches!(self.machine, Machine::There(_)) {
            return self.publish(id).await;
        }
        Ok(at)
    }

    /// Gives the file its name.
    async fn publish(&self, id: &Id) -> Result<u64, Failure> {
        let last = id.part(&self.root, id.size, Last::Yes)?;
        match receive::publish(&self.machine, last).await {
            Ok(()) => Ok(id.size),
            Err(failure) => Err(self.given_up(id, failure).await),
        }
    }

    /// Removes what can never become the file.
    async fn given_up(&self, id: &Id, failure: Failure) -> Failure {
        if matches!(&failure, Failure::Refused(refusal) if refusal.code == Code::Exists) {
            let _ = self.remove(id).await;
        }
        failure
    }

    async fn stat(&self, id: &Id) -> Result<u64, Failure> {
        let (path, upload) = (id.path(&self.root), id.upload()?);
        let request = Request::UploadStat(UploadStat { path, upload });
        let WriteReply { at } = self.machine.ask(&request).await?;
        Ok(at)
    }

    async fn remove(&self, id: &Id) -> Result<(), Failure> {
        let (path, upload) = (id.path(&self.root), id.upload()?);
        let request = Request::UploadRm(UploadRm { path, upload });
        let UploadRmReply {} = self.machine.ask(&request).await?;
        Ok(())
    }

    /// Where an upload stands of which nothing is there: at its end, at its beginning, or nowhere.
    async fn missing(&self, id: &Id) -> Result<u64, Failure> {
        if self.forgotten.has(&self.own(id)) {
            return Err(GONE);
        }
        match self.is_done(id).await {
            true => Ok(id.size),
            false if id.is_old(SystemTime::now()) => Err(GONE),
            false => Ok(0),
        }
    }

    async fn is_done_after(&self, id: &Id, failure: &Failure) -> bool {
        let is_elsewhere =
            matches!(failure, Failure::Refused(refusal) if refusal.code == Code::OutOfOrder);
        is_elsewhere && self.is_done(id).await
    }

    /// Whether the file is there as this upload makes it: nothing else of its size has its time to
    /// the nanosecond.
    async fn is_done(&self, id: &Id) -> bool {
        let path = id.path(&self.root);
        let stat = match &self.machine {
            // Who may only write still learns what became of their own file.
            Machine::Here(visitor) => {
                let Ok((permit, slot)) = visitor.write() else { return false };
                let root = permit.root().clone();
                let stat = on_thread(move || {
                    let _slot = slot;
                    files::stat(&root, &path, Links::Show)
                });
                stat.await.ok().filter(|stat| stat.ctime.0 >= id.begun().cast_signed())
            }
            Machine::There(_) => {
                let request = Request::Stat(Stat { path, follow: false });
                self.machine.ask::<StatReply>(&request).await.ok()
            }
        };
        stat.is_some_and(|stat| {
            let is_file = stat.kind == EntryKind::File;
            is_file && stat.size == id.size && stat.mtime == id.mtime()
        })
    }
}

/// An answer that says where an upload stands, and how long it is kept now that it was touched.
fn standing(status: StatusCode, at: u64) -> Response<Body> {
    let mut response = empty(status);
    let fields = response.headers_mut();
    fields.insert(OFFSET, HeaderValue::from(at));
    let end = httpdate::fmt_http_date(SystemTime::now() + KEPT_FOR);
    if let Ok(end) = HeaderValue::from_str(&end) {
        fields.insert(EXPIRES, end);
    }
    response
}

fn is_missing(failure: &Failure) -> bool {
    matches!(failure, Failure::Refused(refusal) if refusal.code == Code::NotFound)
}

/// The status that tus has made up for it.
fn mismatch() -> Failure {
    let status = StatusCode::from_u16(460).unwrap_or(StatusCode::BAD_REQUEST);
    Failure::Http(status, "the bytes are not those of the checksum")
}

const OTHER_TYPE: Failure = Failure::Http(
    StatusCode::UNSUPPORTED_MEDIA_TYPE,
    "bytes of an upload are application/offset+octet-stream",
);
const NOT_OFFERED: Failure = Failure::Http(
    StatusCode::BAD_REQUEST,
    "a length that comes later and parts that are joined are not offered",
);
const GONE: Failure = Failure::Http(StatusCode::GONE, "this upload was given up");
