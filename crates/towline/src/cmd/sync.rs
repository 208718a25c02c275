//! `tow sync`: makes the content of one place equal to that of another.

use std::process::ExitCode;

use super::transfer::{Jobs, Side};
use crate::args::SyncArgs;
use crate::failure::Failure;
use crate::output::Quiet;

/// Makes DEST equal to SRC.
pub(crate) fn run(args: SyncArgs, quiet: Quiet, verbose: bool) -> Result<ExitCode, Failure> {
    let options = args.options();
    let (source, destination) = (Side::parse(&args.source), Side::parse(&args.destination));
    Jobs::new(options, args.how.json, quiet, verbose).run(&[source], &destination)
}
