//! `tow sessions`.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use tow_node::ask::sessions::{session_rm, sessions};
use tow_node::ask::{AskError, Connection};
use tow_node::clock;
use tow_proto::Code;
use tow_proto::message::{Lease, Program, SessionInfo};

use super::{exit, session};
use crate::args::{SessionsAction, SessionsArgs};
use crate::client::{self, Here, Host};
use crate::failure::Failure;
use crate::output;

#[derive(Serialize)]
struct Printed<'a> {
    id: &'a str,
    state: String,
    program: &'a Program,
    terminal: bool,
    owner: &'a str,
    started: String,
    ended: Option<String>,
    lease: Lease,
    typing: u32,
    watching: u32,
    stdout: u64,
    stderr: u64,
    exit: Option<exit::Printed<'a>>,
}

/// Which sessions are there.
pub(crate) fn run(args: SessionsArgs) -> Result<ExitCode, Failure> {
    let (host, gone) = match (args.action, args.host) {
        (Some(SessionsAction::Rm { host, sessions }), _) => (host, sessions),
        (Some(SessionsAction::Ls { host }), _) | (None, Some(host)) => (host, Vec::new()),
        (None, None) => return Err(Failure::usage("no machine was named")),
    };
    let here = Here::open()?;
    let host = here.host(&host)?;
    client::block_on(async {
        let mut connection = here.connect(&host).await?;
        let done = if gone.is_empty() {
            let listed = sessions(&mut connection).await;
            listed.map_err(|error| client::failure(&host, error))
        } else {
            remove(&mut connection, &host, &gone).await.map(|()| Vec::new())
        };
        connection.close().await;
        match done? {
            listed if args.json => {
                listed.iter().try_for_each(|info| output::json(&Printed::from(info)))?;
            }
            listed if gone.is_empty() => list(&listed, &host)?,
            _ => {}
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn remove(connection: &mut Connection, host: &Host, gone: &[String]) -> Result<(), Failure> {
    for word in gone {
        let id = session::resolve_on(connection, host, word).await?;
        session_rm(connection, &id).await.map_err(|error| match error {
            AskError::Refused(refusal) if refusal.code == Code::SessionRuns => {
                Failure::other(format!("{}: session {id} still runs", host.name))
                    .hint(format!("tow kill {} {id} first", host.word))
            }
            error => client::failure(host, error),
        })?;
    }
    Ok(())
}

fn list(listed: &[SessionInfo], host: &Host) -> std::io::Result<()> {
    if listed.is_empty() {
        output::status(format_args!(
            "No sessions on {}. To start one: tow shell {}",
            host.name, host.word
        ));
        return Ok(());
    }
    let head = ["ID", "STATE", "STARTED", "VIEWERS", "OUTPUT", "COMMAND"].map(str::to_owned);
    let now = SystemTime::now();
    let rows = listed.iter().map(|info| row(info, now));
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let widths = [0, 1, 2, 3, 4].map(width);
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        output::line(line + &row[5])?;
    }
    Ok(())
}

fn row(info: &SessionInfo, now: SystemTime) -> [String; 6] {
    let started = clock::from_unix_secs(info.started);
    let viewers = match (info.typing, info.watching) {
        (0, 0) => "-".to_owned(),
        (typing, 0) => typing.to_string(),
        (typing, watching) => format!("{typing}+{watching}"),
    };
    [
        info.id.escape_debug().to_string(),
        state(info),
        age(now.duration_since(started).unwrap_or_default()),
        viewers,
        output::bytes(info.stdout.saturating_add(info.stderr)),
        command(&info.program),
    ]
}

fn state(info: &SessionInfo) -> String {
    info.exit.as_ref().map_or_else(|| "running".to_owned(), |record| exit::in_words(record))
}

/// In the largest unit of which there are two, or of which there is one.
fn age(time: Duration) -> String {
    let secs = time.as_secs();
    match secs {
        0..120 => format!("{secs}s ago"),
        120..7_200 => format!("{}m ago", secs / 60),
        7_200..172_800 => format!("{}h ago", secs / 3_600),
        _ => format!("{}d ago", secs / 86_400),
    }
}

/// What runs, short enough for a line.
fn command(program: &Program) -> String {
    let text = match program {
        Program::Login => "(login shell)".to_owned(),
        Program::Shell(line) => line.to_string(),
        Program::Argv(words) => {
            let words = words.iter().take(COMMAND_LEN_MAX).map(ToString::to_string);
            words.collect::<Vec<_>>().join(" ")
        }
    };
    if text.chars().count() <= COMMAND_LEN_MAX {
        return text;
    }
    text.chars().take(COMMAND_LEN_MAX - 1).chain(['…']).collect()
}

impl<'a> From<&'a SessionInfo> for Printed<'a> {
    fn from(info: &'a SessionInfo) -> Self {
        let time = |secs: u64| clock::to_rfc3339(clock::from_unix_secs(secs));
        Self {
            id: &info.id,
            state: state(info),
            program: &info.program,
            terminal: info.terminal,
            owner: &info.owner,
            started: time(info.started),
            ended: info.ended.map(time),
            lease: info.lease,
            typing: info.typing,
            watching: info.watching,
            stdout: info.stdout,
            stderr: info.stderr,
            exit: info.exit.as_deref().map(exit::Printed::from),
        }
    }
}

/// Characters of a command that a list shows.
const COMMAND_LEN_MAX: usize = 80;

#[cfg(test)]
mod tests {
    use tow_proto::content::Hash;
    use tow_proto::message::{Ended, EndedBy, ExitRecord, StreamTotal};

    use super::*;

    #[test]
    fn an_age_is_said_in_one_unit() {
        for (secs, text) in
            [(0, "0s"), (119, "119s"), (120, "2m"), (7_199, "119m"), (7_200, "2h"), (172_800, "2d")]
        {
            assert_eq!(age(Duration::from_secs(secs)), format!("{text} ago"));
        }
    }

    #[test]
    fn a_command_is_one_line_that_does_nothing_to_the_terminal() {
        let argv =
            |words: &[&str]| Program::Argv(words.iter().map(|word| (*word).into()).collect());
        assert_eq!(command(&argv(&["make", "-C", "a b"])), "make -C a b");
        assert_eq!(command(&argv(&["printf", "\x1b[2J\n"])), "printf \\u{1b}[2J\\n");
        assert_eq!(command(&Program::Shell("a | b".into())), "a | b");
        let long = command(&argv(&["ä".repeat(100).as_str()]));
        assert_eq!((long.chars().count(), long.ends_with("ä…")), (COMMAND_LEN_MAX, true));
    }

    #[test]
    fn a_state_is_a_word_or_two() {
        let total = StreamTotal { bytes: 0, blake3: Hash([0; 32]) };
        let record = |ended, by| {
            let (stdout, stderr) = (total, total);
            exit::in_words(&ExitRecord { ended, by, lingering: Vec::new(), stdout, stderr })
        };
        let term = || Ended::Signal { name: "TERM".into(), number: 15, core: false };
        assert_eq!(record(Ended::Code(3), EndedBy::Itself), "exit 3");
        assert_eq!(record(term(), EndedBy::User), "TERM");
        assert_eq!(record(term(), EndedBy::Timeout), "timeout");
    }
}
