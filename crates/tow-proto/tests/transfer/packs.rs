//! Packs hold what was put into them, and nothing that was cut or changed is a pack.

use proptest::collection::vec;
use proptest::prelude::*;
use tow_proto::transfer::{
    Columns, Digest, Entry, Filled, How, Listing, Meta, PACK_LEN_MAX, Pack, PackError, PackWriter,
    PieceHash, Record, Run, Signature, What,
};

use crate::noise;
use crate::values::{
    any_columns, any_device, any_inner_path, any_listing, any_meta, any_name, any_path, any_target,
};

/// What records borrow from.
#[derive(Clone, Debug)]
enum Owned {
    Digest(Vec<u8>, [u8; 16]),
    Listing(Listing, bool),
    Pieces(Vec<u8>, u64, Vec<PieceHash>),
    Blocks(Vec<u8>, bool, Vec<Signature>),
    Enter(Vec<u8>),
    Dir(Vec<u8>, Meta),
    File(Vec<u8>, Meta, Vec<u8>),
    Link(Vec<u8>, Meta, Vec<u8>),
    Hard(Vec<u8>, Vec<u8>),
    Special(Vec<u8>, Meta, tow_proto::transfer::Device),
    Meta(Vec<u8>, Meta),
    Delete(Vec<u8>),
    Same(u64, u64),
    Large(Vec<u8>, Meta, u64, How),
    Copy(Vec<Run>),
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_goes_into_a_pack_comes_out((columns, records) in any_records(), level in prop::option::of(1..4i32), headroom in 0usize..20) {
        let mut writer = PackWriter::new(headroom, columns);
        records.iter().for_each(|record| writer.record(&record.record()));
        let len = writer.body_len();
        let sealed = writer.seal(level);
        prop_assert!(sealed.len() <= headroom + 33 + len);
        let pack = Pack::open(sealed[headroom..].to_vec(), columns).expect("a good pack");
        prop_assert_eq!(pack.body().len(), len);
        let read: Vec<_> = pack.records().collect::<Result<_, _>>().expect("good records");
        let written: Vec<_> = records.iter().map(Owned::record).collect();
        prop_assert_eq!(read, written);
    }

    #[test]
    fn a_pack_that_was_changed_is_none((columns, records) in any_records(), at: usize, bit in 0u8..8, level in prop::option::of(1..4i32)) {
        let mut sealed = seal(&records, columns, level);
        let at = at % sealed.len();
        sealed[at] ^= 1 << bit;
        let opened = Pack::open(sealed, columns);
        // Changed bits of the compressed form may stand for the same body.
        let is_same = |pack: &Pack| level.is_some() && pack.body() == Pack::open(seal(&records, columns, None), columns).expect("a good pack").body();
        prop_assert!(opened.as_ref().is_err() || opened.as_ref().is_ok_and(is_same), "{:?}", at);
    }

    #[test]
    fn a_cut_body_is_no_body((columns, records) in any_records(), cut: usize) {
        let pack = Pack::open(seal(&records, columns, None), columns).expect("a good pack");
        let cut = cut % (pack.body().len() + 1);
        let whole: Vec<_> = records.iter().map(Owned::record).collect();
        let short = Pack::open(sealed_body(&pack.body()[..cut]), columns).expect("its hash is right");
        let read: Vec<_> = short.records().collect();
        let good = read.iter().take_while(|record| record.is_ok()).count();
        // What was read before the cut is as it was; then there is one error, or the end.
        prop_assert!(read[..good].iter().zip(&whole).all(|(read, whole)| read.as_ref() == Ok(whole)));
        prop_assert!(good == read.len() || (good + 1 == read.len() && read[good].is_err()));
    }

    #[test]
    fn any_body_is_read_to_its_end_or_to_an_error(body in vec(any::<u8>(), 0..400), columns in any_columns()) {
        let pack = Pack::open(sealed_body(&body), columns).expect("its hash is right");
        let read: Vec<_> = pack.records().collect();
        prop_assert!(read.iter().rev().skip(1).all(|record| record.is_ok()), "one error at most");
        if let Ok(records) = read.into_iter().collect::<Result<Vec<_>, _>>() {
            let mut writer = PackWriter::new(0, columns);
            records.iter().for_each(|record| writer.record(record));
            let again = Pack::open(writer.seal(None), columns).expect("a good pack");
            let again: Vec<_> = again.records().map(|record| format!("{record:?}")).collect();
            let first: Vec<_> = records.iter().map(|record| format!("Ok({record:?})")).collect();
            prop_assert_eq!(again, first);
        }
    }

    #[test]
    fn the_digest_follows_from_the_entries_alone((columns, listing) in any_columns().prop_flat_map(|columns| (Just(columns), any_listing(columns)))) {
        let has_part = listing.entries.iter().any(|entry| matches!(entry.what, What::Part { .. }));
        let says_nothing = listing.digest(columns) == Digest::default();
        prop_assert_eq!(says_nothing, has_part || !listing.is_complete);
        let elsewhere = Listing { path: b"elsewhere".to_vec(), ..listing.clone() };
        prop_assert_eq!(elsewhere.digest(columns), listing.digest(columns));
        let mut shorter = listing.clone();
        if !says_nothing && shorter.entries.pop().is_some() {
            prop_assert_ne!(shorter.digest(columns), listing.digest(columns));
        }
    }
}

#[test]
fn a_file_is_read_straight_into_the_pack_or_leaves_no_trace() {
    let columns = Columns::default();
    let mut writer = PackWriter::new(8, columns);
    writer.record(&Record::Enter { path: b"a" });
    let before = writer.body_len();
    let meta = Meta { mode: 0o600, ..Meta::default() };
    let mut fill = |len: usize, gives: Result<usize, &'static str>| {
        let outcome = writer.file_with(b"f", &meta, len, |out| {
            out.extend_from_slice(&vec![9; gives.unwrap_or(3)]);
            gives.map(|_| ())
        });
        (outcome, writer.body_len())
    };
    assert_eq!(fill(5, Ok(4)), (Ok(Filled::WrongLen), before));
    assert_eq!(fill(5, Ok(6)), (Ok(Filled::WrongLen), before));
    assert_eq!(fill(5, Err("gone")), (Err("gone"), before));
    assert_eq!(fill(5, Ok(5)).0, Ok(Filled::Whole));
    let pack = Pack::open(writer.seal(None)[8..].to_vec(), columns).unwrap();
    let mut records = pack.records();
    assert_eq!(records.read(), Ok(Some(Record::Enter { path: b"a" })));
    assert_eq!(records.read(), Ok(Some(Record::File { name: b"f", meta, content: &[9; 5] })));
    let range = records.range_of_content(5);
    let shared = pack.clone();
    let content = std::thread::spawn(move || shared.body()[range].to_vec()).join().unwrap();
    assert_eq!(content, [9; 5]);
    assert_eq!(records.read(), Ok(None));
}

#[test]
fn a_long_answer_takes_as_many_packs_as_it_needs() {
    let columns = Columns { owners: false, hashes: true };
    let entry = |at: u32| Entry {
        name: format!("{at:09}").into_bytes().into(),
        what: What::Link { target: vec![b't'; 60].into() },
        meta: Meta::default(),
    };
    let entries: Vec<_> = (0..30_000).map(entry).collect();
    let listing = Listing { path: b"d".to_vec(), entries, is_complete: true };
    let (mut from, mut read, mut mores) = (0, Vec::new(), Vec::new());
    while from < listing.entries.len() {
        let mut writer = PackWriter::new(0, columns);
        let next = writer.listing(&listing, from);
        assert!(next > from, "an empty pack has room for one");
        assert!(writer.room() < 512 << 10 || next == listing.entries.len(), "well filled");
        from = next;
        let sealed = writer.seal(None);
        assert!(sealed.len() <= PACK_LEN_MAX);
        let pack = Pack::open(sealed, columns).unwrap();
        let Some(Ok(Record::Listing { listing, more })) = pack.records().next() else { panic!() };
        read.extend(listing.entries);
        mores.push(more);
    }
    assert_eq!(read, listing.entries);
    assert!(mores.len() > 2 && mores.pop() == Some(false) && mores.iter().all(|more| *more));

    let hashes: Vec<_> = (0..40_000u32).map(|at| PieceHash([at as u8; 32])).collect();
    let signatures: Vec<_> = (0..100_000).map(|hash| Signature { sum: 1, hash }).collect();
    let mut writer = PackWriter::new(0, columns);
    let count = writer.pieces(b"p", 7, &hashes);
    assert!(writer.blocks(b"p", &signatures) < 4, "there is hardly any room left");
    assert!(writer.body_len() <= PackWriter::BODY_MAX);
    let pack = Pack::open(writer.seal(None), columns).unwrap();
    let hashes = hashes[..count].to_vec();
    let first = pack.records().next();
    assert_eq!(first, Some(Ok(Record::Pieces { path: b"p", first: 7, hashes })));

    let mut writer = PackWriter::new(0, columns);
    let count = writer.blocks(b"p", &signatures);
    assert!((80_000..100_000).contains(&count), "{count}");
    assert_eq!(writer.blocks(b"q", &[]), 0);
    let pack = Pack::open(writer.seal(None), columns).unwrap();
    let records: Vec<_> = pack.records().map(Result::unwrap).collect();
    let signatures = signatures[..count].to_vec();
    assert_eq!(records[0], Record::Blocks { path: b"p", more: true, signatures });
    assert_eq!(records[1], Record::Blocks { path: b"q", more: false, signatures: vec![] });
}

#[test]
fn what_does_not_become_smaller_is_not_compressed() {
    let columns = Columns::default();
    let sealed = |content: &[u8]| {
        let mut writer = PackWriter::new(0, columns);
        writer.record(&Record::File { name: b"f", meta: Meta::default(), content });
        let len = writer.body_len();
        (writer.seal(Some(1)), len)
    };
    let (packed, len) = sealed(&[0; 100_000]);
    assert!(packed[0] == 1 && packed.len() < len / 100);
    let (packed, len) = sealed(&noise(100_000, 9));
    assert!(packed[0] == 0 && packed.len() == 33 + len);
}

/// The pack of a body, whatever it holds.
pub(crate) fn sealed_body(body: &[u8]) -> Vec<u8> {
    [&[0][..], blake3::hash(body).as_bytes(), body].concat()
}

fn seal(records: &[Owned], columns: Columns, level: Option<i32>) -> Vec<u8> {
    let mut writer = PackWriter::new(0, columns);
    records.iter().for_each(|record| writer.record(&record.record()));
    writer.seal(level)
}

impl Owned {
    fn record(&self) -> Record<'_> {
        match self.clone() {
            Self::Digest(_, digest) => {
                Record::Digest { path: self.first(), digest: Digest(digest) }
            }
            Self::Listing(listing, more) => Record::Listing { listing, more },
            Self::Pieces(_, first, hashes) => Record::Pieces { path: self.first(), first, hashes },
            Self::Blocks(_, more, signatures) => {
                Record::Blocks { path: self.first(), more, signatures }
            }
            Self::Enter(_) => Record::Enter { path: self.first() },
            Self::Dir(_, meta) => Record::Dir { path: self.first(), meta },
            Self::File(_, meta, _) => {
                Record::File { name: self.first(), meta, content: self.second() }
            }
            Self::Link(_, meta, _) => {
                Record::Link { name: self.first(), meta, target: self.second() }
            }
            Self::Hard(..) => Record::Hard { name: self.first(), path: self.second() },
            Self::Special(_, meta, device) => Record::Special { name: self.first(), meta, device },
            Self::Meta(_, meta) => Record::Meta { name: self.first(), meta },
            Self::Delete(_) => Record::Delete { name: self.first() },
            Self::Same(files, bytes) => Record::Same { files, bytes },
            Self::Large(_, meta, size, how) => {
                Record::Large { path: self.first(), meta, size, how }
            }
            Self::Copy(runs) => Record::Copy { runs },
        }
    }

    fn first(&self) -> &[u8] {
        match self {
            Self::Digest(path, _) | Self::Pieces(path, ..) | Self::Blocks(path, ..) => path,
            Self::Enter(path) | Self::Dir(path, _) | Self::Large(path, ..) => path,
            Self::File(name, ..) | Self::Link(name, ..) | Self::Hard(name, _) => name,
            Self::Special(name, ..) | Self::Meta(name, _) | Self::Delete(name) => name,
            Self::Listing(..) | Self::Same(..) | Self::Copy(_) => &[],
        }
    }

    fn second(&self) -> &[u8] {
        match self {
            Self::File(_, _, bytes) | Self::Link(_, _, bytes) | Self::Hard(_, bytes) => bytes,
            _ => &[],
        }
    }
}

fn any_records() -> impl Strategy<Value = (Columns, Vec<Owned>)> {
    any_columns().prop_flat_map(|columns| (Just(columns), vec(any_record(columns), 0..8)))
}

fn any_record(columns: Columns) -> impl Strategy<Value = Owned> {
    let meta = || any_meta(columns);
    let hashes = vec(any::<[u8; 32]>().prop_map(PieceHash), 0..4);
    let signatures = vec(any::<(u32, u64)>().prop_map(|(sum, hash)| Signature { sum, hash }), 0..6);
    let runs = vec(any::<(i64, u64)>().prop_map(|(skip, blocks)| Run { skip, blocks }), 0..5);
    let how = prop_oneof![
        Just(How::Whole),
        any::<u64>().prop_map(|len| How::Resume { len }),
        any::<u64>().prop_map(|len| How::Blocks { len }),
    ];
    prop_oneof![
        (any_path(), any::<[u8; 16]>()).prop_map(|(path, digest)| Owned::Digest(path, digest)),
        (any_listing(columns), any::<bool>())
            .prop_map(|(listing, more)| Owned::Listing(listing, more)),
        (any_inner_path(), any::<u64>(), hashes)
            .prop_map(|(path, first, all)| Owned::Pieces(path, first, all)),
        (any_inner_path(), any::<bool>(), signatures)
            .prop_map(|(path, more, all)| Owned::Blocks(path, more, all)),
        any_path().prop_map(Owned::Enter),
        (any_path(), meta()).prop_map(|(path, meta)| Owned::Dir(path, meta)),
        (any_name(), meta(), vec(any::<u8>(), 0..300))
            .prop_map(|(name, meta, all)| Owned::File(name, meta, all)),
        (any_name(), meta(), any_target()).prop_map(|(name, meta, to)| Owned::Link(name, meta, to)),
        (any_name(), any_inner_path()).prop_map(|(name, path)| Owned::Hard(name, path)),
        (any_name(), meta(), any_device())
            .prop_map(|(name, meta, what)| Owned::Special(name, meta, what)),
        (any_name(), meta()).prop_map(|(name, meta)| Owned::Meta(name, meta)),
        any_name().prop_map(Owned::Delete),
        any::<(u64, u64)>().prop_map(|(files, bytes)| Owned::Same(files, bytes)),
        (any_inner_path(), meta(), any::<u64>(), how)
            .prop_map(|(path, meta, size, how)| Owned::Large(path, meta, size, how)),
        runs.prop_map(Owned::Copy),
    ]
}

#[test]
fn errors_tell_the_other_end_what_was_wrong() {
    use tow_proto::{Code, Refusal};
    for (error, code) in [
        (PackError::Malformed, Code::Malformed),
        (PackError::Corrupt, Code::Corrupt),
        (PackError::Path(Code::TooDeep), Code::TooDeep),
    ] {
        assert_eq!((error.code(), Refusal::from(error).code), (code, code));
    }
}
