//! How far a viewer has come in one output stream, and how far it may go.

/// One viewer's place in one stream. Offsets are absolute.
pub(super) struct Position {
    /// The first byte that it has not been given.
    pub(super) at: u64,
    /// The credit: the offset up to which it may be given bytes.
    pub(super) allowed: u64,
    /// How much it has room for at once.
    pub(super) room: u64,
    /// Credit that is left for what comes after a jump.
    pub(super) reserve: u64,
    /// Nothing from here on is for this viewer.
    pub(super) until: u64,
    pub(super) is_wanted: bool,
    pub(super) is_end_told: bool,
}

impl Position {
    /// Goes on further down; the credit goes along (PROTOCOL 3.4). Gives what counts as consumed.
    pub(super) fn jump(&mut self, to: u64) -> u64 {
        self.allowed = self.allowed.saturating_add(to - self.at);
        self.at = to;
        self.consumed()
    }

    /// How far bytes may be given now of a stream that is `total` long. What does not fit into the
    /// credit leaves some of it: so what follows a jump, a prompt behind Ctrl-C, need not wait for
    /// the credit of a receiver that has yet to hear of the jump.
    pub(super) fn goes_to(&self, total: u64) -> u64 {
        if total <= self.allowed { total } else { self.allowed.saturating_sub(self.reserve) }
    }

    pub(super) fn consumed(&self) -> u64 {
        self.allowed.saturating_sub(self.room).min(self.at)
    }
}

/// So much of a terminal's window is left by a flood: 16 KiB of 256 KiB. Less than half, with which
/// a receiver would wait for more before it grants more (PROTOCOL 3.4).
pub(super) const RESERVED_PART: u64 = 16;
