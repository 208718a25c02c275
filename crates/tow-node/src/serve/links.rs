//! The proved links of each key, so that removing a key cuts them at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::identity::KeyId;

/// All of them. Clones share it.
#[derive(Clone)]
pub(super) struct Links {
    per_key: usize,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    next: u64,
    by_key: HashMap<KeyId, HashMap<u64, CancellationToken>>,
}

/// One link's entry; dropping it takes it out.
pub(super) struct Entry {
    links: Links,
    key: Option<(KeyId, u64)>,
    removed: CancellationToken,
}

/// A key has too many links.
pub(super) struct TooMany;

impl Links {
    /// None yet, of at most `all`. One key can't take them all.
    pub(super) fn new(all: usize) -> Self {
        Self { per_key: LINKS_PER_KEY_MAX.min(all.div_ceil(4)), inner: Arc::default() }
    }

    /// Enters a link; the owner's, which has no key, can't be removed.
    pub(super) fn enter(&self, key: Option<KeyId>) -> Result<Entry, TooMany> {
        let removed = CancellationToken::new();
        let key = match key {
            None => None,
            Some(key) => {
                let mut inner = self.lock();
                let number = inner.next;
                inner.next += 1;
                let links = inner.by_key.entry(key).or_default();
                if links.len() >= self.per_key {
                    return Err(TooMany);
                }
                links.insert(number, removed.clone());
                Some((key, number))
            }
        };
        Ok(Entry { links: self.clone(), key, removed })
    }

    /// Cuts every link of `key` and says how many there were.
    pub(super) fn cut(&self, key: &KeyId) -> u32 {
        let links = self.lock().by_key.remove(key).unwrap_or_default();
        links.values().for_each(CancellationToken::cancel);
        u32::try_from(links.len()).unwrap_or(u32::MAX)
    }

    /// How many links `key` has.
    pub(super) fn count(&self, key: &KeyId) -> u32 {
        let count = self.lock().by_key.get(key).map_or(0, HashMap::len);
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics half-way through a change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// Resolves when the key was removed.
    pub(super) async fn removed(&self) {
        self.removed.cancelled().await;
    }

    /// The same for who can't hold the entry meanwhile: cancelled when the key was removed.
    pub(super) fn removing(&self) -> CancellationToken {
        self.removed.clone()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let Some((key, number)) = self.key else { return };
        let mut inner = self.links.lock();
        if let Some(links) = inner.by_key.get_mut(&key) {
            links.remove(&number);
            if links.is_empty() {
                inner.by_key.remove(&key);
            }
        }
    }
}

/// Links of one key at once, where descriptors are not few.
const LINKS_PER_KEY_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::PublicKey;

    #[test]
    fn one_key_leaves_room_for_others_and_removing_it_cuts_its_links() {
        let links = Links::new(8);
        let [key, other] = [[1; 32], [2; 32]].map(|bytes| PublicKey::from_bytes(bytes).id());
        let taken: Vec<_> = (0..2).map_while(|_| links.enter(Some(key)).ok()).collect();
        assert_eq!((taken.len(), links.count(&key)), (2, 2));
        assert!(links.enter(Some(key)).is_err(), "a quarter is enough for one");
        assert!(links.enter(Some(other)).is_ok() && links.enter(None).is_ok());
        assert_eq!(links.cut(&key), 2);
        assert!(taken.iter().all(|entry| entry.removed.is_cancelled()));
        assert_eq!(links.count(&key), 0);
    }
}
