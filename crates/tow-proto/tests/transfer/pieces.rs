//! Pieces in any order give the hash of the file.

use proptest::prelude::*;
use tow_proto::content::Hash;
use tow_proto::transfer::{PIECES_MAX, PieceHash, PieceTally, Pieces, piece_len};

use crate::noise;

const MIB: u64 = 1 << 20;

#[test]
fn pieces_are_a_mebibyte_until_there_would_be_too_many() {
    for (size, len) in [
        (0, MIB),
        (1, MIB),
        (MIB, MIB),
        (PIECES_MAX * MIB, MIB),
        (PIECES_MAX * MIB + 1, 2 * MIB),
        (PIECES_MAX * 2 * MIB + 1, 4 * MIB),
        (u64::MAX, 1 << 48),
    ] {
        assert_eq!(piece_len(size), len, "{size}");
        assert!(Pieces::new(size).count() <= PIECES_MAX, "{size}");
    }
}

#[test]
fn the_root_is_the_hash_of_the_file_around_every_boundary() {
    let bytes = noise(9 * MIB as usize, 1);
    let around = |size: u64| [size - 1, size, size + 1];
    let small = [0, 1].into_iter().chain(around(1_024)).chain(around(2_048)).chain(around(65_536));
    let large = [1, 2, 3, 4, 5, 7, 8].into_iter().flat_map(|count| around(count * MIB));
    for size in small.chain(large).chain([MIB + 1_023, MIB + 1_024, MIB + 1_025, 3 * MIB + 5_000]) {
        let file = &bytes[..size as usize];
        assert_eq!(root(file, &[0]), Some(hash_of(file)), "{size}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_order_of_pieces_does_not_matter(
        size in 0..6 * MIB,
        order in prop::collection::vec(any::<u64>(), 1..8),
        seed: u64,
    ) {
        let file = noise(size as usize, seed);
        prop_assert_eq!(root(&file, &order), Some(hash_of(&file)));
    }

    #[test]
    fn zeros_hash_like_the_bytes_that_they_are(before in 0..70_000u64, zeros in 0..200_000u64, index in 0..3u64) {
        let size = 2 * MIB + 300_000;
        let mut told = PieceTally::new(size, index);
        let mut read = told.clone();
        told.update(&noise(before as usize, 3));
        told.zeros(zeros);
        read.update(&[noise(before as usize, 3), vec![0; zeros as usize]].concat());
        prop_assert_eq!(told.hash(), read.hash());
        prop_assert_eq!(told.left(), read.left());
    }
}

#[test]
fn a_missing_piece_is_named_and_there_is_no_root() {
    let file = noise(3 * MIB as usize + 1, 2);
    let mut pieces = Pieces::new(file.len() as u64);
    for index in [3, 0, 2] {
        assert_eq!(pieces.root(), None);
        assert!(pieces.set(index, piece(&file, index)));
    }
    assert_eq!(pieces.missing().collect::<Vec<_>>(), [1]);
    assert_eq!((pieces.get(1), pieces.get(4)), (None, None));
    assert_eq!(pieces.root(), None);
    assert!(pieces.set(1, piece(&file, 0)));
    assert_ne!(pieces.root(), Some(hash_of(&file)), "the wrong piece");
    assert!(pieces.set(1, piece(&file, 1)), "may be set again");
    assert_eq!(pieces.root(), Some(hash_of(&file)));
    assert!(!pieces.set(4, piece(&file, 0)) && !pieces.set(u64::MAX, piece(&file, 0)));
}

#[test]
fn more_bytes_than_a_piece_has_are_no_piece() {
    let nothing = PieceHash([0; 32]);
    for (size, index) in [(5, 0), (2 * MIB, 1), (2 * MIB, 2), (2 * MIB, u64::MAX), (0, 0)] {
        let mut tally = PieceTally::new(size, index);
        tally.zeros(MIB + 1);
        assert_eq!(tally.hash(), nothing, "{size} {index}");
        let mut tally = PieceTally::new(size, index);
        tally.update(&vec![1; MIB as usize + 1]);
        assert_eq!(tally.hash(), nothing, "{size} {index}");
    }
    assert_eq!(PieceTally::new(2 * MIB, 1).hash(), nothing, "no bytes at all");
    assert_eq!(PieceTally::new(0, 0).hash().0, hash_of(b"").0);
}

fn root(file: &[u8], order: &[u64]) -> Option<Hash> {
    let mut pieces = Pieces::new(file.len() as u64);
    let count = pieces.count();
    for wanted in order.iter().map(|number| number % count.max(1)).chain(0..count) {
        if let Some(range) = pieces.range(wanted) {
            assert!(range.end <= file.len() as u64);
            assert!(pieces.set(wanted, piece(file, wanted)));
        }
    }
    pieces.root()
}

fn piece(file: &[u8], index: u64) -> PieceHash {
    let range = Pieces::new(file.len() as u64).range(index).expect("a piece");
    let mut tally = PieceTally::new(file.len() as u64, index);
    for portion in file[range.start as usize..range.end as usize].chunks(100_003) {
        tally.update(portion);
    }
    assert_eq!(tally.left(), 0);
    tally.hash()
}

fn hash_of(file: &[u8]) -> Hash {
    Hash(*blake3::hash(file).as_bytes())
}
