//! What two towline machines say to each other: frames, heads, refusals, time limits.
//!
//! Pure by rule: bytes, time and randomness come in as arguments. Nothing here reads a clock, opens a
//! socket or a file, or names an async runtime, so every state can be reached in a test.
//! `docs/PROTOCOL.md` is the normative text; comments cite its sections.

pub mod byte_string;
pub mod classic;
pub mod content;
pub mod frame;
pub mod heartbeat;
pub mod json;
pub mod message;
pub mod refusal;
pub mod transfer;

pub use byte_string::ByteString;
pub use frame::{Decoder, Frame, FrameError, Kind, Trust};
pub use refusal::{Blame, Code, Refusal};

/// The protocol's name in TLS ALPN (RFC 7301).
pub const ALPN: &[u8] = b"tow/1";

/// The TCP port (and the UDP port) of a node when none is named.
pub const DEFAULT_PORT: u16 = 8690;
