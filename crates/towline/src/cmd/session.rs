//! What the commands that work with sessions share: which one is meant, and what comes of it.

use std::process::ExitCode;
use std::time::Duration;

use tow_node::ask::session::{Attaching, Patience, Remote, request_id};
use tow_node::ask::sessions::sessions;
use tow_node::ask::{AskError, Connection};
use tow_proto::Code;
use tow_proto::message::{EndedBy, Lease, Program, Run, SessionInfo, View, Window};

use super::exit;
use crate::carry::{Carried, Outcome, Plan, carry};
use crate::client::{self, Here, Host};
use crate::failure::{Class, Failure};
use crate::{output, terminal};

/// Says at the end of everything what the program's end was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// By the exit code alone.
    Unsaid,
    /// With a last line of JSON.
    Printed,
}

impl Record {
    pub(super) fn new(json: bool) -> Self {
        if json { Self::Printed } else { Self::Unsaid }
    }
}

/// A request to run `program`, as far as it is the same for all; the rest is for the caller to fill in.
///
/// # Errors
/// The system has no randomness.
pub(super) fn request(program: Program, lease: Option<Duration>) -> Result<Run, Failure> {
    Ok(Run {
        id: request_id().ok_or_else(|| Failure::other("the system has no randomness"))?,
        program,
        cwd: None,
        env: Vec::new(),
        timeout_ms: None,
        lease: lease.map_or(Lease::Attached, |lease| Lease::Ms(millis(lease))),
        stdin: true,
        terminal: None,
        locale: String::new(),
        view: true,
        stdout_to: 0,
        stderr_to: 0,
    })
}

/// Puts a program on a terminal like the one here. With text in another encoding, our locale would
/// ask it for the wrong one.
pub(super) fn put_on_terminal(run: &mut Run, encoding: Option<&'static encoding_rs::Encoding>) {
    run.terminal = Some(terminal::window().unwrap_or(terminal::WINDOW_DEFAULT));
    // What was asked for comes later, and so counts.
    run.env.splice(0..0, terminal::variables());
    if encoding.is_none() {
        run.locale = terminal::locale();
    }
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// How long a lost link is waited for. Whoever sits at a terminal can leave; anybody else waits as long
/// as the session, and a little for its end to be heard.
fn patience(run: &Run) -> Patience {
    let is_left_to_a_person = run.terminal.is_some() && terminal::is_typed_at();
    let give_up_after = match run.lease {
        _ if is_left_to_a_person => None,
        Lease::Detached => None,
        Lease::Attached => Some(LEASE_ATTACHED + HEARING_MAX),
        Lease::Ms(millis) => Some(Duration::from_millis(millis) + HEARING_MAX),
    };
    Patience { give_up_after }
}

/// Starts a program.
pub(super) async fn start(
    here: &Here,
    host: &Host,
    run: Run,
    patience: Patience,
) -> Result<Box<Remote>, Failure> {
    let started = Box::pin(Remote::start(&here.client, &host.target, run, patience)).await;
    started.map(Box::new).map_err(|error| client::failure(host, error))
}

/// Starts a program and carries it to its end.
pub(super) async fn work(
    here: &Here,
    run: Run,
    plan: Plan<'_>,
    record: Record,
) -> Result<ExitCode, Failure> {
    let patience = patience(&run);
    let remote = start(here, plan.host, run, patience).await?;
    conclude(carry(remote, plan).await?, record)
}

/// Looks at a session that is there, and carries it to its end.
pub(super) async fn look(
    here: &Here,
    attaching: Attaching,
    plan: Plan<'_>,
    record: Record,
) -> Result<ExitCode, Failure> {
    // What is there outlives us: there is no time after which its end can't be heard.
    let patience = Patience { give_up_after: None };
    let host = plan.host;
    let remote = Box::pin(Remote::attach(&here.client, &host.target, attaching, patience)).await;
    let remote = remote.map_err(|error| client::failure(host, error))?;
    conclude(carry(Box::new(remote), plan).await?, record)
}

/// A look at `session` from where it is now.
pub(super) fn attaching(session: String, view: View, window: Option<Window>) -> Attaching {
    Attaching { session, view, window, stdout_from: None, stderr_from: None }
}

fn conclude(outcome: Outcome, record: Record) -> Result<ExitCode, Failure> {
    let Carried { record: ended, last_byte } = match outcome {
        Outcome::Ended(carried) => carried,
        Outcome::CaughtUp => return Ok(ExitCode::SUCCESS),
        Outcome::Gone(code) => return Ok(code),
    };
    match ended.by {
        EndedBy::Lease => output::status("tow: the program was ended: its lease was over"),
        EndedBy::Node => output::status("tow: the program was ended by its machine's towline"),
        _ => {}
    }
    if record == Record::Printed {
        // The record has a line of its own, also where the program did not end its last one.
        if last_byte != b'\n' {
            output::line("")?;
        }
        output::json(&exit::Printed::from(&ended))?;
    }
    Ok(exit::code(&ended))
}

/// The id that `word` is, or is the start of. A whole id is not looked up.
///
/// # Errors
/// It is the start of none, or of several.
pub(super) async fn resolve(here: &Here, host: &Host, word: &str) -> Result<String, Failure> {
    if word.len() == ID_LEN {
        return Ok(word.to_owned());
    }
    Ok(look_up(here, host, word).await?.id)
}

/// The same on a link that is open.
pub(super) async fn resolve_on(
    connection: &mut Connection,
    host: &Host,
    word: &str,
) -> Result<String, Failure> {
    if word.len() == ID_LEN {
        return Ok(word.to_owned());
    }
    let all = sessions(connection).await.map_err(|error| client::failure(host, error))?;
    Ok(one_of(all, word, host)?.id)
}

/// What the machine says of the session whose id `word` is, or is the start of.
///
/// # Errors
/// It is the start of none, or of several.
pub(super) async fn look_up(here: &Here, host: &Host, word: &str) -> Result<SessionInfo, Failure> {
    let mut connection = here.connect(host).await?;
    let all: Result<_, AskError> = sessions(&mut connection).await;
    let all = all.map_err(|error| client::failure(host, error))?;
    connection.close().await;
    one_of(all, word, host)
}

fn one_of(all: Vec<SessionInfo>, word: &str, host: &Host) -> Result<SessionInfo, Failure> {
    let shown = word.escape_debug();
    let lists = format!("tow sessions {} lists them", host.word);
    if word.len() < PREFIX_LEN_MIN {
        let what =
            format!("`{shown}` is too little of an id: {PREFIX_LEN_MIN} characters at least");
        return Err(Failure::usage(what).hint(lists));
    }
    let mut found: Vec<_> = all.into_iter().filter(|info| info.id.starts_with(word)).collect();
    match (found.pop(), found.len()) {
        (Some(info), 0) => Ok(info),
        (Some(_), others) => {
            let what =
                format!("{} ids of sessions on {} start with `{shown}`", others + 1, host.name);
            Err(Failure::usage(what).hint(lists))
        }
        (None, _) => {
            let what = match word.len() {
                ID_LEN => format!("{}: {}", host.name, Code::UnknownSession.sentence()),
                _ => format!("{}: no session has an id that starts with `{shown}`", host.name),
            };
            Err(Failure::new(Class::Session, what).hint(lists))
        }
    }
}

/// Characters of a session's id.
const ID_LEN: usize = 12;
/// Fewer say too little, even where only one session fits now.
const PREFIX_LEN_MIN: usize = 4;
/// How long a node lets a session outlive its last viewer (PROTOCOL 7.5).
const LEASE_ATTACHED: Duration = Duration::from_secs(30);
/// How long after that its end can still be heard.
const HEARING_MAX: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use tow_node::ask::Target;

    use super::*;

    fn host() -> Host {
        let target = Target { addresses: Vec::new(), key: None };
        Host { word: "box".into(), name: "box".into(), target }
    }

    fn info(id: &str) -> SessionInfo {
        SessionInfo {
            id: id.into(),
            owner: "key".into(),
            program: Program::Login,
            terminal: true,
            started: 0,
            lease: Lease::Detached,
            typing: 0,
            watching: 0,
            stdout: 0,
            stderr: 0,
            exit: None,
            ended: None,
        }
    }

    #[test]
    fn the_start_of_an_id_is_enough_where_it_is_the_start_of_one() {
        let all = || vec![info("abcd00000000"), info("abcd10000000"), info("xyz000000000")];
        let found = |word: &str| one_of(all(), word, &host()).map(|info| info.id);
        assert_eq!(found("abcd1").unwrap(), "abcd10000000");
        assert_eq!(found("xyz0").unwrap(), "xyz000000000");
        for (word, class, what) in [
            ("abcd", Class::Usage, "2 ids"),
            ("xyz", Class::Usage, "too little"),
            ("0000", Class::Session, "no session"),
            ("xyz0000000000", Class::Session, "no session"),
        ] {
            let failure = found(word).unwrap_err();
            assert_eq!(failure.class(), class, "{word}");
            assert!(failure.to_string().contains(what), "{failure}");
        }
    }
}
