//! What a person or a script reads: results on stdout, status on stderr.

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;

/// Whether `-q` was given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quiet(pub(crate) bool);

/// A line of status on stderr. That nobody reads it is no reason to fail.
pub(crate) fn status(line: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// A line of the result on stdout.
///
/// # Errors
/// stdout is closed or full.
pub(crate) fn line(line: impl fmt::Display) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{line}")
}

/// A JSON line of the result on stdout.
///
/// # Errors
/// stdout is closed or full.
pub(crate) fn json<T: Serialize>(value: &T) -> io::Result<()> {
    line(serde_json::to_string(value)?)
}

/// True where a person watches stderr.
pub(crate) fn is_watched() -> bool {
    io::stderr().is_terminal()
}

/// `1.4 GiB`.
pub(crate) fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}
