//! What the commands on single files share: one path after the other, where the failure of one does
//! not keep the others back.

use std::ffi::OsString;
use std::process::ExitCode;

use tow_node::ask::{AskError, Connection, Pool};
use tow_proto::Refusal;

use crate::client::{self, Here, Host};
use crate::failure::{Failure, Kind};
use crate::remote::Remote;

/// Links for one path after the other, and whether all went well.
pub(super) struct Each {
    here: Here,
    pool: Pool,
    all: bool,
}

/// All of them are on machines.
///
/// # Errors
/// One is a local path.
pub(super) fn remotes(paths: &[OsString]) -> Result<Vec<Remote>, Failure> {
    paths.iter().map(|path| Remote::expect(path)).collect()
}

impl Each {
    pub(super) fn open() -> Result<Self, Failure> {
        let here = Here::open()?;
        let pool = Pool::new(here.client.clone());
        Ok(Self { here, pool, all: true })
    }

    /// Which machine `name` means.
    pub(super) fn host(&self, name: &str) -> Result<Host, Failure> {
        self.here.host(name)
    }

    /// A link to `host`.
    pub(super) async fn connect(&mut self, host: &Host) -> Result<Connection, Failure> {
        let connected = self.pool.connect(&host.target).await;
        connected.map_err(|error| client::failure(host, error))
    }

    /// Keeps a link for the next path.
    pub(super) fn keep(&mut self, host: &Host, connection: Connection) {
        self.pool.keep(&host.target, connection);
    }

    /// Asks one question about one path. `None` where the answer was no: that has been said, with
    /// the hint that `hint` has for it.
    ///
    /// # Errors
    /// There is no answer, and none is to be expected for the other paths.
    pub(super) async fn ask<T>(
        &mut self,
        host: &Host,
        question: impl AsyncFnOnce(&mut Connection) -> Result<T, AskError>,
        hint: impl FnOnce(&Refusal) -> Option<&'static str>,
    ) -> Result<Option<T>, Failure> {
        match self.try_ask(host, question).await? {
            Ok(answer) => Ok(Some(answer)),
            Err(refusal) => {
                let hint = hint(&refusal);
                let failure = client::failure(host, AskError::Refused(refusal));
                self.say(match hint {
                    Some(hint) => failure.hint(hint),
                    None => failure,
                });
                Ok(None)
            }
        }
    }

    /// The same, where the answer no is for the caller to judge.
    pub(super) async fn try_ask<T>(
        &mut self,
        host: &Host,
        question: impl AsyncFnOnce(&mut Connection) -> Result<T, AskError>,
    ) -> Result<Result<T, Refusal>, Failure> {
        let mut connection = self.connect(host).await?;
        let answer = match question(&mut connection).await {
            Ok(answer) => Ok(answer),
            Err(AskError::Refused(refusal)) => Err(refusal),
            Err(error) => return Err(client::failure(host, error)),
        };
        self.keep(host, connection);
        Ok(answer)
    }

    /// Says what failed; the rest goes on.
    pub(super) fn say(&mut self, failure: Failure) {
        let _ = failure.report(Kind::Plain);
        self.all = false;
    }

    /// Ends all links, and gives the exit code.
    pub(super) async fn finish(self) -> ExitCode {
        self.pool.close().await;
        if self.all { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// The last component of a path, where that is a name.
pub(super) fn name_of(path: &[u8]) -> Option<&[u8]> {
    let end = path.iter().rposition(|byte| *byte != b'/')? + 1;
    let name = path[..end].rsplit(|byte| *byte == b'/').next()?;
    (!matches!(name, b"." | b"..")).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::name_of;

    #[test]
    fn the_last_component_is_a_name_unless_it_is_dots_or_nothing() {
        let cases: [(&str, Option<&str>); 9] = [
            ("a", Some("a")),
            ("a/b//", Some("b")),
            ("/a", Some("a")),
            ("...", Some("...")),
            ("", None),
            ("/", None),
            ("a/.", None),
            ("a/../", None),
            ("..", None),
        ];
        for (path, name) in cases {
            assert_eq!(name_of(path.as_bytes()), name.map(str::as_bytes), "{path}");
        }
    }
}
