//! The way to the link: where items are slowed down, compressed, and how long the link takes them is
//! measured.

use std::ops::ControlFlow;
use std::time::Instant;

use tow_proto::Refusal;
use tow_proto::frame::PREFIX_LEN;
use tow_proto::message::End;
use tow_proto::transfer::{Event, Options, PackWriter};
use zstd::bulk::Compressor;

use super::compress::Choice;
use super::inbox::Inbox;
use super::limit::Limit;
use crate::files::item::Item;
use crate::files::{CHUNK_LEN_MAX, Chunk};

/// Why sending ends before its end.
#[derive(Debug)]
pub(super) enum Stop {
    /// The link wants no more.
    Link,
    /// What is asked for can't be done, or the receiver does not keep to the protocol.
    Refused(Refusal),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Gives items to the link.
pub(super) struct Outlet<'a> {
    out: &'a mut dyn FnMut(Item) -> ControlFlow<()>,
    inbox: &'a Inbox,
    limit: Option<Limit>,
    choice: Choice,
    compressor: Option<Compressor<'static>>,
}

impl<'a> Outlet<'a> {
    pub(super) fn new(
        out: &'a mut dyn FnMut(Item) -> ControlFlow<()>,
        inbox: &'a Inbox,
        options: &Options,
    ) -> Self {
        let now = Instant::now();
        let limit = options.bwlimit.map(|rate| Limit::new(rate, now));
        let choice = Choice::new(options.compress, now);
        Self { out, inbox, limit, choice, compressor: None }
    }

    /// How many bytes of content to read at once.
    pub(super) fn portion(&self) -> u64 {
        let limit = self.limit.as_ref();
        limit.map_or(CHUNK_LEN_MAX, |limit| limit.portion(CHUNK_LEN_MAX)) as u64
    }

    pub(super) fn event(&mut self, event: Event) -> Result<(), Stop> {
        self.give(Item::Event(event), EVENT_LEN)
    }

    pub(super) fn end(&mut self, end: End) -> Result<(), Stop> {
        self.give(Item::End(end), EVENT_LEN)
    }

    pub(super) fn pack(&mut self, pack: PackWriter) -> Result<(), Stop> {
        let body_len = pack.body_len();
        let level = self.choice.level();
        let start = Instant::now();
        let sealed = pack.seal(level);
        if level.is_some() {
            self.choice.compressed(body_len, sealed.len() - PREFIX_LEN, start.elapsed());
        }
        let len = sealed.len();
        self.give(Item::Pack(sealed), len)
    }

    pub(super) fn data(&mut self, chunk: Chunk) -> Result<(), Stop> {
        let packed = match self.choice.level() {
            Some(level) => self.compress(chunk.payload(), level),
            None => None,
        };
        match packed {
            Some(packed) => {
                drop(chunk);
                let len = packed.len();
                self.give(Item::DataZstd(packed), len)
            }
            None => {
                let len = chunk.payload().len() + PREFIX_LEN;
                self.give(Item::Data(chunk), len)
            }
        }
    }

    /// The content compressed, behind room for a prefix, where it becomes smaller.
    fn compress(&mut self, content: &[u8], level: i32) -> Option<Vec<u8>> {
        let start = Instant::now();
        if self.compressor.is_none() {
            self.compressor = Compressor::new(level).ok();
        }
        let compressor = self.compressor.as_mut()?;
        compressor.set_compression_level(level).ok()?;
        // What does not fit is not smaller.
        let mut packed = vec![0; PREFIX_LEN + content.len()];
        let room = packed.get_mut(PREFIX_LEN..)?;
        let len = compressor.compress_to_buffer(content, room).ok();
        let len = len.filter(|len| *len < content.len());
        self.choice.compressed(content.len(), len.unwrap_or(content.len()), start.elapsed());
        packed.truncate(PREFIX_LEN + len?);
        Some(packed)
    }

    fn give(&mut self, item: Item, len: usize) -> Result<(), Stop> {
        let before = Instant::now();
        if let Some(limit) = &mut self.limit {
            let pause = limit.wait(len as u64, before);
            if !pause.is_zero() {
                self.inbox.pause(pause);
            }
        }
        let flow = (self.out)(item);
        let after = Instant::now();
        self.choice.gave(len as u64, after - before, after);
        if flow.is_break() { Err(Stop::Link) } else { Ok(()) }
    }
}

/// What a head takes up, roughly.
const EVENT_LEN: usize = 100;
