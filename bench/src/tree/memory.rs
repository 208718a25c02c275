//! Memory of both ends for a tree of a million empty files.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::make;
use crate::memory;
use crate::peers::{Contender, Job, Peers, Tool};
use crate::table::{Table, verdict};

pub(super) fn measure(tow: &Path, dir: &Path, files: Option<usize>) -> Result<()> {
    let files = files.unwrap_or(FILES);
    let mut table = Table::new(&["", "s", "MB client", "MB node"]);
    let mut peaks = Vec::new();
    for contender in CONTENDERS {
        // The most that a process has used goes with the process: each has a node of its own.
        let dir = dir.join(contender.name.replace(' ', "-"));
        fs::create_dir(&dir)?;
        let peers = Peers::start(tow, &dir)?;
        if peers.present(&[contender]).is_empty() {
            continue;
        }
        let (source, into) = (peers.files().join("tree"), peers.files().join("copy"));
        make::tree(&source, files, FILES_PER_DIR, 0)?;
        fs::create_dir(&into)?;
        let job = Job { source: &source, into: &into };
        let (time, client) = run(&peers, &contender, &job)?;
        make::ensure_same(&source, &job.target())?;
        let node = match contender.tool {
            Tool::TowSync => Some(memory::peak(peers.node.pid())? as f64 * 1024.0 / 1e6),
            _ => None,
        };
        table.row([
            contender.name.to_owned(),
            format!("{:.1}", time.as_secs_f64()),
            format!("{client:.1}"),
            node.map(|node| format!("{node:.1}")).unwrap_or_default(),
        ]);
        peaks.extend(node.map(|node| (contender.name, client.max(node))));
        drop(peers);
        fs::remove_dir_all(&dir)?;
    }
    println!("tree, memory: {files} empty files, the most that a process used\n\n{table}");
    for (name, peak) in peaks {
        let what = format!("tree, memory: {name}: at most {peak:.1} MB, aim {AIM_MB}");
        verdict(peak <= AIM_MB, what);
    }
    Ok(())
}

/// How long it took, and the most memory of the client in MB.
fn run(peers: &Peers, contender: &Contender, job: &Job) -> Result<(Duration, f64)> {
    let started = Instant::now();
    let mut child = peers.command(contender, job, &peers.direct())?.spawn()?;
    let mut peak = 0;
    let status = loop {
        // Nothing is said of it any more once it has ended.
        peak = memory::peak(child.id()).unwrap_or_default().max(peak);
        if let Some(status) = child.try_wait()? {
            break status;
        }
        sleep(Duration::from_millis(5));
    };
    ensure!(status.success(), "{}: {status}", contender.name);
    Ok((started.elapsed(), peak as f64 * 1024.0 / 1e6))
}

const CONTENDERS: [Contender; 3] = [
    Contender::get("tow sync get", Tool::TowSync),
    Contender::put("tow sync put", Tool::TowSync),
    Contender::get("rsync over ssh get", Tool::RsyncSsh),
];
const FILES: usize = 1_000_000;
const FILES_PER_DIR: usize = 1000;
const AIM_MB: f64 = 200.0;
