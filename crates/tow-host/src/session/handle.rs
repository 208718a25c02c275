//! A session in somebody's hands.

use std::sync::Arc;

use tow_proto::message::{ExitRecord, SessionInfo};
use tow_proto::refusal::{Code, Refusal};

use super::state::Shared;
use super::{SessionId, Start, Viewer, signals};

/// One session, running or finished. Cheap to clone.
#[derive(Clone)]
pub struct Session {
    pub(super) shared: Arc<Shared>,
}

impl Session {
    /// Its name.
    pub fn id(&self) -> &SessionId {
        &self.shared.facts.id
    }

    /// Who started it.
    pub fn owner(&self) -> &str {
        &self.shared.facts.owner
    }

    /// Whether it runs on a terminal.
    pub fn is_terminal(&self) -> bool {
        self.shared.facts.is_terminal
    }

    /// Starts to look at it. What is kept no more shows as a gap, or as a terminal's screen.
    ///
    /// # Errors
    /// `Malformed` for an offset beyond a stream's end, `Busy` for too many viewers or writers.
    pub fn attach(&self, start: &Start) -> Result<Viewer, Refusal> {
        Viewer::new(Arc::clone(&self.shared), start)
    }

    /// How it ended, if it has.
    pub fn exit(&self) -> Option<ExitRecord> {
        self.shared.lock().exit.clone()
    }

    /// As a list shows it.
    pub fn info(&self) -> SessionInfo {
        self.shared.info()
    }

    /// Sends a signal to each of its processes, and says to how many.
    ///
    /// # Errors
    /// `BadArgument` for a name that is no signal's, `SessionEnded` where there is nobody left.
    pub async fn signal_tree(&self, name: &str) -> Result<u32, Refusal> {
        let signal = signals::by_name(name)
            .ok_or_else(|| Refusal::about(Code::BadArgument, name.as_bytes()))?;
        let tree = {
            let mut state = self.shared.lock();
            if state.exit.is_none() {
                state.user_signal = Some(signal);
            }
            state.tree.clone().ok_or(Code::SessionEnded)?
        };
        match tree.signal_tree(signal).await {
            0 => Err(Code::SessionEnded.into()),
            count => Ok(u32::try_from(count).unwrap_or(u32::MAX)),
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.shared.lock().exit.is_some()
    }
}
