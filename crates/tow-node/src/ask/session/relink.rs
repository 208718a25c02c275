//! Making a link: the first time, and again after it was lost.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout_at};
use tow_proto::message::{Attached, Request, RunReply};

use super::{AskError, Client, Connection, Outage, Patience, Target};

/// Who asks whom, and for how long.
#[derive(Clone)]
pub(super) struct Way {
    pub(super) client: Client,
    pub(super) target: Target,
    pub(super) patience: Patience,
}

/// A channel that has begun.
pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) reply: Attached,
}

impl Way {
    /// Connects and asks. A machine that is not there or says no is an error at once; where the link
    /// is lost before the reply, `request` is asked again.
    pub(super) async fn open(&self, request: Request) -> Result<Opened, AskError> {
        let mut connection = self.client.connect(&self.target).await?;
        let lost = match ask(&mut connection, &request).await {
            Ok(reply) => return Ok(Opened { connection, reply }),
            Err(AskError::Link(error)) if error.is_retryable() => AskError::Link(error),
            Err(error) => return Err(error),
        };
        let mut way = self.clone();
        if !connection.is_welcomed() {
            // Perhaps only the answer was lost; perhaps something listens there that never answers.
            let patience = way.patience.give_up_after.unwrap_or(UNPROVED_PATIENCE);
            way.patience.give_up_after = Some(patience.min(UNPROVED_PATIENCE));
        }
        drop(connection);
        Box::pin(Down::new(way, request, lost, Duration::ZERO).back()).await
    }

    fn attempt(&self, request: &Request, pause: Duration) -> Attempt {
        let (Self { client, target, .. }, request) = (self.clone(), request.clone());
        Box::pin(async move {
            sleep(pause).await;
            let mut connection = client.connect(&target).await?;
            let reply = ask(&mut connection, &request).await?;
            Ok(Opened { connection, reply })
        })
    }
}

/// Asks on a link that is there, once.
pub(super) async fn open_on(
    mut connection: Connection,
    request: &Request,
) -> Result<Opened, AskError> {
    let reply = ask(&mut connection, request).await?;
    Ok(Opened { connection, reply })
}

/// Asks by `run` or by `attach`; either reply is what the other would be.
async fn ask(connection: &mut Connection, request: &Request) -> Result<Attached, AskError> {
    let Request::Run(run) = request else { return connection.ask(request).await };
    let RunReply { session, stdin } = connection.ask(request).await?;
    let terminal = run.terminal.is_some();
    Ok(Attached { session, terminal, stdout_from: 0, stderr_from: 0, stdin })
}

/// There is no link at the moment.
pub(super) struct Down {
    way: Way,
    request: Request,
    since: Instant,
    give_up_at: Option<Instant>,
    attempts: u32,
    last: AskError,
    /// The pause before the attempt that is under way.
    pause: Duration,
    attempt: Attempt,
}

/// Makes progress only while it is waited for, so nobody has to end it.
type Attempt = Pin<Box<dyn Future<Output = Result<Opened, AskError>> + Send>>;

impl Down {
    /// The link was lost because of `why`; `request` is what to ask on the next one, after `pause`.
    pub(super) fn new(way: Way, request: Request, why: AskError, pause: Duration) -> Self {
        let since = Instant::now();
        let give_up_at = way.patience.give_up_after.and_then(|time| since.checked_add(time));
        let attempt = way.attempt(&request, pause);
        Self { way, request, since, give_up_at, attempts: 0, last: why, pause, attempt }
    }

    /// Waits for the next link. May be cancelled, and called again until it has given something.
    ///
    /// # Errors
    /// It is of no use to try again, or was tried for long enough.
    pub(super) async fn back(&mut self) -> Result<Opened, AskError> {
        loop {
            let tried = match self.give_up_at {
                Some(at) => timeout_at(at.into(), &mut self.attempt).await.ok(),
                None => Some((&mut self.attempt).await),
            };
            match tried {
                None => return Err(std::mem::replace(&mut self.last, AskError::Silent)),
                Some(Err(error)) if error.is_retryable() => {
                    self.attempts = self.attempts.saturating_add(1);
                    self.last = error;
                    self.pause = longer(self.pause);
                    self.attempt = self.way.attempt(&self.request, self.pause);
                }
                Some(result) => return result,
            }
        }
    }

    /// The pause before the attempt that is under way or was the last.
    pub(super) fn pause(&self) -> Duration {
        self.pause
    }

    pub(super) fn outage(&self) -> Outage<'_> {
        Outage { since: self.since, attempts: self.attempts, last: &self.last }
    }
}

/// The pause after one of `pause` was in vain.
pub(super) fn longer(pause: Duration) -> Duration {
    (pause * 2).clamp(PAUSE_MIN, PAUSE_MAX)
}

const PAUSE_MIN: Duration = Duration::from_millis(50);
/// Longest pause between two attempts; a link that lived longer was a good one.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How long a machine is asked again that hangs up on us before it has let us in.
const UNPROVED_PATIENCE: Duration = Duration::from_secs(5);
