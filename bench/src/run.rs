//! `true` on the other machine, each time as a fresh process: `tow run` on a fresh connection beside
//! `ssh` over a connection that is open already, `ssh` on a fresh one, and no connection at all.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::node::{self, Node};
use crate::ssh::{self, Sshd};
use crate::stats::{Times, millis};
use crate::table::{Table, verdict};

pub(crate) fn measure(tow: &Path, dir: &Path) -> Result<()> {
    let node = Node::start(tow, &dir.join("tow"), None)?;
    let sshd = Sshd::start(&dir.join("ssh"))?;
    let _master = sshd.master()?;
    let mut tow = node.command();
    tow.args(["run", node::NAME, "--", "true"]);
    let mut shared = sshd.shared();
    shared.args([ssh::NAME, "true"]);
    let mut cold = sshd.command("ssh");
    cold.args([ssh::NAME, "true"]);
    let mut spawn = Command::new("/bin/true");
    let (mut of_tow, mut of_shared, mut of_cold, mut of_spawn) = (vec![], vec![], vec![], vec![]);
    for turn in 0..TURNS {
        of_tow.push(time(&mut tow)?);
        of_shared.push(time(&mut shared)?);
        of_spawn.push(time(&mut spawn)?);
        if turn % (TURNS / COLD_TURNS) == 0 {
            of_cold.push(time(&mut cold)?);
        }
    }
    println!("run: `true`, a fresh process each time, in turns; ms\n");
    let mut table = Table::new(&["", "times", "p50", "p90", "p99"]);
    let (of_tow, of_shared) = (Times::new(of_tow), Times::new(of_shared));
    for (name, times) in [
        ("tow run, fresh connection", &of_tow),
        ("ssh, warm ControlMaster", &of_shared),
        ("ssh, fresh connection", &Times::new(of_cold)),
        ("/bin/true, no connection", &Times::new(of_spawn)),
    ] {
        let cells = [50, 90, 99].map(|percent| millis(times.percentile(percent)));
        let [p50, p90, p99] = cells;
        table.row([name.to_owned(), times.count().to_string(), p50, p90, p99]);
    }
    println!("{table}");
    let (ours, theirs) = (of_tow.percentile(50), of_shared.percentile(50));
    let aim = format!("run: p50 of tow {} ms, aim: below ssh {} ms", millis(ours), millis(theirs));
    verdict(ours < theirs, aim);
    Ok(())
}

fn time(command: &mut Command) -> Result<Duration> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let started = Instant::now();
    let status = command.status()?;
    let time = started.elapsed();
    ensure!(status.success(), "{command:?}: {status}");
    Ok(time)
}

const TURNS: usize = 200;
const COLD_TURNS: usize = 10;
