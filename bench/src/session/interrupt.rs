//! Ctrl-C while a terminal is flooded, over a link of 100 ms of round trip: from the key to the next
//! prompt of the shell, which comes behind all of the flood that is still to be shown. `tow shell`
//! beside `ssh -tt`.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tow_testkit::Relay;

use crate::node::Node;
use crate::ssh::{self, Sshd};
use crate::stats::{Times, millis};
use crate::table::{Table, verdict};
use crate::terminal::Terminal;

pub(super) fn measure(tow: &Path, dir: &Path) -> Result<()> {
    let node = Node::start(tow, &dir.join("tow"), None)?;
    let sshd = Sshd::start(&dir.join("ssh"))?;
    let to_node = Relay::to(node.address(), EACH_WAY);
    let to_sshd = Relay::to(sshd.address(), EACH_WAY);
    node.join(to_node.address(), FAR)?;
    let mut ours = node.command();
    ours.args(["shell", FAR]);
    let mut theirs = sshd.command("ssh");
    theirs.args(["-tt", "-p", &to_sshd.address().port().to_string(), ssh::NAME]);
    let mut contenders =
        [Contender::start("tow shell", &ours)?, Contender::start("ssh -tt", &theirs)?];
    for _ in 0..ROUNDS {
        for contender in &mut contenders {
            contender.flood()?;
        }
    }
    let trip = 2 * EACH_WAY;
    println!(
        "session, interrupt: Ctrl-C against `yes`, {} ms of round trip; ms\n",
        trip.as_millis()
    );
    let mut table =
        Table::new(&["", "times", "Enter p50", "Ctrl-C p50", "p90", "max", "shown MB/s"]);
    let results = contenders.map(Contender::result);
    for (name, enter, interrupt, rate) in &results {
        table.row([
            (*name).to_owned(),
            interrupt.count().to_string(),
            millis(enter.percentile(50)),
            millis(interrupt.percentile(50)),
            millis(interrupt.percentile(90)),
            millis(interrupt.max()),
            format!("{rate:.1}"),
        ]);
    }
    println!("{table}");
    let (aim, time) = (trip + AFTER_TRIP_MAX, results[0].2.percentile(90));
    let what = format!("session, interrupt: p90 {} ms, aim {} ms", millis(time), aim.as_millis());
    verdict(time <= aim, what);
    Ok(())
}

struct Contender {
    name: &'static str,
    terminal: Terminal,
    /// From Enter to the next prompt.
    enters: Vec<Duration>,
    /// From Ctrl-C to the next prompt.
    interrupts: Vec<Duration>,
    shown: usize,
}

impl Contender {
    fn start(name: &'static str, command: &Command) -> Result<Self> {
        let mut terminal = Terminal::start(command)?;
        terminal.keys(PLAIN_SHELL)?;
        terminal.wait_for(PROMPT)?;
        Ok(Self { name, terminal, enters: Vec::new(), interrupts: Vec::new(), shown: 0 })
    }

    fn flood(&mut self) -> Result<()> {
        let enter = self.prompt_after(b"\r")?;
        self.terminal.keys(b"yes\r")?;
        let shown = self.terminal.flood(FLOOD)?;
        ensure!(shown > FLOOD_LEN_MIN, "{}: only {shown} bytes are no flood", self.name);
        let interrupt = self.prompt_after(CTRL_C)?;
        self.enters.push(enter);
        self.interrupts.push(interrupt);
        self.shown += shown;
        Ok(())
    }

    fn prompt_after(&mut self, key: &[u8]) -> Result<Duration> {
        let started = Instant::now();
        self.terminal.keys(key)?;
        self.terminal.wait_for(PROMPT)?;
        Ok(started.elapsed())
    }

    fn result(self) -> (&'static str, Times, Times, f64) {
        let seconds = FLOOD.as_secs_f64() * self.interrupts.len() as f64;
        let rate = self.shown as f64 / 1e6 / seconds;
        (self.name, Times::new(self.enters), Times::new(self.interrupts), rate)
    }
}

/// What the client calls the node at the other end of the long link.
const FAR: &str = "far";
const EACH_WAY: Duration = Duration::from_millis(50);
const ROUNDS: usize = 10;
/// Long enough for everything on the way to be full.
const FLOOD: Duration = Duration::from_millis(1500);
const FLOOD_LEN_MIN: usize = 1 << 20;
const AFTER_TRIP_MAX: Duration = Duration::from_millis(100);
const CTRL_C: &[u8] = b"\x03";
/// The same shell for both, without what an account's start-up files may do for each prompt. The
/// prompt is not what its own line looks like where it is echoed.
const PLAIN_SHELL: &[u8] = b"exec env -i PATH=\"$PATH\" PS1='<''prompt>' sh\r";
const PROMPT: &[u8] = b"<prompt>";
