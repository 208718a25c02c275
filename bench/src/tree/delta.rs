//! A large file of which the other side has an older version: changed in place, and with insertions
//! that move all that follows.

use std::fs::{self, File};
use std::io::{BufWriter, Read as _, Seek as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::make::{self, Noise};
use crate::peers::{Contender, Job, Peers, Results, Tool, Wire};
use crate::table::{Table, verdict};

pub(super) fn measure(tow: &Path, dir: &Path, rounds: usize) -> Result<()> {
    let peers = Peers::start(tow, dir)?;
    let wire = Wire::start(&peers)?;
    let old = peers.files().join("old");
    make::file(&old, LEN)?;
    let kinds: [(&str, &str, Make); 2] = [
        ("overwritten", "1 % of its pages of 4 KiB", overwrite),
        ("inserted", "1,000 insertions", insert),
    ];
    for (kind, changes, change) in kinds {
        let top = peers.files().join(kind);
        let case = Case {
            old: old.clone(),
            source: top.join("new/tree"),
            into: top.join("copy"),
            peers: &peers,
        };
        fs::create_dir_all(&case.source)?;
        change(&old, &case.source.join(FILE))?;
        println!("tree, delta, {kind}: {} MiB, {changes}\n", LEN >> 20);
        case.measure(kind, &wire, rounds)?;
        fs::remove_dir_all(&top)?;
    }
    Ok(())
}

/// Makes the new version of a file.
type Make = fn(&Path, &Path) -> Result<()>;

struct Case<'a> {
    old: PathBuf,
    /// A directory with the new version in it.
    source: PathBuf,
    into: PathBuf,
    peers: &'a Peers,
}

impl Case<'_> {
    fn measure(&self, kind: &str, wire: &Wire, rounds: usize) -> Result<()> {
        let job = Job { source: &self.source, into: &self.into };
        let results = self.peers.rounds(&CONTENDERS, rounds, |contender, round| {
            self.put_old_back()?;
            let sample = self.peers.copy(contender, &job)?;
            if round == 0 {
                make::ensure_same(&self.source, &job.target())?;
            }
            Ok(sample)
        })?;
        let mut carried = Vec::new();
        for contender in self.peers.present(&COUNTED) {
            self.put_old_back()?;
            carried.push((contender.name, wire.bytes_of(self.peers, &contender, &job)?));
        }
        println!("{}", results.table((LEN as f64) / 1e6, "MB", Tool::RsyncSsh));
        print_bytes(&carried);
        judge(kind, &results, &carried);
        Ok(())
    }

    fn put_old_back(&self) -> Result<()> {
        let tree = self.into.join("tree");
        if self.into.exists() {
            fs::remove_dir_all(&self.into)?;
        }
        fs::create_dir_all(&tree)?;
        let copy = tree.join(FILE);
        fs::copy(&self.old, &copy)?;
        let times = fs::metadata(&self.old)?.modified()?;
        File::options().write(true).open(copy)?.set_modified(times)?;
        Ok(())
    }
}

fn print_bytes(carried: &[(&str, u64)]) {
    let mut table = Table::new(&["", "MB on the wire"]);
    for (name, bytes) in carried {
        table.row([(*name).to_owned(), format!("{:.2}", *bytes as f64 / 1e6)]);
    }
    println!("{table}");
}

fn judge(kind: &str, results: &Results, carried: &[(&str, u64)]) {
    let of = |name: &str| carried.iter().find(|(known, _)| *known == name).map(|(_, bytes)| *bytes);
    let what = format!("tree, delta, {kind}");
    // The daemon's are rsync's own bytes: nothing is encrypted.
    if let (Some(ours), Some(theirs)) = (of(OURS), of("rsync daemon get")) {
        let text = format!("{what}: {ours} bytes, aim: at most the {theirs} of rsync's daemon");
        verdict(ours <= theirs, text);
    }
    if let Some(ratio) = results.ratio(OURS, "rsync over ssh get") {
        let share = 1.0 / ratio;
        let text =
            format!("{what}: {share:.2} of the time of rsync over ssh, aim at most {TIME_AIM}");
        verdict(share <= TIME_AIM, text);
    }
}

/// New content for pages that are scattered over the whole file.
fn overwrite(old: &Path, new: &Path) -> Result<()> {
    fs::copy(old, new)?;
    let file = File::options().write(true).open(new)?;
    let mut noise = Noise::new(1);
    let mut page = [0; PAGE_LEN];
    let pages = LEN / PAGE_LEN as u64;
    for _ in 0..pages / 100 {
        noise.fill(&mut page);
        file.write_all_at(&page, noise.below(pages) * PAGE_LEN as u64)?;
    }
    Ok(())
}

/// New bytes, each time some of them, between the old ones.
fn insert(old: &Path, new: &Path) -> Result<()> {
    let mut noise = Noise::new(2);
    let mut places: Vec<u64> = (0..INSERTIONS).map(|_| noise.below(LEN)).collect();
    places.sort_unstable();
    let mut old = File::open(old)?;
    let mut new = BufWriter::with_capacity(1 << 20, File::create(new)?);
    let mut added = [0; INSERTION_LEN_MAX];
    for place in places {
        let at = old.stream_position()?;
        let between = place.checked_sub(at).context("places are in order")?;
        std::io::copy(&mut (&mut old).take(between), &mut new)?;
        let len = usize::try_from(1 + noise.below(INSERTION_LEN_MAX as u64))?;
        let added = added.get_mut(..len).unwrap_or_default();
        noise.fill(added);
        new.write_all(added)?;
    }
    std::io::copy(&mut old, &mut new)?;
    Ok(new.flush()?)
}

const OURS: &str = "tow sync get";
const CONTENDERS: [Contender; 2] =
    [Contender::get(OURS, Tool::TowSync), Contender::get("rsync over ssh get", Tool::RsyncSsh)];
const COUNTED: [Contender; 2] =
    [Contender::get(OURS, Tool::TowSync), Contender::get("rsync daemon get", Tool::RsyncDaemon)];
const FILE: &str = "image";
const LEN: u64 = 1 << 30;
const PAGE_LEN: usize = 4096;
const INSERTIONS: usize = 1000;
const INSERTION_LEN_MAX: usize = 200;
/// Share of rsync's time.
const TIME_AIM: f64 = 0.7;
