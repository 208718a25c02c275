//! Who looks at a session: how far each has come, who sets the pace, how large the terminal is seen.

use tokio::time::Instant;
use tow_proto::message::{View, Window};
use tow_proto::refusal::{Code, Refusal};

/// All that are there now.
pub(super) struct Viewers {
    /// In the order in which they came.
    here: Vec<Watching>,
    ever: u64,
    /// How far the last pace-setter had come when it left.
    left_at: [u64; 2],
    /// The last that typed said that it does not come back.
    has_left: bool,
    vacant_since: Instant,
}

/// A viewer that is there.
struct Watching {
    number: u64,
    view: View,
    /// What it has certainly consumed of each stream.
    acked: [u64; 2],
    window: Option<Window>,
}

/// Whether a session has had a viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Visits {
    /// Not one.
    None,
    /// At least one.
    Some,
}

impl Viewers {
    /// Nobody yet.
    pub(super) fn new() -> Self {
        Self {
            here: Vec::new(),
            ever: 0,
            left_at: [0; 2],
            has_left: false,
            vacant_since: Instant::now(),
        }
    }

    /// A viewer comes and has the streams up to `from`. Gives its number. Those that only read the
    /// log are nobody's company, and are not to be entered.
    ///
    /// # Errors
    /// `Busy` where there are too many. Those who only watch take no place of one who types.
    pub(super) fn arrive(
        &mut self,
        view: View,
        from: [u64; 2],
        window: Option<Window>,
    ) -> Result<u64, Refusal> {
        let types = view == View::Type;
        if self.here.iter().filter(|one| (one.view == View::Type) == types).count() >= VIEWERS_MAX {
            return Err(Code::Busy.into());
        }
        self.ever += 1;
        self.has_left &= !types;
        self.here.push(Watching { number: self.ever, view, acked: from, window });
        Ok(self.ever)
    }

    /// A viewer goes.
    pub(super) fn leave(&mut self, number: u64) {
        let Some(place) = self.here.iter().position(|viewer| viewer.number == number) else {
            return;
        };
        let was_pacing = self.pacing().is_some_and(|viewer| viewer.number == number);
        let viewer = self.here.remove(place);
        if was_pacing && self.pacing().is_none() {
            self.left_at = viewer.acked;
        }
        if self.here.is_empty() {
            self.vacant_since = Instant::now();
        }
    }

    /// A viewer goes for good. Says whether nobody is here or expected back: one who only watched
    /// can't say that for one who typed and has lost its link.
    pub(super) fn leave_for_good(&mut self, number: u64) -> bool {
        let mut typing = self.here.iter().filter(|viewer| viewer.view == View::Type);
        let typed = typing.any(|viewer| viewer.number == number);
        self.leave(number);
        self.has_left |= typed && self.pacing().is_none();
        self.here.is_empty() && self.has_left
    }

    /// A viewer has consumed a stream up to `to`.
    pub(super) fn consumed(&mut self, number: u64, index: usize, to: u64) {
        if let Some(viewer) = self.here.iter_mut().find(|viewer| viewer.number == number) {
            viewer.acked[index] = viewer.acked[index].max(to);
        }
    }

    /// The size of the terminal that a viewer sees.
    pub(super) fn resized(&mut self, number: u64, window: Window) {
        if let Some(viewer) = self.here.iter_mut().find(|viewer| viewer.number == number) {
            viewer.window = Some(window);
        }
    }

    /// How large the viewer's terminal is, if it types and has said so.
    pub(super) fn window_of(&self, number: u64) -> Option<Window> {
        let viewer = self.here.iter().find(|viewer| viewer.number == number)?;
        viewer.window.filter(|_| viewer.view == View::Type)
    }

    /// How large the newest typing viewer's terminal is.
    pub(super) fn newest_window(&self) -> Option<Window> {
        let mut typing = self.here.iter().rev().filter(|viewer| viewer.view == View::Type);
        typing.find_map(|viewer| viewer.window)
    }

    /// What whoever sets the pace has consumed of a stream; `None` where nobody sets it.
    pub(super) fn pace(&self, index: usize) -> Option<u64> {
        self.pacing().map(|viewer| viewer.acked[index])
    }

    /// What must be kept from on of a stream, for whoever sets the pace or comes back to do so.
    pub(super) fn needed_from(&self, index: usize) -> u64 {
        self.pace(index).unwrap_or(self.left_at[index])
    }

    /// Whether this is the one viewer whose terminal answers the program.
    pub(super) fn answers(&self, number: u64) -> bool {
        self.pacing().is_some_and(|viewer| viewer.number == number)
    }

    /// Since when nobody is there, and whether there was anybody ever; `None` while somebody is.
    pub(super) fn vacant(&self) -> Option<(Instant, Visits)> {
        let visits = if self.ever > 0 { Visits::Some } else { Visits::None };
        self.here.is_empty().then_some((self.vacant_since, visits))
    }

    /// How many may type, and how many only watch.
    pub(super) fn counts(&self) -> (u32, u32) {
        let typing = self.here.iter().filter(|viewer| viewer.view == View::Type).count();
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        (count(typing), count(self.here.len() - typing))
    }

    /// The newest that types.
    fn pacing(&self) -> Option<&Watching> {
        self.here.iter().rev().find(|viewer| viewer.view == View::Type)
    }
}

/// Viewers of one session at once that type, and that watch.
const VIEWERS_MAX: usize = 64;
