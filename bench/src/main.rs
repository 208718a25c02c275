//! Measurements, each beside its peers in the same run: `cargo x bench CASE…`. What each case does,
//! and a stored run of it, is in docs/BENCHMARKS.md.
//!
//! Prints a table for each case and one line for each aim: PASS or MISS. A missed aim is a result,
//! not an error.

#![allow(clippy::print_stdout, clippy::print_stderr)] // A tool for the terminal of whoever builds.

mod cpu;
mod file;
mod idle;
mod memory;
mod node;
mod peers;
mod run;
mod scratch;
mod session;
mod siege;
mod ssh;
mod stats;
mod table;
mod terminal;
mod tree;
mod wait;
mod web;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, ValueEnum};

use crate::scratch::Scratch;
use crate::siege::attack::{self, Mode};

/// Measures towline beside its peers.
#[derive(Parser)]
#[command(name = "tow-bench")]
struct Args {
    /// What to measure; everything where nothing is named.
    cases: Vec<Case>,
    /// Parts of `session` or of `tree`; where none is named, all that take no more than a minute.
    #[arg(long, value_delimiter = ',')]
    part: Vec<String>,
    /// Times that each contender of `file`, `tree` and of a flood has its turn [default: 5, `tree` 3].
    #[arg(long)]
    rounds: Option<usize>,
    /// Files in the trees of `tree` [default: as many as the aim of each part names].
    #[arg(long)]
    files: Option<usize>,
    /// Size of the one large file in MiB.
    #[arg(long, default_value_t = 2048)]
    mib: u64,
    /// The `tow` to measure; else it is built.
    #[arg(long)]
    tow: Option<PathBuf>,
    /// Be the attackers of a siege of this address.
    #[arg(long, hide = true, requires = "mode")]
    attack: Option<SocketAddr>,
    #[arg(long, hide = true)]
    mode: Option<Mode>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Case {
    /// One large file in memory, both ways, beside rsync, scp, ssh, nginx and cp.
    File,
    /// Many files, changes, cuts and slow links, beside rsync, tar, scp and cp.
    Tree,
    /// The browser's door beside nginx and dufs.
    Web,
    /// A command on a fresh connection, beside ssh.
    Run,
    /// Memory of idle proved connections.
    Idle,
    /// Terminals and programs that outlive connections, beside ssh.
    Session,
    /// Logins while 10,000 connections besiege the port.
    Siege,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if let (Some(target), Some(mode)) = (args.attack, args.mode) {
        return attack::run(target, mode);
    }
    let tow = match args.tow {
        Some(tow) => tow.canonicalize().with_context(|| format!("{}", tow.display()))?,
        None => build()?,
    };
    ensure!(args.rounds != Some(0), "--rounds: one at least, there is no median of none");
    ensure!(args.part.is_empty() || args.cases.len() == 1, "--part is for one case");
    let cases = if args.cases.is_empty() { Case::value_variants() } else { &args.cases };
    for case in cases {
        println!("{}", machine()?);
        let scratch = Scratch::new()?;
        match case {
            Case::File => file::measure(&tow, scratch.path(), args.rounds.unwrap_or(5), args.mib)?,
            Case::Tree => {
                let (parts, rounds) = (parts(&args.part)?, args.rounds.unwrap_or(3));
                tree::measure(&tow, scratch.path(), &parts, rounds, args.files)?;
            }
            Case::Web => web::measure(&tow, scratch.path(), args.rounds.unwrap_or(5), args.mib)?,
            Case::Run => run::measure(&tow, scratch.path())?,
            Case::Idle => idle::measure(&tow, scratch.path())?,
            Case::Session => {
                let (parts, rounds) = (parts(&args.part)?, args.rounds.unwrap_or(5));
                session::measure(&tow, scratch.path(), &parts, rounds)?;
            }
            Case::Siege => siege::measure(&tow, scratch.path())?,
        }
        println!("load {} at the end\n", load()?);
    }
    Ok(())
}

/// The parts of a case by their names.
fn parts<P: ValueEnum>(names: &[String]) -> Result<Vec<P>> {
    let part = |name: &String| {
        P::from_str(name, false).map_err(|error| anyhow::anyhow!("--part {name}: {error}"))
    };
    names.iter().map(part).collect()
}

/// Builds `tow` as it ships, beside this program.
fn build() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let top = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let status = Command::new(cargo)
        .args(["build", "--release", "--quiet", "--package", "towline"])
        .current_dir(top)
        .status()
        .context("cargo could not be started")?;
    ensure!(status.success(), "tow could not be built: {status}");
    let this = std::env::current_exe()?;
    let target = this.ancestors().nth(2).context("this program lies in no target directory")?;
    Ok(target.join("release/tow"))
}

/// What the figures belong to.
fn machine() -> Result<String> {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").context("/proc")?;
    let processors = std::thread::available_parallelism()?;
    Ok(format!("{processors} processors, Linux {}, load {} at the start", kernel.trim(), load()?))
}

/// Processes that wanted to run in the last minute, the measured ones included.
fn load() -> Result<String> {
    let load = std::fs::read_to_string("/proc/loadavg").context("/proc")?;
    Ok(load.split(' ').next().unwrap_or_default().to_owned())
}
