//! From what went wrong to two lines and an exit code.

use std::ffi::OsStr;
use std::fmt::{self, Write as _};
use std::io;
use std::process::ExitCode;

use tow_net::{ConnectError, LinkError};
use tow_node::ask::AskError;
use tow_node::hosts::HostsError;
use tow_node::identity::IdentityError;
use tow_node::state::StateError;
use tow_proto::{Code, Refusal};

use crate::args::Command;
use crate::output;

/// Something went wrong: one sentence, perhaps a hint, and what kind of thing it is.
#[derive(Debug)]
pub(crate) struct Failure {
    what: String,
    hint: Option<String>,
    class: Class,
}

/// What decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Wrong usage.
    Usage,
    /// Refused by policy.
    Refused,
    /// Could not connect, or not prove an identity.
    Connect,
    /// The session is lost or unknown.
    Session,
    /// The program does not exist.
    ProgramNotFound,
    /// The program can't be executed.
    NotExecutable,
    /// The reader of our stdout has gone.
    BrokenPipe,
    /// Ctrl-C.
    Interrupted,
    /// Anything else.
    Other,
}

/// Commands that pass on a program's exit code have codes of their own for our failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `run`, `shell`, `attach`, `wait`.
    Runs,
    /// All others.
    Plain,
}

/// Exit code for wrong usage of [`Kind::Runs`].
const USAGE_OF_RUN: u8 = 251;
/// Exit code for wrong usage.
pub(crate) const USAGE: u8 = 2;

impl Kind {
    pub(crate) fn of(command: &Command) -> Self {
        match command {
            Command::Run(_) | Command::Shell(_) | Command::Attach(_) | Command::Wait(_) => {
                Self::Runs
            }
            _ => Self::Plain,
        }
    }

    /// The kind of a command that could not be read further than its name.
    pub(crate) fn named(command: &OsStr) -> Self {
        let runs = ["run", "shell", "attach", "wait"].iter().any(|name| command == *name);
        if runs { Self::Runs } else { Self::Plain }
    }
}

impl Failure {
    pub(crate) fn new(class: Class, what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: None, class }
    }

    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::new(Class::Usage, what)
    }

    pub(crate) fn other(what: impl ToString) -> Self {
        Self::new(Class::Other, what.to_string())
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The reader of our stdout has gone, which is no reason to say anything.
    pub(crate) fn unread() -> Self {
        Self::new(Class::BrokenPipe, "")
    }

    /// What decides the exit code.
    pub(crate) fn class(&self) -> Class {
        self.class
    }

    /// Puts `subject` before the sentence.
    #[must_use]
    pub(crate) fn about(mut self, subject: &str) -> Self {
        self.what = format!("{subject}: {}", self.what);
        self
    }

    /// What a question to `host` led to.
    pub(crate) fn asking(host: &str, error: AskError) -> Self {
        match error {
            AskError::Connect(error) => connect(host, &error),
            AskError::OtherKey { known, seen } => Self::new(
                Class::Connect,
                format!(
                    "{host} shows another key ({}) than the one you know for it ({}); nothing was sent",
                    seen.id(),
                    known.id()
                ),
            )
            .hint(format!("somebody may be in between. If you know why the key changed: tow hosts rm {host}, then tow join {host}")),
            AskError::Silent => Self::new(Class::Connect, format!("{host}: {error}")),
            AskError::Link(error) => link(host, &error),
            AskError::Refused(refusal) => Self::refused(host, &refusal),
            AskError::Here(refusal) => Self::new(Class::Other, refusal.to_string()),
            error => Self::new(Class::Connect, format!("{host}: {error}")),
        }
    }

    fn refused(host: &str, refusal: &Refusal) -> Self {
        let class = match refusal.code {
            Code::ProgramNotFound => Class::ProgramNotFound,
            Code::NotExecutable => Class::NotExecutable,
            Code::UnknownSession => Class::Session,
            Code::UnknownKey | Code::ExpiredKey | Code::RemovedKey | Code::UnknownVersion => {
                Class::Connect
            }
            Code::NoWorkingDirectory | Code::BadArgument | Code::TooLong | Code::Malformed => {
                Class::Usage
            }
            Code::Internal | Code::Io => Class::Other,
            _ => Class::Refused,
        };
        let mut failure = Self::new(class, format!("{host}: {refusal}"));
        failure.hint = hint(host, refusal);
        failure
    }

    /// Prints the two lines and gives the exit code.
    pub(crate) fn report(self, kind: Kind) -> ExitCode {
        if self.class != Class::BrokenPipe {
            let mut text = format!("tow: error: {}", self.what);
            if let Some(hint) = &self.hint {
                let _ = write!(text, "\ntow: hint: {hint}");
            }
            output::status(text);
        }
        ExitCode::from(exit_code(self.class, kind))
    }
}

/// The one table of exit codes for our own failures (DESIGN: `run` passes the program's on).
fn exit_code(class: Class, kind: Kind) -> u8 {
    match (kind, class) {
        // As shells say it of a program that a signal ended.
        (_, Class::BrokenPipe) => 141,
        (_, Class::Interrupted) => 130,
        (Kind::Runs, Class::Usage) => USAGE_OF_RUN,
        (Kind::Runs, Class::Refused) => 252,
        (Kind::Runs, Class::Connect) => 253,
        (Kind::Runs, Class::Session | Class::Other) => 254,
        (Kind::Runs, Class::ProgramNotFound) => 127,
        (Kind::Runs, Class::NotExecutable) => 126,
        (Kind::Plain, Class::Usage) => USAGE,
        (Kind::Plain, _) => 1,
    }
}

fn connect(host: &str, error: &ConnectError) -> Failure {
    // Most of these errors name the address, which may be how the machine was named.
    let text = error.to_string();
    let what = if text.starts_with(host) { text } else { format!("{host}: {text}") };
    let failure = Failure::new(Class::Connect, what);
    match error {
        ConnectError::Dial(tow_net::dial::DialError::Refused { .. }) => {
            failure.hint("is `tow serve` running there, and on that port?")
        }
        ConnectError::Link(LinkError::Tls(_)) => failure.hint(
            "something else listens on that port, or the machine's towline does not fit this one",
        ),
        _ => failure,
    }
}

fn link(host: &str, error: &LinkError) -> Failure {
    Failure::new(Class::Session, format!("{host}: {error}"))
}

fn hint(host: &str, refusal: &Refusal) -> Option<String> {
    Some(match refusal.code {
        Code::UnknownKey => format!("on {host}: tow invite, then here: tow join {host}"),
        Code::RemovedKey | Code::ExpiredKey => {
            format!("on {host}: tow invite, then here: tow join {host}, to be let in again")
        }
        Code::NoInvitation | Code::UsedCode | Code::ExpiredCode | Code::SpentCode => {
            "on that machine: tow invite, for a new code".to_owned()
        }
        Code::WrongCode => "check the code where it was printed, then try again".to_owned(),
        Code::NoRight => "on that machine, invite again with more rights: tow invite --may …".to_owned(),
        Code::OutsideRoot => "relative paths start in the directory of the grant".to_owned(),
        Code::ProgramNotFound => {
            "a program is looked up in the PATH of that machine; a shell line is one quoted word with a space".to_owned()
        }
        Code::Internal => "see the log of tow serve on that machine".to_owned(),
        _ => return None,
    })
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// A fault of the set-up, with what mends it.
fn set_up(error: impl fmt::Display, cure: Option<String>) -> Failure {
    Failure { hint: cure, ..Failure::other(error) }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        let cure = error.cure();
        if let StateError::Locked { .. } = error {
            return Self::other(error).hint(
                "one node serves a state directory; set TOWLINE_HOME to another for a second one",
            );
        }
        set_up(error, cure)
    }
}

impl From<IdentityError> for Failure {
    fn from(error: IdentityError) -> Self {
        let cure = error.cure();
        set_up(error, cure)
    }
}

impl From<HostsError> for Failure {
    fn from(error: HostsError) -> Self {
        match error {
            HostsError::State(error) => error.into(),
            error => Self::other(error),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::unread();
        }
        Self::other(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_that_pass_on_an_exit_code_are_known_by_name_and_by_argument() {
        for (line, kind) in [
            ("tow run box x", Kind::Runs),
            ("tow shell box", Kind::Runs),
            ("tow attach box 0123", Kind::Runs),
            ("tow wait box 0123", Kind::Runs),
            ("tow logs box 0123", Kind::Plain),
            ("tow kill box 0123", Kind::Plain),
            ("tow sessions box", Kind::Plain),
        ] {
            let args = <crate::args::Args as clap::Parser>::try_parse_from(line.split(' '));
            assert_eq!(Kind::of(&args.unwrap().command), kind, "{line}");
            assert_eq!(Kind::named(line.split(' ').nth(1).unwrap().as_ref()), kind, "{line}");
        }
    }

    #[test]
    fn every_class_has_the_exit_code_that_is_documented() {
        let classes = [
            (Class::Usage, 251, 2),
            (Class::Refused, 252, 1),
            (Class::Connect, 253, 1),
            (Class::Session, 254, 1),
            (Class::Other, 254, 1),
            (Class::ProgramNotFound, 127, 1),
            (Class::NotExecutable, 126, 1),
            (Class::BrokenPipe, 141, 141),
            (Class::Interrupted, 130, 130),
        ];
        for (class, run, plain) in classes {
            assert_eq!(exit_code(class, Kind::Runs), run, "{class:?}");
            assert_eq!(exit_code(class, Kind::Plain), plain, "{class:?}");
        }
    }
}
