//! Much output of a program into a file: `tow run` beside `ssh`, in turns, and no connection at all.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::cpu;
use crate::node::{self, Node};
use crate::ssh::{self, Sshd};
use crate::stats::median;
use crate::table::{Table, verdict};

pub(super) fn measure(tow: &Path, dir: &Path, rounds: usize) -> Result<()> {
    let node = Node::start(tow, &dir.join("tow"), None)?;
    let sshd = Sshd::start(&dir.join("ssh"))?;
    let servers = Servers { node: [node.pid(), node.keeper_pid()?], sshd: &sshd };
    let mut ours = node.command();
    ours.args(["run", node::NAME, "--", SEQ[0], SEQ[1], SEQ[2]]);
    let mut theirs = sshd.command("ssh");
    theirs.args([ssh::NAME, &SEQ.join(" ")]);
    let mut local = Command::new(SEQ[0]);
    local.args(&SEQ[1..]);
    let file = dir.join("output");
    let mut contenders = [
        Contender { name: "tow run", server: Server::Tow, command: ours, samples: Vec::new() },
        Contender { name: "ssh", server: Server::Ssh, command: theirs, samples: Vec::new() },
        Contender { name: "no connection", server: Server::None, command: local, samples: vec![] },
    ];
    let expected = expected(&file)?;
    for _ in 0..rounds {
        for contender in &mut contenders {
            contender.run(&file, &expected, &servers)?;
        }
    }
    let name = SEQ.join(" ");
    println!(
        "session, flood: `{name}`, {:.0} MB into a file in memory, {rounds} rounds, medians\n",
        expected.len as f64 / 1e6
    );
    println!("{}", table(&contenders, expected.len));
    let ratio = ratio(&contenders[0], &contenders[1]);
    verdict(
        ratio >= RATIO_AIM,
        format!("session, flood: tow run is {ratio:.2} times as fast as ssh, aim {RATIO_AIM:.1}"),
    );
    Ok(())
}

struct Contender {
    name: &'static str,
    server: Server,
    command: Command,
    samples: Vec<Sample>,
}

#[derive(Clone, Copy)]
enum Server {
    None,
    Tow,
    Ssh,
}

/// Whose processor time is counted, with that of their children.
struct Servers<'a> {
    /// The node and its keeper.
    node: [u32; 2],
    sshd: &'a Sshd,
}

/// What the file must be.
struct Expected {
    len: u64,
    hash: blake3::Hash,
}

/// One flood.
struct Sample {
    time: Duration,
    client: Duration,
    server: Duration,
}

impl Servers<'_> {
    fn cpu(&self, server: Server) -> Result<Duration> {
        match server {
            Server::None => Ok(Duration::ZERO),
            Server::Tow => self.node.iter().map(|pid| cpu::of_process(*pid)).sum(),
            Server::Ssh => {
                self.sshd.settle()?;
                cpu::of_process(self.sshd.pid())
            }
        }
    }
}

impl Contender {
    fn run(&mut self, file: &PathBuf, expected: &Expected, servers: &Servers<'_>) -> Result<()> {
        self.command.stdin(Stdio::null()).stdout(File::create(file)?);
        let (client, server) = (cpu::of_our_children()?, servers.cpu(self.server)?);
        let started = Instant::now();
        let status = self.command.status()?;
        let time = started.elapsed();
        ensure!(status.success(), "{}: {status}", self.name);
        let sample = Sample {
            time,
            client: cpu::of_our_children()?.saturating_sub(client),
            server: servers.cpu(self.server)?.saturating_sub(server),
        };
        let len = fs::metadata(file)?.len();
        ensure!(len == expected.len, "{}: {len} bytes of {}", self.name, expected.len);
        if self.samples.is_empty() {
            ensure!(hash(file)? == expected.hash, "{}: other bytes", self.name);
        }
        fs::remove_file(file)?;
        self.samples.push(sample);
        Ok(())
    }

    fn median(&self, of: fn(&Sample) -> Duration) -> f64 {
        median(self.samples.iter().map(|sample| of(sample).as_secs_f64()).collect())
    }
}

fn expected(file: &Path) -> Result<Expected> {
    let status = Command::new(SEQ[0]).args(&SEQ[1..]).stdout(File::create(file)?).status()?;
    ensure!(status.success(), "{SEQ:?}: {status}");
    let expected = Expected { len: fs::metadata(file)?.len(), hash: hash(file)? };
    fs::remove_file(file)?;
    Ok(expected)
}

fn hash(file: &Path) -> Result<blake3::Hash> {
    Ok(blake3::Hasher::new().update_reader(File::open(file)?)?.finalize())
}

fn table(contenders: &[Contender], len: u64) -> Table {
    let mut table =
        Table::new(&["", "s", "min-max", "MB/s", "CPU s client", "CPU s server", "times ssh"]);
    for contender in contenders {
        let times = contender.samples.iter().map(|sample| sample.time.as_secs_f64());
        let (min, max) = times.fold((f64::MAX, 0f64), |(a, b), time| (a.min(time), b.max(time)));
        let time = contender.median(|sample| sample.time);
        table.row([
            contender.name.to_owned(),
            format!("{time:.2}"),
            format!("{min:.2}-{max:.2}"),
            format!("{:.0}", len as f64 / 1e6 / time),
            format!("{:.2}", contender.median(|sample| sample.client)),
            format!("{:.2}", contender.median(|sample| sample.server)),
            format!("{:.2}", ratio(contender, &contenders[1])),
        ]);
    }
    table
}

/// How many times as fast `ours` was as `theirs`: the median of the ratios of the rounds.
fn ratio(ours: &Contender, theirs: &Contender) -> f64 {
    let pairs = ours.samples.iter().zip(&theirs.samples);
    median(pairs.map(|(a, b)| b.time.as_secs_f64() / a.time.as_secs_f64()).collect())
}

const SEQ: [&str; 3] = ["seq", "1", "20000000"];
/// `tow run` is to be this many times as fast as `ssh`.
const RATIO_AIM: f64 = 1.0;
