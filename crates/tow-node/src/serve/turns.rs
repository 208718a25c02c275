//! One transfer of a source into a place at a time. A client that lost its link is often back before
//! its old link's files are all in their places; without a turn, the two would be in each other's way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Who is writing what. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Turns(Arc<Mutex<HashMap<Place, CancellationToken>>>);

/// Whose transfer it is, what is sent, and where it lands.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) owner: String,
    pub(super) source: Vec<u8>,
    pub(super) path: Vec<u8>,
}

/// The one transfer of a place, until it is dropped.
pub(super) struct Turn {
    turns: Turns,
    place: Place,
}

impl Turns {
    /// Waits until no other transfer is at `place`. `None` where one goes on for longer than it
    /// could if nobody were at the other end.
    pub(super) async fn take(&self, place: Place) -> Option<Turn> {
        timeout(WAIT_MAX, self.wait(place)).await.ok()
    }

    async fn wait(&self, place: Place) -> Turn {
        loop {
            let ended = {
                let mut turns = self.lock();
                match turns.get(&place) {
                    Some(ended) => ended.clone(),
                    None => {
                        turns.insert(place.clone(), CancellationToken::new());
                        return Turn { turns: self.clone(), place };
                    }
                }
            };
            ended.cancelled().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Place, CancellationToken>> {
        // Nothing in here panics half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(ended) = self.turns.lock().remove(&self.place) {
            ended.cancel();
        }
    }
}

/// A link that is silent for 35 s is dead, and what it left is soon in its place.
const WAIT_MAX: Duration = Duration::from_secs(40);

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &str) -> Place {
        Place { owner: "key".to_owned(), source: b"box:/a".to_vec(), path: path.into() }
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_one_waits_for_the_end_and_others_do_not() {
        let turns = Turns::default();
        let first = turns.take(place("/x")).await.expect("nobody is there");
        assert!(turns.take(place("/y")).await.is_some());
        let second = tokio::spawn({
            let turns = turns.clone();
            async move { turns.take(place("/x")).await.is_some() }
        });
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        drop(first);
        assert!(second.await.expect("it does not panic"));
        assert!(turns.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_good() {
        let turns = Turns::default();
        let _first = turns.take(place("/x")).await;
        assert!(turns.take(place("/x")).await.is_none());
    }
}
