//! The receiving end.
use tow_proto::message::{Summary, TransferEvent};
use tow_proto::{Code, Refusal};

use super::Item;

/// Takes what the sender sends. Dropped unfinished, it keeps partial files for a resume.
#[derive(Debug)]
pub struct Receiver {}

/// Whether there is more to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Go on.
    More,
    /// The sender said that this was all: call [`Receiver::finish`].
    Finished,
}

impl Receiver {
    /// The next item. What is to be told to the sender goes to `out`.
    ///
    /// # Errors
    /// The sender broke the protocol: the transfer is over.
    pub fn handle(
        &mut self,
        _item: Item,
        _out: &mut dyn FnMut(TransferEvent),
    ) -> Result<Step, Refusal> {
        Err(Refusal::new(Code::Internal))
    }

    /// Puts everything that is pending in its place and makes it safe. The caller sends the summary
    /// as the last event.
    pub fn finish(self, _out: &mut dyn FnMut(TransferEvent)) -> Summary {
        Summary::default()
    }
}
