//! Many small files to where there are none, both ways, from memory to memory.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::{judge, make, print};
use crate::peers::{Contender, Job, Peers, Tool};
use crate::table::verdict;

/// A tree, who copies it, and what is hoped for.
pub(super) struct Plan {
    part: &'static str,
    files: usize,
    len: usize,
    contenders: &'static [Contender],
    /// Who is to be how many times as fast as whom.
    ratios: &'static [(&'static str, &'static str, f64)],
    /// The most seconds of processor time for all of it, both ends together.
    cpu_max: Option<f64>,
}

pub(super) fn measure(
    tow: &Path,
    dir: &Path,
    plan: &Plan,
    rounds: usize,
    files: Option<usize>,
) -> Result<()> {
    let peers = Peers::start(tow, dir)?;
    let files = files.unwrap_or(plan.files);
    let (source, into) = (peers.files().join("tree"), peers.files().join("copy"));
    make::tree(&source, files, FILES_PER_DIR, plan.len)?;
    let job = Job { source: &source, into: &into };
    let results = peers.rounds(plan.contenders, rounds, |contender, round| {
        fs::create_dir(&into)?;
        let sample = peers.copy(contender, &job)?;
        if round == 0 {
            make::ensure_same(&source, &job.target())?;
        }
        fs::remove_dir_all(&into)?;
        Ok(sample)
    })?;
    print(plan.part, &format!("{files} files of {} bytes in memory", plan.len), &results, files);
    for (ours, theirs, aim) in plan.ratios {
        judge(plan.part, &results, ours, theirs, *aim);
    }
    let Some(cpu_max) = plan.cpu_max else { return Ok(()) };
    let aim = cpu_max * files as f64 / plan.files as f64;
    for ours in ["tow get", "tow put"] {
        let cpu = results.cpu_seconds(ours);
        let what = format!("tree, {}: {ours} takes {cpu:.2} CPU seconds, aim {aim:.2}", plan.part);
        verdict(cpu <= aim, what);
    }
    Ok(())
}

pub(super) const SMALL: Plan = Plan {
    part: "fresh",
    files: 20_000,
    len: 4096,
    contenders: &[
        Contender::get("cp", Tool::Cp),
        Contender::get("tow get", Tool::Tow),
        Contender::get("tar over ssh get", Tool::TarSsh),
        Contender::get("rsync over ssh get", Tool::RsyncSsh),
        Contender::get("rsync daemon get", Tool::RsyncDaemon),
        Contender::put("tow put", Tool::Tow),
        Contender::put("tar over ssh put", Tool::TarSsh),
        Contender::put("rsync over ssh put", Tool::RsyncSsh),
        Contender::put("rsync daemon put", Tool::RsyncDaemon),
    ],
    ratios: &[
        ("tow get", "tar over ssh get", 1.6),
        ("tow put", "tar over ssh put", 1.6),
        ("tow get", "rsync over ssh get", 2.5),
        ("tow put", "rsync over ssh put", 2.5),
        ("tow get", "rsync daemon get", 1.0),
        ("tow put", "rsync daemon put", 1.0),
    ],
    cpu_max: None,
};

pub(super) const TINY: Plan = Plan {
    part: "tiny",
    files: 100_000,
    len: 1024,
    contenders: &[
        Contender::get("tow get", Tool::Tow),
        Contender::get("rsync over ssh get", Tool::RsyncSsh),
        Contender::get("rsync daemon get", Tool::RsyncDaemon),
        Contender::put("tow put", Tool::Tow),
    ],
    ratios: &[],
    cpu_max: Some(3.0),
};

const FILES_PER_DIR: usize = 100;
