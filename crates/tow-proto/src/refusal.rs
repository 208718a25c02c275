//! The closed, numbered list of refusals (PROTOCOL 6): what, whose fault, whether to retry.
//!
//! A refusal carries facts, never a text of the other machine's making: the reader words it.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::byte_string::ByteString;

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blame {
    /// The one who asked.
    You,
    /// The one who refuses.
    Me,
    /// The link between them.
    Link,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $blame:ident, $retry:literal, $sentence:literal;)*) => {
        /// Why something was refused. The numbers are fixed for ever.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[$doc])* $name,)*
            /// A number that this version does not know.
            Other(u16),
        }

        impl Code {
            /// Every code of this version, by number.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The number on the wire.
            pub const fn number(self) -> u16 {
                match self { $(Self::$name => $number,)* Self::Other(number) => number }
            }

            /// The code of a number.
            pub const fn from_number(number: u16) -> Self {
                match number { $($number => Self::$name,)* other => Self::Other(other) }
            }

            /// Whose fault it is.
            pub const fn blame(self) -> Blame {
                match self { $(Self::$name => Blame::$blame,)* Self::Other(_) => Blame::Me }
            }

            /// Whether the same request may succeed later.
            pub const fn is_retryable(self) -> bool {
                match self { $(Self::$name => $retry,)* Self::Other(_) => false }
            }

            /// One sentence without its subject.
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$name => $sentence,)* Self::Other(_) => "refused for a reason that this version does not know" }
            }
        }
    };
}

codes! {
    /// A head that can't be read.
    Malformed = 1, You, false, "the request could not be understood";
    /// Something is over a limit.
    TooLong = 2, You, false, "over a limit";
    /// A verb that this node does not know.
    UnknownVerb = 3, You, false, "the other machine's towline does not know this request; is it older?";
    /// No version in common.
    UnknownVersion = 4, You, false, "the two machines have no protocol version in common";
    /// A message at the wrong time.
    OutOfOrder = 5, You, false, "a message came at the wrong time";

    /// The key has no grant here.
    UnknownKey = 10, You, false, "that machine does not know this key";
    /// The grant has run out.
    ExpiredKey = 11, You, false, "the grant of this key has expired";
    /// The key was removed.
    RemovedKey = 12, You, false, "this key was removed from that machine";
    /// The grant lacks the right.
    NoRight = 13, You, false, "the grant of this key does not allow that";
    /// The path leads out of the grant's root.
    OutsideRoot = 14, You, false, "outside of the directory that the grant covers";

    /// There is no invitation to answer.
    NoInvitation = 20, You, false, "no invitation is open on that machine";
    /// The code or the ticket is wrong.
    WrongCode = 21, You, true, "the code is wrong";
    /// The invitation was used.
    UsedCode = 22, You, false, "that invitation has been used already";
    /// The invitation is too old.
    ExpiredCode = 23, You, false, "that invitation has expired";
    /// Three wrong guesses.
    SpentCode = 24, You, false, "that code is void after too many wrong guesses";
    /// Somebody else is guessing now.
    JoinBusy = 25, Me, true, "somebody else is joining at this moment";

    /// No such file or directory.
    NotFound = 30, You, false, "no such file or directory";
    /// Not a directory.
    NotADirectory = 31, You, false, "not a directory";
    /// Is a directory.
    IsADirectory = 32, You, false, "is a directory";
    /// Is there already.
    Exists = 33, You, false, "exists already";
    /// The host's own permissions.
    PermissionDenied = 34, You, false, "permission denied by the file system";
    /// Read-only file system.
    ReadOnly = 35, You, false, "the file system is read-only";
    /// No space, or over quota.
    NoSpace = 36, Me, true, "no space left";
    /// A name that can't be used.
    BadName = 37, You, false, "a name that can't be used";
    /// Neither file, directory nor link.
    SpecialFile = 38, You, false, "neither a file, a directory nor a symbolic link";
    /// A source changed while it was read, or what was made of it before it had its name.
    Changed = 39, Me, true, "changed meanwhile";
    /// Input or output failed.
    Io = 40, Me, false, "reading or writing failed on that machine";
    /// The content is not what was announced.
    Corrupt = 41, Link, true, "the content is not what was announced";
    /// Too many symbolic links.
    LinkLoop = 42, You, false, "too many symbolic links, or one that may not be followed";
    /// A directory that is not empty.
    NotEmpty = 43, You, false, "the directory is not empty";
    /// Too deep.
    TooDeep = 44, You, false, "nested too deeply";
    /// Another file system than where it would have to be.
    OtherFileSystem = 45, You, false, "on another file system";
    /// A directory can't be moved into itself.
    IntoItself = 46, You, false, "a directory can't go into itself";
    /// Everything would be deleted because the source is empty.
    EmptySource = 47, You, false, "the source is empty: nothing was deleted";

    /// The program does not exist.
    ProgramNotFound = 50, You, false, "no such program";
    /// The program can't be executed.
    NotExecutable = 51, You, false, "not executable";
    /// The working directory does not exist.
    NoWorkingDirectory = 52, You, false, "the working directory can't be entered";
    /// There is none, it is forgotten, or it may not be seen.
    UnknownSession = 53, You, false, "no such session";
    /// An argument or a variable that can't be passed on.
    BadArgument = 54, You, false, "an argument or a variable that can't be passed on";
    /// It has not ended yet.
    SessionRuns = 55, You, false, "that session still runs";
    /// It has ended already.
    SessionEnded = 56, You, false, "that session has ended";

    /// A budget is used up for now.
    Busy = 60, Me, true, "the machine is too busy";
    /// The node is stopping.
    Stopping = 61, Me, true, "the machine's towline is stopping";
    /// Our own mistake.
    Internal = 62, Me, false, "an internal error, see the log of that machine";
}

/// A refusal: a code and the facts that go with it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct Refusal {
    /// What.
    pub code: Code,
    /// Whose fault.
    pub blame: Blame,
    /// Whether the same request may succeed later.
    pub retry: bool,
    /// The file or program that it is about.
    pub path: Option<ByteString>,
    /// The right that is missing (`run`, `read`, …).
    pub right: Option<String>,
    /// A number that belongs to it: guesses left, bytes missing, the limit.
    pub count: Option<u64>,
}

impl Refusal {
    /// A refusal without further facts.
    pub fn new(code: Code) -> Self {
        Self {
            code,
            blame: code.blame(),
            retry: code.is_retryable(),
            path: None,
            right: None,
            count: None,
        }
    }

    /// A refusal about a file or a program.
    pub fn about(code: Code, path: impl Into<ByteString>) -> Self {
        Self { path: Some(path.into()), ..Self::new(code) }
    }

    /// Adds the number that belongs to it.
    #[must_use]
    pub fn with_count(mut self, count: u64) -> Self {
        self.count = Some(count);
        self
    }
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Self {
        Self::new(code)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            write!(f, "{path}: ")?;
        }
        f.write_str(self.code.sentence())?;
        match (self.code, self.count, &self.right) {
            (Code::WrongCode, Some(1), _) => f.write_str(" (1 guess left)"),
            (Code::WrongCode, Some(left), _) => write!(f, " ({left} guesses left)"),
            (Code::NoSpace, Some(missing), _) => write!(f, " ({missing} bytes more are needed)"),
            (Code::TooLong, Some(max), _) => write!(f, " (at most {max})"),
            (Code::NoRight, _, Some(right)) => {
                write!(f, " (`{}` is missing)", right.escape_debug())
            }
            (Code::Other(number), ..) => write!(f, " (number {number})"),
            _ => Ok(()),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Wire {
    code: u16,
    blame: Blame,
    retry: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<ByteString>,
    #[serde(skip_serializing_if = "Option::is_none")]
    right: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
}

impl Serialize for Refusal {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { code, blame, retry, path, right, count } = self.clone();
        Wire { code: code.number(), blame, retry, path, right, count }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Refusal {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Wire { code, blame, retry, path, right, count } = Wire::deserialize(deserializer)?;
        Ok(Self { code: Code::from_number(code), blame, retry, path, right, count })
    }
}
