//! `tow audit`.

use std::io::Write as _;
use std::ops::ControlFlow;
use std::process::ExitCode;

use tow_node::ask::admin::{self, Until};
use tow_proto::byte_string::escape;

use crate::args::AuditArgs;
use crate::client::{self, Here};
use crate::failure::Failure;

/// Who did what on a machine.
pub(crate) fn run(args: AuditArgs) -> Result<ExitCode, Failure> {
    let here = Here::open()?;
    let host = here.host(&args.host)?;
    let until = if args.follow { Until::Cancelled } else { Until::End };
    let mut failed = None;
    let mut print = |lines: &[u8]| {
        let printed = if args.json { write(lines) } else { show(lines) };
        match printed {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    };
    client::block_on(async {
        let mut connection = here.connect(&host).await?;
        let read = admin::audit(&mut connection, until, &mut print).await;
        connection.close().await;
        read.map_err(|error| client::failure(&host, error))
    })?;
    failed.map_or(Ok(ExitCode::SUCCESS), |error| Err(error.into()))
}

fn write(lines: &[u8]) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(lines)?;
    stdout.flush()
}

/// A record as one line that a person can read. The node sends whole lines.
fn show(lines: &[u8]) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let Ok(serde_json::Value::Object(record)) = serde_json::from_slice(line) else {
            writeln!(stdout, "{}", escape(line))?;
            continue;
        };
        let field = |name: &str| match record.get(name) {
            Some(serde_json::Value::String(text)) => escape(text.as_bytes()).into_owned(),
            Some(serde_json::Value::Array(words)) => {
                words.iter().map(word).collect::<Vec<_>>().join(" ")
            }
            Some(other) => escape(other.to_string().as_bytes()).into_owned(),
            None => String::new(),
        };
        let outcome = ["outcome", "why", "exit", "signal"].map(field).join(" ");
        writeln!(
            stdout,
            "{}  {:<16} {:<22} {:<7} {:<24} {}",
            field("time"),
            field("name"),
            field("from"),
            field("what"),
            outcome.split_whitespace().collect::<Vec<_>>().join(" "),
            field("detail"),
        )?;
    }
    stdout.flush()
}

fn word(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => escape(text.as_bytes()).into_owned(),
        other => escape(other.to_string().as_bytes()).into_owned(),
    }
}
