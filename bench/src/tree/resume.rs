//! kill -9 of the client when 95 % are there, and the same command again: how soon new bytes come, and
//! how many come twice.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use tow_testkit::{Direction, Proxy};

use super::make;
use crate::peers::{Contender, Job, Peers, Tool, Way, Wire};
use crate::table::{Table, verdict};

pub(super) fn measure(tow: &Path, dir: &Path) -> Result<()> {
    let peers = Peers::start(tow, dir)?;
    let wire = Wire::start(&peers)?;
    let (source, into) = (peers.files().join("file"), peers.files().join("copy"));
    make::file(&source, LEN)?;
    let job = Job { source: &source, into: &into };
    let mut table = Table::new(&["", "s until new bytes", "s in all", "MiB again"]);
    let mut outcomes = Vec::new();
    for contender in peers.present(&CONTENDERS) {
        fs::create_dir(&into)?;
        let outcome = cut(&peers, &wire, &contender, &job)?;
        let got = fs::metadata(job.target())?.len();
        ensure!(got == LEN, "{}: {got} bytes of {LEN}", contender.name);
        fs::remove_dir_all(&into)?;
        table.row([
            contender.name.to_owned(),
            format!("{:.2}", outcome.first.as_secs_f64()),
            format!("{:.2}", outcome.time.as_secs_f64()),
            format!("{:.1}", outcome.again_mib),
        ]);
        outcomes.push((contender, outcome));
    }
    println!("tree, resume: kill -9 at {PERCENT} % of {} MiB, and again\n\n{table}", LEN >> 20);
    for (Contender { name, tool, .. }, outcome) in outcomes {
        if tool != Tool::Tow {
            continue;
        }
        let (first, aim) = (outcome.first.as_secs_f64(), FIRST_AIM.as_secs());
        let what = format!("tree, resume: {name}: new bytes after {first:.2} s, aim {aim}");
        verdict(outcome.first <= FIRST_AIM, what);
        let again = outcome.again_mib;
        let what = format!("tree, resume: {name}: {again:.1} MiB again, aim {AGAIN_AIM_MIB}");
        verdict(again <= AGAIN_AIM_MIB, what);
    }
    Ok(())
}

struct Outcome {
    /// From the second start to the first bytes of content.
    first: Duration,
    /// All of the second run.
    time: Duration,
    /// What both runs sent beyond the file.
    again_mib: f64,
}

fn cut(peers: &Peers, wire: &Wire, contender: &Contender, job: &Job) -> Result<Outcome> {
    let proxy = wire.proxy(contender.tool)?;
    let way = match contender.way {
        Way::Get => Direction::Down,
        Way::Put => Direction::Up,
    };
    let before = proxy.carried(way);
    let mut child = alone(peers.command(contender, job, wire.route())?).spawn()?;
    let reached = until_carried(proxy, way, before + LEN / 100 * PERCENT, &mut child);
    kill(&mut child)?;
    reached?;
    let started = Instant::now();
    let killed = proxy.carried(way);
    let mut child = alone(peers.command(contender, job, wire.route())?).spawn()?;
    // What the first connection still had on its way counts too, for a moment: less than this.
    let reached = until_carried(proxy, way, killed + CONTENT_MIN, &mut child);
    if reached.is_err() {
        kill(&mut child)?;
    }
    reached?;
    let first = started.elapsed();
    let status = child.wait()?;
    let time = started.elapsed();
    ensure!(status.success(), "{}: {status}", contender.name);
    let again = (proxy.carried(way) - before) as f64 - LEN as f64;
    Ok(Outcome { first, time, again_mib: again / f64::from(1 << 20) })
}

/// Makes a group of processes of it, since a peer is two or three.
fn alone(mut command: Command) -> Command {
    command.process_group(0);
    command
}

fn kill(child: &mut Child) -> Result<()> {
    let group = Pid::from_raw(i32::try_from(child.id())?).context("a child has an id")?;
    // There is none any more where it has ended by itself.
    let _ = kill_process_group(group, Signal::KILL);
    child.wait()?;
    Ok(())
}

fn until_carried(proxy: &Proxy, way: Direction, bytes: u64, child: &mut Child) -> Result<()> {
    let started = Instant::now();
    while proxy.carried(way) < bytes {
        ensure!(started.elapsed() < CARRIED_MAX, "{bytes} bytes were not reached");
        if let Some(status) = child.try_wait()? {
            bail!("it ended too early: {status}");
        }
        sleep(Duration::from_millis(1));
    }
    Ok(())
}

const CONTENDERS: [Contender; 3] = [
    Contender::get("tow get", Tool::Tow),
    Contender::put("tow put", Tool::Tow),
    Contender::get("rsync --inplace over ssh get", Tool::RsyncSsh).with(&["--inplace"]),
];
const LEN: u64 = 4 << 30;
const PERCENT: u64 = 95;
/// More than any greeting, and than what a socket on its way to the dead had left.
const CONTENT_MIN: u64 = 8 << 20;
const CARRIED_MAX: Duration = Duration::from_secs(120);
const FIRST_AIM: Duration = Duration::from_secs(1);
const AGAIN_AIM_MIB: f64 = 64.0;
