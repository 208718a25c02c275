//! The keeper's side: conversations with nodes, one task each, and the end of it all.
//!
//! A conversation is a request, a reply and what follows, as on a link. Several may follow each other
//! on one connection; the one of a viewer is the last.

use std::io;
use std::os::unix::net::UnixListener as StdListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{Shutdown, shutdown};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tow_host::session::{Limits, Sessions};
use tow_net::listen::ACCEPT_PAUSE;
use tow_net::{Link, LinkError, LinkEvent};
use tow_proto::{Kind, json};

use super::answer::malformed;

/// What a keeper is told.
#[derive(Clone, Debug)]
pub struct Keeping {
    /// Program and version.
    pub agent: String,
    /// Where sessions leave their records and what is too long for memory.
    pub store: PathBuf,
    /// Soft limit of open files.
    pub descriptors: u64,
}

/// Keeps sessions until `stop` resolves or a node says so, and then ends them in order; or until
/// nothing runs and no node is there. Within a runtime.
///
/// # Errors
/// The operating system refuses what sessions need.
pub async fn keep(
    listener: StdListener,
    keeping: Keeping,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    let sessions = Sessions::new(limits(keeping.descriptors), Some(keeping.store))?;
    let keeper = Arc::new(Keeper {
        sessions,
        agent: keeping.agent,
        uid: rustix::process::geteuid().as_raw(),
        quit: CancellationToken::new(),
        ending: CancellationToken::new(),
        connections: watch::Sender::new(0),
        tasks: TaskTracker::new(),
    });
    let over = async {
        tokio::select! {
            () = stop => {}
            () = keeper.quit.cancelled() => {}
            () = keeper.idle() => {}
        }
        // Whoever looks on is told how it ends, so they are served meanwhile.
        keeper.sessions.shutdown().await;
    };
    tokio::select! {
        () = over => {}
        () = keeper.accept(&listener) => {}
    }
    // From here on a node that looks for a keeper finds none, and starts the next; then it may learn
    // that this one is gone. Closing alone would not do where somebody else has the descriptor too.
    let _ = shutdown(&listener, Shutdown::Both);
    keeper.ending.cancel();
    keeper.tasks.close();
    let _ = timeout(FAREWELL_MAX, keeper.tasks.wait()).await;
    Ok(())
}

pub(super) struct Keeper {
    pub(super) sessions: Sessions,
    pub(super) agent: String,
    uid: u32,
    /// A node has told us to quit.
    pub(super) quit: CancellationToken,
    /// Every session has ended, and so does every conversation.
    ending: CancellationToken,
    connections: watch::Sender<usize>,
    tasks: TaskTracker,
}

/// One of [`Keeper::connections`], until it is dropped.
struct Connected(Arc<Keeper>);

impl Connected {
    fn new(keeper: &Arc<Keeper>) -> Self {
        keeper.connections.send_modify(|count| *count += 1);
        Self(Arc::clone(keeper))
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connections.send_modify(|count| *count -= 1);
    }
}

impl Keeper {
    async fn accept(self: &Arc<Self>, listener: &UnixListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let connected = Connected::new(self);
                    self.tasks.spawn(async move {
                        // A lost conversation is the other side's to tell.
                        let _ = connected.0.serve(stream).await;
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "no conversation could be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Resolves when there was nothing to keep, and nobody who could ask for it, for a while.
    async fn idle(&self) {
        let mut connections = self.connections.subscribe();
        loop {
            self.sessions.ended().await;
            // The sender is ours, so it does not end.
            let _ = connections.wait_for(|count| *count == 0).await;
            sleep(IDLE_MIN).await;
            if *connections.borrow() == 0 && self.sessions.running() == 0 {
                return;
            }
        }
    }

    async fn serve(&self, stream: UnixStream) -> Result<(), LinkError> {
        // The directory is private to this user already; root has no business here either.
        if stream.peer_cred()?.uid() != self.uid {
            return Ok(());
        }
        let mut link = Link::from_unix(stream)?;
        link.prove();
        loop {
            link.rest();
            let event = tokio::select! {
                event = link.next_event() => event?,
                () = self.ending.cancelled() => break,
            };
            let ask = match event {
                LinkEvent::Frame(frame) if frame.kind == Kind::Head => {
                    json::from_slice(&frame.payload)
                }
                LinkEvent::Frame(_) => break,
                LinkEvent::Room => continue,
                LinkEvent::Closed => break,
            };
            // Boxed: a node's own connection rests here for as long as the node lives.
            match ask {
                Ok(ask) => Box::pin(self.answer(&mut link, ask)).await?,
                Err(_) => malformed(&mut link),
            }
        }
        link.close().await;
        Ok(())
    }
}

/// One owner may have half of the sessions that the descriptors allow.
fn limits(descriptors: u64) -> Limits {
    let share = usize::try_from(descriptors / DESCRIPTORS_PER_SESSION / 2).unwrap_or(usize::MAX);
    Limits { running_max: share.clamp(1, RUNNING_MAX), ..Limits::default() }
}

/// Three pipes or a terminal, the process, its control group and files of its output.
const DESCRIPTORS_PER_SESSION: u64 = 6;
/// Sessions of one owner that run at once, where descriptors are not few.
const RUNNING_MAX: usize = 4096;
/// How long nothing is to be kept before a keeper ends: a node that starts again finds it there.
const IDLE_MIN: Duration = Duration::from_secs(1);
/// Longest wait for conversations to take their last frames.
const FAREWELL_MAX: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_owner_leaves_descriptors_for_others() {
        let running_max = |descriptors| limits(descriptors).running_max;
        assert_eq!([0, 1024, 1 << 20].map(running_max), [1, 85, 4096]);
    }
}
