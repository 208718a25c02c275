//! A tree that is there already, with nothing or with 1 % of it changed. Every contender has a copy of
//! its own to bring up to date.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use super::{judge, make, print};
use crate::peers::{Contender, Job, Peers, Tool, Wire};
use crate::table::{Table, verdict};

/// What happens to the source between two rounds.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Change {
    None,
    Percent,
}

impl Change {
    fn part(self) -> &'static str {
        match self {
            Self::None => "unchanged",
            Self::Percent => "changed",
        }
    }

    /// How many times as fast as rsync over ssh.
    fn aim(self) -> f64 {
        match self {
            Self::None => 2.5,
            Self::Percent => 2.0,
        }
    }
}

pub(super) fn measure(
    tow: &Path,
    dir: &Path,
    change: Change,
    rounds: usize,
    files: Option<usize>,
) -> Result<()> {
    let peers = Peers::start(tow, dir)?;
    let files = files.unwrap_or(FILES);
    let source = peers.files().join("tree");
    make::tree(&source, files, FILES_PER_DIR, LEN)?;
    let contenders = peers.present(&CONTENDERS);
    for contender in &contenders {
        copy(&source, &place(&peers, contender))?;
    }
    let turns = Turns { peers: &peers, source: &source, files, change, changed: Cell::new(None) };
    let results = peers.rounds(&contenders, rounds, |contender, round| {
        turns.prepare(round)?;
        let into = place(&peers, contender);
        let job = Job { source: &source, into: &into };
        let sample = peers.copy(contender, &job)?;
        if round == 0 {
            make::ensure_same(&source, &job.target())?;
        }
        Ok(sample)
    })?;
    let bytes = turns.bytes(&contenders, rounds + 1)?;
    let what = format!("{files} files in {} directories", files.div_ceil(FILES_PER_DIR));
    print(change.part(), &what, &results, files);
    let mut table = Table::new(&["", "KiB on the wire"]);
    for (name, bytes) in &bytes {
        table.row([(*name).to_owned(), format!("{:.1}", *bytes as f64 / 1024.0)]);
    }
    println!("{table}");
    for way in ["get", "put"] {
        let (ours, theirs) = (format!("tow sync {way}"), format!("rsync over ssh {way}"));
        judge(change.part(), &results, &ours, &theirs, change.aim());
    }
    if change == Change::None {
        for (name, bytes) in bytes.iter().filter(|(name, _)| name.starts_with("tow")) {
            let aim = WIRE_AIM / 1024;
            let what = format!("tree, unchanged: {name} sends {bytes} bytes, aim {aim} KiB");
            verdict(*bytes <= WIRE_AIM, what);
        }
    }
    Ok(())
}

struct Turns<'a> {
    peers: &'a Peers,
    source: &'a Path,
    files: usize,
    change: Change,
    /// The round that the source has been changed for.
    changed: Cell<Option<usize>>,
}

impl Turns<'_> {
    /// Changes the source once for each round.
    fn prepare(&self, round: usize) -> Result<()> {
        if self.change == Change::Percent && self.changed.get() != Some(round) {
            make::change(self.source, self.files, FILES_PER_DIR, round)?;
            self.changed.set(Some(round));
        }
        Ok(())
    }

    /// One more turn of each, over something that counts what is sent both ways.
    fn bytes(&self, contenders: &[Contender], round: usize) -> Result<Vec<(&'static str, u64)>> {
        self.prepare(round)?;
        let wire = Wire::start(self.peers)?;
        let networked = contenders.iter().filter(|contender| contender.tool != Tool::Cp);
        networked
            .map(|contender| {
                let into = place(self.peers, contender);
                let job = Job { source: self.source, into: &into };
                Ok((contender.name, wire.bytes_of(self.peers, contender, &job)?))
            })
            .collect()
    }
}

/// Where a contender has its copy.
fn place(peers: &Peers, contender: &Contender) -> PathBuf {
    peers.files().join(contender.name.replace(' ', "-"))
}

/// The same files with the same times.
fn copy(source: &Path, into: &Path) -> Result<()> {
    fs::create_dir(into)?;
    let status = Command::new("cp").arg("-a").args([source, into]).status()?;
    ensure!(status.success(), "cp: {status}");
    Ok(())
}

const CONTENDERS: [Contender; 5] = [
    Contender::get("tow sync get", Tool::TowSync),
    Contender::get("rsync over ssh get", Tool::RsyncSsh),
    Contender::get("rsync daemon get", Tool::RsyncDaemon),
    Contender::put("tow sync put", Tool::TowSync),
    Contender::put("rsync over ssh put", Tool::RsyncSsh),
];
const FILES: usize = 100_000;
const FILES_PER_DIR: usize = 100;
const LEN: usize = 1024;
/// Bytes both ways where nothing has changed.
const WIRE_AIM: u64 = 64 << 10;
