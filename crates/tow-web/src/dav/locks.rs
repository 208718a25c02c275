//! Who has locked what. Paths are the machine's own, so that visitors with different roots meet.

use std::time::{Duration, Instant};

/// A lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lock {
    pub(super) token: String,
    /// What is locked.
    pub(super) key: Vec<u8>,
    pub(super) scope: Scope,
    pub(super) span: Span,
    /// The visitor who has it.
    pub(super) owner: String,
    /// What its holder says of itself: an element, or nothing.
    pub(super) says: String,
    pub(super) lasts: Duration,
    pub(super) until: Instant,
}

/// With how many others a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Exclusive,
    Shared,
}

/// How far down a lock goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Span {
    /// The file, or the directory and which names are in it.
    Itself,
    /// Everything below too.
    Tree,
}

/// How far a change goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// What it is.
    Itself,
    /// Also whether it is there at all.
    Name,
    /// Also everything below.
    Tree,
}

/// All locks of a door.
#[derive(Debug, Default)]
pub(super) struct Locks(Vec<Lock>);

/// Why there is no lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoLock {
    /// What has this path is locked already.
    Taken(Vec<u8>),
    /// There are too many.
    Full,
}

impl Locks {
    /// Locks something.
    ///
    /// # Errors
    /// It can't be.
    pub(super) fn add(&mut self, lock: Lock, now: Instant) -> Result<(), NoLock> {
        self.0.retain(|old| old.until > now);
        let meets = |old: &&Lock| {
            old.covers(&lock.key) || (lock.span == Span::Tree && is_below(&old.key, &lock.key))
        };
        let is_alone = |old: &&Lock| [old.scope, lock.scope].contains(&Scope::Exclusive);
        if let Some(other) = self.0.iter().filter(meets).find(is_alone) {
            return Err(NoLock::Taken(other.key.clone()));
        }
        let own = self.0.iter().filter(|old| old.owner == lock.owner).count();
        if self.0.len() >= COUNT_MAX || own >= OWN_MAX {
            return Err(NoLock::Full);
        }
        self.0.push(lock);
        Ok(())
    }

    /// Whether `owner`, who shows `tokens`, may change what is at `key`.
    ///
    /// # Errors
    /// The path of the lock that forbids it.
    pub(super) fn check(
        &self,
        key: &[u8],
        reach: Reach,
        owner: &str,
        tokens: &[String],
        now: Instant,
    ) -> Result<(), Vec<u8>> {
        let above = above(key);
        let concerns = |lock: &&Lock| {
            lock.until > now
                && (lock.covers(key)
                    || (reach != Reach::Itself && above == Some(lock.key.as_slice()))
                    || (reach == Reach::Tree && is_below(&lock.key, key)))
        };
        let is_shown = |lock: &Lock| lock.owner == owner && tokens.contains(&lock.token);
        for lock in self.0.iter().filter(concerns) {
            // Of a lock that is shared, one of its tokens will do.
            let same = |other: &&Lock| other.key == lock.key && other.until > now;
            if !self.0.iter().filter(same).any(is_shown) {
                return Err(lock.key.clone());
            }
        }
        Ok(())
    }

    /// The locks under which `key` is.
    pub(super) fn on(&self, key: &[u8], now: Instant) -> Vec<Lock> {
        self.0.iter().filter(|lock| lock.until > now && lock.covers(key)).cloned().collect()
    }

    /// Lets the lock of `owner` with `token`, under which `key` is, last from now on.
    pub(super) fn refresh(
        &mut self,
        key: &[u8],
        token: &str,
        owner: &str,
        lasts: Duration,
        now: Instant,
    ) -> Option<Lock> {
        let is_it = |lock: &&mut Lock| {
            lock.until > now && lock.token == token && lock.owner == owner && lock.covers(key)
        };
        let lock = self.0.iter_mut().find(is_it)?;
        (lock.lasts, lock.until) = (lasts, now + lasts);
        Some(lock.clone())
    }

    /// Ends the lock with `token`, under which `key` is; false where there is none.
    pub(super) fn remove(&mut self, key: &[u8], token: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|lock| lock.token != token || !lock.covers(key));
        self.0.len() < before
    }

    /// What was at `key` is gone.
    pub(super) fn forget(&mut self, key: &[u8]) {
        self.0.retain(|lock| lock.key != key && !is_below(&lock.key, key));
    }

    /// What was below `key` is gone; a lock of `key` itself stays.
    pub(super) fn forget_below(&mut self, key: &[u8]) {
        self.0.retain(|lock| !is_below(&lock.key, key));
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Lock {
    fn covers(&self, key: &[u8]) -> bool {
        self.key == key || (self.span == Span::Tree && is_below(key, &self.key))
    }
}

/// Whether `key` lies in `above`, however deep.
pub(super) fn is_below(key: &[u8], above: &[u8]) -> bool {
    key.strip_prefix(above).is_some_and(|rest| rest.starts_with(b"/"))
}

fn above(key: &[u8]) -> Option<&[u8]> {
    let end = key.iter().rposition(|byte| *byte == b'/')?;
    key.get(..end)
}

const COUNT_MAX: usize = 4_096;
const OWN_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(key: &str, scope: Scope, span: Span) -> Lock {
        let (lasts, now) = (Duration::from_secs(60), Instant::now());
        let (token, owner) = (format!("{key} {scope:?}"), "me".to_owned());
        let says = String::new();
        Lock { token, key: key.into(), scope, span, owner, says, lasts, until: now + lasts }
    }

    fn locks(of: &[(&str, Scope, Span)]) -> Locks {
        let mut locks = Locks::default();
        for (key, scope, span) in of {
            locks.add(lock(key, *scope, *span), Instant::now()).unwrap();
        }
        locks
    }

    use Scope::{Exclusive, Shared};

    #[test]
    fn a_lock_keeps_others_out_of_what_it_covers() {
        let taken = |locks: &mut Locks, key: &str, scope, span| {
            locks.add(lock(key, scope, span), Instant::now()).is_err()
        };
        let mut tree = locks(&[("/a", Exclusive, Span::Tree)]);
        assert!(taken(&mut tree, "/a", Shared, Span::Itself));
        assert!(taken(&mut tree, "/a/b/c", Exclusive, Span::Itself));
        assert!(taken(&mut tree, "", Exclusive, Span::Tree), "it would cover the other");
        assert!(!taken(&mut tree, "", Exclusive, Span::Itself));
        assert!(!taken(&mut tree, "/ab", Exclusive, Span::Tree));
        let mut shared = locks(&[("/a", Shared, Span::Itself)]);
        assert!(!taken(&mut shared, "/a", Shared, Span::Itself));
        assert!(taken(&mut shared, "/a", Exclusive, Span::Itself));
        assert!(!taken(&mut shared, "/a/b", Exclusive, Span::Itself));
    }

    #[test]
    fn a_change_needs_the_token_of_every_lock_that_it_touches() {
        let locks = locks(&[("/a", Exclusive, Span::Itself), ("/d/e", Exclusive, Span::Tree)]);
        let check = |key: &str, reach, tokens: &[&str]| {
            let tokens: Vec<_> = tokens.iter().map(|token| (*token).to_owned()).collect();
            locks.check(key.as_bytes(), reach, "me", &tokens, Instant::now()).is_ok()
        };
        let (a, e) = ("/a Exclusive", "/d/e Exclusive");
        assert!(!check("/a", Reach::Itself, &[]) && check("/a", Reach::Itself, &[a]));
        assert!(check("/a/x", Reach::Itself, &[]), "what is in it is not locked");
        assert!(!check("/a/x", Reach::Name, &[]), "but which names are in it");
        assert!(!check("/d/e/f/g", Reach::Itself, &[a]) && check("/d/e/f/g", Reach::Name, &[e]));
        assert!(check("/d", Reach::Name, &[]) && !check("/d", Reach::Tree, &[]));
        assert!(check("", Reach::Tree, &[a, e]) && !check("", Reach::Tree, &[a]));
        let tokens = [a.to_owned()];
        assert!(locks.check(b"/a", Reach::Itself, "you", &tokens, Instant::now()).is_err());
        let later = Instant::now() + Duration::from_secs(61);
        assert!(locks.check(b"/a", Reach::Itself, "you", &[], later).is_ok(), "locks end");
    }

    #[test]
    fn one_token_of_a_shared_lock_will_do() {
        let mut locks = locks(&[("/a", Shared, Span::Itself)]);
        let other = Lock {
            owner: "you".into(),
            token: "theirs".into(),
            ..lock("/a", Shared, Span::Itself)
        };
        locks.add(other, Instant::now()).unwrap();
        let check = |owner: &str, token: &str| {
            locks.check(b"/a", Reach::Itself, owner, &[token.to_owned()], Instant::now()).is_ok()
        };
        assert!(check("me", "/a Shared") && check("you", "theirs"));
        assert!(!check("you", "/a Shared") && !check("me", ""));
    }

    #[test]
    fn nobody_can_have_all_locks() {
        let mut locks = Locks::default();
        let numbered = |index: usize, owner: usize| Lock {
            owner: owner.to_string(),
            ..lock(&format!("/{index}"), Exclusive, Span::Itself)
        };
        for index in 0..OWN_MAX {
            locks.add(numbered(index, 0), Instant::now()).unwrap();
        }
        assert_eq!(locks.add(numbered(OWN_MAX, 0), Instant::now()), Err(NoLock::Full));
        for index in OWN_MAX..COUNT_MAX {
            locks.add(numbered(index, index), Instant::now()).unwrap();
        }
        assert_eq!(locks.add(numbered(COUNT_MAX, 1), Instant::now()), Err(NoLock::Full));
        locks.forget(b"");
        assert!(locks.is_empty());
    }
}
