//! Any names, entries and records.

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use tow_proto::content::Hash;
use tow_proto::message::Mtime;
use tow_proto::transfer::{Columns, Device, Entry, Listing, Meta, Owner, What};

pub(crate) fn any_columns() -> impl Strategy<Value = Columns> {
    any::<(bool, bool)>().prop_map(|(owners, hashes)| Columns { owners, hashes })
}

pub(crate) fn any_name() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![1u8..=0x2e, 0x30u8..=0xff];
    let is_name = |name: &Vec<u8>| name != b"." && name != b"..";
    vec(byte, 1..20).prop_filter("a dot or two", is_name)
}

pub(crate) fn any_path() -> impl Strategy<Value = Vec<u8>> {
    vec(any_name(), 0..4).prop_map(|names| names.join(&b'/'))
}

pub(crate) fn any_inner_path() -> impl Strategy<Value = Vec<u8>> {
    vec(any_name(), 1..4).prop_map(|names| names.join(&b'/'))
}

pub(crate) fn any_meta(columns: Columns) -> impl Strategy<Value = Meta> {
    let account = || vec(1u8..=255, 0..9);
    let owner = (any::<u32>(), any::<u32>(), account(), account())
        .prop_map(|(uid, gid, user, group)| Box::new(Owner { uid, gid, user, group }));
    (0u32..=0o7777, any::<i64>(), 0u32..1_000_000_000, owner).prop_map(
        move |(mode, seconds, nanoseconds, owner)| Meta {
            mode,
            mtime: Mtime(seconds, nanoseconds),
            owner: columns.owners.then_some(owner),
        },
    )
}

pub(crate) fn any_device() -> impl Strategy<Value = Device> {
    prop_oneof![
        Just(Device::Pipe),
        Just(Device::Socket),
        any::<(u32, u32)>().prop_map(|(major, minor)| Device::Character(major, minor)),
        any::<(u32, u32)>().prop_map(|(major, minor)| Device::Block(major, minor)),
    ]
}

pub(crate) fn any_target() -> impl Strategy<Value = Vec<u8>> {
    vec(1u8..=255, 1..30)
}

pub(crate) fn any_listing(columns: Columns) -> impl Strategy<Value = Listing> {
    let hash = option::of(any::<[u8; 32]>().prop_map(|hash| Box::new(Hash(hash))));
    let what = prop_oneof![
        (any::<u64>(), hash).prop_map(move |(size, hash)| What::File {
            size,
            hash: hash.filter(|hash| columns.hashes && hash.0 != [0; 32]),
        }),
        Just(What::Dir),
        any_target().prop_map(|target| What::Link { target: target.into() }),
        any_device().prop_map(What::Special),
    ];
    let part = option::weighted(0.1, any::<u64>());
    let entry = (what, any_meta(columns), part, any_meta(columns));
    (any_path(), btree_map(any_name(), entry, 0..12), any::<bool>()).prop_map(
        |(path, named, is_complete)| {
            let mut entries = Vec::new();
            for (name, (what, meta, part, part_meta)) in named {
                let name: Box<[u8]> = name.into();
                entries.push(Entry { name: name.clone(), what, meta });
                let part = part.map(|len| What::Part { len });
                entries.extend(part.map(|what| Entry { name, what, meta: part_meta }));
            }
            Listing { path, entries, is_complete }
        },
    )
}
