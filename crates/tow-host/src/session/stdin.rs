//! Bytes on their way to the program. They are numbered by whoever typed them, so that a writer that
//! lost its link goes on exactly where it was, and never more than a window of each is under way.

use std::collections::VecDeque;

use tow_proto::content::Tally;
use tow_proto::message::{End, STDIN, StdinState};
use tow_proto::refusal::{Code, Refusal};

/// What viewers have typed and the program has not read.
pub(super) struct StdinQueue {
    /// Not yet handed to the keeper.
    bytes: VecDeque<u8>,
    /// Whose bytes are in the queue or on their way into the pipe, in that order.
    under_way: VecDeque<(WriterNumber, usize)>,
    /// How many of them nobody typed.
    own_under_way: usize,
    /// The newest last.
    writers: Vec<Writer>,
    writers_ever: u64,
    window: u64,
    /// No more will come.
    pub(super) is_ended: bool,
    /// No more is of use.
    is_closed: bool,
    /// There is something that viewers may write to.
    pub(super) is_open_at_start: bool,
}

type WriterNumber = u64;

/// The one hold on a writer that may type. A later one of the same writer makes it void: what still
/// arrives from a lost link is sent again on the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pen {
    writer: WriterNumber,
    generation: u64,
}

/// Whether a writer has said something before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    First,
    Again,
}

/// Somebody who types, over all of its links.
struct Writer {
    number: WriterNumber,
    name: String,
    generation: u64,
    /// How many bytes have come.
    received: u64,
    /// How many of them the program's end has taken.
    written: u64,
    tally: Box<Tally>,
    is_here: bool,
    /// It has said all.
    has_ended: bool,
}

impl StdinQueue {
    /// An empty queue; `window` 0 where the program has no stdin to write to.
    pub(super) fn new(window: usize) -> Self {
        let is_open = window > 0;
        Self {
            bytes: VecDeque::new(),
            under_way: VecDeque::new(),
            own_under_way: 0,
            writers: Vec::new(),
            writers_ever: 0,
            window: window as u64,
            is_ended: !is_open,
            is_closed: !is_open,
            is_open_at_start: is_open,
        }
    }

    /// A writer comes, or comes back.
    ///
    /// # Errors
    /// `Busy` where too many writers are here, or gone with bytes under way.
    pub(super) fn enter(&mut self, name: &str) -> Result<Pen, Refusal> {
        if let Some(writer) = self.writers.iter_mut().find(|writer| writer.name == name) {
            writer.generation += 1;
            writer.is_here = true;
            return Ok(Pen { writer: writer.number, generation: writer.generation });
        }
        if self.writers.len() >= WRITERS_MAX {
            // Else each new name would be another window.
            let is_done = |writer: &Writer| !writer.is_here && writer.written >= writer.received;
            let oldest = self.writers.iter().position(is_done);
            self.writers.remove(oldest.ok_or(Code::Busy)?);
        }
        self.writers_ever += 1;
        self.writers.push(Writer {
            number: self.writers_ever,
            name: name.to_owned(),
            generation: 0,
            received: 0,
            written: 0,
            tally: Box::default(),
            is_here: true,
            has_ended: false,
        });
        Ok(Pen { writer: self.writers_ever, generation: 0 })
    }

    /// A writer goes; it may come back.
    pub(super) fn leave(&mut self, pen: Pen) {
        if let Ok(writer) = self.writer(pen) {
            writer.is_here = false;
        }
    }

    /// How far a writer has come.
    pub(super) fn state(&mut self, pen: Pen) -> StdinState {
        let window = self.window;
        self.writer(pen).map_or(StdinState::default(), |writer| StdinState {
            from: writer.received,
            to: writer.written + window,
            window,
        })
    }

    /// Takes bytes from a writer. Bytes for a program that reads no more, or whose stdin another
    /// writer has ended, are counted and dropped.
    ///
    /// # Errors
    /// `OutOfOrder` after the writer's end, or from a link that another has taken over from;
    /// `TooLong` for more than was granted.
    pub(super) fn push(&mut self, pen: Pen, bytes: &[u8]) -> Result<(), Refusal> {
        let (is_over, window) = (self.is_over(), self.window);
        let writer = self.writer(pen)?;
        if writer.has_ended {
            return Err(Code::OutOfOrder.into());
        }
        let len = bytes.len() as u64;
        if is_over {
            writer.written += len;
        } else if writer.received + len > writer.written + window {
            return Err(Refusal::new(Code::TooLong).with_count(window));
        }
        writer.received += len;
        writer.tally.update(bytes);
        if !is_over {
            self.bytes.extend(bytes);
            self.note_under_way(pen.writer, bytes.len());
        }
        Ok(())
    }

    /// However small the portions are in which bytes come, they take no more room than bytes.
    fn note_under_way(&mut self, writer: WriterNumber, len: usize) {
        match self.under_way.back_mut() {
            Some((last, waiting)) if *last == writer => *waiting += len,
            _ if len > 0 => self.under_way.push_back((writer, len)),
            _ => {}
        }
    }

    /// A writer has said all; whoever came back may say so again.
    ///
    /// # Errors
    /// `Corrupt` where what it says it sent is not what has come; `OutOfOrder` from a link that
    /// another has taken over from.
    pub(super) fn end(&mut self, pen: Pen, end: &End) -> Result<Said, Refusal> {
        let writer = self.writer(pen)?;
        let stated = (end.stream, end.total, end.blake3);
        if stated != (STDIN, writer.received, writer.tally.hash()) {
            return Err(Code::Corrupt.into());
        }
        let was_said = std::mem::replace(&mut writer.has_ended, true);
        Ok(if was_said { Said::Again } else { Said::First })
    }

    /// Whether bytes of this writer are of use no more although it has not said so itself.
    pub(super) fn is_over_for(&mut self, pen: Pen) -> bool {
        self.is_over() && self.writer(pen).is_ok_and(|writer| !writer.has_ended)
    }

    /// A byte that no writer sent. Only so many wait as there can be writers.
    pub(super) fn push_own(&mut self, byte: u8) {
        if !self.is_closed && self.own_under_way < WRITERS_MAX {
            self.bytes.push_back(byte);
            self.own_under_way += 1;
            self.note_under_way(NOBODY, 1);
        }
    }

    /// How many bytes may be under way.
    pub(super) fn window(&self) -> u64 {
        self.window
    }

    /// No more is of use: the program reads no more, has ended, or its stdin has.
    pub(super) fn is_over(&self) -> bool {
        self.is_closed || self.is_ended
    }

    /// Hands all that is there to the keeper, in exchange for an empty buffer.
    pub(super) fn swap(&mut self, empty: &mut VecDeque<u8>) {
        debug_assert!(empty.is_empty());
        std::mem::swap(&mut self.bytes, empty);
    }

    /// Whether there is something for the keeper to do.
    pub(super) fn has_work(&self) -> bool {
        !self.is_closed && (self.is_ended || !self.bytes.is_empty())
    }

    /// The program's end has taken so many more bytes.
    pub(super) fn wrote(&mut self, mut len: usize) {
        while let Some((number, waiting)) = self.under_way.front_mut() {
            let taken = len.min(*waiting);
            *waiting -= taken;
            len -= taken;
            let (number, is_through) = (*number, *waiting == 0);
            if let Some(writer) = self.writers.iter_mut().find(|writer| writer.number == number) {
                writer.written += taken as u64;
            } else {
                self.own_under_way = self.own_under_way.saturating_sub(taken);
            }
            if !is_through {
                return;
            }
            self.under_way.pop_front();
        }
    }

    /// The program reads no more.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
        self.bytes = VecDeque::new();
        self.under_way = VecDeque::new();
        self.own_under_way = 0;
        self.writers.iter_mut().for_each(|writer| writer.written = writer.received);
    }

    fn writer(&mut self, pen: Pen) -> Result<&mut Writer, Refusal> {
        let mut writers = self.writers.iter_mut();
        writers
            .find(|writer| (writer.number, writer.generation) == (pen.writer, pen.generation))
            .ok_or_else(|| Code::OutOfOrder.into())
    }
}

/// Writers that a session remembers (PROTOCOL 7.5).
const WRITERS_MAX: usize = 32;
/// The writer of what nobody typed.
const NOBODY: WriterNumber = 0;

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(queue: &mut StdinQueue) -> Vec<u8> {
        let mut bytes = VecDeque::new();
        queue.swap(&mut bytes);
        bytes.into()
    }

    #[test]
    fn a_writer_that_comes_back_goes_on_where_it_was_and_its_old_link_is_void() {
        let mut queue = StdinQueue::new(10);
        let old = queue.enter("a").unwrap();
        queue.push(old, b"abcd").unwrap();
        assert_eq!(taken(&mut queue), b"abcd");
        queue.wrote(3);
        queue.leave(old);
        let new = queue.enter("a").unwrap();
        assert_eq!(queue.state(new), StdinState { from: 4, to: 13, window: 10 });
        assert_eq!(queue.push(old, b"e"), Err(Code::OutOfOrder.into()));
        queue.push(new, b"ef").unwrap();
        let mut tally = Tally::default();
        tally.update(b"abcdef");
        let end = End { stream: STDIN, total: 6, blake3: tally.hash() };
        assert_eq!(queue.end(new, &End { total: 5, ..end }), Err(Code::Corrupt.into()));
        assert_eq!(queue.end(new, &end), Ok(Said::First));
        assert_eq!(queue.end(new, &end), Ok(Said::Again));
        assert_eq!(queue.push(new, b"g"), Err(Code::OutOfOrder.into()));
    }

    #[test]
    fn each_writer_has_a_window_of_its_own() {
        let mut queue = StdinQueue::new(4);
        let (one, two) = (queue.enter("one").unwrap(), queue.enter("two").unwrap());
        queue.push(one, b"1111").unwrap();
        queue.push(two, b"22").unwrap();
        assert_eq!(queue.push(one, b"1"), Err(Refusal::new(Code::TooLong).with_count(4)));
        queue.push_own(b'!');
        queue.push(two, b"2").unwrap();
        assert_eq!(taken(&mut queue), b"111122!2");
        queue.wrote(5);
        assert_eq!((queue.state(one).to, queue.state(two).to), (8, 5));
        queue.wrote(3);
        assert_eq!((queue.state(one).to, queue.state(two).to), (8, 7));
        assert!(queue.under_way.is_empty());
    }

    #[test]
    fn the_oldest_absent_writer_is_forgotten_and_a_present_one_is_not() {
        let mut queue = StdinQueue::new(4);
        let pens: Vec<_> =
            (0..WRITERS_MAX).map(|name| queue.enter(&name.to_string()).unwrap()).collect();
        assert_eq!(queue.enter("late"), Err(Code::Busy.into()));
        queue.leave(pens[3]);
        assert!(queue.enter("late").is_ok());
        assert_eq!(queue.push(pens[3], b"x"), Err(Code::OutOfOrder.into()));
        assert!(queue.push(pens[4], b"x").is_ok());
    }

    #[test]
    fn names_that_come_and_go_and_tiny_portions_take_no_more_room_than_windows() {
        let mut queue = StdinQueue::new(4);
        for name in 0..WRITERS_MAX {
            let pen = queue.enter(&name.to_string()).unwrap();
            (0..1000).for_each(|_| queue.push(pen, b"").unwrap());
            (0..4).for_each(|_| queue.push(pen, b"x").unwrap());
            queue.leave(pen);
        }
        assert_eq!(queue.under_way.len(), WRITERS_MAX);
        assert_eq!(queue.enter("late"), Err(Code::Busy.into()));
        (0..1000).for_each(|_| queue.push_own(b'!'));
        assert_eq!(taken(&mut queue).len(), 5 * WRITERS_MAX);
        queue.wrote(4);
        assert!(queue.enter("late").is_ok());
        queue.wrote(5 * WRITERS_MAX - 4);
        queue.push_own(b'!');
        assert_eq!(taken(&mut queue), b"!");
    }

    #[test]
    fn once_a_writer_has_ended_stdin_the_others_are_counted_and_dropped() {
        let mut queue = StdinQueue::new(4);
        let (one, two) = (queue.enter("one").unwrap(), queue.enter("two").unwrap());
        queue.push(two, b"22").unwrap();
        let nothing = End { stream: STDIN, total: 0, blake3: Tally::default().hash() };
        queue.end(one, &nothing).unwrap();
        queue.is_ended = true;
        assert!(queue.is_over_for(two) && !queue.is_over_for(one));
        queue.push(two, b"222222").unwrap();
        assert_eq!(taken(&mut queue), b"22");
        assert_eq!(queue.state(two).from, 8);
    }

    #[test]
    fn what_comes_for_a_program_that_reads_no_more_is_counted_and_dropped() {
        let mut queue = StdinQueue::new(2);
        let pen = queue.enter("a").unwrap();
        queue.close();
        queue.push(pen, b"more than fits").unwrap();
        assert!(!queue.has_work() && taken(&mut queue).is_empty());
        assert_eq!(queue.state(pen).from, 14);
    }
}
