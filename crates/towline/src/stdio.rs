//! This process's stdin, stdout and stderr for a program that runs elsewhere: bytes, on threads of
//! their own, never a flag changed on descriptors that other processes share.

use std::io::{self, Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

/// stdin, portion by portion; an empty channel that is closed is its end.
pub(crate) fn read_stdin() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut buffer = vec![0; READ_LEN];
        let mut stdin = io::stdin().lock();
        loop {
            match stdin.read(&mut buffer) {
                Ok(0) => return,
                Ok(len) => {
                    if sender.blocking_send(buffer[..len].to_vec()).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A stdin that was closed, or can't be read, has nothing for the program.
                Err(_) => return,
            }
        }
    });
    receiver
}

/// What a [`Sink`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// So many bytes of a stream reached their reader.
    Bytes(u8, u64),
    /// The reader of a stream is gone.
    Gone(u8),
}

/// Bytes on their way to stdout or stderr. Takes without waiting; the credit that the other side was
/// given bounds what it holds.
pub(crate) struct Sink {
    shared: Arc<Shared>,
    thread: std::thread::JoinHandle<io::Result<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    ended: bool,
}

impl Sink {
    /// A sink for `stream`, which writes to `output` and tells `written`.
    pub(crate) fn new<W: Write + Send + 'static>(
        stream: u8,
        output: W,
        written: mpsc::Sender<Written>,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let thread = std::thread::spawn({
            let shared = shared.clone();
            move || write(stream, output, &shared, &written)
        });
        Self { shared, thread }
    }

    /// Takes bytes.
    pub(crate) fn push(&self, bytes: Vec<u8>) {
        let mut state = self.shared.lock();
        if state.bytes.is_empty() {
            state.bytes = bytes;
        } else {
            state.bytes.extend_from_slice(&bytes);
        }
        self.shared.changed.notify_one();
    }

    /// Waits until everything was written.
    ///
    /// # Errors
    /// Something was not, and not because its reader had enough.
    pub(crate) fn finish(self) -> io::Result<()> {
        self.shared.lock().ended = true;
        self.shared.changed.notify_one();
        match self.thread.join() {
            Ok(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Neither side panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write(
    stream: u8,
    mut output: impl Write,
    shared: &Shared,
    written: &mpsc::Sender<Written>,
) -> io::Result<()> {
    let mut result = Ok(());
    loop {
        let mut state = shared.lock();
        while state.bytes.is_empty() && !state.ended {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.bytes.is_empty() {
            return result;
        }
        let bytes = std::mem::take(&mut state.bytes);
        drop(state);
        if result.is_ok() {
            result = output.write_all(&bytes).and_then(|()| output.flush());
            if result.is_err() {
                let _ = written.blocking_send(Written::Gone(stream));
            }
        }
        let _ = written.blocking_send(Written::Bytes(stream, bytes.len() as u64));
    }
}

const READ_LEN: usize = 64 << 10;
