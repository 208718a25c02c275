//! One large file in memory, both ways: `tow get` and `tow put` beside `scp`, rsync, `ssh cat`, nginx
//! and, as the floor, `cp`. All take turns in each round; a ratio is the median of the ratios of the
//! rounds.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use anyhow::{Result, ensure};

use crate::peers::{Contender, Job, Peers, Tool};
use crate::table::verdict;

pub(crate) fn measure(tow: &Path, dir: &Path, rounds: usize, mib: u64) -> Result<()> {
    let peers = Peers::start(tow, dir)?;
    let source = peers.files().join("file");
    let into = peers.files().join("copy");
    fs::create_dir(&into)?;
    let job = Job { source: &source, into: &into };
    let hash = make(&source, mib << 20)?;
    let results = peers.rounds(&CONTENDERS, rounds, |contender, round| {
        let sample = peers.copy(contender, &job)?;
        let got = fs::metadata(job.target())?.len();
        ensure!(got == mib << 20, "{}: {got} bytes of {}", contender.name, mib << 20);
        ensure!(round > 0 || hash_of(&job.target())? == hash, "{}: not a copy", contender.name);
        fs::remove_file(job.target())?;
        Ok(sample)
    })?;
    println!("file: {mib} MiB in memory, {rounds} rounds after one that does not count, medians\n");
    println!("{}", results.table((mib << 20) as f64 / 1e6, "MB", Tool::Scp));
    for (ours, theirs, aim) in AIMS {
        let Some(ratio) = results.ratio(ours, theirs) else { continue };
        let what = format!("file: {ours} is {ratio:.2} times as fast as {theirs}, aim {aim}");
        verdict(ratio >= aim, what);
    }
    for ours in ["tow get", "tow put"] {
        let cost = results.cpu_seconds(ours) / ((mib << 20) as f64 / 1e9);
        let what = format!("file: {ours} takes {cost:.2} CPU seconds for 1 GB, aim {CPU_AIM}");
        verdict(cost <= CPU_AIM, what);
    }
    Ok(())
}

const CONTENDERS: [Contender; 10] = [
    Contender::get("cp", Tool::Cp),
    Contender::get("tow get", Tool::Tow),
    Contender::get("scp get", Tool::Scp),
    Contender::get("rsync over ssh get", Tool::RsyncSsh),
    Contender::get("ssh cat get", Tool::SshCat),
    Contender::get("nginx and curl get", Tool::Curl),
    Contender::put("tow put", Tool::Tow),
    Contender::put("scp put", Tool::Scp),
    Contender::put("rsync over ssh put", Tool::RsyncSsh),
    Contender::put("ssh cat put", Tool::SshCat),
];

/// `tow` is to be so many times as fast.
const AIMS: [(&str, &str, f64); 7] = [
    ("tow get", "scp get", 1.6),
    ("tow put", "scp put", 1.6),
    ("tow get", "rsync over ssh get", 1.8),
    ("tow put", "rsync over ssh put", 1.8),
    ("tow get", "nginx and curl get", 1.4),
    ("tow get", "ssh cat get", 1.2),
    ("tow put", "ssh cat put", 1.2),
];
/// Seconds of both ends together for 10^9 bytes.
const CPU_AIM: f64 = 2.2;

/// A file that can't be compressed, and its hash.
pub(crate) fn make(path: &Path, len: u64) -> Result<blake3::Hash> {
    let mut stream = blake3::Hasher::new().finalize_xof();
    let mut file = File::create(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    for _ in 0..len.div_ceil(buffer.len() as u64) {
        stream.fill(&mut buffer);
        hasher.update(&buffer);
        file.write_all(&buffer)?;
    }
    Ok(hasher.finalize())
}

fn hash_of(path: &Path) -> Result<blake3::Hash> {
    Ok(blake3::Hasher::new().update_reader(File::open(path)?)?.finalize())
}
