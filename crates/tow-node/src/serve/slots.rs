//! Requests that keep a thread for as long as their peer likes: so many of each peer, and so many
//! altogether. Without a limit, peers that stop reading would take every thread there is for files
//! and for starting programs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tow_proto::{Code, Refusal};

use super::Peer;

/// Who has how many. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Slots(Arc<Mutex<HashMap<String, usize>>>);

/// Leave to keep a thread, until it is dropped.
pub struct Slot {
    slots: Slots,
    owner: String,
}

impl Slots {
    /// A slot for one request of `peer`. The machine's owner does not wait for others.
    ///
    /// # Errors
    /// `Busy`.
    pub(super) fn take(&self, peer: &Peer) -> Result<Slot, Refusal> {
        let all_max = if peer.grant.key().is_some() { ALL_MAX } else { usize::MAX };
        self.take_as(peer.owner(), all_max)
    }

    fn take_as(&self, owner: String, all_max: usize) -> Result<Slot, Refusal> {
        let mut taken = self.lock();
        let own = taken.get(&owner).copied().unwrap_or(0);
        if own >= OWN_MAX || taken.values().sum::<usize>() >= all_max {
            return Err(Code::Busy.into());
        }
        taken.insert(owner.clone(), own + 1);
        drop(taken);
        Ok(Slot { slots: self.clone(), owner })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        // Nothing in here panics half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.lock();
        if let Some(own) = taken.get_mut(&self.owner) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.owner);
            }
        }
    }
}

/// Of one peer.
const OWN_MAX: usize = 16;
/// Of all keys together: half of the threads that a runtime has for what waits for a disk.
const ALL_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_has_more_than_their_share_and_all_together_no_more_than_there_is() {
        let slots = Slots::default();
        let mut taken = Vec::new();
        for key in 0..ALL_MAX / OWN_MAX {
            for _ in 0..OWN_MAX {
                taken.push(slots.take_as(key.to_string(), ALL_MAX).expect("there is room"));
            }
            let one_more = slots.take_as(key.to_string(), usize::MAX).map(drop);
            assert_eq!(one_more, Err(Code::Busy.into()));
        }
        assert_eq!(slots.take_as("late".into(), ALL_MAX).map(drop), Err(Code::Busy.into()));
        assert_eq!(slots.take_as("owner".into(), usize::MAX).map(drop), Ok(()));
        taken.pop();
        assert_eq!(slots.take_as("late".into(), ALL_MAX).map(drop), Ok(()));
        taken.clear();
        assert!(slots.lock().is_empty());
    }
}
