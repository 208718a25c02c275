//! Many small files to a disk: done when they would survive a power cut. Each turn has a fresh
//! directory, and all are removed after the last one.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Result;

use super::{judge, make, print};
use crate::peers::{Contender, Job, Peers, Tool};
use crate::scratch::Scratch;
use crate::table::verdict;

pub(super) fn measure(tow: &Path, dir: &Path, rounds: usize, files: Option<usize>) -> Result<()> {
    let Some(disk) = Scratch::on_disk()? else {
        println!("tree, disk: skipped, the directory for temporary files is in memory: TMPDIR=…");
        return Ok(());
    };
    let peers = Peers::start(tow, dir)?;
    let files = files.unwrap_or(FILES);
    let source = peers.files().join("tree");
    make::tree(&source, files, FILES_PER_DIR, LEN)?;
    let results = peers.rounds(&CONTENDERS, rounds, |contender, round| {
        let name = format!("{}-{round}", contender.name.replace(' ', "-"));
        let into = disk.path().join(name);
        fs::create_dir(&into)?;
        // What others have written is not to be waited for in this turn.
        rustix::fs::syncfs(fs::File::open(&into)?)?;
        let job = Job { source: &source, into: &into };
        let mut command = peers.command(contender, &job, &peers.direct())?;
        if contender.tool != Tool::TowSync {
            command = then_sync(&command, &into);
        }
        let sample = peers.time(contender, command)?;
        if round == 0 {
            make::ensure_same(&source, &job.target())?;
        }
        Ok(sample)
    })?;
    print("disk", &format!("{files} files of {LEN} bytes to a disk, durable"), &results, files);
    judge("disk", &results, "tow sync put", "rsync over ssh, sync put", 1.0);
    let rate = files as f64 / results.seconds("tow sync put");
    let what = format!("tree, disk: tow sync put makes {rate:.0} files/s durable, aim {RATE_AIM}");
    verdict(rate >= f64::from(RATE_AIM), what);
    Ok(())
}

/// The same command, and then all of its file system is written out.
fn then_sync(command: &Command, into: &Path) -> Command {
    let mut both = Command::new("sh");
    both.args(["-c", "\"$@\" && sync -f \"$0\""]).arg(into);
    both.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            both.env(name, value);
        }
    }
    both.stdin(Stdio::null()).stdout(Stdio::null());
    both
}

const CONTENDERS: [Contender; 4] = [
    Contender::put("cp, sync", Tool::Cp),
    Contender::put("tow sync put", Tool::TowSync).with(&["--durable", "batch"]),
    Contender::put("tar over ssh, sync put", Tool::TarSsh),
    Contender::put("rsync over ssh, sync put", Tool::RsyncSsh),
];
/// Fewer than the aim names: to remove a hundred thousand files from a disk takes longer than to
/// write them.
const FILES: usize = 20_000;
const FILES_PER_DIR: usize = 100;
const LEN: usize = 1024;
/// Files per second.
const RATE_AIM: u32 = 5000;
