//! Sessions: what somebody at a terminal feels, what a flood costs, what many of them take. Each part
//! has a node, and where there is one a peer, of its own.

mod attach;
mod crowd;
mod echo;
mod flood;
mod interrupt;
mod left;

use std::fs;
use std::path::Path;

use anyhow::Result;
use clap::ValueEnum;
use tow_proto::message::{Lease, Program, Run, Window};

/// What is measured, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// From a key to its echo, beside ssh.
    Echo,
    /// Much output into a file, beside ssh.
    Flood,
    /// From Ctrl-C to the prompt over a long link, beside ssh.
    Interrupt,
    /// A thousand sessions at once: time, memory, what is left of them.
    Crowd,
    /// From a connection to the first screen of a terminal with much behind it.
    Attach,
}

pub(crate) fn measure(tow: &Path, dir: &Path, parts: &[Part], rounds: usize) -> Result<()> {
    let parts = if parts.is_empty() { Part::value_variants() } else { parts };
    for (number, part) in parts.iter().enumerate() {
        let dir = dir.join(number.to_string());
        fs::create_dir(&dir)?;
        match part {
            Part::Echo => echo::measure(tow, &dir)?,
            Part::Flood => flood::measure(tow, &dir, rounds)?,
            Part::Interrupt => interrupt::measure(tow, &dir)?,
            Part::Crowd => crowd::measure(tow, &dir)?,
            Part::Attach => attach::measure(tow, &dir)?,
        }
        println!();
    }
    Ok(())
}

/// A request that starts a program which nobody looks at yet, as `tow run -d` does.
fn detached(id: String, program: Program, terminal: Option<Window>) -> Run {
    Run {
        id,
        program,
        cwd: None,
        env: Vec::new(),
        timeout_ms: None,
        lease: Lease::Detached,
        stdin: false,
        terminal,
        locale: String::new(),
        view: false,
        stdout_to: 0,
        stderr_to: 0,
    }
}
