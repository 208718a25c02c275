//! What moves files and trees (PROTOCOL 7.3), without any input or output: what both ends agree on,
//! the packs in which entries travel, the plan that follows from two listings, and the arithmetic of
//! pieces and blocks.

mod blocks;
mod entry;
mod event;
mod options;
mod pack;
mod path;
mod pieces;
mod plan;
mod record;
mod runs;
mod wire;

pub use blocks::{
    BLOCK_LEN_MAX, BLOCK_LEN_MIN, BLOCKS_MAX, Found, Matcher, Signature, block_len, sign,
};
pub use entry::{Columns, Device, Digest, Entry, Listing, Meta, Owner, What};
pub use event::{Event, LIST_MAX, Question};
pub use options::{Compress, Durable, Options};
pub use pack::{Filled, PACK_BODY_MAX, PACK_LEN_MAX, Pack, PackError, PackReader, PackWriter};
pub use path::{DEPTH_MAX, NAME_LEN_MAX, PATH_LEN_MAX, TARGET_LEN_MAX, check_name, check_path};
pub use pieces::{PIECES_MAX, PieceHash, PieceTally, Pieces, can_resume, piece_len};
pub use plan::{Action, INLINE_MAX, PATCH_MIN, plan};
pub use record::{How, Record};
pub use runs::{Run, RunReader, RunWriter};
