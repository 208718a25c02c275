//! How a program ended, as an exit code and as `--json` prints it (docs/decisions/0004).

use std::process::ExitCode;

use serde::Serialize;
use tow_proto::message::{Ended, EndedBy, ExitRecord, StreamTotal};

/// The exit record as `--json` prints it.
#[derive(Debug, Serialize)]
pub(super) struct Printed<'a> {
    code: Option<u8>,
    signal: Option<&'a str>,
    core: bool,
    timeout: bool,
    ended_by: EndedBy,
    lingering: &'a [u32],
    stdout: StreamTotal,
    stderr: StreamTotal,
}

impl<'a> From<&'a ExitRecord> for Printed<'a> {
    fn from(record: &'a ExitRecord) -> Self {
        let (code, signal, core) = match &record.ended {
            Ended::Code(code) => (Some(*code), None, false),
            Ended::Signal { name, core, .. } => (None, Some(name.as_str()), *core),
        };
        Self {
            code,
            signal,
            core,
            timeout: record.by == EndedBy::Timeout,
            ended_by: record.by,
            lingering: &record.lingering,
            stdout: record.stdout,
            stderr: record.stderr,
        }
    }
}

/// The exit code that a program's end is passed on as.
pub(super) fn code(record: &ExitRecord) -> ExitCode {
    let code = match (&record.ended, record.by) {
        (_, EndedBy::Timeout) => 124,
        (Ended::Code(code), _) => *code,
        (Ended::Signal { number, .. }, _) => 128_u8.saturating_add(*number),
    };
    ExitCode::from(code)
}

/// The same in a word or two: `exit 0`, `TERM`, `timeout`.
pub(super) fn in_words(record: &ExitRecord) -> String {
    match (&record.ended, record.by) {
        (_, EndedBy::Timeout) => "timeout".to_owned(),
        (Ended::Code(code), _) => format!("exit {code}"),
        (Ended::Signal { name, .. }, _) => name.escape_debug().to_string(),
    }
}
