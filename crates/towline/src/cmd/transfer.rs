//! What `tow get` and `tow put` share: trying again, and the report.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tow_node::ask::{AskError, Connection, Pool};
use tow_node::transfer::{Outcome, Progress};
use tow_proto::{ByteString, Code, Refusal};

use crate::client::{self, Host};
use crate::failure::Failure;
use crate::output::{self, Quiet};
use crate::progress::Line;

/// A transfer that is tried until it is done or there is no hope.
pub(crate) struct Job<'a> {
    pub(crate) pool: &'a mut Pool,
    pub(crate) host: &'a Host,
    pub(crate) name: String,
    pub(crate) quiet: Quiet,
}

/// What became of a transfer, and where it landed.
pub(crate) type Landed = (Outcome, ByteString);

impl Job<'_> {
    /// Runs `attempt` on a connection until it ends, connecting again when the link is lost. What
    /// arrived is kept each time, so every attempt goes on where the last one stopped.
    pub(crate) async fn run(
        &mut self,
        mut attempt: impl AsyncFnMut(&mut Connection, Arc<Progress>) -> Result<Landed, AskError>,
    ) -> Result<Landed, Failure> {
        let mut pause = Pause::default();
        loop {
            let progress = Arc::new(Progress::default());
            let line = Line::show(&self.name, progress.clone(), self.quiet);
            let mut reached = false;
            let result = tokio::select! {
                result = self.once(&mut attempt, progress.clone(), &mut reached) => result,
                _ = tokio::signal::ctrl_c() => {
                    drop(line);
                    return Err(Failure::other("interrupted").hint(GO_ON));
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
        attempt: &mut impl AsyncFnMut(&mut Connection, Arc<Progress>) -> Result<Landed, AskError>,
        progress: Arc<Progress>,
        reached: &mut bool,
    ) -> Result<Landed, AskError> {
        let mut connection = self.pool.connect(&self.host.target).await?;
        *reached = true;
        let landed = attempt(&mut connection, progress).await?;
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

#[derive(Serialize)]
struct Failed<'a> {
    event: &'static str,
    path: &'a ByteString,
    code: u16,
    message: String,
}

#[derive(Serialize)]
struct Done<'a> {
    event: &'static str,
    path: &'a ByteString,
    files: u64,
    same: u64,
    dirs: u64,
    links: u64,
    bytes: u64,
    reused: u64,
    failed: u64,
    seconds: f64,
}

/// Says what became of a transfer to or from `path`, and whether all of it worked.
pub(crate) fn report(
    path: &ByteString,
    outcome: &Outcome,
    took: Duration,
    json: bool,
    quiet: Quiet,
) -> Result<bool, Failure> {
    for failure in &outcome.failures {
        let shown = if failure.path.is_empty() { path } else { &failure.path };
        let why = Refusal { path: None, ..failure.why.clone() };
        if json {
            let code = failure.why.code.number();
            output::json(&Failed { event: "failed", path: shown, code, message: why.to_string() })?;
        } else {
            output::status(format_args!("tow: error: {shown}: {why}"));
        }
    }
    let s = outcome.summary;
    if json {
        output::json(&Done {
            event: "done",
            path,
            files: s.files,
            same: s.same,
            dirs: s.dirs,
            links: s.links,
            bytes: s.bytes,
            reused: s.reused,
            failed: s.failed,
            seconds: took.as_secs_f64(),
        })?;
    } else if output::is_watched() && !quiet.0 {
        output::status(summary(path, outcome, took));
    }
    Ok(s.failed == 0 && outcome.failures.is_empty())
}

fn summary(path: &ByteString, outcome: &Outcome, took: Duration) -> String {
    let s = outcome.summary;
    let seconds = took.as_secs_f64().max(0.001);
    let mut text = format!(
        "{path}: {} files, {} in {seconds:.1} s ({}/s), verified",
        s.files,
        output::bytes(s.bytes),
        output::bytes((s.bytes as f64 / seconds) as u64),
    );
    let mut also = |count: u64, what: String| {
        if count > 0 {
            text.push_str(&format!("; {what}"));
        }
    };
    also(s.reused, format!("{} were here already", output::bytes(s.reused)));
    also(s.same, format!("{} files unchanged", s.same));
    also(s.failed, format!("{} failed", s.failed));
    text
}
