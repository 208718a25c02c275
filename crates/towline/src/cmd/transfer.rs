//! What `tow get`, `put` and `sync` share: which way it goes, and trying again.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tow_node::ask::{AskError, Connection, Pool, get, put};
use tow_node::transfer::{self, Outcome, Progress, Run, Watch};
use tow_proto::byte_string::escape;
use tow_proto::transfer::Options;
use tow_proto::{ByteString, Code, Refusal};

use super::report::{Items, Style, report};
use crate::client::{self, Here, Host};
use crate::failure::Failure;
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
        let style = Style { json, quiet, dry_run: options.dry_run };
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
            let copy = transfer::local(from, to, self.attempt(progress, &line));
            let copied = tokio::select! {
                copied = copy => copied.map_err(|error| Failure::asking("this machine", error.into())),
                _ = tokio::signal::ctrl_c() => Err(interrupted()),
            };
            drop(line);
            let (outcome, path) = copied?;
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

    fn attempt(&self, progress: Arc<Progress>, line: &Line) -> Run {
        let watch: Arc<dyn Watch> = if self.tells {
            Arc::new(Items::new(line.bar(), self.style.json))
        } else {
            Arc::new(())
        };
        Run { options: self.options.clone(), progress, watch }
    }
}

fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_encoded_bytes()).to_string()
}

fn interrupted() -> Failure {
    Failure::other("interrupted").hint(GO_ON)
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
        loop {
            let progress = Arc::new(Progress::default());
            let line = Line::show(&self.name, progress.clone(), self.jobs.shown());
            let run = self.jobs.attempt(progress.clone(), &line);
            let mut reached = false;
            let result = tokio::select! {
                result = self.once(&mut attempt, run, &mut reached) => result,
                _ = tokio::signal::ctrl_c() => {
                    drop(line);
                    return Err(interrupted());
                }
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
                let failure = client::failure(self.host, error);
                return Err(if pause.tried { failure.hint(GO_ON) } else { failure });
            };
            line.say(&format!("tow: {error}; connecting again"));
            drop(line);
            tokio::time::sleep(wait).await;
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
