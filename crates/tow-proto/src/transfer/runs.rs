//! Runs of blocks of an old file, as `copy` has them (PROTOCOL 7.3).

use std::ops::Range;

/// Blocks of the old file that follow each other in the new one too (PROTOCOL 7.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// From the end of the run before, in blocks; the first one from the start of the file.
    pub skip: i64,
    /// How many.
    pub blocks: u64,
}

/// Gathers the blocks of one file into runs (PROTOCOL 7.3).
#[derive(Clone, Debug, Default)]
pub struct RunWriter {
    /// The block after the last run that is in `runs`.
    end: u64,
    /// The run that may still become longer: its first block and its length.
    open: Option<(u64, u64)>,
    runs: Vec<Run>,
}

impl RunWriter {
    /// At the start of a file.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next block of the new file is this one of the old file.
    pub fn push(&mut self, block: u64) {
        match &mut self.open {
            Some((first, blocks)) if *first + *blocks == block => *blocks += 1,
            _ => {
                self.close();
                self.open = Some((block, 1));
            }
        }
    }

    /// How many runs there are; they take at most 20 bytes each in a record.
    pub fn len(&self) -> usize {
        self.runs.len() + usize::from(self.open.is_some())
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The runs so far, for one `copy`: before content that is sent, and when there are many.
    pub fn take(&mut self) -> Vec<Run> {
        self.close();
        std::mem::take(&mut self.runs)
    }

    fn close(&mut self) {
        if let Some((first, blocks)) = self.open.take() {
            let skip = first.wrapping_sub(self.end).cast_signed();
            self.runs.push(Run { skip, blocks });
            self.end = first + blocks;
        }
    }
}

/// Where runs are in the old file, while they come (PROTOCOL 7.3).
#[derive(Clone, Debug)]
pub struct RunReader {
    block_len: u64,
    /// Whole blocks of the old file.
    blocks: u64,
    end: u64,
}

impl RunReader {
    /// For an old file of `old_size` bytes in blocks of `block_len` bytes.
    pub fn new(old_size: u64, block_len: u64) -> Self {
        Self { block_len, blocks: old_size.checked_div(block_len).unwrap_or(0), end: 0 }
    }

    /// The bytes of the old file that a run is: never empty, whole blocks that are there. `None`
    /// where it is no such run, which ends the transfer.
    pub fn range(&mut self, run: Run) -> Option<Range<u64>> {
        let first = self.end.checked_add_signed(run.skip)?;
        let end = first.checked_add(run.blocks)?;
        if run.blocks == 0 || end > self.blocks {
            return None;
        }
        self.end = end;
        Some(first * self.block_len..end * self.block_len)
    }
}
