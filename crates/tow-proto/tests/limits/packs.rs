//! One hostile peer for each limit of packs and of what follows from them (PROTOCOL 7.3).

use tow_proto::Code;
use tow_proto::transfer::{
    BLOCK_LEN_MAX, BLOCK_LEN_MIN, BLOCKS_MAX, Columns, DEPTH_MAX, Event, LIST_MAX, Matcher,
    NAME_LEN_MAX, PACK_BODY_MAX, PACK_LEN_MAX, PATH_LEN_MAX, Pack, PackError, PackWriter,
    PieceHash, Pieces, Question, Record, Signature, TARGET_LEN_MAX, check_name, check_path,
};

use crate::counting;

#[test]
fn the_limits_in_the_code_are_those_of_the_document() {
    assert_eq!((PACK_LEN_MAX, PACK_BODY_MAX, LIST_MAX), (1_048_576, 1_048_576, 1_000));
    assert_eq!((NAME_LEN_MAX, PATH_LEN_MAX, DEPTH_MAX, TARGET_LEN_MAX), (255, 4_096, 256, 4_095));
    assert_eq!((BLOCK_LEN_MIN, BLOCK_LEN_MAX), (1_024, 1_048_576));
}

#[test]
fn a_body_may_have_a_mebibyte_compressed_and_not_one_byte_more() {
    for (len, is_read) in [(PACK_BODY_MAX, true), (PACK_BODY_MAX + 1, false), (64 << 20, false)] {
        let body = vec![0; len];
        let payload =
            [&[1][..], blake3::hash(&body).as_bytes(), &zstd::bulk::compress(&body, 1).unwrap()]
                .concat();
        assert!(payload.len() < PACK_LEN_MAX);
        let (opened, cost) = counting::cost(|| Pack::open(payload, Columns::default()));
        assert_eq!(opened.is_ok(), is_read, "{len}");
        assert!(cost.total < PACK_BODY_MAX + 1_024, "{} bytes for {len}", cost.total);
    }
}

/// A frame need not say how long its content is.
#[test]
fn a_body_that_does_not_say_its_length_is_held_to_the_limit_too() {
    for (len, is_read) in [(PACK_BODY_MAX, true), (PACK_BODY_MAX + 1, false), (64 << 20, false)] {
        let body = vec![0; len];
        let silent = zstd::stream::encode_all(body.as_slice(), 1).unwrap();
        assert!(matches!(zstd::zstd_safe::get_frame_content_size(&silent), Ok(None)));
        let payload = [&[1][..], blake3::hash(&body).as_bytes(), &silent].concat();
        let (opened, cost) = counting::cost(|| Pack::open(payload, Columns::default()));
        assert_eq!(opened.is_ok(), is_read, "{len}");
        assert!(cost.total < PACK_BODY_MAX + 1_024, "{} bytes for {len}", cost.total);
    }
}

#[test]
fn a_count_that_is_not_covered_allocates_nothing() {
    let counted = [&[2, 0, 0][..], &[3, 1, b'a', 0], &[4, 1, b'a', 0], &[26]];
    for start in counted {
        for count in [&[0x7f][..], &[255, 255, 255, 127], &[255; 9]] {
            let mut body = [start, count].concat();
            if count.len() == 9 {
                body.push(1);
            }
            let pack = opened(&body);
            let (read, cost) = counting::cost(|| pack.records().read().is_err());
            assert!(read && cost.total == 0, "{start:?} {count:?}: {} bytes", cost.total);
        }
    }
}

#[test]
fn what_a_body_becomes_is_a_fixed_multiple_of_it() {
    let count = |count: usize| [count as u8 | 128, (count >> 7) as u8 | 128, (count >> 14) as u8];
    // The shortest runs, entries and records.
    let runs = 500_000;
    let copies = [&[26][..], &count(runs), &vec![1; 2 * runs]].concat();
    let dirs = 100_000;
    let mut listing = [&[2, 0, 0][..], &count(dirs)].concat();
    for at in 0..dirs {
        let name = [b'a' + (at >> 16) as u8, 128 | (at >> 8) as u8, at as u8]
            .map(|byte| if byte == 0 || byte == b'/' { 1 } else { byte });
        listing.extend_from_slice(&[1, 3]);
        listing.extend_from_slice(&name);
        listing.extend_from_slice(&[0, 0, 0]);
    }
    for body in [copies, listing] {
        let pack = opened(&body);
        let (_, cost) = counting::cost(|| pack.records().read().is_ok());
        let factor = cost.peak / body.len();
        assert!(factor <= 20, "{factor} bytes for each byte");
    }
}

#[test]
fn names_and_paths_may_be_as_long_as_their_limits() {
    let name = [b'n'; NAME_LEN_MAX];
    assert_eq!(check_name(&name), Ok(()));
    assert_eq!(check_name(&[b'n'; NAME_LEN_MAX + 1]), Err(Code::BadName));
    let path = [&name[..]; 16].join(&b'/');
    assert_eq!(path.len() + 1, PATH_LEN_MAX);
    assert_eq!(check_path(&path), Ok(()));
    assert_eq!(check_path(&[&path[..], b"/"].concat()), Err(Code::BadName));
    assert_eq!(check_path(&[&path[..], b"/n"].concat()), Err(Code::TooLong));
    let deep = |depth: usize| vec![&b"d"[..]; depth].join(&b'/');
    assert_eq!(check_path(&deep(DEPTH_MAX)), Ok(()));
    assert_eq!(check_path(&deep(DEPTH_MAX + 1)), Err(Code::TooDeep));
    assert_eq!(check_path(b""), Ok(()), "the top");
}

#[test]
fn a_question_keeps_to_its_limits() {
    let list = |count| Question::List(vec!["a/b".into(); count]).check();
    assert_eq!((list(LIST_MAX), list(LIST_MAX + 1)), (Ok(()), Err(Code::TooLong)));
    let blocks = |len| Question::Blocks { path: "a".into(), len, seed: 1 }.check();
    for len in [0, 1, 512, 1_025, 3 << 10, 2 << 20, u32::MAX] {
        assert_eq!(blocks(len), Err(Code::Malformed), "{len}");
    }
    assert_eq!((blocks(BLOCK_LEN_MIN), blocks(BLOCK_LEN_MAX)), (Ok(()), Ok(())));
    for path in ["..", "/etc", "a//b"] {
        assert_eq!(Question::List(vec![path.into()]).check(), Err(Code::BadName));
        assert_eq!(Question::Pieces(path.into()).check(), Err(Code::BadName));
    }
    let long = br#"{"event":"blocks","path":"a","len":4294967296,"seed":1}"#;
    assert!(tow_proto::json::from_slice::<Event>(long).is_err());
}

#[test]
fn a_size_that_is_only_said_allocates_nothing() {
    let (pieces, cost) = counting::cost(|| Pieces::new(u64::MAX));
    assert_eq!((pieces.count(), cost.total), (65_536, 0));
    let (_, cost) = counting::cost(|| {
        let mut pieces = pieces.clone();
        assert!(pieces.set(65_535, PieceHash([1; 32])));
        assert!(!pieces.set(65_536, PieceHash([1; 32])));
    });
    assert!(cost.peak < 4 << 20, "{} bytes", cost.peak);
}

#[test]
fn more_blocks_than_are_looked_for_are_dropped() {
    let signatures = vec![Signature { sum: 1, hash: 1 }; BLOCKS_MAX + 1];
    let (_, cost) = counting::cost(|| Matcher::new(BLOCK_LEN_MAX, 0, signatures));
    assert!(cost.peak < 32 << 20, "{} bytes", cost.peak);
}

#[test]
fn a_matcher_holds_no_more_than_two_blocks() {
    let len = 64 << 10;
    let portion = vec![3; 10_000];
    let (_, cost) = counting::cost(|| {
        let mut matcher = Matcher::new(len, 0, Vec::new());
        (0..100).for_each(|_| matcher.push(&portion, &mut |_| {}));
    });
    // What came first is copied once, when more comes.
    assert!(cost.peak < 2 * len as usize + 2 * portion.len(), "{} bytes", cost.peak);
}

#[test]
fn after_an_error_there_are_no_more_records() {
    let pack = opened(&[24, 1, 1, 0, 24, 1, 1]);
    let mut records = pack.records();
    assert_eq!(records.read(), Ok(Some(Record::Same { files: 1, bytes: 1 })));
    assert_eq!(records.read(), Err(PackError::Malformed));
    assert_eq!((records.read(), records.next()), (Ok(None), None));
}

#[test]
fn a_pack_that_is_full_fits_into_a_frame() {
    let mut writer = PackWriter::new(0, Columns::default());
    while writer.room() >= 3 {
        writer.record(&Record::Same { files: 1, bytes: 1 });
    }
    assert!(writer.seal(None).len() <= PACK_LEN_MAX);
}

/// A body in a pack whose hash is right.
fn opened(body: &[u8]) -> Pack {
    let payload = [&[0][..], blake3::hash(body).as_bytes(), body].concat();
    Pack::open(payload, Columns::default()).expect("a good front")
}
