//! `tow completions`.

use std::process::ExitCode;

use clap::CommandFactory as _;

use crate::args::Args;
use crate::failure::Failure;

/// Writes the completions of one shell.
pub(crate) fn run(shell: clap_complete::Shell) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "tow", &mut script);
    std::io::Write::write_all(&mut std::io::stdout().lock(), &script)?;
    Ok(ExitCode::SUCCESS)
}
