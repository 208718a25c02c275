//! The node's side: finding the keeper of a state directory, or starting one, and asking it.
//!
//! The node makes the listening socket and hands it over, so there is no moment at which a keeper
//! has been started and can't be reached: connections wait in the socket's backlog.

use std::ffi::OsString;
use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::sync::{Mutex, RwLock};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tow_net::listen::{DEFAULT_BACKLOG, ListenError, listen_for_another};
use tow_net::{Link, LinkEvent};
use tow_proto::message::{Reply, RunReply};
use tow_proto::{Code, Kind, Refusal, Trust, json};

use super::message::{Ask, Here, RunAsk, Running};
use super::serve::Keeping;
use crate::serve::Account;
use crate::state::{StateDir, StateError};

/// How a keeper is started where there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeeperProgram {
    /// As a process: the command line of a program that calls [`super::keep`] with the listening
    /// socket that is its stdin. It gets no environment.
    Process(Vec<OsString>),
    /// As a task of this process, which then starts and reaps programs itself. For tests.
    InProcess,
}

/// Why there is no keeper.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeeperError {
    /// Its socket.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Its log.
    #[error(transparent)]
    State(#[from] StateError),
    /// Its program.
    #[error("the process that keeps sessions can't be started: {0}")]
    Start(io::Error),
}

/// The keeper of a node's state directory, whichever process that is at the moment. Clones are the
/// same.
#[derive(Clone)]
pub(crate) struct Keeper(Arc<Inner>);

struct Inner {
    state: StateDir,
    socket: PathBuf,
    program: KeeperProgram,
    keeping: Keeping,
    /// One request at a time starts a keeper.
    launching: Mutex<()>,
    /// Starts of programs that may be under way. Who removes a key waits for them.
    starts: Arc<RwLock<()>>,
    /// The node stops: the keeper need not wait for it any more.
    gone: CancellationToken,
}

/// A connection to the keeper, for one request after the other.
pub(crate) struct Conversation {
    link: Link,
}

impl Keeper {
    /// Starts a keeper if nobody keeps the sessions of `state` yet. Within a runtime.
    ///
    /// # Errors
    /// See [`KeeperError`].
    pub(crate) fn start(
        state: &StateDir,
        program: KeeperProgram,
        agent: String,
        descriptors: u64,
    ) -> Result<Self, KeeperError> {
        let keeper = Self(Arc::new(Inner {
            state: state.clone(),
            socket: state.keeper_socket_path(),
            program,
            keeping: Keeping { agent, store: state.sessions_dir(), descriptors },
            launching: Mutex::default(),
            starts: Arc::default(),
            gone: CancellationToken::new(),
        }));
        keeper.launch()?;
        Ok(keeper)
    }

    /// Gets to know the keeper that is there, replaces one of another version that has nothing to
    /// keep, and has it wait for us and for programs of `account`.
    pub(crate) async fn settle(&self, account: &Account) {
        for _ in 0..SETTLE_TRIES {
            let Ok(mut conversation) = self.converse().await else { return };
            // One that had nothing to do may just have ended.
            let Ok(here) = conversation.ask::<Here>(&Ask::Hello).await else { continue };
            let (ours, theirs) = (&self.0.keeping.agent, &here.agent);
            if ours != theirs {
                let quit = Ask::Quit { running: Running::Keep };
                if conversation.ask::<serde_json::Value>(&quit).await.is_ok() {
                    let _ = timeout(QUIT_MAX, conversation.ended()).await;
                    continue;
                }
                tracing::info!("{} sessions go on under {theirs}; this is {ours}", here.running);
            } else if here.running > 0 {
                tracing::info!("{} sessions have gone on meanwhile", here.running);
            }
            let expect = Ask::Expect { account: account.into() };
            // One of another version may not know how: it learns at the first start.
            let _ = conversation.ask::<serde_json::Value>(&expect).await;
            return self.hold(conversation);
        }
        tracing::error!("nobody keeps sessions: see keeper.log in the state directory");
    }

    /// How many sessions run. None without a keeper, and none is started to ask it.
    pub(crate) async fn running(&self) -> u32 {
        let here = async { self.connect().await.ok()?.ask::<Here>(&Ask::Hello).await.ok() };
        let here = timeout(HELLO_MAX, here).await;
        here.ok().flatten().map_or(0, |here| here.running)
    }

    /// Starts a program, if `check` still allows it. Once begun, the start is not cut off in the
    /// middle by whoever awaits it: [`Self::end_owner`] would not know of it.
    ///
    /// # Errors
    /// That of `check`; those of PROTOCOL 7.1.
    pub(crate) async fn run(
        &self,
        ask: RunAsk,
        check: impl FnOnce() -> Result<(), Refusal>,
    ) -> Result<(RunReply, Conversation), Refusal> {
        let turn = Arc::clone(&self.0.starts).read_owned().await;
        check()?;
        let keeper = self.clone();
        let started = tokio::spawn(async move {
            let _turn = turn;
            let mut conversation = keeper.converse().await?;
            let reply = conversation.ask(&Ask::Run(Box::new(ask))).await?;
            Ok((reply, conversation))
        });
        started.await.unwrap_or_else(|_| Err(Code::Internal.into()))
    }

    /// Ends all that a removed key has started, or is starting.
    pub(crate) async fn end_owner(&self, owner: String) {
        let _none_starts = self.0.starts.write().await;
        let ended = match self.converse().await {
            Ok(mut conversation) => {
                conversation.ask::<serde_json::Value>(&Ask::EndOwner { owner }).await
            }
            Err(refusal) => Err(refusal),
        };
        if let Err(error) = ended {
            tracing::error!(%error, "the programs of a removed key could not be ended");
        }
    }

    /// The keeper need not wait for this node any more.
    pub(crate) fn let_go(&self) {
        self.0.gone.cancel();
    }

    /// A conversation with the keeper. Where there is none, with a new one.
    ///
    /// # Errors
    /// `Busy`, `Internal`.
    pub(crate) async fn converse(&self) -> Result<Conversation, Refusal> {
        match self.connect().await {
            Err(error) if is_nobody_there(&error) => {}
            connected => return connected.map_err(|error| refusal(&error)),
        }
        let _one = self.0.launching.lock().await;
        match self.connect().await {
            Err(error) if is_nobody_there(&error) => {}
            connected => return connected.map_err(|error| refusal(&error)),
        }
        tracing::warn!("the keeper is gone, and its sessions with it; the next one is started");
        self.launch().map_err(|error| {
            tracing::error!(%error, "no keeper");
            Refusal::from(Code::Internal)
        })?;
        let mut first = self.connect().await.map_err(|error| refusal(&error))?;
        if let Err(error) = first.ask::<Here>(&Ask::Hello).await {
            tracing::error!(%error, "no keeper: see keeper.log in the state directory");
            return Err(Code::Internal.into());
        }
        self.hold(first);
        self.connect().await.map_err(|error| refusal(&error))
    }

    async fn connect(&self) -> io::Result<Conversation> {
        let stream = UnixStream::connect(&self.0.socket).await?;
        if stream.peer_cred()?.uid() != rustix::process::geteuid().as_raw() {
            return Err(Errno::PERM.into());
        }
        let mut link = Link::from_unix(stream)?;
        link.prove();
        Ok(Conversation { link })
    }

    /// A keeper ends when nobody is there and nothing runs: as long as we live, somebody is.
    fn hold(&self, conversation: Conversation) {
        let gone = self.0.gone.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = gone.cancelled() => {}
                () = conversation.ended() => tracing::warn!("the keeper has ended"),
            }
        });
    }

    /// Starts a keeper, unless somebody listens already.
    fn launch(&self) -> Result<(), KeeperError> {
        let listener = match listen_for_another(&self.0.socket, DEFAULT_BACKLOG) {
            Err(ListenError::AddressInUse { .. }) => return Ok(()),
            listener => listener?,
        };
        match &self.0.program {
            KeeperProgram::Process(words) => self.launch_process(words, listener),
            KeeperProgram::InProcess => {
                let keeping = self.0.keeping.clone();
                tokio::spawn(async move {
                    if let Err(error) = super::keep(listener.into(), keeping, pending()).await {
                        tracing::error!(%error, "sessions can't be kept");
                    }
                });
                Ok(())
            }
        }
    }

    fn launch_process(&self, words: &[OsString], listener: OwnedFd) -> Result<(), KeeperError> {
        let log = self.0.state.open_keeper_log()?;
        let program = words.first().ok_or(KeeperError::Start(Errno::NOENT.into()))?;
        let mut child = Command::new(program)
            .args(&words[1..])
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(listener))
            .stdout(log.try_clone().map_err(KeeperError::Start)?)
            .stderr(log)
            .spawn()
            .map_err(KeeperError::Start)?;
        // It outlives us as a rule. If it does not, it must not stay a zombie.
        tokio::spawn(async move { child.wait().await });
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.gone.cancel();
    }
}

impl Conversation {
    /// Asks, and reads the one reply, or its first part.
    ///
    /// # Errors
    /// The keeper's refusal; `TooLong` for what does not fit one head; `Stopping` where the keeper
    /// was lost: whoever asks again finds the next one, and may learn from it that their session
    /// was lost, too.
    pub(crate) async fn ask<T: DeserializeOwned>(&mut self, ask: &Ask) -> Result<T, Refusal> {
        let payload = json::to_vec(ask);
        let len_max = Kind::Head.payload_len_max(Trust::Proved).unwrap_or_default();
        if payload.len() as u64 > len_max {
            return Err(Refusal::new(Code::TooLong).with_count(len_max));
        }
        self.link.send(Kind::Head, &payload);
        self.reply().await
    }

    /// The next part of a reply.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub(crate) async fn reply<T: DeserializeOwned>(&mut self) -> Result<T, Refusal> {
        let frame = self.link.next_frame().await.map_err(|_| Refusal::from(Code::Stopping))?;
        let reply = json::from_slice::<Reply<T>>(&frame.payload).map_err(|error| {
            tracing::error!(%error, "the keeper's answer was not understood");
            Refusal::from(Code::Internal)
        })?;
        reply.into_result()
    }

    /// The connection, for what follows a reply.
    pub(crate) fn link(&mut self) -> &mut Link {
        &mut self.link
    }

    /// Hands over what was said last, so that nothing of it is lost.
    pub(crate) async fn close(mut self) {
        // It always reads, so this takes no time worth mentioning.
        let _ = timeout(HAND_OVER_MAX, self.link.flushed()).await;
    }

    /// Waits until the other end is gone.
    async fn ended(mut self) {
        while !matches!(self.link.next_event().await, Ok(LinkEvent::Closed) | Err(_)) {}
    }
}

fn is_nobody_there(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

fn refusal(error: &io::Error) -> Refusal {
    match Errno::from_io_error(error) {
        // The backlog is full, or descriptors have run out.
        Some(Errno::AGAIN | Errno::MFILE | Errno::NFILE | Errno::NOMEM) => Code::Busy.into(),
        _ => {
            tracing::error!(%error, "the keeper can't be reached");
            Code::Internal.into()
        }
    }
}

/// Longest wait for a keeper to say who it is.
const HELLO_MAX: Duration = Duration::from_secs(2);
const SETTLE_TRIES: usize = 3;
/// Longest wait for a keeper that has nothing to keep to end.
const QUIT_MAX: Duration = Duration::from_secs(5);
const HAND_OVER_MAX: Duration = Duration::from_secs(1);
