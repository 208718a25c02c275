//! Work that waits for a disk, beside a link that must stay alive meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio::task::spawn_blocking;
use tow_net::{Link, LinkEvent};
use tow_proto::{Code, Refusal};

use super::ChannelError;

/// Does `work` on a thread of its own, and tells it to stop when the link fails or the channel is
/// over otherwise. A link that fails is told of once the thread is done.
pub(super) async fn on_thread<T: Send + 'static>(
    link: &mut Link,
    work: impl FnOnce(&AtomicBool) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, ChannelError> {
    let stop = Stop::default();
    let stopped = Arc::clone(&stop.0);
    let mut thread = spawn_blocking(move || work(&stopped));
    let failed = tokio::select! {
        biased;
        done = &mut thread => return Ok(done.map_err(|_| Refusal::from(Code::Internal))??),
        failed = listen(link) => failed,
    };
    drop(stop);
    let _ = thread.await;
    Err(failed)
}

/// Says stop when it is dropped.
#[derive(Default)]
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Until the link fails, or the peer says what has no place now.
async fn listen(link: &mut Link) -> ChannelError {
    loop {
        match link.next_event().await {
            Ok(LinkEvent::Room) => {}
            Ok(LinkEvent::Closed) => return ChannelError::Closed,
            Ok(LinkEvent::Frame(_)) => return Refusal::from(Code::OutOfOrder).into(),
            Err(error) => return error.into(),
        }
    }
}
