//! How the carrying of a session ends, and what is said about it.

use std::io::{self, IsTerminal as _};
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

use tow_node::ask::AskError;
use tow_node::ask::session::Remote;
use tow_proto::message::{Ended, EndedBy, ExitRecord, Lease};

use super::outputs::Outputs;
use super::signals::{Signals, Told};
use super::{Carry, Plan, Role, next_signal};
use crate::client::{self, Host};
use crate::failure::{Class, Failure};
use crate::{output, terminal};

/// What became of a session.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It has ended.
    Ended(Carried),
    /// All that was kept of it has been shown.
    CaughtUp,
    /// We are going and it is not. It was said what becomes of it.
    Gone(ExitCode),
}

/// How a session ended.
#[derive(Debug)]
pub(crate) struct Carried {
    /// In its machine's words.
    pub(crate) record: ExitRecord,
    /// The last byte of its stdout; an end of line where there was nothing.
    pub(crate) last_byte: u8,
}

/// Why nothing more is carried.
pub(super) enum End {
    Exit(Box<ExitRecord>),
    CaughtUp,
    Failed(AskError),
    /// `~.`
    Left,
    /// `~d`, and the machine knows.
    Detached,
    /// `~d`, and the machine does not know.
    Untold,
    /// This process is to end, by a signal of this number.
    Signalled(u8),
    /// A watcher has seen enough.
    Unwatched,
    /// The reader of our stdout has gone.
    Enough,
    /// The local terminal can't be set.
    Terminal(io::Error),
}

impl Carry<'_> {
    /// Writes what is left, makes the terminal what it was, and says what there is to say.
    pub(super) async fn finish(mut self, end: End) -> Result<Outcome, Failure> {
        let mut is_down = self.remote.outage().is_some();
        self.clean(&end);
        let Self { plan, remote, outputs, raw, lease, signals, .. } = self;
        let last_byte = outputs.last_byte();
        let written = match end {
            End::Left | End::Detached | End::Untold | End::Signalled(_) | End::Unwatched => {
                outputs.let_go();
                Ok(())
            }
            _ => match written(outputs, signals).await {
                ControlFlow::Continue(written) => written,
                ControlFlow::Break(number) => return Ok(Outcome::Gone(by_signal(number))),
            },
        };
        drop(raw);
        let session = remote.session().to_owned();
        match end {
            End::Exit(_) | End::CaughtUp => Box::pin(remote.finish()).await,
            // Without a lease to be over, it is only a farewell.
            End::Left | End::Detached => {
                // A link that is dead and does not know it takes nothing any more.
                let leaving = Box::pin(remote.leave());
                is_down |= tokio::time::timeout(LEAVING_MAX, leaving).await.is_err();
            }
            _ => drop(remote),
        }
        let going = Going { host: plan.host, session: &session, lease, is_down };
        let code = match end {
            End::Exit(record) => {
                written?;
                return Ok(Outcome::Ended(Carried { record: *record, last_byte }));
            }
            End::CaughtUp => {
                written?;
                return Ok(Outcome::CaughtUp);
            }
            End::Failed(error) => return Err(going.lost(error)),
            End::Enough => return Err(written.err().unwrap_or_else(Failure::unread)),
            End::Terminal(error) => return Err(Failure::other(format!("the terminal: {error}"))),
            End::Left => going.left(),
            End::Detached => going.detached(),
            End::Untold => return Err(going.untold()),
            End::Signalled(number) => going.signalled(number),
            End::Unwatched => ExitCode::SUCCESS,
        };
        Ok(Outcome::Gone(code))
    }

    /// Takes our own line away, and what the program left on where it could not do so itself.
    fn clean(&mut self, end: &End) {
        if let Some(erase) = self.status.handle_back(self.window) {
            match self.status.place() {
                super::Place::Bottom => self.outputs.say_on_stdout(erase),
                _ => self.outputs.say(erase),
            }
        }
        let is_orderly = match end {
            End::Exit(record) => {
                record.by == EndedBy::Itself && matches!(record.ended, Ended::Code(_))
            }
            _ => false,
        };
        if self.raw.is_some() && io::stdout().is_terminal() && !is_orderly {
            self.outputs.say_on_stdout(terminal::CLEAN);
            self.outputs.say_on_stdout("\r\n");
        }
    }
}

/// Waits until everything was written, or until a signal says not to: its number. Nobody else would
/// hear it while a reader takes nothing.
async fn written(
    outputs: Outputs,
    mut signals: Option<Signals>,
) -> ControlFlow<u8, Result<(), Failure>> {
    let mut writing = tokio::task::spawn_blocking(|| outputs.finish());
    loop {
        tokio::select! {
            written = &mut writing => {
                let broken = |error| Err(Failure::other(format!("stdout: {error}")));
                return ControlFlow::Continue(written.unwrap_or_else(broken));
            }
            told = next_signal(&mut signals) => {
                if let Told::End(_, number) = told {
                    return ControlFlow::Break(number);
                }
            }
        }
    }
}

fn by_signal(number: u8) -> ExitCode {
    ExitCode::from(128_u8.saturating_add(number))
}

/// Somebody who goes while a session does not.
struct Going<'a> {
    host: &'a Host,
    session: &'a str,
    lease: Option<Lease>,
    is_down: bool,
}

impl Going<'_> {
    fn left(&self) -> ExitCode {
        let Self { host, session, .. } = self;
        let name = &host.name;
        let becomes = match (self.lease, self.is_down) {
            (Some(Lease::Detached), _) => format!("it goes on: {}", self.attach()),
            (_, true) => format!("it could not be told, and {}", self.ends_with_lease()),
            (_, false) => {
                "it is ended, unless it is detached or somebody else has it open".to_owned()
            }
        };
        output::status(format_args!("tow: left session {session} on {name}; {becomes}"));
        ExitCode::from(LOST)
    }

    fn detached(&self) -> ExitCode {
        output::status(format_args!("tow: detached; {}", self.attach()));
        ExitCode::SUCCESS
    }

    fn untold(&self) -> Failure {
        let Self { host, session, .. } = self;
        Failure::new(
            Class::Session,
            format!("{}: session {session} could not be told that it is to go on", host.name),
        )
        .hint(format!("it {}; {}", self.ends_with_lease(), self.attach()))
    }

    fn signalled(&self, number: u8) -> ExitCode {
        let Self { host, session, .. } = self;
        let becomes = match self.lease {
            Some(Lease::Detached) => "goes on",
            _ => self.ends_with_lease(),
        };
        output::status(format_args!(
            "tow: session {session} on {} {becomes}; {}",
            host.name,
            self.attach()
        ));
        by_signal(number)
    }

    /// The program's end is not known, unless the machine said why it is over.
    fn lost(&self, error: AskError) -> Failure {
        let is_told = matches!(error, AskError::Refused(_) | AskError::OtherKey { .. });
        let failure = client::failure(self.host, error);
        if is_told {
            return failure;
        }
        let session = self.session;
        let hint = match self.lease {
            Some(Lease::Detached) => format!("session {session} goes on: {}", self.attach()),
            _ => format!(
                "the program's end is not known; without a viewer it is ended when its lease is over (session {session})"
            ),
        };
        // Whatever it was that could not be done again: the session is what is lost.
        Failure::new(Class::Session, failure.to_string()).hint(hint)
    }

    /// What becomes of it without us. The lease of one that was there before is not known here.
    fn ends_with_lease(&self) -> &'static str {
        match self.lease {
            None => "ends when its lease is over, if it has one",
            Some(_) => "ends when its lease is over",
        }
    }

    fn attach(&self) -> String {
        format!("tow attach {} {}", self.host.word, self.session)
    }
}

/// What can be typed, and how the session is.
pub(super) fn help(plan: &Plan<'_>, remote: &Remote, viewers: Option<(u32, u32)>) -> String {
    let link = match remote.outage() {
        None => "connected".to_owned(),
        Some(outage) => {
            let secs = outage.since.elapsed().as_secs();
            format!("not connected for {secs} s, tried {} times: {}", outage.attempts, outage.last)
        }
    };
    let seen = match viewers {
        None | Some((1, 0)) => "open here".to_owned(),
        Some((typing, 0)) => format!("open {typing} times"),
        Some((typing, watching)) => format!("open {typing} times, watched {watching} times"),
    };
    let goes_on = format!("tow attach {} {}", plan.host.word, remote.session());
    let leave = match plan.role {
        Role::Watcher => "~.    watch no more",
        _ => {
            "~.    leave: the program is ended, unless it is detached or somebody else has it open"
        }
    };
    format!(
        "\ntow: session {} on {}, {seen}; {link}\n  \
         {leave}\n  \
         ~d    detach: the program goes on; {goes_on}\n  \
         ~^Z   suspend tow\n  \
         ~~    a tilde\n  \
         ~?    this\n",
        remote.session(),
        plan.host.name,
    )
}

/// The session is lost, as far as whoever called is concerned.
const LOST: u8 = 254;

/// How long it is tried to say that we leave.
const LEAVING_MAX: Duration = Duration::from_secs(2);
