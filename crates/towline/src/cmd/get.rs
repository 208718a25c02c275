//! `tow get`.

use std::process::ExitCode;

use super::transfer::{Jobs, Side};
use crate::args::GetArgs;
use crate::client;
use crate::failure::Failure;
use crate::output::Quiet;
use crate::remote::{self, Remote};

/// Copies files and trees from a machine.
pub(crate) fn run(args: GetArgs, quiet: Quiet, verbose: bool) -> Result<ExitCode, Failure> {
    let mut paths = args.paths;
    let destination = match paths.last() {
        Some(last) if paths.len() > 1 && Remote::parse(last).is_none() => {
            remote::local(&paths.pop().unwrap_or_default())
        }
        _ => client::here()?,
    };
    let expect = |path: &_| Remote::expect(path).map(Side::There);
    let sources = paths.iter().map(|path| expect(path)).collect::<Result<Vec<_>, _>>()?;
    let jobs = Jobs::new(args.how.options(), args.how.json, quiet, verbose);
    jobs.run(&sources, &Side::Here(destination))
}
