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

/// Whose bytes they are that a [`Sink`] takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    /// So many bytes of a stream, perhaps in another encoding now: told once they are written.
    Stream(u64),
    /// Ours: nobody waits to hear of them.
    Ours,
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
    /// Bytes of the stream that these are.
    count: u64,
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
    pub(crate) fn push(&self, bytes: Vec<u8>, of: Of) {
        let mut state = self.shared.lock();
        if let Of::Stream(count) = of {
            state.count += count;
        }
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

    /// Forgets what was not written yet. A write that nobody takes is not waited for.
    pub(crate) fn abandon(self) {
        let mut state = self.shared.lock();
        state.bytes.clear();
        state.count = 0;
        state.ended = true;
        self.shared.changed.notify_one();
    }
}

impl State {
    /// Half a character may be all that has come: it counts, although there is nothing to write.
    fn is_idle(&self) -> bool {
        self.bytes.is_empty() && self.count == 0 && !self.ended
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
        while state.is_idle() {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.bytes.is_empty() && state.count == 0 {
            return result;
        }
        let bytes = std::mem::take(&mut state.bytes);
        let count = std::mem::take(&mut state.count);
        drop(state);
        if result.is_ok() {
            result = output.write_all(&bytes).and_then(|()| output.flush());
            if result.is_err() {
                let _ = written.blocking_send(Written::Gone(stream));
            }
        }
        if count > 0 {
            let _ = written.blocking_send(Written::Bytes(stream, count));
        }
    }
}

const READ_LEN: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_told_in_bytes_of_the_stream() {
        let (told, mut written) = mpsc::channel(8);
        let (reader, writer) = io::pipe().unwrap();
        let sink = Sink::new(1, writer, told);
        // "你" in another encoding, its second half, and a line of our own.
        sink.push(Vec::new(), Of::Stream(1));
        assert_eq!(written.blocking_recv(), Some(Written::Bytes(1, 1)));
        sink.push("你".into(), Of::Stream(1));
        sink.push(b" ours".to_vec(), Of::Ours);
        sink.finish().unwrap();
        assert_eq!(written.blocking_recv(), Some(Written::Bytes(1, 1)));
        assert_eq!(written.blocking_recv(), None);
        assert_eq!(io::read_to_string(reader).unwrap(), "你 ours");
    }

    #[test]
    fn a_reader_that_takes_nothing_is_not_waited_for() {
        let (told, mut written) = mpsc::channel(8);
        let (reader, writer) = io::pipe().unwrap();
        let sink = Sink::new(1, writer, told);
        sink.push(vec![0; 1 << 20], Of::Stream(1 << 20));
        sink.abandon();
        drop(reader);
        // Its end is the end of the thread, whether it had begun to write or not.
        while let Some(told) = written.blocking_recv() {
            assert!(matches!(told, Written::Gone(1) | Written::Bytes(1, _)), "{told:?}");
        }
    }
}
