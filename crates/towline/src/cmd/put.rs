//! `tow put`.

use std::process::ExitCode;

use super::transfer::{Jobs, Side};
use crate::args::PutArgs;
use crate::failure::Failure;
use crate::output::Quiet;
use crate::remote::{self, Remote};

/// Copies files and trees to a machine.
pub(crate) fn run(args: PutArgs, quiet: Quiet, verbose: bool) -> Result<ExitCode, Failure> {
    let mut paths = args.paths;
    let destination = Remote::expect(&paths.pop().unwrap_or_default())?;
    let sources: Vec<_> = paths.iter().map(|path| Side::Here(remote::local(path))).collect();
    let jobs = Jobs::new(args.how.options(), args.how.json, quiet, verbose);
    jobs.run(&sources, &Side::There(destination))
}
