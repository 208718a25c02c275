//! A copy from one place of this machine to another: both ends in one process, without a link.

use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver as Queue, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

use tokio::task::spawn_blocking;
use tow_host::files::Source;
use tow_host::files::item::Item;
use tow_host::files::receive::{Answerer, Destination, Receiver, Step, Stop};
use tow_host::files::send::{Answer, Inbox, Outgoing};
use tow_proto::frame::PREFIX_LEN;
use tow_proto::message::Summary;
use tow_proto::transfer::{Event, Question};
use tow_proto::{ByteString, Code, Refusal};

use super::{ITEMS_WAITING_MAX, Outcome, QUESTIONS_WAITING_MAX, Run, TransferError, join};
use crate::ask::byte_path;
use crate::ask::get::{local_root, permits};

/// Copies `from` to `to`, both on this machine. Gives the outcome and where it landed. Where nobody
/// waits for it any more it ends soon, with what is complete in its place.
///
/// # Errors
/// See [`TransferError`].
pub async fn local(
    from: &Path,
    to: &Path,
    run: Run,
) -> Result<(Outcome, ByteString), TransferError> {
    let (from, to) = (byte_path(from), byte_path(to));
    let stops = Stops::default();
    let (inbox, stop) = (Arc::clone(&stops.inbox), Arc::clone(&stops.stop));
    let copy = spawn_blocking(move || {
        let Run { options, progress, watch } = run;
        let root = local_root()?;
        let source = Source::offer(&root, &from, HERE)?;
        check_apart(&from, &to)?;
        let (kind, name) = (source.kind(), source.name().clone());
        let destination =
            Destination::prepare(&root, &to, kind, &name, source.source(), HERE, &options)?
                .permit(permits(&options));
        let path = destination.path().clone();
        // Only one of the two tells.
        let outgoing = source.open(options, progress, Arc::new(()))?;
        let ends = destination.open(Arc::default(), watch);
        let _ = stop.set(ends.0.stopper());
        copy(outgoing, ends, &inbox).map(|outcome| (outcome, path))
    });
    join(copy).await?.map_err(TransferError::Here)
}

/// Ends the copy when it is dropped.
#[derive(Default)]
struct Stops {
    inbox: Arc<Inbox>,
    stop: Arc<OnceLock<Stop>>,
}

impl Drop for Stops {
    fn drop(&mut self) {
        // Where it has not begun, the sender sends nothing.
        self.inbox.close();
        if let Some(stop) = self.stop.get() {
            stop.stop();
        }
    }
}

/// Refuses to copy a place into itself, for ever, or over itself.
fn check_apart(from: &ByteString, to: &ByteString) -> Result<(), Refusal> {
    let [from, place] = [from, to].map(|path| real(Path::new(OsStr::from_bytes(path.as_bytes()))));
    if from.starts_with(&place) || place.starts_with(&from) {
        return Err(Refusal::about(Code::IntoItself, to.clone()));
    }
    Ok(())
}

/// The real path of a place, as far as it exists.
fn real(path: &Path) -> PathBuf {
    match (path.canonicalize(), path.parent(), path.file_name()) {
        (Ok(real), ..) => real,
        (_, Some(parent), Some(name)) => {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            real(parent).join(name)
        }
        _ => path.to_owned(),
    }
}

/// Runs both ends until the receiver has said its last word.
fn copy(
    outgoing: Outgoing,
    (receiver, answerer): (Receiver, Answerer),
    inbox: &Inbox,
) -> Result<Outcome, Refusal> {
    let outcome = Mutex::new(Outcome::default());
    let (items, queue) = sync_channel(ITEMS_WAITING_MAX);
    let (questions, asked) = sync_channel(QUESTIONS_WAITING_MAX);
    let (sent, written) = thread::scope(|scope| {
        let outcome = &outcome;
        scope.spawn(move || answer(answerer, &asked, inbox));
        let sender = scope.spawn(move || {
            outgoing.send(inbox, &mut |item| pass(item, &items, &questions, outcome))
        });
        let written = write(receiver, queue, inbox, outcome);
        inbox.close();
        (sender.join().unwrap_or_else(|_| Err(Code::Internal.into())), written)
    });
    let _ = sent?;
    let summary = written?;
    let mut outcome = outcome.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcome.summary = summary;
    Ok(outcome)
}

/// What the sender gives goes to the one who writes, or to the one who answers.
fn pass(
    item: Item,
    items: &SyncSender<Item>,
    questions: &SyncSender<Question>,
    outcome: &Mutex<Outcome>,
) -> ControlFlow<()> {
    let item = match item {
        Item::Event(event) => {
            if let Some(question) = event.question() {
                return flow(questions.send(question).is_ok());
            }
            add_failure(&event, outcome);
            Item::Event(event)
        }
        Item::Pack(buffer) => Item::Pack(without_room(buffer)),
        Item::DataZstd(buffer) => Item::DataZstd(without_room(buffer)),
        other @ (Item::Data(_) | Item::End(_)) => other,
    };
    flow(items.send(item).is_ok())
}

fn without_room(mut buffer: Vec<u8>) -> Vec<u8> {
    buffer.drain(..PREFIX_LEN.min(buffer.len()));
    buffer
}

fn flow(goes_on: bool) -> ControlFlow<()> {
    if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

fn add_failure(event: &Event, outcome: &Mutex<Outcome>) {
    if let Event::Failed(failure) = event {
        outcome.lock().unwrap_or_else(PoisonError::into_inner).add(failure.clone());
    }
}

fn write(
    mut receiver: Receiver,
    queue: Queue<Item>,
    inbox: &Inbox,
    outcome: &Mutex<Outcome>,
) -> Result<Summary, Refusal> {
    let mut say = |event| {
        add_failure(&event, outcome);
        if let Event::Failed(failure) = event {
            inbox.push(Answer::Failed { path: failure.path, code: failure.why.code });
        }
    };
    for item in queue {
        if receiver.handle(item, &mut say)? == Step::Finished {
            return Ok(receiver.finish(&mut say));
        }
    }
    Err(Code::Io.into())
}

fn answer(mut answerer: Answerer, asked: &Queue<Question>, inbox: &Inbox) {
    // A sender asks for no more at a time than it has room for.
    let mut emit = |item| {
        match item {
            Item::Pack(buffer) => inbox.push(Answer::Pack(without_room(buffer))),
            Item::Event(Event::HaveEnd) => inbox.push(Answer::HaveEnd),
            _ => {}
        }
        ControlFlow::Continue(())
    };
    let mut flow = answerer.have(&mut emit);
    while flow.is_continue()
        && let Ok(question) = asked.recv()
    {
        flow = answerer.answer(question, &mut emit);
    }
}

/// What this machine is called where no other is involved.
const HERE: &str = "local";
