//! What `tow get`, `put` and `sync` share: which way it goes, and trying again.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tow_node::ask::{AskError, Connection, Pool, get, put};
use tow_node::transfer::{self, Change, Outcome, Progress, Run, Watch};
use tow_proto::byte_string::escape;
use tow_proto::transfer::Options;
use tow_proto::{ByteString, Code, Refusal};

use super::report::{Items, Style, report};
use crate::client::{self, Here, Host};
use crate::failure::{Class, Failure};
use crate::output::Quiet;
use crate::progress::{Line, Shown};
use crate::remote::{self, Remote};

/// One side of a copy.
#[derive(Debug)]
pub(crate) enum Side {
    /// On this machine.
    Here(PathBuf),
    /// On another.
    There(Remote),
}

impl Side {
    /// As it was written on the command line.
    pub(crate) fn parse(word: &OsStr) -> Self {
        Remote::parse(word).map_or_else(|| Self::Here(remote::local(word)), Self::There)
    }
}

/// Transfers that are done one after the other.
pub(crate) struct Jobs {
    options: Options,
    style: Style,
    /// Every change is said.
    tells: bool,
}

impl Jobs {
    pub(crate) fn new(options: Options, json: bool, quiet: Quiet, verbose: bool) -> Self {
        let (dry_run, max_delete) = (options.dry_run, options.max_delete);
        let style = Style { json, quiet, dry_run, max_delete };
        Self { tells: verbose || options.dry_run, options, style }
    }

    /// Copies each source to the destination.
    pub(crate) fn run(self, sources: &[Side], destination: &Side) -> Result<ExitCode, Failure> {
        let mut all = true;
        for source in sources {
            if let (Side::Here(from), Side::Here(to)) = (source, destination) {
                all &= self.locally(from, to)?;
            }
        }
        let is_there = |side: &Side| matches!(side, Side::There(_));
        if is_there(destination) || sources.iter().any(is_there) {
            let here = Here::open()?;
            all &= client::block_on(self.over_links(&here, sources, destination))?;
        }
        Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn locally(&self, from: &Path, to: &Path) -> Result<bool, Failure> {
        client::block_on(async {
            let started = Instant::now();
            let progress = Arc::new(Progress::default());
            let line = Line::show(&shown(from), progress.clone(), self.shown());
            let (run, ended) = self.attempt(progress, &line);
            let mut interrupts = Interrupts::listen()?;
            let copied = tokio::select! {
                copied = transfer::local(from, to, run) => Some(copied),
                () = interrupts.next() => None,
            };
            drop(line);
            let Some(copied) = copied else { return Err(interrupts.end(ended).await) };
            let (outcome, path) = copied.map_err(|error| {
                let error = error.into();
                let hint = self.hint(&error);
                with_hint(Failure::asking("this machine", error), hint)
            })?;
            report(&path, &outcome, started.elapsed(), self.style)
        })
    }

    async fn over_links(
        &self,
        here: &Here,
        sources: &[Side],
        destination: &Side,
    ) -> Result<bool, Failure> {
        let mut pool = Pool::new(here.client.clone());
        let mut all = true;
        for source in sources {
            let started = Instant::now();
            let (outcome, path) = match (source, destination) {
                (Side::There(from), Side::Here(to)) => {
                    let host = here.host(&from.host)?;
                    let name = format!("{}:{}", from.host, from.path);
                    let mut job = Job { jobs: self, pool: &mut pool, host: &host, name };
                    job.run(async |connection, run| {
                        let path = from.path.clone();
                        let outcome = get::get(connection, path.clone(), to, run).await?;
                        Ok((outcome, path))
                    })
                    .await?
                }
                (Side::Here(from), Side::There(to)) => {
                    let host = here.host(&to.host)?;
                    let mut job =
                        Job { jobs: self, pool: &mut pool, host: &host, name: shown(from) };
                    job.run(async |connection, run| {
                        put::put(connection, from, to.path.clone(), run).await
                    })
                    .await?
                }
                (Side::There(from), Side::There(_)) => {
                    return Err(Failure::usage("one of the two has to be on this machine").hint(
                        format!("run `tow sync` on {}, or copy by way of this machine", from.host),
                    ));
                }
                (Side::Here(_), Side::Here(_)) => continue,
            };
            all &= report(&path, &outcome, started.elapsed(), self.style)?;
        }
        pool.close().await;
        Ok(all)
    }

    fn shown(&self) -> Shown {
        Shown { quiet: self.style.quiet, json: self.style.json }
    }

    /// What may help where a transfer was not even begun.
    fn hint(&self, error: &AskError) -> Option<&'static str> {
        match error {
            AskError::Refused(why) | AskError::Here(why)
                if self.options.exact && why.code == Code::IsADirectory =>
            {
                Some("sync makes DEST itself equal to SRC; a file in a directory is DIR/NAME")
            }
            _ => None,
        }
    }

    /// What one attempt is run with, and how to know that none of its threads is at work any more.
    fn attempt(&self, progress: Arc<Progress>, line: &Line) -> (Run, Ended) {
        let items = self.tells.then(|| Items::new(line.bar(), self.style.json));
        let (at_work, ended) = mpsc::channel(1);
        let watch = Arc::new(Watching { items, _at_work: at_work });
        (Run { options: self.options.clone(), progress, watch }, ended)
    }
}

fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_encoded_bytes()).to_string()
}

fn with_hint(failure: Failure, hint: Option<&str>) -> Failure {
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// Whoever moves files holds this until what is complete is in its place.
struct Watching {
    items: Option<Items>,
    _at_work: mpsc::Sender<Infallible>,
}

impl Watch for Watching {
    fn item(&self, change: Change, path: &[u8], size: u64) {
        if let Some(items) = &self.items {
            items.item(change, path, size);
        }
    }
}

/// Ends when the last [`Watching`] is gone.
type Ended = mpsc::Receiver<Infallible>;

/// Ctrl-C: once stops in order, twice at once.
struct Interrupts(Signal);

impl Interrupts {
    fn listen() -> Result<Self, Failure> {
        Ok(Self(signal(SignalKind::interrupt())?))
    }

    async fn next(&mut self) {
        let _ = self.0.recv().await;
    }

    /// After the first: waits for the threads of an attempt that was given up.
    async fn end(&mut self, mut ended: Ended) -> Failure {
        tokio::select! {
            _ = ended.recv() => {}
            () = self.next() => {}
        }
        Failure::new(Class::Interrupted, "interrupted").hint(GO_ON)
    }
}

/// A transfer that is tried until it is done or there is no hope.
struct Job<'a> {
    jobs: &'a Jobs,
    pool: &'a mut Pool,
    host: &'a Host,
    name: String,
}

/// What became of a transfer, and where it landed.
type Landed = (Outcome, ByteString);

impl Job<'_> {
    /// Runs `attempt` on a connection until it ends, connecting again when the link is lost. What
    /// arrived is kept each time, so every attempt goes on where the last one stopped.
    async fn run(
        &mut self,
        mut attempt: impl AsyncFnMut(&mut Connection, Run) -> Result<Landed, AskError>,
    ) -> Result<Landed, Failure> {
        let mut pause = Pause::default();
        let mut interrupts = Interrupts::listen()?;
        loop {
            let progress = Arc::new(Progress::default());
            let line = Line::show(&self.name, progress.clone(), self.jobs.shown());
            let (run, ended) = self.jobs.attempt(progress.clone(), &line);
            let mut reached = false;
            let result = tokio::select! {
                result = self.once(&mut attempt, run, &mut reached) => Some(result),
                () = interrupts.next() => None,
            };
            let Some(result) = result else {
                drop(line);
                return Err(interrupts.end(ended).await);
            };
            let error = match result {
                Ok(landed) => match busy(&landed.0) {
                    // The end of the attempt before has not been noticed over there yet.
                    Some(refusal) if pause.tried => AskError::Refused(refusal),
                    _ => return Ok(landed),
                },
                Err(error) => error,
            };
            if moved(&progress) {
                pause = Pause { tried: true, ..Pause::default() };
            }
            // A machine that was never reached is more likely misspelt than asleep.
            let is_there = reached || pause.tried;
            let wait = if error.is_retryable() && is_there { pause.next() } else { None };
            let Some(wait) = wait else {
                let hint = if pause.tried { Some(GO_ON) } else { self.jobs.hint(&error) };
                return Err(with_hint(client::failure(self.host, error), hint));
            };
            line.say(&format!("tow: {error}; connecting again"));
            drop(line);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = interrupts.next() => return Err(interrupts.end(ended).await),
            }
        }
    }

    async fn once(
        &mut self,
        attempt: &mut impl AsyncFnMut(&mut Connection, Run) -> Result<Landed, AskError>,
        run: Run,
        reached: &mut bool,
    ) -> Result<Landed, AskError> {
        let mut connection = self.pool.connect(&self.host.target).await?;
        *reached = true;
        let landed = attempt(&mut connection, run).await?;
        self.pool.keep(&self.host.target, connection);
        Ok(landed)
    }
}

fn busy(outcome: &Outcome) -> Option<Refusal> {
    let failed = outcome.failures.iter().map(|failure| &failure.why);
    failed.into_iter().find(|why| why.code == Code::Busy).cloned()
}

/// Whether anything was transferred that had not been there.
fn moved(progress: &Progress) -> bool {
    let now = progress.now();
    now.bytes_done > now.bytes_reused
}

const GO_ON: &str = "run the same command again to go on where it stopped";

/// At once, then after 50 ms, doubling to 2 s, for a minute without progress.
struct Pause {
    next: Duration,
    since: Instant,
    tried: bool,
}

impl Default for Pause {
    fn default() -> Self {
        Self { next: Duration::ZERO, since: Instant::now(), tried: false }
    }
}

impl Pause {
    fn next(&mut self) -> Option<Duration> {
        if self.since.elapsed() > Duration::from_secs(60) {
            return None;
        }
        self.tried = true;
        let wait = self.next;
        self.next = (wait * 2).clamp(Duration::from_millis(50), Duration::from_secs(2));
        Some(wait)
    }
}
