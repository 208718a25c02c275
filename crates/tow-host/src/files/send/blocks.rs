//! A file of which the receiver has an older state: what matches is copied there, the rest is sent.

use tow_proto::frame::PREFIX_LEN;
use tow_proto::transfer::{Found, Matcher, PackWriter, Record, Run, RunWriter};

use super::Sender;
use super::asides::Wanted;
use super::large::{Attempt, Reading};
use super::outlet::Stop;
use crate::beneath::code_of;
use crate::files::{CHUNK_LEN_MAX, Chunk};

/// What was found and not sent yet, in the order of the file.
struct Findings {
    block_len: u64,
    ready: Vec<Ready>,
    runs: RunWriter,
    /// Room for a prefix, then bytes that are known nowhere.
    literal: Vec<u8>,
    copied: u64,
}

enum Ready {
    Copy(Vec<Run>),
    Data(Vec<u8>),
}

impl Findings {
    fn new(block_len: u64) -> Self {
        let (ready, runs, literal) = (Vec::new(), RunWriter::new(), Vec::new());
        Self { block_len, ready, runs, literal, copied: 0 }
    }

    fn add(&mut self, found: Found<'_>) {
        match found {
            Found::Copy { block } => {
                self.end_literal();
                self.runs.push(block);
                self.copied += self.block_len;
                if self.runs.len() >= RUNS_MAX {
                    self.end_runs();
                }
            }
            Found::Literal(mut bytes) => {
                self.end_runs();
                while !bytes.is_empty() {
                    if self.literal.is_empty() {
                        self.literal.resize(PREFIX_LEN, 0);
                    }
                    let room = PREFIX_LEN + CHUNK_LEN_MAX - self.literal.len();
                    let (now, rest) = bytes.split_at(room.min(bytes.len()));
                    self.literal.extend_from_slice(now);
                    bytes = rest;
                    if self.literal.len() == PREFIX_LEN + CHUNK_LEN_MAX {
                        self.end_literal();
                    }
                }
            }
        }
    }

    fn end_literal(&mut self) {
        if !self.literal.is_empty() {
            self.ready.push(Ready::Data(std::mem::take(&mut self.literal)));
        }
    }

    fn end_runs(&mut self) {
        if !self.runs.is_empty() {
            self.ready.push(Ready::Copy(self.runs.take()));
        }
    }
}

impl Sender<'_> {
    /// Sends the file by what of it is in the old one.
    pub(super) fn blocks(
        &mut self,
        path: &[u8],
        reading: &mut Reading,
        wanted: Wanted,
    ) -> Result<Option<Attempt>, Stop> {
        let Wanted::Blocks { len, seed, signatures, .. } = wanted else { return Ok(None) };
        self.in_parts(path);
        let mut findings = Findings::new(len.into());
        let mut matcher = Matcher::new(len, seed, signatures);
        let (mut at, size) = (0, reading.before.size);
        while at < size {
            if self.inbox.is_rejected() {
                return Ok(Some(Attempt::Rejected));
            }
            let portion = (size - at).min(CHUNK_LEN_MAX as u64);
            let chunk = match self.pool.read(&reading.file, at, portion) {
                Err(errno) => return Ok(Some(Attempt::Failed(code_of(errno)))),
                Ok(chunk) if chunk.payload().is_empty() => return Ok(Some(Attempt::Changed)),
                Ok(chunk) => chunk,
            };
            at += chunk.payload().len() as u64;
            reading.hash(chunk.payload());
            matcher.push(chunk.payload(), &mut |found| findings.add(found));
            self.give(reading, &mut findings)?;
        }
        matcher.finish(&mut |found| findings.add(found));
        findings.end_runs();
        findings.end_literal();
        self.give(reading, &mut findings)?;
        Ok(None)
    }

    fn give(&mut self, reading: &mut Reading, findings: &mut Findings) -> Result<(), Stop> {
        for ready in findings.ready.drain(..) {
            match ready {
                Ready::Copy(runs) => {
                    let mut pack = PackWriter::new(PREFIX_LEN, self.columns);
                    pack.record(&Record::Copy { runs });
                    self.out.pack(pack)?;
                }
                Ready::Data(literal) => {
                    self.count(reading, (literal.len() - PREFIX_LEN) as u64);
                    self.out.data(Chunk::with_headroom(literal))?;
                }
            }
        }
        let copied = std::mem::take(&mut findings.copied);
        reading.reused += copied;
        self.progress.reused(copied);
        Ok(())
    }
}

/// Runs from which on they are sent.
const RUNS_MAX: usize = 4_096;
