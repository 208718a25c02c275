//! One large file in memory, both ways: `tow get` and `tow put` beside `scp`, `ssh cat` and, as the
//! floor, `cp`. All take turns in each round; a ratio is the median of the ratios of the rounds.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::cpu;
use crate::node::{self, Node};
use crate::ssh::{self, Sshd};
use crate::stats::median;
use crate::table::{Table, verdict};

/// `tow` is to be this many times as fast as `scp`.
const RATIO_AIM: f64 = 1.2;

pub(crate) fn measure(tow: &Path, dir: &Path, rounds: usize, mib: u64) -> Result<()> {
    let files = Files { source: dir.join("source"), copy: dir.join("copy") };
    let hash = make(&files.source, mib << 20)?;
    let node = Node::start(tow, &dir.join("tow"), None)?;
    let sshd = Sshd::start(&dir.join("ssh"))?;
    let mut results: Vec<Vec<Sample>> = CONTENDERS.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        for (contender, samples) in CONTENDERS.iter().zip(&mut results) {
            let server = contender.way.server(&node, &sshd);
            samples.push(sample(contender, &files, &node, &sshd, server)?);
            if round == 0 {
                ensure!(hash_of(&files.copy)? == hash, "{}: not a copy", contender.name);
            }
            fs::remove_file(&files.copy)?;
        }
    }
    println!("file: {mib} MiB in memory, {rounds} rounds, medians; CPU of both ends together\n");
    print!("{}", table(&results, mib));
    println!();
    for (ours, theirs) in [("tow get", "scp get"), ("tow put", "scp put")] {
        let ratio = ratio(&results, ours, theirs);
        let aim = format!("file: {ours} is {ratio:.2} times as fast as {theirs}, aim {RATIO_AIM}");
        verdict(ratio >= RATIO_AIM, aim);
    }
    Ok(())
}

struct Files {
    source: PathBuf,
    copy: PathBuf,
}

/// Who carries the file.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Local,
    Tow,
    Ssh,
}

struct Contender {
    name: &'static str,
    way: Way,
    start: fn(&Files, &Node, &Sshd) -> Result<Command>,
}

const CONTENDERS: [Contender; 7] = [
    Contender { name: "cp", way: Way::Local, start: cp },
    Contender { name: "tow get", way: Way::Tow, start: tow_get },
    Contender { name: "scp get", way: Way::Ssh, start: scp_get },
    Contender { name: "ssh cat get", way: Way::Ssh, start: cat_get },
    Contender { name: "tow put", way: Way::Tow, start: tow_put },
    Contender { name: "scp put", way: Way::Ssh, start: scp_put },
    Contender { name: "ssh cat put", way: Way::Ssh, start: cat_put },
];

/// One copy.
#[derive(Clone, Copy)]
struct Sample {
    time: Duration,
    client: Duration,
    server: Duration,
}

impl Way {
    fn server(self, node: &Node, sshd: &Sshd) -> Option<u32> {
        match self {
            Self::Local => None,
            Self::Tow => Some(node.pid()),
            Self::Ssh => Some(sshd.pid()),
        }
    }
}

fn sample(
    contender: &Contender,
    files: &Files,
    node: &Node,
    sshd: &Sshd,
    server: Option<u32>,
) -> Result<Sample> {
    let mut command = (contender.start)(files, node, sshd)?;
    let of_server = || server.map_or(Ok(Duration::ZERO), cpu::of_process);
    let (client_before, server_before) = (cpu::of_our_children()?, of_server()?);
    let started = Instant::now();
    let status = command.status()?;
    let time = started.elapsed();
    ensure!(status.success(), "{}: {status}", contender.name);
    if contender.way == Way::Ssh {
        sshd.settle()?;
    }
    let client = cpu::of_our_children()?.saturating_sub(client_before);
    let server = of_server()?.saturating_sub(server_before);
    let (wanted, got) = (fs::metadata(&files.source)?.len(), fs::metadata(&files.copy)?.len());
    ensure!(wanted == got, "{}: {got} bytes of {wanted}", contender.name);
    Ok(Sample { time, client, server })
}

fn cp(files: &Files, _: &Node, _: &Sshd) -> Result<Command> {
    let mut command = Command::new("cp");
    command.args([&files.source, &files.copy]);
    Ok(command)
}

fn tow_get(files: &Files, node: &Node, _: &Sshd) -> Result<Command> {
    let mut command = node.command();
    command.args(["get", "-q"]).arg(remote(node::NAME, &files.source)).arg(&files.copy);
    Ok(command)
}

fn tow_put(files: &Files, node: &Node, _: &Sshd) -> Result<Command> {
    let mut command = node.command();
    command.args(["put", "-q"]).arg(&files.source).arg(remote(node::NAME, &files.copy));
    Ok(command)
}

fn scp_get(files: &Files, _: &Node, sshd: &Sshd) -> Result<Command> {
    let mut command = sshd.command("scp");
    command.arg("-q").arg(remote(ssh::NAME, &files.source)).arg(&files.copy);
    Ok(command)
}

fn scp_put(files: &Files, _: &Node, sshd: &Sshd) -> Result<Command> {
    let mut command = sshd.command("scp");
    command.arg("-q").arg(&files.source).arg(remote(ssh::NAME, &files.copy));
    Ok(command)
}

fn cat_get(files: &Files, _: &Node, sshd: &Sshd) -> Result<Command> {
    let mut command = sshd.command("ssh");
    command.arg(ssh::NAME).arg(format!("cat {}", files.source.display()));
    command.stdin(Stdio::null()).stdout(File::create(&files.copy)?);
    Ok(command)
}

fn cat_put(files: &Files, _: &Node, sshd: &Sshd) -> Result<Command> {
    let mut command = sshd.command("ssh");
    command.arg(ssh::NAME).arg(format!("cat > {}", files.copy.display()));
    command.stdin(File::open(&files.source)?);
    Ok(command)
}

fn remote(host: &str, path: &Path) -> String {
    format!("{host}:{}", path.display())
}

fn table(results: &[Vec<Sample>], mib: u64) -> Table {
    let mut table =
        Table::new(&["", "s", "min-max", "MB/s", "CPU s client", "CPU s server", "times scp"]);
    let seconds = |samples: &[Sample], of: fn(&Sample) -> Duration| -> Vec<f64> {
        samples.iter().map(|sample| of(sample).as_secs_f64()).collect()
    };
    for (contender, samples) in CONTENDERS.iter().zip(results) {
        let times = seconds(samples, |sample| sample.time);
        let (min, max) = times.iter().fold((f64::MAX, 0f64), |(a, b), t| (a.min(*t), b.max(*t)));
        let time = median(times);
        let peer = if contender.name.ends_with("put") { "scp put" } else { "scp get" };
        table.row([
            contender.name.to_owned(),
            format!("{time:.2}"),
            format!("{min:.2}-{max:.2}"),
            format!("{:.0}", (mib << 20) as f64 / 1e6 / time),
            format!("{:.2}", median(seconds(samples, |sample| sample.client))),
            format!("{:.2}", median(seconds(samples, |sample| sample.server))),
            format!("{:.2}", ratio(results, contender.name, peer)),
        ]);
    }
    table
}

/// How many times as fast `ours` was as `theirs`.
fn ratio(results: &[Vec<Sample>], ours: &str, theirs: &str) -> f64 {
    let of = |name: &str| {
        let found = CONTENDERS.iter().zip(results).find(|(contender, _)| contender.name == name);
        found.map(|(_, samples)| samples.as_slice()).unwrap_or_default()
    };
    let pairs = of(ours).iter().zip(of(theirs));
    median(pairs.map(|(a, b)| b.time.as_secs_f64() / a.time.as_secs_f64()).collect())
}

/// A file that can't be compressed, and its hash.
fn make(path: &Path, len: u64) -> Result<blake3::Hash> {
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
