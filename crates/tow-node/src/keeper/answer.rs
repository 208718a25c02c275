//! What a node asks for, and the keeper's answers.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use tow_host::session::{Login, Session, Spec, Start, Stdin, Stdio, Viewer};
use tow_net::{Link, LinkError, LinkEvent};
use tow_proto::message::{
    Attach, Attached, Kill, Killed, Reply, Run, RunReply, SessionInfo, SessionList, StdinState,
    View,
};
use tow_proto::{Code, Refusal, json};

use super::message::{Ask, Here, RunAsk, Running, Scope, to_os};
use super::serve::Keeper;
use super::view;
use crate::grant::May;
use crate::serve::Account;

impl Keeper {
    /// Answers one request; returns when what follows the answer is over too.
    pub(super) async fn answer(&self, link: &mut Link, ask: Ask) -> Result<(), LinkError> {
        match ask {
            Ask::Hello => reply(link, Ok(self.here())),
            Ask::Expect { account } => {
                self.sessions.expect(login(account.into()));
                reply(link, Ok(NOTHING));
            }
            Ask::Run(ask) => return look(link, self.run(*ask).await).await,
            Ask::Attach { scope, request } => {
                return look(link, self.attach(&scope, *request).await).await;
            }
            Ask::Sessions { scope } => return self.list(link, &scope).await,
            Ask::Kill { scope, request } => reply(link, self.kill(&scope, request).await),
            Ask::SessionRm { scope, request } => {
                reply(link, self.remove(&scope, request.session).await);
            }
            Ask::EndOwner { owner } => {
                self.sessions.end_all_of(&owner);
                reply(link, Ok(NOTHING));
            }
            Ask::Quit { running } => reply(link, self.quit(running)),
            Ask::Unknown => refuse(link, Code::UnknownVerb.into()),
        }
        Ok(())
    }

    fn here(&self) -> Here {
        let running = u32::try_from(self.sessions.running()).unwrap_or(u32::MAX);
        Here { agent: self.agent.clone(), running, pid: std::process::id() }
    }

    fn quit(&self, running: Running) -> Result<Nothing, Refusal> {
        if running == Running::Keep && self.sessions.running() > 0 {
            return Err(Code::SessionRuns.into());
        }
        self.quit.cancel();
        Ok(NOTHING)
    }

    async fn run(&self, ask: RunAsk) -> Begun<RunReply> {
        let RunAsk { owner, request, account, start } = ask;
        let (id, view, window) = (request.id.clone(), request.view, request.terminal);
        let room = [request.stdout_to, request.stderr_to];
        let spec = spec(request, account.into(), to_os(start).into());
        let session = self.sessions.start(&owner, &id, spec).await?;
        let from_the_start =
            Start { view: View::Type, writer: id, window, from: [Some(0); 2], room };
        let viewer = view.then(|| session.attach(&from_the_start)).transpose()?;
        let stdin = viewer.as_ref().map_or_else(StdinState::default, Viewer::stdin);
        Ok((RunReply { session: session.id().to_string(), stdin }, viewer))
    }

    async fn attach(&self, scope: &Scope, request: Attach) -> Begun<Attached> {
        let types = request.view == View::Type;
        let needed = if types { May::All } else { May::View };
        let session = self.find(scope, request.session, needed).await?;
        if types && !(1..=WRITER_LEN_MAX).contains(&request.writer.chars().count()) {
            return Err(Code::Malformed.into());
        }
        let viewer = session.attach(&Start {
            view: request.view,
            writer: request.writer,
            window: request.window,
            from: [request.stdout_from, request.stderr_from],
            room: [request.room; 2],
        })?;
        let [stdout_from, stderr_from] = viewer.starts();
        let attached = Attached {
            session: session.id().to_string(),
            terminal: session.is_terminal(),
            stdout_from,
            stderr_from,
            stdin: viewer.stdin(),
        };
        Ok((attached, Some(viewer)))
    }

    async fn list(&self, link: &mut Link, scope: &Scope) -> Result<(), LinkError> {
        let is_seen = |id: &str, owner: &str| scope.sees(id, owner);
        let mut last: Option<(u64, String)> = None;
        loop {
            // Looked up for each page: whoever does not read makes nothing wait here.
            let after = last.as_ref().map(|(started, id)| (*started, id.as_str()));
            let page = page(self.sessions.list_after(after, PAGE_COUNT_MAX + 1, is_seen));
            last = page.sessions.last().map(|one| (one.started, one.id.clone()));
            let more = page.more;
            reply(link, Ok(page));
            if !more {
                return Ok(());
            }
            while !link.has_room() {
                if link.next_event().await? == LinkEvent::Closed {
                    return Ok(());
                }
            }
        }
    }

    async fn kill(&self, scope: &Scope, request: Kill) -> Result<Killed, Refusal> {
        let session = self.find(scope, request.session, May::All).await?;
        Ok(Killed { processes: session.signal_tree(&request.signal).await? })
    }

    async fn remove(&self, scope: &Scope, id: String) -> Result<Nothing, Refusal> {
        let _ = self.find(scope, id.clone(), May::All).await?;
        let sessions = self.sessions.clone();
        blocking(move || sessions.remove(&id)).await??;
        Ok(NOTHING)
    }

    async fn find(&self, scope: &Scope, id: String, needed: May) -> Result<Session, Refusal> {
        let sessions = self.sessions.clone();
        let found = blocking(move || sessions.find(&id)).await?;
        let session = found.ok_or(Code::UnknownSession)?;
        scope.check(session.id().as_str(), session.owner(), needed)?;
        Ok(session)
    }
}

/// The reply, and who looks on from then on.
type Begun<T> = Result<(T, Option<Viewer>), Refusal>;

async fn look<T: Serialize>(link: &mut Link, begun: Begun<T>) -> Result<(), LinkError> {
    match begun {
        Ok((begun, viewer)) => {
            reply(link, Ok(begun));
            match viewer {
                Some(viewer) => view::carry(link, viewer).await,
                None => Ok(()),
            }
        }
        Err(refusal) => {
            refuse(link, refusal);
            Ok(())
        }
    }
}

/// What waits for a disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Code::Internal.into())
}

fn login(account: Account) -> Login {
    let Account { user, home, shell, path, lang: _ } = account;
    Login { user, home, shell, path }
}

fn spec(request: Run, account: Account, start: PathBuf) -> Spec {
    let stdin = if request.stdin { Stdin::Open } else { Stdin::Null };
    let env = request.env.into_iter().map(|(name, value)| (to_os(name), to_os(value)));
    Spec {
        program: request.program,
        cwd: Some(request.cwd.map_or_else(|| start.clone(), |cwd| start.join(to_os(cwd)))),
        home: account.home,
        user: account.user,
        shell: account.shell,
        path: account.path,
        lang: account.lang,
        locale: request.locale,
        env: env.collect(),
        stdio: request.terminal.map_or(Stdio::Pipes(stdin), Stdio::Terminal),
        timeout: request.timeout_ms.map(Duration::from_millis),
        lease: request.lease,
    }
}

/// As many of these, oldest first, as a head takes.
fn page(mut sessions: Vec<SessionInfo>) -> SessionList {
    let mut len = 0;
    let fits = |session: &&SessionInfo| {
        len += json::to_vec(session).len();
        len <= PAGE_LEN_MAX
    };
    let count = sessions.iter().take(PAGE_COUNT_MAX).take_while(fits).count().max(1);
    let more = sessions.len() > count;
    sessions.truncate(count);
    SessionList { sessions, more }
}

fn reply<T: Serialize>(link: &mut Link, result: Result<T, Refusal>) {
    link.send_head(&Reply::from(result));
}

/// The answer to what is no request.
pub(super) fn malformed(link: &mut Link) {
    refuse(link, Code::Malformed.into());
}

fn refuse(link: &mut Link, refusal: Refusal) {
    reply::<()>(link, Err(refusal));
}

/// A reply that says no more than that it is done: `{}`.
#[derive(Clone, Copy, Debug, Serialize)]
struct Nothing {}

const NOTHING: Nothing = Nothing {};

/// Length of a writer's name in characters (PROTOCOL 7.5).
const WRITER_LEN_MAX: usize = 64;
/// Sessions of one head (PROTOCOL 7.5).
const PAGE_COUNT_MAX: usize = 100;
/// Length of a head's sessions in bytes, unless there is only one: with the longest arguments, that
/// one still fits into what a head may be.
const PAGE_LEN_MAX: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use tow_proto::message::{Lease, Program};

    use super::*;

    fn session(number: usize, argument_len: usize) -> SessionInfo {
        SessionInfo {
            id: number.to_string(),
            owner: "me".to_owned(),
            program: Program::Argv(vec!["x".repeat(argument_len).into()]),
            terminal: false,
            started: 0,
            lease: Lease::Attached,
            typing: 0,
            watching: 0,
            stdout: 0,
            stderr: 0,
            exit: None,
            ended: None,
        }
    }

    fn check(sessions: Vec<SessionInfo>, expected: &[usize]) {
        let count = sessions.len();
        let mut rest = sessions;
        let (mut sizes, mut ids) = (Vec::new(), Vec::new());
        loop {
            let page = page(rest.iter().take(PAGE_COUNT_MAX + 1).cloned().collect());
            assert!(json::to_vec(&Reply::Ok(&page)).len() < 1 << 20);
            rest.drain(..page.sessions.len());
            sizes.push(page.sessions.len());
            ids.extend(page.sessions.into_iter().map(|session| session.id));
            if !page.more {
                break;
            }
        }
        assert_eq!(sizes, expected);
        assert_eq!(ids, (0..count).map(|number| number.to_string()).collect::<Vec<_>>());
    }

    #[test]
    fn a_list_comes_in_pages_by_number_and_by_length() {
        check(Vec::new(), &[0]);
        check((0..100).map(|number| session(number, 1)).collect(), &[100]);
        check((0..201).map(|number| session(number, 1)).collect(), &[100, 100, 1]);
        check((0..3).map(|number| session(number, 120 << 10)).collect(), &[2, 1]);
        check((0..2).map(|number| session(number, 800 << 10)).collect(), &[1, 1]);
    }
}
