//! The inputs that fuzzing found worth keeping, replayed by a stable compiler.

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

// Public there, where it is a crate of its own.
#[allow(unreachable_pub)]
#[path = "../../../fuzz/src/lib.rs"]
mod bodies;

#[test]
fn every_kept_stream_of_frames_is_read_as_protocol_2_says() {
    assert!(replay("frame", bodies::frame) >= 20);
}

#[test]
fn every_kept_head_is_written_as_it_was_understood() {
    assert!(replay("head", bodies::head) >= 20);
}

#[test]
fn every_kept_pack_is_read_to_its_end_or_to_an_error() {
    assert!(replay("pack", bodies::pack) >= 20);
}

/// Runs `body` over a committed corpus; how many inputs there were.
fn replay(target: &str, body: fn(&[u8])) -> usize {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let files = fs::read_dir(&corpus).expect("the corpus is committed");
    files
        .map(|file| {
            let path = file.expect("a readable directory").path();
            let input = fs::read(&path).expect("a readable file");
            assert!(catch_unwind(|| body(&input)).is_ok(), "at fault: {}", path.display());
        })
        .count()
}
