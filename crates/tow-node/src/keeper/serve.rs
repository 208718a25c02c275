//! The keeper's side: conversations with nodes, one task each, and the end of it all.
//!
//! A conversation is a request, a reply and what follows, as on a link. Several may follow each other
//! on one connection; the one of a viewer is the last.

use std::io;
use std::os::unix::net::UnixListener as StdListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{Shutdown, shutdown};
use serde::Serialize;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tow_host::session::{Limits, Session, Sessions, Spec, Start, Stdin, Stdio};
use tow_net::listen::ACCEPT_PAUSE;
use tow_net::{Link, LinkError, LinkEvent};
use tow_proto::message::{
    Attach, Attached, Kill, Killed, Reply, Run, RunReply, SessionInfo, SessionList, StdinState,
    View,
};
use tow_proto::{Code, Kind, Refusal, json};

use super::message::{Ask, Here, RunAsk, Running, Scope, to_os};
use super::view;
use crate::grant::May;
use crate::serve::Account;

/// What a keeper is told.
#[derive(Clone, Debug)]
pub struct Keeping {
    /// Program and version.
    pub agent: String,
    /// Where sessions leave their records and what is too long for memory.
    pub store: PathBuf,
    /// Soft limit of open files.
    pub descriptors: u64,
}

/// Keeps sessions until `stop` resolves or a node says so, and then ends them in order; or until
/// nothing runs and no node is there. Within a runtime.
///
/// # Errors
/// The operating system refuses what sessions need.
pub async fn keep(
    listener: StdListener,
    keeping: Keeping,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    let sessions = Sessions::new(limits(keeping.descriptors), Some(keeping.store))?;
    let keeper = Arc::new(Keeper {
        sessions,
        agent: keeping.agent,
        uid: rustix::process::geteuid().as_raw(),
        quit: CancellationToken::new(),
        ending: CancellationToken::new(),
        connections: watch::Sender::new(0),
        tasks: TaskTracker::new(),
    });
    let over = async {
        tokio::select! {
            () = stop => {}
            () = keeper.quit.cancelled() => {}
            () = keeper.idle() => {}
        }
        // Whoever looks on is told how it ends, so they are served meanwhile.
        keeper.sessions.shutdown().await;
    };
    tokio::select! {
        () = over => {}
        () = keeper.accept(&listener) => {}
    }
    // From here on a node that looks for a keeper finds none, and starts the next; then it may learn
    // that this one is gone. Closing alone would not do where somebody else has the descriptor too.
    let _ = shutdown(&listener, Shutdown::Both);
    keeper.ending.cancel();
    keeper.tasks.close();
    let _ = timeout(FAREWELL_MAX, keeper.tasks.wait()).await;
    Ok(())
}

struct Keeper {
    sessions: Sessions,
    agent: String,
    uid: u32,
    /// A node has told us to quit.
    quit: CancellationToken,
    /// Every session has ended, and so does every conversation.
    ending: CancellationToken,
    connections: watch::Sender<usize>,
    tasks: TaskTracker,
}

/// One of [`Keeper::connections`], until it is dropped.
struct Connected(Arc<Keeper>);

impl Connected {
    fn new(keeper: &Arc<Keeper>) -> Self {
        keeper.connections.send_modify(|count| *count += 1);
        Self(Arc::clone(keeper))
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connections.send_modify(|count| *count -= 1);
    }
}

impl Keeper {
    async fn accept(self: &Arc<Self>, listener: &UnixListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let connected = Connected::new(self);
                    self.tasks.spawn(async move {
                        // A lost conversation is the other side's to tell.
                        let _ = connected.0.serve(stream).await;
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "no conversation could be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Resolves when there was nothing to keep, and nobody who could ask for it, for a while.
    async fn idle(&self) {
        let mut connections = self.connections.subscribe();
        loop {
            self.sessions.ended().await;
            // The sender is ours, so it does not end.
            let _ = connections.wait_for(|count| *count == 0).await;
            sleep(IDLE_MIN).await;
            if *connections.borrow() == 0 && self.sessions.running() == 0 {
                return;
            }
        }
    }

    async fn serve(&self, stream: UnixStream) -> Result<(), LinkError> {
        // The directory is private to this user already; root has no business here either.
        if stream.peer_cred()?.uid() != self.uid {
            return Ok(());
        }
        let mut link = Link::from_unix(stream);
        link.prove();
        loop {
            link.rest();
            let event = tokio::select! {
                event = link.next_event() => event?,
                () = self.ending.cancelled() => break,
            };
            let ask = match event {
                LinkEvent::Frame(frame) if frame.kind == Kind::Head => {
                    json::from_slice(&frame.payload)
                }
                LinkEvent::Frame(_) => break,
                LinkEvent::Room => continue,
                LinkEvent::Closed => break,
            };
            // Boxed: a node's own connection rests here for as long as the node lives.
            match ask {
                Ok(ask) => Box::pin(self.answer(&mut link, ask)).await?,
                Err(_) => refuse(&mut link, Code::Malformed.into()),
            }
        }
        link.close().await;
        Ok(())
    }

    async fn answer(&self, link: &mut Link, ask: Ask) -> Result<(), LinkError> {
        match ask {
            Ask::Hello => reply(link, Ok(self.here())),
            Ask::Run(ask) => return self.run(link, *ask).await,
            Ask::Attach { scope, request } => return self.attach(link, &scope, *request).await,
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

    async fn run(&self, link: &mut Link, ask: RunAsk) -> Result<(), LinkError> {
        let RunAsk { owner, request, account, start } = ask;
        let (id, view) = (request.id.clone(), request.view);
        let (window, room) = (request.terminal, [request.stdout_to, request.stderr_to]);
        let spec = spec(request, account.into(), to_os(start).into());
        let begun = async {
            let session = self.sessions.start(&owner, &id, spec).await?;
            let viewer = view.then(|| {
                session.attach(&Start {
                    view: View::Type,
                    writer: id,
                    window,
                    from: [Some(0); 2],
                    room,
                })
            });
            Ok::<_, Refusal>((session, viewer.transpose()?))
        };
        let (session, viewer) = match begun.await {
            Ok(begun) => begun,
            Err(refusal) => return Ok(refuse(link, refusal)),
        };
        let stdin = viewer.as_ref().map_or_else(StdinState::default, |viewer| viewer.stdin());
        reply(link, Ok(RunReply { session: session.id().to_string(), stdin }));
        match viewer {
            Some(viewer) => view::carry(link, viewer).await,
            None => Ok(()),
        }
    }

    async fn attach(
        &self,
        link: &mut Link,
        scope: &Scope,
        request: Attach,
    ) -> Result<(), LinkError> {
        let needed = if request.view == View::Type { May::All } else { May::View };
        let begun = async {
            let session = self.find(scope, request.session, needed).await?;
            if request.view == View::Type && !(1..=WRITER_LEN_MAX).contains(&request.writer.len()) {
                return Err(Code::Malformed.into());
            }
            let start = Start {
                view: request.view,
                writer: request.writer,
                window: request.window,
                from: [request.stdout_from, request.stderr_from],
                room: [request.room; 2],
            };
            let viewer = session.attach(&start)?;
            Ok::<_, Refusal>((session, viewer))
        };
        let (session, viewer) = match begun.await {
            Ok(begun) => begun,
            Err(refusal) => return Ok(refuse(link, refusal)),
        };
        let [stdout_from, stderr_from] = viewer.starts();
        let attached = Attached {
            session: session.id().to_string(),
            terminal: session.is_terminal(),
            stdout_from,
            stderr_from,
            stdin: viewer.stdin(),
        };
        reply(link, Ok(attached));
        view::carry(link, viewer).await
    }

    async fn list(&self, link: &mut Link, scope: &Scope) -> Result<(), LinkError> {
        let sessions = self.sessions.list().into_iter();
        let seen = sessions.filter(|session| scope.sees(&session.owner));
        let mut pages = Pages { sessions: seen, held_back: None };
        loop {
            let page = pages.next_page();
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
        scope.check(session.owner(), needed)?;
        Ok(session)
    }
}

/// What waits for a disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Code::Internal.into())
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

/// A list of sessions, in as many heads as it needs.
struct Pages<I> {
    sessions: I,
    /// It did not fit into the page before.
    held_back: Option<SessionInfo>,
}

impl<I: Iterator<Item = SessionInfo>> Pages<I> {
    fn next_page(&mut self) -> SessionList {
        let mut page = SessionList { sessions: Vec::new(), more: false };
        let mut len = 0;
        while let Some(session) = self.held_back.take().or_else(|| self.sessions.next()) {
            len += json::to_vec(&session).len();
            let is_full = page.sessions.len() == PAGE_COUNT_MAX || len > PAGE_LEN_MAX;
            if is_full && !page.sessions.is_empty() {
                self.held_back = Some(session);
                page.more = true;
                break;
            }
            page.sessions.push(session);
        }
        page
    }
}

fn reply<T: Serialize>(link: &mut Link, result: Result<T, Refusal>) {
    link.send_head(&Reply::from(result));
}

fn refuse(link: &mut Link, refusal: Refusal) {
    reply::<()>(link, Err(refusal));
}

/// A reply that says no more than that it is done: `{}`.
#[derive(Clone, Copy, Debug, Serialize)]
struct Nothing {}

const NOTHING: Nothing = Nothing {};

/// One owner may have half of the sessions that the descriptors allow.
fn limits(descriptors: u64) -> Limits {
    let share = usize::try_from(descriptors / DESCRIPTORS_PER_SESSION / 2).unwrap_or(usize::MAX);
    Limits { running_max: share.clamp(1, RUNNING_MAX), ..Limits::default() }
}

/// Three pipes or a terminal, the process, its control group and files of its output.
const DESCRIPTORS_PER_SESSION: u64 = 6;
/// Sessions of one owner that run at once, where descriptors are not few.
const RUNNING_MAX: usize = 4096;
/// Length of a writer's name in bytes (PROTOCOL 7.5).
const WRITER_LEN_MAX: usize = 64;
/// How long nothing is to be kept before a keeper ends: a node that starts again finds it there.
const IDLE_MIN: Duration = Duration::from_secs(1);
/// Longest wait for conversations to take their last frames.
const FAREWELL_MAX: Duration = Duration::from_secs(2);
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
        let mut pages = Pages { sessions: sessions.into_iter(), held_back: None };
        let (mut sizes, mut ids) = (Vec::new(), Vec::new());
        loop {
            let page = pages.next_page();
            assert!(json::to_vec(&Reply::Ok(&page)).len() < 1 << 20);
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

    #[test]
    fn one_owner_leaves_descriptors_for_others() {
        let running_max = |descriptors| limits(descriptors).running_max;
        assert_eq!([0, 1024, 1 << 20].map(running_max), [1, 85, 4096]);
    }
}
