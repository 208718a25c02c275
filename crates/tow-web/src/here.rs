//! What passes by the native link, on this machine: leave, a place among those who keep a thread, and
//! the end of it when the key is removed.

use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};
use tow_node::grant::{Permit, Read, Write};
use tow_node::serve::{Slot, Visitor};
use tow_proto::{Code, Refusal};

use crate::server::Connection;

/// Leave to read, and a place. Who asks for many small things at once waits for one.
///
/// # Errors
/// `NoRight`, `Busy`.
pub(crate) async fn reading(visitor: &Visitor) -> Result<(Permit<Read>, Slot), Refusal> {
    patiently(|| visitor.read()).await
}

/// Leave to write, and a place.
///
/// # Errors
/// `NoRight`, `Busy`.
pub(crate) async fn writing(visitor: &Visitor) -> Result<(Permit<Write>, Slot), Refusal> {
    patiently(|| visitor.write()).await
}

async fn patiently<T>(take: impl Fn() -> Result<T, Refusal>) -> Result<T, Refusal> {
    let began = Instant::now();
    loop {
        match take() {
            Err(refusal) if refusal.code == Code::Busy && began.elapsed() < SLOT_WAIT_MAX => {
                sleep(SLOT_ASK_EVERY).await;
            }
            taken => return taken,
        }
    }
}

/// Work for a visitor, until it is dropped. The connection is cut when their key is removed, or is
/// good no longer.
pub(crate) struct Stay {
    _done: DropGuard,
}

impl Stay {
    /// Begins on a connection that is the visitor's.
    pub(crate) fn begin(visitor: &Visitor, connection: &Connection) -> Self {
        let (removed, cut) = (connection.removing(), connection.cut.clone());
        let done = CancellationToken::new();
        let (ended, expires) = (done.clone(), visitor.grant().expires());
        tokio::spawn(async move {
            tokio::select! {
                () = removed.cancelled() => cut.cancel(),
                () = until(expires) => cut.cancel(),
                () = ended.cancelled() => {}
            }
        });
        Self { _done: done.drop_guard() }
    }
}

async fn until(time: Option<SystemTime>) {
    match time {
        Some(time) => sleep(time.duration_since(SystemTime::now()).unwrap_or_default()).await,
        None => std::future::pending().await,
    }
}

const SLOT_WAIT_MAX: Duration = Duration::from_secs(5);
const SLOT_ASK_EVERY: Duration = Duration::from_millis(2);
