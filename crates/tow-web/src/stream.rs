//! Bodies of answers that come from elsewhere, piece by piece: a complete one was ended by whoever
//! made it, every other cuts the connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::{HeaderValue, Response, header};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::sync::mpsc;
use tow_proto::Code;

use crate::answer::Failure;

/// Where the pieces are put. One that is dropped before [`Self::end`] leaves a body that is not
/// complete, and whoever reads that is told by the cut of the connection.
pub(crate) struct Outlet {
    queue: mpsc::Sender<Item>,
    /// The piece before: only with the end is it known which is the last one, and it is not sent
    /// before it is known that all were good.
    held: Option<Bytes>,
    bytes: u64,
}

/// Where they come out.
pub(crate) struct Streamed {
    queue: mpsc::Receiver<Item>,
    first: Option<Item>,
    left: Option<u64>,
    is_over: bool,
}

enum Item {
    Data(Bytes),
    Last(Bytes),
    Failed(Failure),
}

/// Nobody reads on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unread;

/// A body of `len` bytes, or of a length that its end tells; at most `waiting_max` pieces wait.
pub(crate) fn stream(waiting_max: usize, len: Option<u64>) -> (Outlet, Streamed) {
    let (sender, queue) = mpsc::channel(waiting_max);
    let streamed = Streamed { queue, first: None, left: len, is_over: false };
    (Outlet { queue: sender, held: None, bytes: 0 }, streamed)
}

impl Outlet {
    /// Bytes so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn hold(&mut self, bytes: Bytes) -> Option<Item> {
        self.bytes += bytes.len() as u64;
        self.held.replace(bytes).map(Item::Data)
    }

    /// The next piece, from a thread that may wait.
    ///
    /// # Errors
    /// Nobody reads on.
    pub(crate) fn blocking_put(&mut self, bytes: Bytes) -> Result<(), Unread> {
        match self.hold(bytes) {
            Some(item) => self.queue.blocking_send(item).map_err(|_| Unread),
            None => Ok(()),
        }
    }

    /// The next piece.
    ///
    /// # Errors
    /// Nobody reads on.
    pub(crate) async fn put(&mut self, bytes: Bytes) -> Result<(), Unread> {
        match self.hold(bytes) {
            Some(item) => self.queue.send(item).await.map_err(|_| Unread),
            None => Ok(()),
        }
    }

    /// Room for a piece that is not held back, and [`Self::pass`] without waiting.
    ///
    /// # Errors
    /// Nobody reads on.
    pub(crate) async fn room(&self) -> Result<(), Unread> {
        self.queue.reserve().await.map(drop).map_err(|_| Unread)
    }

    /// The next piece, at once; false where there is no room.
    pub(crate) fn pass(&mut self, bytes: Bytes) -> bool {
        let len = bytes.len() as u64;
        let is_passed = self.queue.try_send(Item::Data(bytes)).is_ok();
        self.bytes += if is_passed { len } else { 0 };
        is_passed
    }

    /// Whether nobody reads any more.
    pub(crate) fn is_unread(&self) -> bool {
        self.queue.is_closed()
    }

    /// Resolves when nobody reads any more.
    pub(crate) async fn unread(&self) {
        self.queue.closed().await;
    }

    /// That was all, and it is good.
    pub(crate) fn blocking_end(mut self) {
        let last = self.held.take().unwrap_or_default();
        let _ = self.queue.blocking_send(Item::Last(last));
    }

    /// That was all, and it is good.
    pub(crate) async fn end(mut self) {
        let last = self.held.take().unwrap_or_default();
        let _ = self.queue.send(Item::Last(last)).await;
    }

    /// It can't go on; said to the reader where nothing was sent before.
    pub(crate) fn blocking_fail(self, failure: impl Into<Failure>) {
        let _ = self.queue.blocking_send(Item::Failed(failure.into()));
    }

    /// It can't go on; said to the reader where nothing was sent before.
    pub(crate) async fn fail(self, failure: impl Into<Failure>) {
        let _ = self.queue.send(Item::Failed(failure.into())).await;
    }
}

impl Streamed {
    /// Waits until the answer can begin. What is complete by then has a length.
    ///
    /// # Errors
    /// It has failed before.
    pub(crate) async fn ready(&mut self) -> Result<(), Failure> {
        match self.queue.recv().await {
            Some(Item::Failed(failure)) => Err(failure),
            Some(Item::Last(bytes)) => {
                self.left.get_or_insert(bytes.len() as u64);
                self.first = Some(Item::Last(bytes));
                Ok(())
            }
            Some(item) => {
                self.first = Some(item);
                Ok(())
            }
            None => Err(Code::Internal.into()),
        }
    }

    /// Whether all of it has come already and is nothing; known after [`Self::ready`].
    pub(crate) fn is_empty(&self) -> bool {
        matches!(&self.first, Some(Item::Last(bytes)) if bytes.is_empty())
    }

    /// An answer with this body.
    pub(crate) fn into_response(self, kind: &'static str) -> Response<Body> {
        let mut response = Response::new(Body::new(self));
        let fields = response.headers_mut();
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    fn take(&mut self, bytes: Bytes, is_last: bool) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.is_over = is_last;
        if let Some(left) = &mut self.left {
            let rest = left.checked_sub(bytes.len() as u64);
            // Neither more nor less than was said.
            let Some(rest) = rest.filter(|rest| !is_last || *rest == 0) else { return self.cut() };
            *left = rest;
        }
        if bytes.is_empty() {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn cut(&mut self) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.is_over = true;
        Poll::Ready(Some(Err(io::Error::from(io::ErrorKind::UnexpectedEof))))
    }
}

impl hyper::body::Body for Streamed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        if this.is_over {
            return Poll::Ready(None);
        }
        let item = match this.first.take() {
            Some(item) => Some(item),
            None => match this.queue.poll_recv(context) {
                Poll::Ready(item) => item,
                Poll::Pending => return Poll::Pending,
            },
        };
        match item {
            Some(Item::Data(bytes)) => this.take(bytes, false),
            Some(Item::Last(bytes)) => this.take(bytes, true),
            Some(Item::Failed(_)) | None => this.cut(),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn read(streamed: Streamed) -> Option<Vec<u8>> {
        streamed.collect().await.ok().map(|body| body.to_bytes().to_vec())
    }

    #[tokio::test]
    async fn a_body_is_complete_only_where_its_end_was_said() {
        for len in [None, Some(4)] {
            let (mut outlet, streamed) = stream(4, len);
            outlet.put("ab".into()).await.unwrap();
            outlet.put("cd".into()).await.unwrap();
            outlet.end().await;
            assert_eq!(read(streamed).await.unwrap(), b"abcd");
            let (mut outlet, streamed) = stream(4, len);
            outlet.put("ab".into()).await.unwrap();
            outlet.put("cd".into()).await.unwrap();
            drop(outlet);
            assert_eq!(read(streamed).await, None);
        }
    }

    #[tokio::test]
    async fn more_or_less_than_was_said_is_no_body() {
        for len in [0, 1, 3, 5] {
            let (mut outlet, streamed) = stream(4, Some(len));
            outlet.put("ab".into()).await.unwrap();
            outlet.put("cd".into()).await.unwrap();
            outlet.end().await;
            assert_eq!(read(streamed).await, None, "{len}");
        }
    }

    #[tokio::test]
    async fn a_failure_before_the_first_byte_is_an_answer() {
        let (outlet, mut streamed) = stream(1, None);
        outlet.fail(Code::NotFound).await;
        assert!(matches!(streamed.ready().await, Err(Failure::Refused(_))));
        let (mut outlet, mut streamed) = stream(1, None);
        outlet.put("ab".into()).await.unwrap();
        outlet.end().await;
        streamed.ready().await.unwrap();
        assert_eq!(hyper::body::Body::size_hint(&streamed).exact(), Some(2));
        assert_eq!(read(streamed).await.unwrap(), b"ab");
    }
}
