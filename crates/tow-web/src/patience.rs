//! How long a connection waits for a request: briefly for one that has begun, longer between two.
//!
//! hyper has one limit for both, which it counts from the end of the request before. So it is given a
//! clock of its own, which looks whether anything has come since.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::sleep_until;

/// A stream that counts what comes.
pub(crate) struct Counted<S> {
    stream: S,
    came: Came,
}

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
    pub(crate) fn new(stream: S) -> (Self, Patience) {
        let came = Came::default();
        (Self { stream, came: came.clone() }, Patience(came))
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
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Longest wait for the head of a request, from its first byte on; for the first one, from the start.
pub(crate) const HEAD_MAX: Duration = Duration::from_secs(5);
/// Longest pause between two requests.
const IDLE_MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::{Instant, timeout};

    use super::*;

    async fn wait(patience: &Patience) -> Duration {
        let began = Instant::now();
        patience.sleep_until(began.into_std() + HEAD_MAX).await;
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_has_five_seconds_and_a_pause_a_minute() {
        let (near, mut far) = duplex(64);
        let (mut near, patience) = Counted::new(near);
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
}
