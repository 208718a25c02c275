//! Blocks that are found, however the file comes, and peers that want the search to be slow.

use proptest::collection::vec;
use proptest::prelude::*;
use tow_proto::transfer::{
    BLOCK_LEN_MAX, BLOCK_LEN_MIN, Found, Matcher, Run, RunReader, RunWriter, Signature, block_len,
    sign,
};

use crate::noise;

const LEN: u32 = 1 << 10;
const SEED: u64 = 0x5eed;

/// What the sender would send.
enum Sent {
    Copy(Run),
    Literal(Vec<u8>),
}

/// Something done to a file, at a place in it.
#[derive(Clone, Debug)]
enum Edit {
    Insert(usize, Vec<u8>),
    Delete(usize, usize),
    Overwrite(usize, Vec<u8>),
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn copies_and_literals_make_the_new_file(
        old in any_file(),
        edits in vec(any_edit(), 0..6),
        portions in vec(1usize..40_000, 1..6),
        large in any::<bool>(),
    ) {
        let len = if large { 4 * LEN } else { LEN };
        let new = edited(&old, &edits);
        let sent = send(&old, &new, len, &portions);
        prop_assert_eq!(receive(&old, len, &sent), new);
    }

    #[test]
    fn literals_stay_near_what_changed(edits in vec(any_edit(), 0..6), portion in 1usize..40_000) {
        let old = noise(150_000, 4);
        let new = edited(&old, &edits);
        let changed: usize = edits.iter().map(|edit| match edit {
            Edit::Insert(_, bytes) | Edit::Overwrite(_, bytes) => bytes.len(),
            Edit::Delete(..) => 0,
        }).sum();
        // Around each edit the blocks that it cuts, and at the end what is no whole block.
        let most = changed + (2 * edits.len() + 2) * LEN as usize;
        let literals = literal_len(&send(&old, &new, LEN, &[portion]));
        prop_assert!(literals <= most, "{} > {}", literals, most);
    }

    #[test]
    fn portions_change_nothing(edits in vec(any_edit(), 0..4), portions in vec(1usize..3_000, 1..9)) {
        let old = noise(60_000, 5);
        let new = edited(&old, &edits);
        let (cut, whole) = (send(&old, &new, LEN, &portions), send(&old, &new, LEN, &[new.len().max(1)]));
        prop_assert_eq!(literal_len(&cut), literal_len(&whole));
    }

    #[test]
    fn the_sum_is_that_of_the_document(block in vec(any::<u8>(), 0..3_000)) {
        let mut signatures = Vec::new();
        sign(&block, block.len().max(1) as u32, SEED, &mut signatures);
        let bytes: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        let weighted = block.iter().rev().zip(1u64..).map(|(byte, far)| u64::from(*byte) * far);
        let sum = (bytes & 0xffff) | (weighted.sum::<u64>() & 0xffff) << 16;
        let found: Vec<u64> = signatures.iter().map(|found| found.sum.into()).collect();
        prop_assert_eq!(found, if block.is_empty() { vec![] } else { vec![sum] });
    }

    #[test]
    fn runs_lead_back_to_their_blocks(blocks in vec(0u64..40, 0..80), taken in vec(1usize..9, 1..9)) {
        let mut reader = RunReader::new(40 * 1_024 + 5, 1_024);
        let (mut writer, mut found) = (RunWriter::new(), Vec::new());
        let mut rest = blocks.as_slice();
        for count in taken.into_iter().cycle() {
            let (now, later) = rest.split_at(count.min(rest.len()));
            now.iter().for_each(|block| writer.push(*block));
            prop_assert!(writer.len() <= now.len());
            for run in writer.take() {
                let range = reader.range(run).expect("a run of the writer's");
                found.extend(range.step_by(1_024).map(|at| at / 1_024));
            }
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert!(writer.is_empty());
        prop_assert_eq!(found, blocks);
    }
}

#[test]
fn blocks_are_as_long_as_the_file_asks_for() {
    let (gib, tib) = (1u64 << 30, 1u64 << 40);
    for (size, len) in [
        (0, BLOCK_LEN_MIN),
        (1 << 20, BLOCK_LEN_MIN),
        (gib, 8 << 10),
        (256 * gib, BLOCK_LEN_MAX),
        (tib, BLOCK_LEN_MAX),
        (u64::MAX, BLOCK_LEN_MAX),
    ] {
        assert_eq!(block_len(size), len, "{size}");
    }
    for bits in 0..=38 {
        for size in [(1u64 << bits) - 1, 1 << bits, (1 << bits) + (1 << bits >> 1)] {
            let len = block_len(size.min(256 * gib));
            assert!(len.is_power_of_two() && size.min(256 * gib).div_ceil(len.into()) <= 1 << 18);
        }
    }
}

#[test]
fn a_run_outside_of_the_old_file_is_none() {
    let range = |run| RunReader::new(10 * 1_024 + 1_023, 1_024).range(run);
    assert_eq!(range(Run { skip: 0, blocks: 10 }), Some(0..10_240));
    assert_eq!(range(Run { skip: 9, blocks: 1 }), Some(9_216..10_240));
    for (skip, blocks) in
        [(0, 0), (0, 11), (10, 1), (-1, 1), (i64::MAX, 1), (i64::MIN, 1), (0, u64::MAX)]
    {
        assert_eq!(range(Run { skip, blocks }), None, "{skip} {blocks}");
    }
    let mut reader = RunReader::new(10 * 1_024, 0);
    assert_eq!(reader.range(Run { skip: 0, blocks: 1 }), None, "blocks of no length");
}

#[test]
fn an_unchanged_file_is_one_run() {
    let old = noise(100 * LEN as usize, 6);
    let sent = send(&old, &old, LEN, &[7_777]);
    assert!(matches!(sent[..], [Sent::Copy(Run { skip: 0, blocks: 100 })]), "{}", sent.len());
}

#[test]
fn equal_blocks_are_found_one_after_the_other() {
    let mut old = vec![0; 64 * LEN as usize];
    old.extend_from_slice(&noise(10 * LEN as usize, 7));
    let sent = send(&old, &old, LEN, &[10_000]);
    assert!(matches!(sent[..], [Sent::Copy(Run { skip: 0, blocks: 74 })]), "{}", sent.len());
    let longer = [&vec![0; 100 * LEN as usize][..], &noise(10 * LEN as usize, 7)].concat();
    assert_eq!(literal_len(&send(&old, &longer, LEN, &[10_000])), 0);
}

/// How often a block is compared in vain is bounded: otherwise each position of the new file would
/// cost a whole block.
#[test]
fn signatures_that_fit_everywhere_and_are_never_right_cost_little() {
    let new = vec![7; 4 << 20];
    let mut right = Vec::new();
    sign(&new[..1 << 20], BLOCK_LEN_MAX, SEED, &mut right);
    // The sum of every position, and any hash but the right one.
    let wrong = |at: u64| Signature { sum: right[0].sum, hash: right[0].hash.wrapping_add(at + 1) };
    let mut matcher = Matcher::new(BLOCK_LEN_MAX, SEED, (0..1 << 18).map(wrong).collect());
    let mut literals = 0;
    let mut count = |found: Found<'_>| match found {
        Found::Literal(bytes) => literals += bytes.len(),
        Found::Copy { .. } => panic!("nothing is the same"),
    };
    // Each of three million positions would take at least 20 µs: a minute.
    matcher.push(&new, &mut count);
    matcher.finish(&mut count);
    assert_eq!(literals, new.len());
}

#[test]
fn a_block_is_found_among_as_many_false_ones() {
    let new = noise(64 << 10, 8);
    let mut signatures = Vec::new();
    sign(&new, LEN, SEED, &mut signatures);
    let last = signatures.len() - 1;
    let false_ones = (0..1 << 17).map(|at| Signature { sum: 77, hash: at });
    let all: Vec<_> = signatures.into_iter().chain(false_ones).collect();
    let mut found = Vec::new();
    let mut matcher = Matcher::new(LEN, SEED, all);
    matcher.push(&new[512..], &mut |part| {
        if let Found::Copy { block } = part {
            found.push(block as usize);
        }
    });
    matcher.finish(&mut |_| {});
    assert_eq!(found, (1..=last).collect::<Vec<_>>());
}

fn send(old: &[u8], new: &[u8], len: u32, portions: &[usize]) -> Vec<Sent> {
    let mut signatures = Vec::new();
    for part in old.chunks(16 * len as usize) {
        sign(part, len, SEED, &mut signatures);
    }
    let mut matcher = Matcher::new(len, SEED, signatures);
    let (mut writer, mut sent) = (RunWriter::new(), Vec::new());
    let mut take = |found: Found<'_>| match found {
        Found::Copy { block } => writer.push(block),
        Found::Literal(bytes) => {
            assert!(!bytes.is_empty());
            sent.extend(writer.take().into_iter().map(Sent::Copy));
            sent.push(Sent::Literal(bytes.to_vec()));
        }
    };
    let (mut rest, mut lengths) = (new, portions.iter().cycle());
    while !rest.is_empty() {
        let (now, later) = rest.split_at((*lengths.next().expect("a cycle")).min(rest.len()));
        matcher.push(now, &mut take);
        rest = later;
    }
    matcher.finish(&mut take);
    sent.extend(writer.take().into_iter().map(Sent::Copy));
    sent
}

fn receive(old: &[u8], len: u32, sent: &[Sent]) -> Vec<u8> {
    let mut reader = RunReader::new(old.len() as u64, len.into());
    let mut new = Vec::new();
    for part in sent {
        match part {
            Sent::Copy(run) => {
                let range = reader.range(*run).expect("blocks of the old file");
                new.extend_from_slice(&old[range.start as usize..range.end as usize]);
            }
            Sent::Literal(bytes) => new.extend_from_slice(bytes),
        }
    }
    new
}

fn literal_len(sent: &[Sent]) -> usize {
    let len = |part: &Sent| match part {
        Sent::Copy(_) => 0,
        Sent::Literal(bytes) => bytes.len(),
    };
    sent.iter().map(len).sum()
}

/// Noise, or something with many equal blocks.
fn any_file() -> impl Strategy<Value = Vec<u8>> {
    let len = 0usize..120_000;
    prop_oneof![
        (len.clone(), any::<u64>()).prop_map(|(len, seed)| noise(len, seed)),
        (len, 1usize..5).prop_map(|(len, period)| (0..len).map(|at| (at % period) as u8).collect()),
    ]
}

fn any_edit() -> impl Strategy<Value = Edit> {
    let bytes = || (1usize..5_000, any::<u64>()).prop_map(|(len, seed)| noise(len, seed));
    prop_oneof![
        (any::<usize>(), bytes()).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        (any::<usize>(), 1usize..20_000).prop_map(|(at, len)| Edit::Delete(at, len)),
        (any::<usize>(), bytes()).prop_map(|(at, bytes)| Edit::Overwrite(at, bytes)),
    ]
}

fn edited(old: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut new = old.to_vec();
    for edit in edits {
        let (Edit::Insert(at, _) | Edit::Delete(at, _) | Edit::Overwrite(at, _)) = edit;
        let at = at % (new.len() + 1);
        let (gone, put): (usize, &[u8]) = match edit {
            Edit::Insert(_, bytes) => (0, bytes),
            Edit::Delete(_, len) => (*len, &[]),
            Edit::Overwrite(_, bytes) => (bytes.len(), bytes),
        };
        let end = new.len().min(at + gone);
        new.splice(at..end, put.iter().copied());
    }
    new
}
