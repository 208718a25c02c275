//! Many files, and what happens to files more than once: made, looked at, changed, cut, carried over a
//! slow link. Each part has a node and peers of its own.

mod again;
mod delta;
mod disk;
mod fresh;
mod make;
mod memory;
mod resume;
mod slow;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;

use crate::peers::{Results, Tool};
use crate::table::verdict;

/// What is measured, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// 20,000 files of 4 KiB, both ways.
    Fresh,
    /// 100,000 files of 1 KiB, both ways.
    Tiny,
    /// 100,000 files in 1,000 directories that are the same on both sides.
    Unchanged,
    /// The same with 1 % of them changed.
    Changed,
    /// 20,000 files of 1 KiB to a disk, durable.
    Disk,
    /// A file of 1 GiB with changes in place, and with insertions.
    Delta,
    /// kill -9 at 95 % of 4 GiB, and again. Takes minutes.
    Resume,
    /// Memory of both ends for 1,000,000 empty files. Takes minutes.
    Memory,
    /// 128 MiB of text over a link of 100 Mbit/s. Takes minutes.
    Slow,
}

pub(crate) fn measure(
    tow: &Path,
    dir: &Path,
    parts: &[Part],
    rounds: usize,
    files: Option<usize>,
) -> Result<()> {
    let parts = if parts.is_empty() { &SHORT } else { parts };
    for part in parts {
        ensure_room(room(*part))?;
        let dir = dir.join(format!("{part:?}"));
        fs::create_dir(&dir)?;
        match part {
            Part::Fresh => fresh::measure(tow, &dir, &fresh::SMALL, rounds, files)?,
            Part::Tiny => fresh::measure(tow, &dir, &fresh::TINY, rounds, files)?,
            Part::Unchanged => again::measure(tow, &dir, again::Change::None, rounds, files)?,
            Part::Changed => again::measure(tow, &dir, again::Change::Percent, rounds, files)?,
            Part::Disk => disk::measure(tow, &dir, rounds, files)?,
            Part::Delta => delta::measure(tow, &dir, rounds)?,
            Part::Resume => resume::measure(tow, &dir)?,
            Part::Memory => memory::measure(tow, &dir, files)?,
            Part::Slow => slow::measure(tow, &dir, rounds)?,
        }
        println!();
        fs::remove_dir_all(&dir)?;
    }
    Ok(())
}

/// GiB of memory that a part fills with files, and the processes with them.
fn room(part: Part) -> u64 {
    match part {
        Part::Fresh | Part::Disk | Part::Slow => 1,
        Part::Tiny => 3,
        Part::Unchanged | Part::Changed | Part::Memory => 5,
        Part::Delta => 6,
        Part::Resume => 10,
    }
}

/// What is copied lies in memory; a machine that runs out of it ends other programs.
fn ensure_room(gib: u64) -> Result<()> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    let kib = kib.context("/proc/meminfo")?;
    ensure!(kib >> 20 >= gib, "{gib} GiB of memory are needed, {} MiB are free", kib >> 10);
    Ok(())
}

/// Says whether `ours` is `aim` times as fast as `theirs`, where both took part.
fn judge(part: &str, results: &Results, ours: &str, theirs: &str, aim: f64) {
    if let Some(ratio) = results.ratio(ours, theirs) {
        let what =
            format!("tree, {part}: {ours} is {ratio:.2} times as fast as {theirs}, aim {aim}");
        verdict(ratio >= aim, what);
    }
}

/// A table of turns in which so many files were copied.
fn print(part: &str, what: &str, results: &Results, files: usize) {
    println!("tree, {part}: {what}; medians of the rounds after one that does not count\n");
    println!("{}", results.table(files as f64, "files", Tool::RsyncSsh));
}

const SHORT: [Part; 6] =
    [Part::Fresh, Part::Tiny, Part::Unchanged, Part::Changed, Part::Disk, Part::Delta];
