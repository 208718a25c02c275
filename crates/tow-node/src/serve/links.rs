//! The proved links of each key, so that removing a key cuts them at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::identity::KeyId;

/// All of them. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Links(Arc<Mutex<Inner>>);

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
                if links.len() >= LINKS_PER_KEY_MAX {
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// Resolves when the key was removed.
    pub(super) async fn removed(&self) {
        self.removed.cancelled().await;
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

/// Links of one key at once.
const LINKS_PER_KEY_MAX: usize = 1024;
