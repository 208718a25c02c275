//! What two listings of one directory ask for (PROTOCOL 7.3): pure, so that every case can be
//! tried.

use std::cmp::Ordering;

use super::entry::{Entry, Listing, Meta, Owner, What};
use super::options::Options;
use super::pieces::can_resume;

/// Files up to this many bytes travel in packs (PROTOCOL 7.3).
pub const INLINE_MAX: u64 = 128 << 10;
/// A file that is there is used block by block only where both have at least so many bytes.
pub const PATCH_MIN: u64 = 256 << 10;

/// What one entry of a directory asks for (PROTOCOL 7.3). Entries are those of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// It is as it should be.
    Keep(&'a Entry),
    /// Its content is right; its mode, time or owner is not.
    Meta(&'a Entry),
    /// A file, a link or something special that is new or differs.
    Send(&'a Entry),
    /// A file of which the receiver has a partial file.
    Resume {
        /// The file.
        entry: &'a Entry,
        /// How many bytes the partial file has, at least one.
        len: u64,
    },
    /// A file of which something may be in the file that is there.
    Patch {
        /// The file.
        entry: &'a Entry,
        /// Length in bytes of the file that is there.
        old_size: u64,
    },
    /// A directory that is new, or whose mode, time or owner is not right.
    Dir {
        /// The directory.
        entry: &'a Entry,
        /// There was none of this name, or not any more.
        is_new: bool,
    },
    /// What is there must go before the next action on the same name: one of them is a directory,
    /// the other is not.
    Clear {
        /// In this directory.
        name: &'a [u8],
    },
    /// The source does not have it.
    Delete {
        /// In this directory.
        name: &'a [u8],
    },
}

/// Compares a directory of the source with the same of the receiver, `None` where it is new, and
/// calls `act` for every entry in the order of the names (PROTOCOL 7.3).
pub fn plan<'a>(
    source: &'a Listing,
    there: Option<&'a Listing>,
    options: &Options,
    act: &mut dyn FnMut(Action<'a>),
) {
    let removes =
        options.delete && source.is_complete && there.is_none_or(|there| there.is_complete);
    let mut old = there.map_or(&[][..], |there| there.entries.as_slice());
    for entry in &source.entries {
        while let Some((first, rest)) = old.split_first()
            && first.name.cmp(&entry.name) == Ordering::Less
        {
            old = rest;
            remove(first, removes, act);
        }
        let same_name = old.iter().take_while(|old| old.name == entry.name).count();
        let (here, rest) = old.split_at(same_name);
        old = rest;
        compare(entry, here, options, act);
    }
    old.iter().for_each(|old| remove(old, removes, act));
}

fn remove<'a>(old: &'a Entry, removes: bool, act: &mut dyn FnMut(Action<'a>)) {
    if removes && !matches!(old.what, What::Part { .. }) {
        act(Action::Delete { name: &old.name });
    }
}

/// One entry of the source, and what the receiver has under its name: at most what it is and a
/// partial file.
fn compare<'a>(
    entry: &'a Entry,
    here: &'a [Entry],
    options: &Options,
    act: &mut dyn FnMut(Action<'a>),
) {
    let old = here.iter().find(|old| !matches!(old.what, What::Part { .. }));
    let part = here.iter().find_map(|old| match old.what {
        What::Part { len } => Some(len),
        _ => None,
    });
    let is_dir = |entry: &Entry| matches!(entry.what, What::Dir);
    let old = match old {
        Some(old) if is_dir(old) != is_dir(entry) => {
            if options.delete {
                act(Action::Clear { name: &entry.name });
            }
            None
        }
        old => old,
    };
    let action = match (&entry.what, old) {
        (What::Part { .. }, _) => return,
        (What::Dir, None) => Action::Dir { entry, is_new: true },
        (What::Dir, Some(old)) if is_meta(&entry.meta, &old.meta, options) => Action::Keep(entry),
        (What::Dir, Some(_)) => Action::Dir { entry, is_new: false },
        (What::File { size, .. }, old) => compare_file(entry, *size, old, part, options),
        (What::Link { .. }, Some(old)) if entry.what == old.what => {
            // The mode of a link means nothing.
            let mode = entry.meta.mode;
            settle(entry, &Meta { mode, ..old.meta.clone() }, options)
        }
        (What::Special(_), Some(old)) if entry.what == old.what => {
            settle(entry, &old.meta, options)
        }
        (What::Link { .. } | What::Special(_), _) => Action::Send(entry),
    };
    act(action);
}

fn compare_file<'a>(
    entry: &'a Entry,
    size: u64,
    old: Option<&Entry>,
    part: Option<u64>,
    options: &Options,
) -> Action<'a> {
    if let Some(old) = old
        && is_content(entry, old, options)
    {
        return settle(entry, &old.meta, options);
    }
    let old_size = match old.map(|old| &old.what) {
        Some(What::File { size: old_size, .. }) if !options.whole => {
            Some(*old_size).filter(|old_size| size >= PATCH_MIN && *old_size >= PATCH_MIN)
        }
        _ => None,
    };
    let part = part.filter(|len| can_resume(*len, size) && size > INLINE_MAX);
    match (part, old_size) {
        // What came of a patch before it was cut is less than what the old file can give, unless
        // there is much of it.
        (Some(len), Some(_)) if len < size / 2 => {
            Action::Patch { entry, old_size: old_size.unwrap_or_default() }
        }
        (Some(len), _) => Action::Resume { entry, len },
        (None, Some(old_size)) => Action::Patch { entry, old_size },
        (None, None) => Action::Send(entry),
    }
}

fn settle<'a>(entry: &'a Entry, old: &Meta, options: &Options) -> Action<'a> {
    if is_meta(&entry.meta, old, options) { Action::Keep(entry) } else { Action::Meta(entry) }
}

/// Whether two files have the same content, by size and time or by hash.
fn is_content(new: &Entry, old: &Entry, options: &Options) -> bool {
    match (&new.what, &old.what) {
        (What::File { size, hash }, What::File { size: old_size, hash: old_hash }) => {
            let is_same = if options.checksum {
                hash.is_some() && hash == old_hash
            } else {
                new.meta.mtime == old.meta.mtime
            };
            size == old_size && is_same
        }
        _ => false,
    }
}

fn is_meta(new: &Meta, old: &Meta, options: &Options) -> bool {
    let mask = if options.archive { 0o7777 } else { 0o777 };
    let is_owner = match (&new.owner, &old.owner) {
        (Some(new), Some(old)) if options.archive => is_owner(new, old),
        _ => true,
    };
    new.mode & mask == old.mode & mask && new.mtime == old.mtime && is_owner
}

/// Names decide where both have them: the same user may have different numbers.
fn is_owner(new: &Owner, old: &Owner) -> bool {
    let is_same = |new: (&[u8], u32), old: (&[u8], u32)| {
        if new.0.is_empty() || old.0.is_empty() { new.1 == old.1 } else { new.0 == old.0 }
    };
    is_same((&new.user, new.uid), (&old.user, old.uid))
        && is_same((&new.group, new.gid), (&old.group, old.gid))
}
