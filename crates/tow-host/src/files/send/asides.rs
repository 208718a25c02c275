//! Files that are set aside until the receiver has said what it has of them.

use std::collections::VecDeque;

use tow_proto::transfer::{
    BLOCKS_MAX, Event, How, PIECES_MAX, PieceHash, Record, Signature, block_len, piece_len,
};

use super::large::Way;
use super::outlet::Stop;
use super::{Sender, Until};
use crate::files::item::Change;

/// What is to be known of a file before it is sent.
pub(super) enum Wanted {
    Pieces {
        /// How many bytes the partial file has.
        len: u64,
        hashes: Vec<PieceHash>,
    },
    Blocks {
        old_size: u64,
        /// Length of a block in bytes.
        len: u32,
        seed: u64,
        signatures: Vec<Signature>,
    },
}

impl Wanted {
    pub(super) fn pieces(len: u64) -> Self {
        Self::Pieces { len, hashes: Vec::new() }
    }

    pub(super) fn blocks(old_size: u64, seed: u64) -> Self {
        Self::Blocks { old_size, len: block_len(old_size), seed, signatures: Vec::new() }
    }

    pub(super) fn how(&self) -> How {
        match self {
            Self::Pieces { len, .. } => How::Resume { len: *len },
            Self::Blocks { signatures, .. } if signatures.is_empty() => How::Whole,
            Self::Blocks { len, .. } => How::Blocks { len: u64::from(*len) },
        }
    }

    /// Most hashes or signatures of the answer.
    fn count(&self) -> usize {
        let count = match self {
            Self::Pieces { len, .. } => len.div_ceil(piece_len(*len)).min(PIECES_MAX),
            Self::Blocks { old_size, len, .. } => old_size / u64::from(*len),
        };
        usize::try_from(count).unwrap_or(BLOCKS_MAX).min(BLOCKS_MAX)
    }

    fn event(&self, path: &[u8]) -> Event {
        let path = path.into();
        match self {
            Self::Pieces { .. } => Event::Pieces { path },
            Self::Blocks { len, seed, .. } => Event::Blocks { path, len: *len, seed: *seed },
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    Asked,
    Answered,
}

struct Aside {
    path: Vec<u8>,
    change: Change,
    wanted: Wanted,
    stage: Stage,
}

/// The files that are set aside, in the order in which they were.
#[derive(Default)]
pub(super) struct Asides {
    queue: VecDeque<Aside>,
    /// The one that is being sent while its answer may still come.
    current: Option<Aside>,
}

impl Asides {
    /// Those whose answers are on their way, or here and not used yet.
    fn open(&self) -> impl Iterator<Item = &Aside> {
        let all = self.queue.iter().chain(&self.current);
        all.filter(|aside| aside.stage != Stage::Waiting)
    }

    /// The next one that the receiver is to be asked about, unless the answers would take up too much.
    fn next_to_ask(&mut self) -> Option<&mut Aside> {
        let (mut open, mut cost) = (0, 0);
        for aside in self.open() {
            open += 1;
            cost += aside.wanted.count();
        }
        let next = self.queue.iter_mut().find(|aside| aside.stage == Stage::Waiting)?;
        let is_cheap = open < CHEAP_MAX && cost + next.wanted.count() < COST_MAX;
        (open < ASKED_MAX || is_cheap).then_some(next)
    }

    /// The one whose answer a record with this path belongs to. Answers that come too late to be of
    /// use belong to none.
    fn find(&mut self, path: &[u8], is_pieces: bool) -> Option<&mut Aside> {
        let mut all = self.current.iter_mut().chain(&mut self.queue);
        all.find(|aside| {
            aside.stage == Stage::Asked
                && aside.path == path
                && matches!(aside.wanted, Wanted::Pieces { .. }) == is_pieces
        })
    }

    /// Takes an answer. False where it is none.
    pub(super) fn answer(&mut self, record: Record<'_>) -> bool {
        match record {
            Record::Pieces { path, first, hashes: more } => {
                let Some(aside) = self.find(path, true) else { return true };
                let count = aside.wanted.count();
                let Wanted::Pieces { hashes, .. } = &mut aside.wanted else { return true };
                let is_next = first == hashes.len() as u64;
                if !more.is_empty() && (!is_next || more.len() > count - hashes.len()) {
                    return false;
                }
                if more.is_empty() || hashes.len() + more.len() == count {
                    aside.stage = Stage::Answered;
                }
                hashes.extend(more);
            }
            Record::Blocks { path, more, signatures: later } => {
                let Some(aside) = self.find(path, false) else { return true };
                let count = aside.wanted.count();
                let Wanted::Blocks { signatures, .. } = &mut aside.wanted else { return true };
                // The file may have become longer since it was listed: what is too much is of no
                // use, but no lie.
                later.iter().take(count - signatures.len()).for_each(|one| signatures.push(*one));
                if !more {
                    aside.stage = Stage::Answered;
                }
            }
            _ => return false,
        }
        true
    }
}

impl Sender<'_> {
    /// Sets a file aside. Where there are too many, some are sent first.
    pub(super) fn set_aside(
        &mut self,
        path: Vec<u8>,
        change: Change,
        wanted: Wanted,
    ) -> Result<(), Stop> {
        while self.asides.queue.len() >= ASIDES_MAX {
            let turn = self.inbox.turn();
            // Behind whatever listings they are: nothing is used of those before this.
            self.take_answers(Until::Empty)?;
            if !self.send_aside()? {
                self.idle(turn)?;
            }
        }
        self.asides.queue.push_back(Aside { path, change, wanted, stage: Stage::Waiting });
        self.ask_for_asides()
    }

    /// Asks, as far as not too much is asked already.
    fn ask_for_asides(&mut self) -> Result<(), Stop> {
        while let Some(next) = self.asides.next_to_ask() {
            next.stage = Stage::Asked;
            let event = next.wanted.event(&next.path);
            self.out.event(event)?;
        }
        Ok(())
    }

    /// Sends one of which enough is known. False where there is none.
    pub(super) fn send_aside(&mut self) -> Result<bool, Stop> {
        let is_answered = |aside: &Aside| aside.stage == Stage::Answered;
        let Some(at) = self.asides.queue.iter().position(is_answered) else { return Ok(false) };
        self.send_aside_at(at)?;
        Ok(true)
    }

    /// Sends one of which something can be sent without an answer: there is nothing else to do.
    pub(super) fn hurry_aside(&mut self) -> Result<bool, Stop> {
        let is_partial = |aside: &Aside| matches!(aside.wanted, Wanted::Pieces { .. });
        let Some(at) = self.asides.queue.iter().position(is_partial) else { return Ok(false) };
        self.send_aside_at(at)?;
        Ok(true)
    }

    pub(super) fn has_asides(&self) -> bool {
        !self.asides.queue.is_empty()
    }

    fn send_aside_at(&mut self, at: usize) -> Result<(), Stop> {
        let Some(mut aside) = self.asides.queue.remove(at) else { return Ok(()) };
        let (path, change) = (aside.path.clone(), aside.change);
        let way = match aside.wanted {
            Wanted::Pieces { len, .. } => Way::Resume(len),
            Wanted::Blocks { .. } => {
                let spent = Wanted::pieces(0);
                Way::Blocks(std::mem::replace(&mut aside.wanted, spent))
            }
        };
        self.asides.current = Some(aside);
        self.ask_for_asides()?;
        self.large(&path, change, way)?;
        self.asides.current = None;
        Ok(())
    }

    /// The hashes of the pieces of the partial file that is being completed: at least the first
    /// `count`, if the receiver has them.
    pub(super) fn pieces_of(&mut self, path: &[u8], count: u64) -> Result<Vec<PieceHash>, Stop> {
        loop {
            let turn = self.inbox.turn();
            self.take_answers(Until::Empty)?;
            let Some(aside) = self.asides.current.as_mut().filter(|aside| aside.path == path)
            else {
                return Ok(Vec::new());
            };
            let Wanted::Pieces { hashes, .. } = &mut aside.wanted else { return Ok(Vec::new()) };
            if aside.stage == Stage::Answered || hashes.len() as u64 >= count {
                return Ok(std::mem::take(hashes));
            }
            // Not asked yet only where the questions before it wait for their answers too.
            if aside.stage == Stage::Waiting {
                aside.stage = Stage::Asked;
                let event = aside.wanted.event(path);
                self.out.event(event)?;
                continue;
            }
            self.idle(turn)?;
        }
    }
}

/// Files that may be set aside.
const ASIDES_MAX: usize = 1_000;
/// Questions about files that may be open or answered, whatever their answers take up…
const ASKED_MAX: usize = 4;
/// …and more of them while the answers are short:
const CHEAP_MAX: usize = 64;
/// so many hashes and signatures altogether.
const COST_MAX: usize = 1 << 17;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_were_not_used_yet_keep_others_from_being_asked_for() {
        let mut asides = Asides::default();
        for number in 0..20 {
            let path = vec![b'a' + number];
            let wanted = Wanted::blocks(u64::MAX, 1);
            let (change, stage) = (Change::Content, Stage::Waiting);
            asides.queue.push_back(Aside { path, change, wanted, stage });
        }
        let ask = |asides: &mut Asides| {
            let mut asked = 0;
            while let Some(next) = asides.next_to_ask() {
                next.stage = Stage::Asked;
                asked += 1;
            }
            asked
        };
        assert_eq!(ask(&mut asides), ASKED_MAX);
        asides.queue.iter_mut().take(ASKED_MAX).for_each(|aside| aside.stage = Stage::Answered);
        assert_eq!(ask(&mut asides), 0);
        asides.queue.pop_front();
        assert_eq!(ask(&mut asides), 1);
    }
}
