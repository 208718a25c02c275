//! How long a connection waits for a request: briefly for one that has begun, longer between two.
//!
//! hyper has one limit for both, which it counts from the end of the request before. So it is given a
//! clock of its own, which looks whether anything has come since.
//!
//! And how long it waits for the reader of an answer: hyper has no limit for that, and whoever sends
//! keeps a thread and files open for as long as it lasts.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{sleep, sleep_until};

/// A stream that counts what comes, and fails where nothing of what is to go is taken.
pub(crate) struct Counted<S> {
    stream: S,
    came: Came,
    leisure: Leisure,
    /// Set while the other end takes nothing.
    stuck: Option<Pin<Box<tokio::time::Sleep>>>,
}

/// Whether the reader of the answer to this request may pause for as long as they like: it is an
/// answer for which nobody keeps anything that others wait for. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leisure(Arc<AtomicBool>);

/// What has come so far, and how many waits there were. Clones share it.
#[derive(Clone, Debug, Default)]
struct Came(Arc<Numbers>);

#[derive(Debug, Default)]
struct Numbers {
    bytes: AtomicU64,
    waits: AtomicU64,
}

/// The clock that belongs to a [`Counted`] stream, for hyper's limit on reading a head.
#[derive(Clone, Debug)]
pub(crate) struct Patience(Came);

impl<S> Counted<S> {
    /// `stream`, and its clock.
    pub(crate) fn new(stream: S, leisure: Leisure) -> (Self, Patience) {
        let came = Came::default();
        (Self { stream, came: came.clone(), leisure, stuck: None }, Patience(came))
    }

    /// What was tried to be sent, or the end of waiting for it.
    fn watch<T>(
        &mut self,
        tried: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if tried.is_ready() || self.leisure.is_given() {
            self.stuck = None;
            return tried;
        }
        let stuck = self.stuck.get_or_insert_with(|| Box::pin(sleep(TAKE_MAX)));
        stuck.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Leisure {
    /// They may, until the next request.
    pub(crate) fn give(&self) {
        self.0.store(true, Relaxed);
    }

    /// Another request has come.
    pub(crate) fn end(&self) {
        self.0.store(false, Relaxed);
    }

    fn is_given(&self) -> bool {
        self.0.load(Relaxed)
    }
}

impl Timer for Patience {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    /// hyper begins to wait for a head: the first one is due, the others may take their time until
    /// they begin.
    fn sleep_until(&self, head_due: Instant) -> Pin<Box<dyn Sleep>> {
        let numbers = &self.0.0;
        let is_first = numbers.waits.fetch_add(1, Relaxed) == 0;
        let due = if is_first { head_due } else { head_due - HEAD_MAX + IDLE_MAX };
        Box::pin(Wait {
            due: Box::pin(sleep_until(due.into())),
            came: self.0.clone(),
            before: (!is_first).then(|| numbers.bytes.load(Relaxed)),
        })
    }
}

struct Wait {
    due: Pin<Box<tokio::time::Sleep>>,
    came: Came,
    /// Bytes before the head that is waited for; `None` once it has begun.
    before: Option<u64>,
}

impl Sleep for Wait {}

impl Future for Wait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if this.before.is_some_and(|before| this.came.0.bytes.load(Relaxed) != before) {
            this.before = None;
            this.due.as_mut().reset(tokio::time::Instant::now() + HEAD_MAX);
        }
        this.due.as_mut().poll(context)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.came.0.bytes.fetch_add((buffer.filled().len() - before) as u64, Relaxed);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let tried = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(tried, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let tried = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch(tried, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let tried = Pin::new(&mut self.stream).poll_flush(context);
        self.watch(tried, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let tried = Pin::new(&mut self.stream).poll_shutdown(context);
        self.watch(tried, context)
    }
}

/// Longest wait for the head of a request, from its first byte on; for the first one, from the start.
pub(crate) const HEAD_MAX: Duration = Duration::from_secs(5);
/// Longest pause between two requests.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// Longest time in which nothing of an answer is taken.
const TAKE_MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Response;
    use hyper::server::conn::http1;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::time::{Instant, timeout};

    use super::*;
    use crate::stream::{Unread, stream};

    async fn wait(patience: &Patience) -> Duration {
        let began = Instant::now();
        patience.sleep_until(began.into_std() + HEAD_MAX).await;
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_has_five_seconds_and_a_pause_a_minute() {
        let (near, mut far) = duplex(64);
        let (mut near, patience) = Counted::new(near, Leisure::default());
        assert_eq!(wait(&patience).await.as_secs(), 5, "the first one is due");
        assert_eq!(wait(&patience).await.as_secs(), 60);
        let mut wait = patience.sleep_until(Instant::now().into_std() + HEAD_MAX);
        assert!(timeout(Duration::from_secs(40), &mut wait).await.is_err());
        far.write_all(b"G").await.unwrap();
        near.read_u8().await.unwrap();
        let began = Instant::now();
        // hyper looks again whenever something has come.
        assert!(timeout(Duration::from_secs(1), &mut wait).await.is_err());
        far.write_all(b"E").await.unwrap();
        near.read_u8().await.unwrap();
        wait.await;
        assert_eq!(began.elapsed().as_secs(), 5, "however slowly it goes on");
    }

    /// Sends an answer without end for as long as it is read, and gives how long that was.
    async fn send(leisure: Leisure) -> (DuplexStream, tokio::task::JoinHandle<Duration>) {
        let (near, mut far) = duplex(64);
        let (near, _) = Counted::new(near, leisure);
        let (mut outlet, streamed) = stream(2, None);
        let body = std::sync::Mutex::new(Some(streamed));
        let sent = tokio::spawn(async move {
            let began = Instant::now();
            while outlet.put(vec![0; 4096].into()).await != Err(Unread) {}
            began.elapsed()
        });
        tokio::spawn(async move {
            let answer = service_fn(move |_| {
                let body = body.lock().unwrap().take().map(Body::new).unwrap_or_default();
                async { Ok::<_, std::convert::Infallible>(Response::new(body)) }
            });
            let mut builder = http1::Builder::new();
            builder.max_buf_size(16 << 10).header_read_timeout(None);
            builder.serve_connection(TokioIo::new(near), answer).await
        });
        far.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        (far, sent)
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_of_an_answer_for_a_minute_is_cut_off_from_it() {
        let (mut far, sent) = send(Leisure::default()).await;
        for _ in 0..5 {
            far.read_exact(&mut [0; 10]).await.unwrap();
            tokio::time::sleep(Duration::from_secs(50)).await;
        }
        assert!(!sent.is_finished(), "however slow, it is taken");
        assert_eq!(sent.await.unwrap().as_secs(), 4 * 50 + 60);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_keeps_nothing_waits_for_its_reader() {
        let leisure = Leisure::default();
        leisure.give();
        let (far, sent) = send(leisure).await;
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert!(!sent.is_finished());
        drop(far);
        assert_eq!(sent.await.unwrap().as_secs(), 3600, "until it goes away");
    }
}
