//! Text over a link that carries 100 Mbit/s: whoever compresses it well is done first.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use tow_testkit::Relay;

use super::{judge, make};
use crate::peers::{Contender, Job, Peers, Tool};

pub(super) fn measure(tow: &Path, dir: &Path, rounds: usize) -> Result<()> {
    let peers = Peers::start(tow, dir)?;
    let (source, into) = (peers.files().join("text"), peers.files().join("copy"));
    make::text(&source, LEN)?;
    let len = fs::metadata(&source)?.len();
    let mut relays = Vec::new();
    let route = peers.through("slow", |_, address| {
        let relay = Relay::slow(address, EACH_WAY, BYTES_PER_SEC);
        let address = relay.address();
        relays.push(relay);
        address
    })?;
    let job = Job { source: &source, into: &into };
    let results = peers.rounds(&CONTENDERS, rounds, |contender, round| {
        fs::create_dir(&into)?;
        let sample = peers.time(contender, peers.command(contender, &job, &route)?)?;
        if round == 0 {
            let same = fs::read(&source)? == fs::read(job.target())?;
            anyhow::ensure!(same, "{}: not a copy", contender.name);
        }
        fs::remove_dir_all(&into)?;
        Ok(sample)
    })?;
    println!(
        "tree, slow: {} MiB of text, {} Mbit/s, {} ms of round trip; medians\n",
        len >> 20,
        BYTES_PER_SEC * 8 / 1_000_000,
        2 * EACH_WAY.as_millis()
    );
    println!("{}", results.table(len as f64 / 1e6, "MB", Tool::Scp));
    for way in ["get", "put"] {
        let ours = format!("tow {way}");
        judge("slow", &results, &ours, &format!("rsync -z over ssh {way}"), 1.0);
        judge("slow", &results, &ours, &format!("scp {way}"), 2.0);
    }
    Ok(())
}

const CONTENDERS: [Contender; 6] = [
    Contender::get("tow get", Tool::Tow),
    Contender::get("rsync -z over ssh get", Tool::RsyncSsh).with(&["-z"]),
    Contender::get("scp get", Tool::Scp),
    Contender::put("tow put", Tool::Tow),
    Contender::put("rsync -z over ssh put", Tool::RsyncSsh).with(&["-z"]),
    Contender::put("scp put", Tool::Scp),
];
/// The ratios are those of any length.
const LEN: u64 = 128 << 20;
const BYTES_PER_SEC: u64 = 12_500_000;
const EACH_WAY: Duration = Duration::from_millis(5);
