//! The sender's end of a link.

use std::ops::ControlFlow;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};
use tokio::task::spawn_blocking;
use tow_host::files::Source;
use tow_host::files::item::Item;
use tow_host::files::send::{Answer, Inbox};
use tow_net::{Link, Reading};
use tow_proto::message::Summary;
use tow_proto::transfer::Event;

use super::{ITEMS_WAITING_MAX, Outcome, Run, TransferError, item, join, send_item};

/// Sends `source` over `link`.
///
/// # Errors
/// See [`TransferError`].
pub async fn send(link: &mut Link, source: Source, run: Run) -> Result<Outcome, TransferError> {
    let outgoing =
        source.open(run.options, run.progress, run.watch).map_err(TransferError::Here)?;
    let room = Arc::new(Notify::new());
    let inbox = Arc::new(Inbox::new({
        let room = Arc::clone(&room);
        move || room.notify_one()
    }));
    let (items, mut queue) = mpsc::channel(ITEMS_WAITING_MAX);
    // A task that is dropped leaves no thread behind that waits for answers.
    let _closes = Closes(Arc::clone(&inbox));
    let mut reader = spawn_blocking({
        let inbox = Arc::clone(&inbox);
        let runtime = Handle::current();
        move || {
            let mut out = |item| give(item, &items, &runtime);
            outgoing.send(&inbox, &mut out).map(drop)
        }
    });
    let mut outcome = Outcome::default();
    let (mut is_full, mut has_sent) = (false, false);
    let result = loop {
        tokio::select! {
            event = link.next_event() => {
                match event.map_err(Into::into).and_then(item).and_then(|item| hear(item, &inbox, &mut outcome)) {
                    Ok(None) => {}
                    Ok(Some(summary)) => break Ok(summary),
                    Err(error) => break Err(error),
                }
                if !inbox.has_room() {
                    is_full = true;
                    link.set_reading(Reading::Off);
                }
            }
            () = room.notified(), if is_full => {
                is_full = false;
                link.set_reading(Reading::On);
            }
            item = queue.recv(), if !has_sent && link.has_room() => match item {
                Some(item) => {
                    if let Item::Event(Event::Failed(failure)) = &item {
                        outcome.add(failure.clone());
                    }
                    send_item(link, item);
                }
                // Either that was all, or our own end has given up.
                None => {
                    has_sent = true;
                    match join(&mut reader).await {
                        Ok(Ok(())) => {}
                        Ok(Err(refusal)) => break Err(TransferError::Here(refusal)),
                        Err(error) => break Err(error),
                    }
                }
            },
        }
    };
    link.set_reading(Reading::On);
    drop(queue);
    inbox.close();
    if !has_sent {
        // What our own end has to say explains a link that ended, not the other way round.
        join(&mut reader).await?.map_err(TransferError::Here)?;
    }
    outcome.summary = result?;
    Ok(outcome)
}

/// Queues an item. Where the queue is full, not for the first room there is: each wait costs two
/// threads a wake-up.
fn give(item: Item, items: &mpsc::Sender<Item>, runtime: &Handle) -> ControlFlow<()> {
    match items.try_send(item) {
        Ok(()) => ControlFlow::Continue(()),
        Err(TrySendError::Closed(_)) => ControlFlow::Break(()),
        Err(TrySendError::Full(item)) => {
            let permits = runtime.block_on(items.reserve_many(ITEMS_WAITING_MAX / 2));
            let Some(permit) = permits.ok().and_then(|mut permits| permits.next()) else {
                return ControlFlow::Break(());
            };
            permit.send(item);
            ControlFlow::Continue(())
        }
    }
}

/// Closes an inbox when it is dropped.
struct Closes(Arc<Inbox>);

impl Drop for Closes {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// What the receiver says; its last word ends the transfer.
fn hear(
    item: Option<Item>,
    inbox: &Inbox,
    outcome: &mut Outcome,
) -> Result<Option<Summary>, TransferError> {
    match item {
        None => {}
        Some(Item::Pack(payload)) => inbox.push(Answer::Pack(payload)),
        Some(Item::Event(Event::HaveEnd)) => inbox.push(Answer::HaveEnd),
        Some(Item::Event(Event::Failed(failure))) => {
            inbox.push(Answer::Failed { path: failure.path.clone(), code: failure.why.code });
            outcome.add(failure);
        }
        Some(Item::Event(Event::Stored(summary))) => return Ok(Some(summary)),
        Some(Item::Event(_)) => {}
        Some(_) => return Err(TransferError::Protocol { what: "content from the receiver" }),
    }
    Ok(None)
}
