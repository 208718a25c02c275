//! What holds for the arithmetic of transfers, whatever the files are (PROTOCOL 7.3).

#[path = "transfer/blocks.rs"]
mod blocks;
#[path = "transfer/packs.rs"]
mod packs;
#[path = "transfer/pieces.rs"]
mod pieces;
#[path = "transfer/plan.rs"]
mod plan;
#[path = "transfer/values.rs"]
mod values;

/// Bytes without a pattern, the same for the same seed.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}
