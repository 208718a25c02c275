//! This process's stdin, stdout and stderr for a program that runs elsewhere: bytes, on threads of
//! their own, or on a terminal that is opened once more; never a flag changed on descriptors that
//! other processes share.

mod terminal;

use std::future::pending;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use self::terminal::{Keyboard, Screen};

/// How what is typed and shown here reaches us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Through {
    /// Threads, which suits whatever it is.
    Threads,
    /// The terminal itself, opened once more, where that is possible: each key counts.
    Terminal,
}

/// stdin, portion by portion.
pub(crate) struct Source(Reading);

enum Reading {
    /// An empty channel that is closed is the end.
    Thread(mpsc::Receiver<Vec<u8>>),
    Terminal(Keyboard),
}

impl Source {
    /// Starts to read; within a runtime.
    pub(crate) fn new(through: Through) -> Self {
        let keyboard = match through {
            Through::Threads => None,
            Through::Terminal => Keyboard::of(io::stdin()),
        };
        Self(keyboard.map_or_else(|| Reading::Thread(read_stdin()), Reading::Terminal))
    }

    /// The next portion, `None` at the end. May be cancelled.
    pub(crate) async fn next(&mut self) -> Option<Vec<u8>> {
        match &mut self.0 {
            Reading::Thread(portions) => portions.recv().await,
            Reading::Terminal(keyboard) => keyboard.next().await,
        }
    }
}

fn read_stdin() -> mpsc::Receiver<Vec<u8>> {
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
pub(crate) struct Sink(Writing);

enum Writing {
    Thread { shared: Arc<Shared>, thread: std::thread::JoinHandle<io::Result<()>> },
    Terminal(Box<Screen>),
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
    /// A sink for `stream`, which writes to `output` and tells `written`, or [`Self::next`]; within a
    /// runtime.
    pub(crate) fn new<W: Write + AsFd + Send + 'static>(
        stream: u8,
        output: W,
        written: mpsc::Sender<Written>,
        through: Through,
    ) -> Self {
        if through == Through::Terminal
            && let Some(screen) = Screen::of(stream, &output)
        {
            return Self(Writing::Terminal(Box::new(screen)));
        }
        let shared = Arc::new(Shared::default());
        let thread = std::thread::spawn({
            let shared = shared.clone();
            move || write(stream, output, &shared, &written)
        });
        Self(Writing::Thread { shared, thread })
    }

    /// Takes bytes.
    pub(crate) fn push(&mut self, bytes: Vec<u8>, of: Of) {
        let count = match of {
            Of::Stream(count) => count,
            Of::Ours => 0,
        };
        match &mut self.0 {
            Writing::Thread { shared, .. } => {
                shared.lock().add(bytes, count);
                // It finds the lock free.
                shared.changed.notify_one();
            }
            Writing::Terminal(screen) => screen.push(bytes, count),
        }
    }

    /// What was written, where no thread tells that. May be cancelled.
    pub(crate) async fn next(&mut self) -> Written {
        match &mut self.0 {
            Writing::Thread { .. } => pending().await,
            Writing::Terminal(screen) => screen.next().await,
        }
    }

    /// Waits until everything was written.
    ///
    /// # Errors
    /// Something was not, and not because its reader had enough.
    pub(crate) fn finish(self) -> io::Result<()> {
        let written = match self.0 {
            Writing::Thread { shared, thread } => {
                shared.lock().ended = true;
                shared.changed.notify_one();
                thread.join().unwrap_or(Ok(()))
            }
            Writing::Terminal(screen) => screen.finish(),
        };
        written.or_else(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Ok(()),
            _ => Err(error),
        })
    }

    /// Forgets what was not written yet. A write that nobody takes is not waited for.
    pub(crate) fn abandon(self) {
        let Writing::Thread { shared, .. } = self.0 else { return };
        *shared.lock() = State { ended: true, ..State::default() };
        shared.changed.notify_one();
    }
}

impl State {
    fn add(&mut self, bytes: Vec<u8>, count: u64) {
        self.count += count;
        if self.bytes.is_empty() {
            self.bytes = bytes;
        } else {
            self.bytes.extend_from_slice(&bytes);
        }
    }

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
        let mut sink = Sink::new(1, writer, told, Through::Threads);
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
        let mut sink = Sink::new(1, writer, told, Through::Threads);
        sink.push(vec![0; 1 << 20], Of::Stream(1 << 20));
        sink.abandon();
        drop(reader);
        // Its end is the end of the thread, whether it had begun to write or not.
        while let Some(told) = written.blocking_recv() {
            assert!(matches!(told, Written::Gone(1) | Written::Bytes(1, _)), "{told:?}");
        }
    }
}
