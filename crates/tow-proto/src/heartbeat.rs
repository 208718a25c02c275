//! Is the peer still there? Pings after silence of either side, gives up after more of the peer's
//! (PROTOCOL 3.4).

use std::time::{Duration, Instant};

/// What the clock asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Nothing was heard or said for a while: send a ping.
    Ping,
    /// Nothing was heard for too long: the link is dead.
    Dead,
}

/// When the peer was heard last, and when to ask again.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    heard: Instant,
    pinged: Option<Instant>,
    /// When something was sent last.
    sent: Instant,
    listening: bool,
}

impl Heartbeat {
    /// A heartbeat for a link that came up at `now`.
    pub fn new(now: Instant) -> Self {
        Self { heard: now, pinged: None, sent: now, listening: true }
    }

    /// Something arrived from the peer.
    pub fn handle_heard(&mut self, now: Instant) {
        self.heard = now;
        self.pinged = None;
    }

    /// Something went out to the peer. A side that only takes has to be heard too: what the peer
    /// asks stands behind all that it has sent.
    pub fn handle_sent(&mut self, now: Instant) {
        self.sent = now;
    }

    /// We stopped or resumed reading: silence that we make ourselves proves nothing.
    pub fn handle_listening(&mut self, listening: bool, now: Instant) {
        if listening && !self.listening {
            self.heard = now;
        }
        self.listening = listening;
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Instant {
        let ping = self.ping_at();
        if self.listening { ping.min(self.heard + DEAD_AFTER) } else { ping }
    }

    /// The time is `now`: what is to be done?
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Beat> {
        if self.listening && now >= self.heard + DEAD_AFTER {
            return Some(Beat::Dead);
        }
        if now >= self.ping_at() {
            (self.pinged, self.sent) = (Some(now), now);
            return Some(Beat::Ping);
        }
        None
    }

    fn ping_at(&self) -> Instant {
        self.pinged.unwrap_or(self.heard).min(self.sent) + PING_AFTER
    }
}

/// Silence after which a ping is sent.
pub const PING_AFTER: Duration = Duration::from_secs(15);
/// Silence after which the link is dead.
pub const DEAD_AFTER: Duration = Duration::from_secs(35);

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // Any instant will do for a start.
mod tests {
    use super::*;

    #[test]
    fn silence_is_asked_about_twice_and_then_believed() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(start);
        let mut beats = Vec::new();
        loop {
            let at = heartbeat.poll_timeout();
            let beat = heartbeat.handle_timeout(at).expect("a due deadline does something");
            beats.push(((at - start).as_secs(), beat));
            if beat == Beat::Dead {
                break;
            }
        }
        assert_eq!(beats, [(15, Beat::Ping), (30, Beat::Ping), (35, Beat::Dead)]);
    }

    #[test]
    fn any_byte_from_the_peer_starts_the_clock_again() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(start);
        assert_eq!(heartbeat.handle_timeout(start + PING_AFTER), Some(Beat::Ping));
        heartbeat.handle_heard(start + Duration::from_secs(20));
        heartbeat.handle_sent(start + Duration::from_secs(20));
        assert_eq!(heartbeat.poll_timeout(), start + Duration::from_secs(35));
        assert_eq!(heartbeat.handle_timeout(start + Duration::from_secs(34)), None);
    }

    #[test]
    fn a_side_that_only_takes_says_that_it_is_there() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(start);
        let mut pings = Vec::new();
        for second in 1..=50 {
            let now = start + Duration::from_secs(second);
            // Data comes all the time, and the peer's own pings are behind it.
            heartbeat.handle_heard(now);
            if heartbeat.handle_timeout(now) == Some(Beat::Ping) {
                pings.push(second);
            }
        }
        assert_eq!(pings, [15, 30, 45]);
    }

    #[test]
    fn a_reader_that_looks_away_does_not_declare_the_peer_dead() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(start);
        heartbeat.handle_listening(false, start);
        let late = start + Duration::from_secs(100);
        assert_eq!(heartbeat.handle_timeout(late), Some(Beat::Ping));
        heartbeat.handle_listening(true, late);
        assert_eq!(heartbeat.handle_timeout(late + Duration::from_secs(1)), None);
    }
}
