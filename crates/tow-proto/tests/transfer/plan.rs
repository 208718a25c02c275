//! A plan, carried out in a small model of a directory, leads to what the source has.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::btree_map;
use proptest::option;
use proptest::prelude::*;
use tow_proto::content::Hash;
use tow_proto::message::Mtime;
use tow_proto::transfer::{
    Action, Device, Entry, INLINE_MAX, Listing, Meta, Options, PATCH_MIN, What, plan,
};

type Model = BTreeMap<Box<[u8]>, Entry>;

proptest! {
    #[test]
    fn a_plan_leads_to_the_source_and_a_second_one_keeps_everything(
        source in any_dir(false),
        there in option::of(any_dir(true)),
        delete: bool,
        checksum: bool,
        whole: bool,
    ) {
        let options = Options { delete, checksum, whole, archive: true, ..Options::default() };
        let result = carried_out(&source, there.as_ref(), &options);
        let mut expected = if delete { Model::new() } else { model(there.as_ref()) };
        for entry in &source.entries {
            // What would have to be removed first stays where nothing may be removed.
            let stays = expected.get(&entry.name).is_some_and(|old| is_dir(old) != is_dir(entry));
            if !stays {
                expected.insert(entry.name.clone(), entry.clone());
            }
        }
        prop_assert_eq!(&result, &expected);

        let entries = result.into_values().collect();
        let result = Listing { entries, is_complete: true, ..Listing::default() };
        let again = actions(&source, Some(&result), &options);
        let kept = again.iter().filter(|action| matches!(action, Action::Keep(_))).count();
        let stayed = source.entries.iter().filter(|entry| !expected.values().any(|old| old == *entry));
        prop_assert_eq!(again.len() - kept, stayed.count());
    }

    #[test]
    fn the_order_is_that_of_the_names(source in any_dir(false), there in any_dir(true), delete: bool) {
        let options = Options { delete, ..Options::default() };
        let found = actions(&source, Some(&there), &options);
        let names: Vec<&[u8]> = found.iter().map(name).collect();
        prop_assert!(names.is_sorted());
        let all: BTreeSet<&[u8]> = names.into_iter().collect();
        prop_assert!(source.entries.iter().all(|entry| all.contains(&*entry.name)));
    }

    #[test]
    fn nothing_is_removed_without_being_asked_or_where_not_all_was_read(
        mut source in any_dir(false),
        mut there in any_dir(true),
        flags in (any::<bool>(), any::<bool>(), any::<bool>()),
    ) {
        let (delete, source_is, there_is) = flags;
        (source.is_complete, there.is_complete) = (source_is, there_is);
        let options = Options { delete, ..Options::default() };
        let found = actions(&source, Some(&there), &options);
        let removed = found.iter().filter(|action| matches!(action, Action::Delete { .. })).count();
        let names: BTreeSet<_> = source.entries.iter().map(|entry| &entry.name).collect();
        let surplus = model(Some(&there)).keys().filter(|name| !names.contains(name)).count();
        let may = delete && source_is && there_is;
        prop_assert_eq!(removed, if may { surplus } else { 0 });
        let clears = found.iter().any(|action| matches!(action, Action::Clear { .. }));
        prop_assert!(delete || !clears);
    }
}

#[test]
fn a_file_is_sent_patched_or_resumed_as_its_sizes_say() {
    let options = Options::default();
    let whole = Options { whole: true, ..Options::default() };
    let large = 4 * PATCH_MIN;
    for (size, old, part, options, expected) in [
        (large, None, None, &options, "send"),
        (large, Some(large), None, &options, "patch"),
        (large, Some(large), None, &whole, "send"),
        (PATCH_MIN, Some(PATCH_MIN), None, &options, "patch"),
        (PATCH_MIN - 1, Some(PATCH_MIN), None, &options, "send"),
        (PATCH_MIN, Some(PATCH_MIN - 1), None, &options, "send"),
        (large, None, Some(1), &options, "resume"),
        (large, None, Some(0), &options, "send"),
        (large, None, Some(large), &options, "resume"),
        (large, None, Some(large + 1), &options, "send"),
        (INLINE_MAX, None, Some(1), &options, "send"),
        (INLINE_MAX + 1, None, Some(1), &options, "resume"),
        (large, Some(large), Some(large / 2 - 1), &options, "patch"),
        (large, Some(large), Some(large / 2), &options, "resume"),
        (large, Some(large), Some(1), &whole, "resume"),
        // One that is longer is of use where it has the same pieces.
        (8 << 20, None, Some(1 << 30), &options, "resume"),
        (1 << 20, None, Some(1 << 30), &options, "send"),
        (8 << 20, None, Some(1 << 40), &options, "send"),
    ] {
        let source = listing(vec![file(size, 1)]);
        let old = old.map(|old| file(old, 2));
        let part = part.map(|len| Entry { what: What::Part { len }, ..file(0, 3) });
        let there = listing(old.into_iter().chain(part).collect());
        let found = match actions(&source, Some(&there), options)[..] {
            [Action::Send(_)] => "send",
            [Action::Patch { .. }] => "patch",
            [Action::Resume { .. }] => "resume",
            _ => "something else",
        };
        assert_eq!(found, expected, "{size} {there:?}");
    }
}

#[test]
fn contents_are_compared_by_time_or_by_hash() {
    let with = |seconds, hash: Option<u8>| {
        let hash = hash.map(|byte| Box::new(Hash([byte; 32])));
        Entry { what: What::File { size: 5, hash }, ..file(5, seconds) }
    };
    let checksum = Options { checksum: true, ..Options::default() };
    for (options, new, old, expected) in [
        (&Options::default(), with(1, None), with(1, None), "keep"),
        (&Options::default(), with(1, None), with(2, None), "send"),
        (&checksum, with(1, Some(1)), with(1, Some(2)), "send"),
        (&checksum, with(1, Some(1)), with(2, Some(1)), "meta"),
        (&checksum, with(1, Some(1)), with(1, Some(1)), "keep"),
        (&checksum, with(1, None), with(1, None), "send"),
    ] {
        let (source, there) = (listing(vec![new]), listing(vec![old]));
        let found = match actions(&source, Some(&there), options)[..] {
            [Action::Keep(_)] => "keep",
            [Action::Meta(_)] => "meta",
            [Action::Send(_)] => "send",
            _ => "something else",
        };
        assert_eq!(found, expected, "{there:?}");
    }
}

fn carried_out(source: &Listing, there: Option<&Listing>, options: &Options) -> Model {
    let mut result = model(there);
    for action in actions(source, there, options) {
        match action {
            Action::Keep(entry) => assert_eq!(result.get(&entry.name), Some(entry)),
            Action::Meta(entry) => {
                let old = result.get_mut(&entry.name).expect("it is there");
                old.meta = entry.meta.clone();
            }
            Action::Send(entry) | Action::Resume { entry, .. } | Action::Patch { entry, .. } => {
                // A receiver does not put a file in the place of a directory.
                if !result.get(&entry.name).is_some_and(is_dir) {
                    result.insert(entry.name.clone(), entry.clone());
                }
            }
            Action::Dir { entry, is_new } => {
                assert!(is_new || result.get(&entry.name).is_some_and(is_dir));
                if result.get(&entry.name).is_none_or(is_dir) {
                    result.insert(entry.name.clone(), entry.clone());
                }
            }
            Action::Clear { name } | Action::Delete { name } => {
                assert!(result.remove(name).is_some(), "it was there");
            }
        }
    }
    result
}

fn actions<'a>(
    source: &'a Listing,
    there: Option<&'a Listing>,
    options: &Options,
) -> Vec<Action<'a>> {
    let mut actions = Vec::new();
    plan(source, there, options, &mut |action| actions.push(action));
    actions
}

fn name<'a>(action: &Action<'a>) -> &'a [u8] {
    match action {
        Action::Keep(entry) | Action::Meta(entry) | Action::Send(entry) => &entry.name,
        Action::Resume { entry, .. } | Action::Patch { entry, .. } => &entry.name,
        Action::Dir { entry, .. } => &entry.name,
        Action::Clear { name } | Action::Delete { name } => name,
    }
}

/// What is there, without partial files.
fn model(listing: Option<&Listing>) -> Model {
    let entries = listing.map_or(&[][..], |listing| &listing.entries);
    let is_whole = |entry: &&Entry| !matches!(entry.what, What::Part { .. });
    entries.iter().filter(is_whole).map(|entry| (entry.name.clone(), entry.clone())).collect()
}

fn is_dir(entry: &Entry) -> bool {
    matches!(entry.what, What::Dir)
}

fn file(size: u64, seconds: i64) -> Entry {
    let meta = Meta { mode: 0o644, mtime: Mtime(seconds, 0), owner: None };
    Entry { name: b"f"[..].into(), what: What::File { size, hash: None }, meta }
}

fn listing(entries: Vec<Entry>) -> Listing {
    Listing { path: Vec::new(), entries, is_complete: true }
}

/// Few names, kinds and times, so that two directories have much in common.
fn any_dir(has_parts: bool) -> impl Strategy<Value = Listing> {
    let size = prop::sample::select(vec![0, 5, INLINE_MAX, PATCH_MIN, 4 * PATCH_MIN]);
    let what = prop_oneof![
        4 => size.prop_map(|size| What::File { size, hash: Some(Box::new(Hash([size as u8; 32]))) }),
        2 => Just(What::Dir),
        1 => prop::sample::select(vec![&b"a"[..], b"b"])
            .prop_map(|target| What::Link { target: target.into() }),
        1 => prop::sample::select(vec![Device::Pipe, Device::Socket]).prop_map(What::Special),
    ];
    let meta = (prop::sample::select(vec![0o600, 0o644]), 0i64..3)
        .prop_map(|(mode, seconds)| Meta { mode, mtime: Mtime(seconds, 7), owner: None });
    let part = option::weighted(0.3, 0..PATCH_MIN * 5);
    btree_map(0u8..12, (what, meta, part), 0..10).prop_map(move |named| {
        let mut entries = Vec::new();
        for (name, (what, mut meta, part)) in named {
            let name: Box<[u8]> = [b'a' + name].into();
            if let What::Link { .. } = what {
                // The mode of a link means nothing, and is compared here.
                meta.mode = 0o777;
            }
            let part = part.filter(|_| has_parts).map(|len| What::Part { len });
            entries.push(Entry { name: name.clone(), what, meta: meta.clone() });
            entries.extend(part.map(|what| Entry { name, what, meta }));
        }
        listing(entries)
    })
}
