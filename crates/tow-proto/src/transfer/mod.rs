//! What moves files and trees (PROTOCOL 7.3), without any input or output: what both ends agree on,
//! the packs in which entries travel, the plan that follows from two listings, and the arithmetic of
//! pieces and blocks.

mod blocks;
mod entry;
mod event;
mod options;
mod pack;
mod pieces;
mod plan;

pub use blocks::{BLOCK_LEN_MAX, BLOCK_LEN_MIN, Found, Matcher, Run, Signature, block_len, sign};
pub use entry::{Device, Digest, Entry, Listing, Meta, Owner, What};
pub use event::{Event, Question};
pub use options::{Compress, Durable, Options};
pub use pack::{How, PACK_BODY_MAX, PackError, PackReader, PackWriter, Record};
pub use pieces::{PieceHash, PieceTally, Pieces, piece_len};
pub use plan::{Action, plan};
