//! From a key that is pressed to the character that appears: `tow run -t` beside `ssh -tt`, both on a
//! terminal of their own, both with `cat` on a raw terminal at the other end. The floor is that
//! program on a terminal here.

use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::node::{self, Node};
use crate::ssh::{self, Sshd};
use crate::stats::{Times, micros};
use crate::table::{Table, verdict};
use crate::terminal::Terminal;

pub(super) fn measure(tow: &Path, dir: &Path) -> Result<()> {
    let node = Node::start(tow, &dir.join("tow"), None)?;
    let sshd = Sshd::start(&dir.join("ssh"))?;
    let mut ours = node.command();
    ours.args(["run", "-t", node::NAME, ECHO]);
    let mut theirs = sshd.command("ssh");
    theirs.args(["-tt", ssh::NAME, ECHO]);
    let mut local = Command::new("sh");
    local.args(["-c", ECHO]);
    let mut contenders = [
        Contender::start("tow run -t", &ours)?,
        Contender::start("ssh -tt", &theirs)?,
        Contender::start("no connection", &local)?,
    ];
    for _ in 0..BLOCKS {
        for contender in &mut contenders {
            contender.type_block()?;
        }
    }
    println!("session, echo: from a key to its echo, in turns of {BLOCK_LEN} keys; µs\n");
    let mut table = Table::new(&["", "keys", "p50", "p90", "p99", "max"]);
    let results = contenders.map(|contender| (contender.name, Times::new(contender.times)));
    for (name, times) in &results {
        let [p50, p90, p99, max] =
            [50, 90, 99, 100].map(|percent| micros(times.percentile(percent)));
        table.row([(*name).to_owned(), times.count().to_string(), p50, p90, p99, max]);
    }
    println!("{table}");
    let [(_, ours), (_, theirs), _] = &results;
    for percent in [50, 99] {
        let (ours, theirs) = (ours.percentile(percent), theirs.percentile(percent));
        let (shown, aim) = (micros(ours), micros(theirs));
        let aim =
            format!("session, echo: p{percent} of tow {shown} µs, aim: that of ssh, {aim} µs");
        verdict(ours <= theirs, aim);
    }
    Ok(())
}

struct Contender {
    name: &'static str,
    terminal: Terminal,
    times: Vec<Duration>,
}

impl Contender {
    fn start(name: &'static str, command: &Command) -> Result<Self> {
        let mut terminal = Terminal::start(command)?;
        terminal.wait_for(READY)?;
        Ok(Self { name, terminal, times: Vec::new() })
    }

    fn type_block(&mut self) -> Result<()> {
        // After the others' turn nothing of this one is in the processors' caches.
        for _ in 0..WARM_UP {
            self.key(b'_')?;
        }
        for key in (b'a'..=b'z').cycle().take(BLOCK_LEN) {
            let time = self.key(key)?;
            self.times.push(time);
        }
        Ok(())
    }

    fn key(&mut self, key: u8) -> Result<Duration> {
        sleep(PAUSE);
        let started = Instant::now();
        self.terminal.keys(&[key])?;
        let echo = self.terminal.read()?;
        let time = started.elapsed();
        ensure!(echo == [key], "{}: {} for {key}", self.name, echo.escape_ascii());
        Ok(time)
    }
}

/// As a shell line. The mark is not what the line itself would look like where it is echoed.
const ECHO: &str = "stty raw -echo; echo re''ady; exec cat";
const READY: &[u8] = b"ready";
const BLOCKS: usize = 25;
const BLOCK_LEN: usize = 100;
const WARM_UP: usize = 5;
/// Nobody types as fast as echoes come: all processes have gone to sleep when the next key comes.
const PAUSE: Duration = Duration::from_millis(3);
