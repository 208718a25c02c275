//! The receiver's end of a link.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::task::spawn_blocking;
use tow_host::files::item::Item;
use tow_host::files::receive::{Answerer, Destination, Receiver, Step, Stop};
use tow_net::{Link, Reading};
use tow_proto::message::Summary;
use tow_proto::transfer::{Event, Question};
use tow_proto::{Code, Refusal};

use super::{
    ANSWERS_WAITING_MAX, EVENTS_WAITING_MAX, ITEMS_WAITING_MAX, Outcome, QUESTIONS_WAITING_MAX,
    Run, TransferError, item, join, send_item,
};

/// Receives into `destination`.
///
/// # Errors
/// See [`TransferError`]. What has arrived is kept for the next time.
pub async fn receive(
    link: &mut Link,
    destination: Destination,
    run: Run,
) -> Result<Outcome, TransferError> {
    let (receiver, answerer) = destination.open(run.progress, run.watch);
    // A task that is dropped leaves no thread behind that hashes for nobody.
    let mut stops = Stops(Some(receiver.stopper()));
    let (items, queue) = mpsc::channel(ITEMS_WAITING_MAX);
    let (events, mut said) = mpsc::channel(EVENTS_WAITING_MAX);
    let (questions, asked) = questions();
    let (answers, mut answered) = mpsc::channel(ANSWERS_WAITING_MAX);
    let writer = spawn_blocking(move || write(receiver, queue, &events));
    let teller = spawn_blocking(move || answer(answerer, asked, &answers));
    let mut outcome = Outcome::default();
    let mut pending = None;
    let result = loop {
        tokio::select! {
            event = link.next_event() => match event.map_err(Into::into).and_then(item) {
                Ok(None) => {}
                Ok(Some(item)) => match sort(item, &questions, &mut outcome) {
                    Ok(None) => {}
                    // Where the writer has ended, the end of its answers says how.
                    Ok(Some(item)) => if let Err(TrySendError::Full(item)) = items.try_send(item) {
                        pending = Some(item);
                        link.set_reading(Reading::Off);
                    }
                    Err(error) => break Err(error),
                },
                Err(error) => break Err(error),
            },
            // Not for the first room there is: each wait costs two threads a wake-up.
            permits = items.reserve_many(ITEMS_WAITING_MAX / 2), if pending.is_some() => {
                if let (Ok(mut permits), Some(item)) = (permits, pending.take())
                    && let Some(permit) = permits.next()
                {
                    permit.send(item);
                }
                link.set_reading(Reading::On);
            }
            Some(item) = answered.recv(), if link.has_room() => send_item(link, item),
            // Whether there is room or not: as long as the writer waits for that, nothing is read, and a
            // sender that waits for the same takes no answers. Failures are bounded altogether.
            event = said.recv() => match event {
                Some(event) => {
                    if let Event::Failed(failure) = &event {
                        outcome.add(failure.clone());
                    }
                    link.send_head(&event);
                }
                None => break Ok(()),
            },
        }
    };
    link.set_reading(Reading::On);
    if result.is_ok() {
        stops.0 = None;
    } else {
        stops.stop();
    }
    drop((items, said, questions, answered));
    join(teller).await?;
    let written = join(writer).await?;
    result?;
    outcome.summary = written.map_err(TransferError::Here)?;
    link.send_head(&Event::Stored(outcome.summary));
    Ok(outcome)
}

/// Stops long work when it is dropped.
struct Stops(Option<Stop>);

impl Stops {
    fn stop(&mut self) {
        if let Some(stop) = self.0.take() {
            stop.stop();
        }
    }
}

impl Drop for Stops {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Gives questions to the one who answers, and the rest back for the one who writes.
fn sort(
    item: Item,
    questions: &Questions,
    outcome: &mut Outcome,
) -> Result<Option<Item>, TransferError> {
    let Item::Event(event) = item else { return Ok(Some(item)) };
    if let Event::Failed(failure) = &event {
        outcome.add(failure.clone());
    }
    let Some(question) = event.question() else { return Ok(Some(Item::Event(event))) };
    let refuse = |code| Err(TransferError::Here(Refusal::new(code)));
    if let Err(code) = question.check() {
        return refuse(code);
    }
    if questions.ask(question) { Ok(None) } else { refuse(Code::TooLong) }
}

/// The way to the one who answers: so many questions at a time, with so many bytes of paths.
struct Questions {
    queue: mpsc::Sender<Question>,
    len: Arc<AtomicUsize>,
}

/// Its other end.
struct Asked {
    queue: mpsc::Receiver<Question>,
    len: Arc<AtomicUsize>,
}

fn questions() -> (Questions, Asked) {
    let (sender, receiver) = mpsc::channel(QUESTIONS_WAITING_MAX);
    let len = Arc::new(AtomicUsize::new(0));
    (Questions { queue: sender, len: Arc::clone(&len) }, Asked { queue: receiver, len })
}

impl Questions {
    /// False where there are too many.
    fn ask(&self, question: Question) -> bool {
        let len = len_of(&question);
        let before = self.len.fetch_add(len, Relaxed);
        let is_room = before == 0 || before.saturating_add(len) <= QUESTIONS_LEN_MAX;
        is_room && !matches!(self.queue.try_send(question), Err(TrySendError::Full(_)))
    }
}

impl Asked {
    /// The next one, once it has come.
    fn next(&mut self) -> Option<Question> {
        let question = self.queue.blocking_recv()?;
        self.len.fetch_sub(len_of(&question), Relaxed);
        Some(question)
    }
}

fn len_of(question: &Question) -> usize {
    match question {
        Question::List(paths) => paths.iter().map(|path| path.as_bytes().len()).sum(),
        Question::Pieces(path) | Question::Blocks { path, .. } => path.as_bytes().len(),
    }
}

/// The writer's thread: until the sender has finished, or the link is gone.
fn write(
    mut receiver: Receiver,
    mut queue: mpsc::Receiver<Item>,
    events: &mpsc::Sender<Event>,
) -> Result<Summary, Refusal> {
    // What can't be sent any more has no reader.
    let mut say = |event| drop(events.blocking_send(event));
    while let Some(item) = queue.blocking_recv() {
        if receiver.handle(item, &mut say)? == Step::Finished {
            return Ok(receiver.finish(&mut say));
        }
    }
    Err(Code::Io.into())
}

/// The answering thread: says what is there, then answers until nobody asks any more.
fn answer(mut answerer: Answerer, mut asked: Asked, answers: &mpsc::Sender<Item>) {
    let mut emit = |item| match answers.blocking_send(item) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    };
    let mut flow = answerer.have(&mut emit);
    while flow.is_continue()
        && let Some(question) = asked.next()
    {
        flow = answerer.answer(question, &mut emit);
    }
}

/// Bytes of the paths of questions that are not answered yet: of all that an honest sender asks at a
/// time.
const QUESTIONS_LEN_MAX: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_that_are_not_answered_are_bounded_by_their_length_too() {
        let (questions, mut asked) = questions();
        let question = || Question::List(vec![vec![b'x'; 4_096].into(); 200]);
        let held =
            std::iter::repeat_with(|| questions.ask(question())).take_while(|is| *is).count();
        assert_eq!(held, QUESTIONS_LEN_MAX / (200 * 4_096));
        let (questions, mut again) = super::questions();
        for _ in 0..100 {
            assert!(questions.ask(question()));
            assert_eq!(again.next(), Some(question()));
        }
        assert!(asked.next().is_some());
    }
}
