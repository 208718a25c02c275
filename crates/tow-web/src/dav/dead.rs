//! Dead properties: what clients say of files and nobody here understands.

use std::collections::BTreeMap;

use super::locks::is_below;
use super::xml::Name;

/// All that is remembered, by the machine's own paths.
#[derive(Debug, Default)]
pub(super) struct Dead {
    by_key: BTreeMap<Vec<u8>, Properties>,
    len: usize,
}

/// Those of one file: whole elements, by name.
pub(super) type Properties = BTreeMap<Name, String>;

impl Dead {
    /// Those of what is at `key`.
    pub(super) fn of(&self, key: &[u8]) -> Properties {
        self.by_key.get(key).cloned().unwrap_or_default()
    }

    /// Replaces those of what is at `key`; false where that would be too much, and nothing has
    /// changed then.
    pub(super) fn set(&mut self, key: &[u8], properties: Properties) -> bool {
        let len = len(key, &properties);
        let before = self.by_key.get(key).map_or(0, |old| self::len(key, old));
        let is_growing = len > before;
        if is_growing && (len > ONE_LEN_MAX || self.len - before + len > LEN_MAX) {
            return false;
        }
        self.len = self.len - before + len;
        if properties.is_empty() {
            self.by_key.remove(key);
        } else {
            self.by_key.insert(key.to_vec(), properties);
        }
        true
    }

    /// What was at `key` is gone.
    pub(super) fn forget(&mut self, key: &[u8]) {
        for key in self.keys(key) {
            self.set(&key, Properties::new());
        }
    }

    /// What was at `from` is at `to` now.
    pub(super) fn rename(&mut self, from: &[u8], to: &[u8]) {
        self.copy(from, to);
        self.forget(from);
    }

    /// What is at `to` is as what is at `from`. Where there is no room, some are lost.
    pub(super) fn copy(&mut self, from: &[u8], to: &[u8]) {
        self.forget(to);
        for key in self.keys(from) {
            let copied = [to, key.get(from.len()..).unwrap_or_default()].concat();
            self.set(&copied, self.of(&key));
        }
    }

    /// The keys at and below `key`.
    fn keys(&self, key: &[u8]) -> Vec<Vec<u8>> {
        let from = self.by_key.range(key.to_vec()..);
        from.map(|(other, _)| other)
            .take_while(|other| other.starts_with(key))
            .filter(|other| *other == key || is_below(other, key))
            .cloned()
            .collect()
    }
}

fn len(key: &[u8], properties: &Properties) -> usize {
    let one = |(name, value): (&Name, &String)| {
        ENTRY_LEN + name.space.len() + name.local.len() + value.len()
    };
    if properties.is_empty() { 0 } else { key.len() + properties.iter().map(one).sum::<usize>() }
}

/// About what the containers take for each.
const ENTRY_LEN: usize = 100;
/// Of one file.
const ONE_LEN_MAX: usize = 64 << 10;
/// Of all.
const LEN_MAX: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn one(value: &str) -> Properties {
        [(Name { space: "urn:x".into(), local: "a".into() }, value.to_owned())].into()
    }

    #[test]
    fn properties_go_with_what_they_are_of() {
        let mut dead = Dead::default();
        for (key, value) in [("/a", "1"), ("/a/b", "2"), ("/a-b", "3"), ("/c/old", "4")] {
            assert!(dead.set(key.as_bytes(), one(value)));
        }
        dead.copy(b"/a", b"/c");
        assert_eq!(
            (dead.of(b"/c"), dead.of(b"/c/b"), dead.of(b"/a")),
            (one("1"), one("2"), one("1"))
        );
        assert_eq!(dead.of(b"/c/old"), Properties::new(), "replaced");
        dead.rename(b"/a", b"/d");
        assert_eq!((dead.of(b"/a/b"), dead.of(b"/d/b")), (Properties::new(), one("2")));
        assert_eq!(dead.of(b"/a-b"), one("3"));
        dead.forget(b"");
        assert_eq!((dead.len, dead.by_key.len()), (0, 0));
    }

    #[test]
    fn there_is_an_end_to_what_is_remembered() {
        let mut dead = Dead::default();
        assert!(!dead.set(b"/a", one(&"x".repeat(ONE_LEN_MAX))));
        let large = "x".repeat(ONE_LEN_MAX - 200);
        let taken =
            (0..1_000).filter(|index| dead.set(format!("/{index}").as_bytes(), one(&large)));
        let taken = taken.count();
        assert!((100..200).contains(&taken), "{taken}");
        assert!(dead.len <= LEN_MAX);
        assert!(dead.set(b"/0", one("less")) && dead.set(b"/1", Properties::new()));
    }
}
