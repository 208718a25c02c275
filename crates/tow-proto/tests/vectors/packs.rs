//! The packs that `vectors/packs.json` names, as values, and the sums and hashes beside them.

use serde::Deserialize;
use tow_proto::content::Hash;
use tow_proto::message::Mtime;
use tow_proto::transfer::{
    Columns, Device, Digest, Entry, How, Listing, Meta, Owner, Pack, PackError, PackWriter,
    PieceHash, PieceTally, Pieces, Record, Run, Signature, What, sign,
};

use crate::{read_file, unhex};

#[test]
fn every_pack_is_read_and_written_as_its_vector_says() {
    let mut values = packs();
    for vector in file().packs {
        let at = values.iter().position(|value| value.0 == vector.name).expect(&vector.name);
        let (_, columns, records) = values.swap_remove(at);
        let payload = unhex(&vector.hex);
        let pack = Pack::open(payload.clone(), columns).expect(&vector.name);
        let read: Vec<_> = pack.records().collect::<Result<_, _>>().expect(&vector.name);
        assert_eq!(read, records, "{}", vector.name);
        assert_eq!(payload[0] == 1, vector.name == "compressed");
        if payload[0] == 0 {
            assert_eq!(hex(&written(columns, &records)), vector.hex, "{}", vector.name);
        }
    }
    assert_eq!(values.len(), 0, "{values:?} have no vector");
}

#[test]
fn what_is_no_pack_is_refused_as_its_vector_says() {
    let vectors = file().refused;
    assert!(vectors.len() > 30, "{}", vectors.len());
    for vector in vectors {
        let columns = Columns { owners: vector.owners, hashes: vector.hashes };
        let read = Pack::open(unhex(&vector.hex), columns);
        let read = read.and_then(|pack| pack.records().try_for_each(|record| record.map(|_| ())));
        let code = read.map_err(PackError::code).map_err(|code| format!("{code:?}"));
        assert_eq!(code, Err(vector.code), "{}", vector.meaning);
    }
}

#[test]
fn every_digest_is_what_its_vector_says() {
    let vectors = file().digests;
    let listings = listings();
    assert_eq!(vectors.len(), listings.len());
    for (vector, (name, columns, listing)) in vectors.iter().zip(listings) {
        assert_eq!(vector.name, name);
        assert_eq!(hex(&listing.digest(columns).0), vector.hex, "{name}");
    }
}

#[test]
fn pieces_and_signatures_are_what_their_vectors_say() {
    let (file, bytes) = (file(), bytes());
    let mut pieces = Pieces::new(bytes.len() as u64);
    assert_eq!(pieces.count(), file.pieces.hashes.len() as u64);
    for (index, expected) in file.pieces.hashes.iter().enumerate() {
        let hash = piece(&bytes, index);
        assert_eq!(hex(&hash.0), *expected);
        pieces.set(index as u64, hash);
    }
    assert_eq!(pieces.root().map(|root| root.to_string()), Some(file.pieces.root));
    assert_eq!(signatures(&bytes, file.blocks.seed), file.blocks.signatures);
}

fn written(columns: Columns, records: &[Record<'_>]) -> Vec<u8> {
    let mut writer = PackWriter::new(0, columns);
    records.iter().for_each(|record| writer.record(record));
    writer.seal(None)
}

/// Byte n of the file is n mod 251.
fn bytes() -> Vec<u8> {
    (0..251).cycle().take((2 << 20) + 1).collect()
}

fn piece(bytes: &[u8], index: usize) -> PieceHash {
    let mut tally = PieceTally::new(bytes.len() as u64, index as u64);
    tally.update(bytes.chunks(1 << 20).nth(index).expect("a piece"));
    tally.hash()
}

/// Of the whole blocks of the first 2,500 bytes, 1 KiB each.
fn signatures(bytes: &[u8], seed: u64) -> Vec<(String, String)> {
    let mut signatures = Vec::new();
    sign(&bytes[..2_500], 1_024, seed, &mut signatures);
    let shown = |found: &Signature| (format!("{:08x}", found.sum), format!("{:016x}", found.hash));
    signatures.iter().map(shown).collect()
}

fn packs() -> Vec<(&'static str, Columns, Vec<Record<'static>>)> {
    let plain = Columns::default();
    vec![
        ("empty", plain, Vec::new()),
        ("answers", plain, answers(plain)),
        ("answers-owners-hashes", ALL, answers(ALL)),
        ("tree", plain, tree(plain)),
        ("tree-owners-hashes", ALL, tree(ALL)),
        ("large", plain, large(plain)),
        ("compressed", plain, compressed(plain)),
    ]
}

fn answers(columns: Columns) -> Vec<Record<'static>> {
    let signature = |sum, hash| Signature { sum, hash };
    let last = vec![signature(u32::MAX, u64::MAX)];
    vec![
        Record::Digest { path: b"", digest: Digest::default() },
        Record::Digest { path: b"a/b", digest: Digest(std::array::from_fn(|at| at as u8)) },
        Record::Listing { listing: listing(with_part(columns)), more: true },
        Record::Listing { listing: incomplete(), more: false },
        Record::Pieces { path: b"a/part", first: 300, hashes: vec![PieceHash([7; 32])] },
        Record::Blocks { path: b"a/f", more: true, signatures: vec![signature(1, 2)] },
        Record::Blocks { path: b"a/f", more: false, signatures: last },
    ]
}

fn tree(columns: Columns) -> Vec<Record<'static>> {
    let meta = || meta(columns);
    vec![
        Record::Dir { path: b"", meta: meta() },
        Record::File { name: b"f", meta: meta(), content: b"some bytes" },
        Record::File { name: b"\xff", meta: meta(), content: b"" },
        Record::Link { name: b"l", meta: meta(), target: b"../x" },
        Record::Hard { name: b"h", path: b"a/f" },
        Record::Special { name: b"p", meta: meta(), device: Device::Pipe },
        Record::Special { name: b"s", meta: meta(), device: Device::Socket },
        Record::Special { name: b"tty", meta: meta(), device: Device::Character(4, 64) },
        Record::Special { name: b"disk", meta: meta(), device: Device::Block(8, 1) },
        Record::Enter { path: b"a/b" },
        Record::Meta { name: b"m", meta: meta() },
        Record::Delete { name: b"gone" },
        Record::Same { files: 3, bytes: u64::MAX },
    ]
}

fn large(columns: Columns) -> Vec<Record<'static>> {
    let of = |how| Record::Large { path: b"a/f", meta: meta(columns), size: 1 << 40, how };
    let runs = vec![Run { skip: 3, blocks: 1 }, Run { skip: -4, blocks: 200 }];
    vec![
        of(How::Whole),
        of(How::Resume { len: 1 << 20 }),
        of(How::Blocks { len: 8_192 }),
        Record::Copy { runs },
        Record::Copy { runs: vec![Run { skip: i64::MIN, blocks: u64::MAX }] },
    ]
}

fn compressed(columns: Columns) -> Vec<Record<'static>> {
    vec![Record::File { name: b"f", meta: meta(columns), content: &[b'a'; 2_000] }]
}

fn listings() -> [(&'static str, Columns, Listing); 5] {
    let plain = Columns::default();
    [
        ("empty", plain, listing(Vec::new())),
        ("entries", plain, listing(entries(plain))),
        ("entries-owners-hashes", ALL, listing(entries(ALL))),
        ("incomplete", plain, incomplete()),
        ("partial", plain, listing(with_part(plain))),
    ]
}

fn listing(entries: Vec<Entry>) -> Listing {
    Listing { path: b"a".to_vec(), entries, is_complete: true }
}

fn incomplete() -> Listing {
    Listing { is_complete: false, ..listing(Vec::new()) }
}

fn entries(columns: Columns) -> Vec<Entry> {
    let entry = |name: &[u8], what| Entry { name: name.into(), what, meta: meta(columns) };
    let hash = columns.hashes.then(|| Box::new(Hash([9; 32])));
    vec![
        entry(b"d", What::Dir),
        entry(b"f", What::File { size: 10, hash }),
        entry(b"g", What::File { size: u64::MAX, hash: None }),
        entry(b"l", What::Link { target: b"../x"[..].into() }),
        entry(b"p", What::Special(Device::Pipe)),
    ]
}

fn with_part(columns: Columns) -> Vec<Entry> {
    let mut entries = entries(columns);
    let name = b"g"[..].into();
    entries.insert(3, Entry { name, what: What::Part { len: 128 }, meta: meta(columns) });
    entries
}

fn meta(columns: Columns) -> Meta {
    let owner = Owner { uid: 1_000, gid: 100, user: b"me".to_vec(), group: Vec::new() };
    Meta {
        mode: 0o4755,
        mtime: Mtime(-1, 999_999_999),
        owner: columns.owners.then(|| Box::new(owner)),
    }
}

const ALL: Columns = Columns { owners: true, hashes: true };

#[derive(Deserialize)]
struct File {
    packs: Vec<Vector>,
    refused: Vec<Refused>,
    digests: Vec<Vector>,
    pieces: PieceVectors,
    blocks: BlockVectors,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    hex: String,
}

#[derive(Deserialize)]
struct Refused {
    meaning: String,
    hex: String,
    #[serde(default)]
    owners: bool,
    #[serde(default)]
    hashes: bool,
    code: String,
}

#[derive(Deserialize)]
struct PieceVectors {
    hashes: Vec<String>,
    root: String,
}

#[derive(Deserialize)]
struct BlockVectors {
    seed: u64,
    signatures: Vec<(String, String)>,
}

fn file() -> File {
    read_file(include_str!("../../vectors/packs.json"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
