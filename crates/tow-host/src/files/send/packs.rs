//! The pack that is being filled, and which directory its records are in.

use tow_proto::frame::PREFIX_LEN;
use tow_proto::transfer::{Columns, Filled, Meta, PackWriter, Record};

/// Fills packs. Each begins with the directory that it is in, so that none needs another.
#[derive(Debug)]
pub(super) struct Packer {
    writer: PackWriter,
    columns: Columns,
    records: usize,
    /// The directory that records are in.
    dir: Vec<u8>,
    /// What it gets after what is in it; `None` once that was said, or where it gets nothing.
    meta: Option<Meta>,
    /// The pack says that it is in this directory.
    is_there: bool,
    same: (u64, u64),
}

impl Packer {
    pub(super) fn new(columns: Columns) -> Self {
        Self {
            writer: PackWriter::new(PREFIX_LEN, columns),
            columns,
            records: 0,
            dir: Vec::new(),
            meta: None,
            is_there: false,
            same: (0, 0),
        }
    }

    /// What follows is in this directory. It gets `meta` if anything follows.
    pub(super) fn enter(&mut self, path: &[u8], meta: Option<Meta>) {
        self.dir.clear();
        self.dir.extend_from_slice(path);
        self.meta = meta;
        self.is_there = false;
    }

    /// Says which directory it is, if the pack does not say so yet, and what it gets.
    pub(super) fn announce(&mut self) {
        let path = self.dir.as_slice();
        let record = match self.meta.take() {
            Some(meta) => Record::Dir { path, meta },
            None if self.is_there => return,
            None => Record::Enter { path },
        };
        self.writer.record(&record);
        self.is_there = true;
        self.records += 1;
    }

    /// Another name of a file, both of which are there: if they are one already, nothing follows
    /// from it, and the directory gets nothing either.
    pub(super) fn hard_aside(&mut self, name: &[u8], path: &[u8]) {
        if !self.is_there {
            self.writer.record(&Record::Enter { path: &self.dir });
            self.is_there = true;
        }
        self.writer.record(&Record::Hard { name, path });
        self.records += 1;
    }

    /// A directory within this one gets `meta`; what follows is in this one all the same.
    pub(super) fn dir_aside(&mut self, path: &[u8], meta: Meta) {
        self.announce();
        self.writer.record(&Record::Dir { path, meta });
        self.records += 1;
        self.is_there = false;
    }

    pub(super) fn record(&mut self, record: &Record<'_>) {
        self.announce();
        self.writer.record(record);
        self.records += 1;
    }

    /// The last record of this pack.
    pub(super) fn last(&mut self, record: &Record<'_>) {
        self.say_same();
        self.record(record);
    }

    /// As [`PackWriter::file_with`].
    pub(super) fn file_with<E>(
        &mut self,
        name: &[u8],
        meta: &Meta,
        len: usize,
        fill: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Filled, E> {
        self.announce();
        self.records += 1;
        self.writer.file_with(name, meta, len, fill)
    }

    /// So much is as it should be. It is said with the next pack: which directory that is in is of
    /// no account.
    pub(super) fn same(&mut self, files: u64, bytes: u64) {
        self.same.0 += files;
        self.same.1 = self.same.1.saturating_add(bytes);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.writer.is_empty() && self.same.0 == 0
    }

    /// Whether it is time to send it.
    pub(super) fn is_full(&self) -> bool {
        self.writer.body_len() >= BODY_LEN || self.records >= RECORDS
    }

    /// The pack as it is; an empty one takes its place.
    pub(super) fn take(&mut self) -> PackWriter {
        self.say_same();
        self.records = 0;
        self.is_there = false;
        let empty = PackWriter::new(PREFIX_LEN, self.columns);
        std::mem::replace(&mut self.writer, empty)
    }

    fn say_same(&mut self) {
        let (files, bytes) = std::mem::take(&mut self.same);
        if files > 0 {
            self.record(&Record::Same { files, bytes });
        }
    }
}

/// Bytes from which on a pack is full. With the largest file that goes into one, it still fits.
const BODY_LEN: usize = 256 << 10;
/// Records from which on a pack is full.
const RECORDS: usize = 512;
