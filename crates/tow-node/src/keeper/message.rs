//! What a node asks its keeper for. Both run on one machine as one user, so this language is no part
//! of the protocol: a keeper that speaks another one listens at another socket.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use serde::{Deserialize, Serialize};
use tow_proto::message::{Attach, Kill, Run, SessionRm};
use tow_proto::{ByteString, Code, Refusal};

use crate::grant::{May, Right};
use crate::serve::Account;

/// The first head of a conversation with the keeper. Answered as a request on a link is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub(crate) enum Ask {
    /// Who is there? Answered by [`Here`].
    Hello,
    /// Learn what a login of this account has: its programs come soon. Answered at once.
    Expect {
        /// Who they run as.
        account: AccountFacts,
    },
    /// Start a program. Goes on as PROTOCOL 7.1 says.
    Run(Box<RunAsk>),
    /// Look at a session. Goes on as PROTOCOL 7.5 says.
    Attach {
        /// Whose sessions may be looked at.
        scope: Scope,
        /// As the client has sent it.
        request: Box<Attach>,
    },
    /// Which sessions are there?
    Sessions {
        /// Whose may be seen.
        scope: Scope,
    },
    /// Send a signal to all processes of a session.
    Kill {
        /// Whose sessions may be worked with.
        scope: Scope,
        /// As the client has sent it.
        request: Kill,
    },
    /// Forget a session that has ended.
    SessionRm {
        /// Whose sessions may be worked with.
        scope: Scope,
        /// As the client has sent it.
        request: SessionRm,
    },
    /// End all that somebody has started: their key was removed.
    EndOwner {
        /// Who.
        owner: String,
    },
    /// Make room for another keeper.
    Quit {
        /// What becomes of sessions that run.
        running: Running,
    },
    /// Of a later version.
    #[serde(other)]
    Unknown,
}

/// What becomes of sessions that run when a keeper is told to quit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Running {
    /// They go on, and so does the keeper: `SessionRuns`.
    Keep,
    /// They are ended in order.
    End,
}

/// A keeper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Here {
    /// Program and version.
    pub(crate) agent: String,
    /// Sessions that run now.
    pub(crate) running: u32,
    /// Its process.
    pub(crate) pid: u32,
}

/// A program to be started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunAsk {
    /// Who starts it.
    pub(crate) owner: String,
    /// As the client has sent it.
    pub(crate) request: Run,
    /// Who it runs as.
    pub(crate) account: AccountFacts,
    /// Where it starts when nothing else is said.
    pub(crate) start: ByteString,
}

/// An [`Account`], whose names may be any bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AccountFacts {
    user: String,
    home: ByteString,
    shell: ByteString,
    path: ByteString,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lang: Option<ByteString>,
}

/// Which sessions somebody may look at or work with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Scope {
    /// Who asks.
    pub(crate) owner: String,
    /// What they may do with those that they started.
    pub(crate) own: May,
    /// What they may do with those of others.
    pub(crate) others: May,
    /// The only session that they know of, where that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) only: Option<String>,
}

impl Scope {
    /// Whether the session `id` of `owner` is seen.
    pub(crate) fn sees(&self, id: &str, owner: &str) -> bool {
        self.may(id, owner) >= May::View
    }

    /// Whether that much may be done with the session `id` of `owner`.
    ///
    /// # Errors
    /// `UnknownSession` where it may not even be seen, else `NoRight` with the one that is missing.
    pub(crate) fn check(&self, id: &str, owner: &str, needed: May) -> Result<(), Refusal> {
        match self.may(id, owner) {
            May::Nothing => Err(Code::UnknownSession.into()),
            may if may >= needed => Ok(()),
            _ => {
                let missing = if owner == self.owner { Right::Run } else { Right::Admin };
                Err(Refusal { right: Some(missing.to_string()), ..Code::NoRight.into() })
            }
        }
    }

    fn may(&self, id: &str, owner: &str) -> May {
        match &self.only {
            Some(only) if only != id => May::Nothing,
            Some(_) => self.others,
            None if owner == self.owner => self.own,
            None => self.others,
        }
    }
}

impl From<&Account> for AccountFacts {
    fn from(account: &Account) -> Self {
        Self {
            user: account.user.clone(),
            home: to_bytes(&account.home),
            shell: to_bytes(&account.shell),
            path: account.path.as_bytes().into(),
            lang: account.lang.as_ref().map(|lang| lang.as_bytes().into()),
        }
    }
}

impl From<AccountFacts> for Account {
    fn from(facts: AccountFacts) -> Self {
        Self {
            user: facts.user,
            home: to_os(facts.home).into(),
            shell: to_os(facts.shell).into(),
            path: to_os(facts.path),
            lang: facts.lang.map(to_os),
        }
    }
}

/// A path as it goes into a message.
pub(crate) fn to_bytes(path: &Path) -> ByteString {
    path.as_os_str().as_bytes().into()
}

/// What came in a message, for the system.
pub(crate) fn to_os(bytes: ByteString) -> OsString {
    OsString::from_vec(bytes.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_not_be_seen_is_unknown_and_what_may_not_be_done_names_the_right() {
        let unknown = Err((Code::UnknownSession, None));
        let no = |right: &'static str| Err((Code::NoRight, Some(right.to_owned())));
        // What may be done with own ones and others', then what is said to View and All of each.
        let table = [
            (May::Nothing, May::Nothing, [&unknown, &unknown, &unknown, &unknown]),
            (May::View, May::Nothing, [&Ok(()), &no("run"), &unknown, &unknown]),
            (May::All, May::Nothing, [&Ok(()), &Ok(()), &unknown, &unknown]),
            (May::View, May::View, [&Ok(()), &no("run"), &Ok(()), &no("admin")]),
            (May::All, May::View, [&Ok(()), &Ok(()), &Ok(()), &no("admin")]),
            (May::All, May::All, [&Ok(()), &Ok(()), &Ok(()), &Ok(())]),
        ];
        for (own, others, expected) in table {
            let scope = Scope { owner: "me".to_owned(), own, others, only: None };
            let cases =
                [("me", May::View), ("me", May::All), ("you", May::View), ("you", May::All)];
            for ((owner, needed), expected) in cases.into_iter().zip(expected) {
                let checked = scope.check("1", owner, needed).map_err(|no| (no.code, no.right));
                assert_eq!(checked, *expected, "{own:?} {others:?}: {needed:?} of {owner}");
                assert_eq!(scope.sees("1", owner), scope.check("1", owner, May::View).is_ok());
                let shared = Scope { only: Some("1".to_owned()), ..scope.clone() };
                assert_eq!(shared.sees("1", owner), others != May::Nothing);
                assert!(!shared.sees("2", owner));
            }
        }
    }

    #[test]
    fn an_account_passes_whatever_bytes_its_names_have() {
        let account = Account {
            user: "me".to_owned(),
            home: to_os(ByteString(b"/home/\xff".to_vec())).into(),
            shell: "/bin/sh".into(),
            path: "/bin".into(),
            lang: None,
        };
        let facts = AccountFacts::from(&account);
        let json = tow_proto::json::to_vec(&facts);
        let back: AccountFacts = tow_proto::json::from_slice(&json).unwrap();
        assert_eq!(Account::from(back).home, account.home);
    }

    #[test]
    fn an_ask_of_a_later_version_is_understood_to_be_one() {
        let ask = tow_proto::json::from_slice::<Ask>(br#"{"ask":"of a later version","x":[1]}"#);
        assert_eq!(ask.unwrap(), Ask::Unknown);
    }
}
