//! What comes from the receiver while the sender works: a bounded queue between the link and the
//! sender's thread, and the one place where that thread waits.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tow_proto::{ByteString, Code};

use crate::beneath::PATH_LEN_MAX;

/// Something that the receiver said.
#[derive(Debug)]
pub enum Answer {
    /// The payload of a pack.
    Pack(Vec<u8>),
    /// Those were all digests.
    HaveEnd,
    /// This path failed there.
    Failed {
        /// Which.
        path: ByteString,
        /// Why.
        code: Code,
    },
}

/// What came from the receiver and was not looked at yet. Whoever reads the link pushes while
/// [`Inbox::has_room`], and goes on when it is told that there is room again.
pub struct Inbox {
    state: Mutex<State>,
    changed: Condvar,
    is_rejected: AtomicBool,
    /// As in [`State`], to be looked at between two portions of a file.
    is_closed: Arc<AtomicBool>,
    room: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct State {
    packs: VecDeque<Vec<u8>>,
    bytes: usize,
    has_ended: bool,
    is_closed: bool,
    /// The file whose content is being sent.
    current: Vec<u8>,
    /// Files whose content was not what was announced.
    corrupt: Vec<ByteString>,
    /// Goes up whenever anything changes.
    turn: u64,
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").finish_non_exhaustive()
    }
}

impl Default for Inbox {
    fn default() -> Self {
        Self::new(|| {})
    }
}

impl Inbox {
    /// An empty one. `room` is called on the sender's thread when there is room again, after there
    /// was none; it must not wait.
    pub fn new(room: impl Fn() + Send + Sync + 'static) -> Self {
        let (state, changed) = (Mutex::default(), Condvar::new());
        let (is_rejected, is_closed) = (AtomicBool::new(false), Arc::default());
        Self { state, changed, is_rejected, is_closed, room: Box::new(room) }
    }

    /// One more. Taken in any case; a polite caller asks [`Inbox::has_room`] first.
    pub fn push(&self, answer: Answer) {
        let mut state = self.state();
        match answer {
            Answer::Pack(payload) => {
                state.bytes += payload.len();
                state.packs.push_back(payload);
            }
            Answer::HaveEnd => state.has_ended = true,
            Answer::Failed { path, code } => {
                if path.as_bytes() == state.current {
                    self.is_rejected.store(true, Relaxed);
                }
                let is_path = path.as_bytes().len() <= PATH_LEN_MAX;
                if code == Code::Corrupt && is_path && state.corrupt.len() < CORRUPT_MAX {
                    state.corrupt.push(path);
                }
            }
        }
        self.changed(state);
    }

    /// Whether more may be pushed.
    pub fn has_room(&self) -> bool {
        self.state().bytes < ROOM
    }

    /// Nothing more will come: the transfer is over, or the link is gone.
    pub fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        self.is_closed.store(true, Relaxed);
        self.changed(state);
    }

    /// Set once nothing more will come: for long work that should end then.
    pub(super) fn closed(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_closed)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state().is_closed
    }

    /// Lets the sender look again.
    pub(super) fn wake(&self) {
        let state = self.state();
        self.changed(state);
    }

    /// The next pack.
    pub(super) fn take(&self) -> Option<Vec<u8>> {
        let mut state = self.state();
        let payload = state.packs.pop_front()?;
        let was_full = state.bytes >= ROOM;
        state.bytes -= payload.len();
        let is_full = state.bytes >= ROOM;
        drop(state);
        if was_full && !is_full {
            (self.room)();
        }
        Some(payload)
    }

    /// Whether all digests came, and none is waiting.
    pub(super) fn has_all_digests(&self) -> bool {
        let state = self.state();
        state.has_ended && state.packs.is_empty()
    }

    pub(super) fn take_corrupt(&self) -> Option<ByteString> {
        self.state().corrupt.pop()
    }

    pub(super) fn has_corrupt(&self) -> bool {
        !self.state().corrupt.is_empty()
    }

    /// From now on, the content of `path` is sent.
    pub(super) fn begin(&self, path: &[u8]) {
        let mut state = self.state();
        state.current.clear();
        state.current.extend_from_slice(path);
        self.is_rejected.store(false, Relaxed);
    }

    /// Whether nobody wants more of the file whose content is being sent or hashed.
    pub(super) fn is_rejected(&self) -> bool {
        self.is_rejected.load(Relaxed) || self.is_closed.load(Relaxed)
    }

    /// What to give to [`Inbox::wait`] after having looked.
    pub(super) fn turn(&self) -> u64 {
        self.state().turn
    }

    /// Waits until anything changed since `turn`, at most for `timeout`. False after that.
    pub(super) fn wait(&self, turn: u64, timeout: Duration) -> bool {
        let is_same = |state: &mut State| state.turn == turn && !state.is_closed;
        let waited = self.changed.wait_timeout_while(self.state(), timeout, is_same);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.turn != turn || state.is_closed
    }

    /// Waits for `pause`, unless it is closed before.
    pub(super) fn pause(&self, pause: Duration) {
        let is_open = |state: &mut State| !state.is_closed;
        drop(self.changed.wait_timeout_while(self.state(), pause, is_open));
    }

    fn changed(&self, mut state: MutexGuard<'_, State>) {
        state.turn += 1;
        drop(state);
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes of packs from which on there is no room.
const ROOM: usize = 4 << 20;
/// Files that are remembered to be sent once more.
const CORRUPT_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[test]
    fn whoever_reads_the_link_is_told_when_there_is_room_again() {
        let told = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&told);
        let inbox = Inbox::new(move || {
            count.fetch_add(1, Relaxed);
        });
        for _ in 0..5 {
            inbox.push(Answer::Pack(vec![0; 1 << 20]));
        }
        assert!(!inbox.has_room());
        assert!(inbox.take().is_some());
        assert_eq!((inbox.has_room(), told.load(Relaxed)), (false, 0));
        assert!(inbox.take().is_some());
        assert_eq!((inbox.has_room(), told.load(Relaxed)), (true, 1));
        assert!(inbox.take().is_some());
        assert_eq!(told.load(Relaxed), 1);
    }

    #[test]
    fn only_the_file_that_is_being_sent_is_rejected() {
        let inbox = Inbox::default();
        let failed = |path: &str, code| Answer::Failed { path: path.into(), code };
        inbox.begin(b"a");
        inbox.push(failed("b", Code::NoSpace));
        assert!(!inbox.is_rejected());
        inbox.push(failed("a", Code::Corrupt));
        assert!(inbox.is_rejected());
        inbox.begin(b"b");
        assert!(!inbox.is_rejected());
        assert_eq!((inbox.take_corrupt(), inbox.take_corrupt()), (Some("a".into()), None));
    }

    #[test]
    fn what_no_path_can_be_is_not_kept_to_be_sent_once_more() {
        let inbox = Inbox::default();
        let path = vec![b'x'; PATH_LEN_MAX + 1];
        inbox.push(Answer::Failed { path: path.into(), code: Code::Corrupt });
        assert_eq!(inbox.take_corrupt(), None);
    }

    #[test]
    fn nobody_wants_more_of_a_file_once_the_link_is_gone() {
        let inbox = Inbox::default();
        inbox.begin(b"a");
        assert!(!inbox.is_rejected());
        inbox.close();
        inbox.begin(b"b");
        assert!(inbox.is_rejected());
    }

    #[test]
    fn a_wait_ends_with_whatever_happens() {
        let inbox = Arc::new(Inbox::default());
        let turn = inbox.turn();
        assert!(!inbox.wait(turn, Duration::from_millis(1)));
        let other = Arc::clone(&inbox);
        let thread = std::thread::spawn(move || other.wake());
        assert!(inbox.wait(turn, Duration::from_secs(60)));
        thread.join().unwrap();
        inbox.close();
        assert!(inbox.wait(inbox.turn(), Duration::from_secs(60)) && inbox.is_closed());
    }
}
