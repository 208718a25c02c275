//! Frames: an 8-byte prefix, then the payload (PROTOCOL 2).
//!
//! The decoder takes bytes in any portions and gives whole frames back. It never allocates for a
//! length that it has not checked, and never buffers more than the one frame it is reading.

use thiserror::Error;

use crate::transfer::PACK_LEN_MAX;

/// Length of the prefix in bytes.
pub const PREFIX_LEN: usize = 8;

/// Largest payload of a data frame in bytes.
pub const DATA_LEN_MAX: usize = 1 << 20;

/// What a frame carries; the top 8 bits of the prefix (PROTOCOL 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// JSON: a request, a reply, an event.
    Head,
    /// Bytes: stdin upward, stdout downward, file content.
    Data,
    /// Bytes of stderr.
    DataErr,
    /// A stream is complete: JSON, [`crate::message::End`].
    End,
    /// How far the sender may send: JSON, [`crate::message::Credit`].
    Credit,
    /// Are you there? Opaque bytes to be returned.
    Ping,
    /// The answer to a ping, with its bytes.
    Pong,
    /// Records of a transfer: [`crate::transfer::Pack`].
    Pack,
    /// File content, compressed with zstd.
    DataZstd,
}

/// Whether the peer has shown who it is and that it may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Nothing is known yet: heads of at most 4 KiB, nothing else.
    Unproved,
    /// A grant is held: every kind, with its own limit.
    Proved,
}

/// One whole frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What the payload is.
    pub kind: Kind,
    /// The payload, without the prefix.
    pub payload: Vec<u8>,
}

/// Why a byte stream is not a stream of frames. Every case ends the link.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The kind is neither known nor skippable.
    #[error("unknown frame kind {kind:#04x}")]
    UnknownKind {
        /// The top byte of the prefix.
        kind: u8,
    },
    /// The length is over the limit of its kind.
    #[error("frame of {len} bytes, at most {max} allowed")]
    PayloadTooLong {
        /// The length that was announced.
        len: u64,
        /// The limit that applied.
        max: u64,
    },
    /// A kind that only a proved peer may send.
    #[error("a frame of kind {kind:#04x} before the peer was proved")]
    BeforeProof {
        /// The top byte of the prefix.
        kind: u8,
    },
}

impl Kind {
    const ALL: [Self; 9] = [
        Self::Head,
        Self::Data,
        Self::DataErr,
        Self::End,
        Self::Credit,
        Self::Ping,
        Self::Pong,
        Self::Pack,
        Self::DataZstd,
    ];

    /// The byte on the wire.
    pub const fn to_byte(self) -> u8 {
        match self {
            Self::Head => 0x00,
            Self::Data => 0x01,
            Self::DataErr => 0x02,
            Self::End => 0x03,
            Self::Credit => 0x04,
            Self::Ping => 0x05,
            Self::Pong => 0x06,
            Self::Pack => 0x07,
            Self::DataZstd => 0x08,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.to_byte() == byte)
    }

    /// Largest payload in bytes; `None` where the kind is not allowed yet.
    pub const fn payload_len_max(self, trust: Trust) -> Option<u64> {
        match (trust, self) {
            (Trust::Unproved, Self::Head) => Some(HEAD_LEN_MAX_UNPROVED),
            (Trust::Unproved, _) => None,
            (Trust::Proved, Self::Head) => Some(HEAD_LEN_MAX),
            (Trust::Proved, Self::Data | Self::DataErr | Self::DataZstd) => {
                Some(DATA_LEN_MAX as u64)
            }
            (Trust::Proved, Self::Pack) => Some(PACK_LEN_MAX as u64),
            (Trust::Proved, Self::End) => Some(64 << 10),
            (Trust::Proved, Self::Credit) => Some(4 << 10),
            (Trust::Proved, Self::Ping | Self::Pong) => Some(PING_LEN_MAX as u64),
        }
    }
}

impl Frame {
    /// A frame ready for [`encode`].
    pub fn new(kind: Kind, payload: Vec<u8>) -> Self {
        Self { kind, payload }
    }
}

/// The 8 bytes before a payload of `len` bytes.
pub fn prefix(kind: Kind, len: usize) -> [u8; PREFIX_LEN] {
    debug_assert!((len as u64) <= LEN_MASK);
    ((u64::from(kind.to_byte()) << LEN_BITS) | len as u64).to_le_bytes()
}

/// Appends one frame to `out`.
pub fn encode(kind: Kind, payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&prefix(kind, payload.len()));
    out.extend_from_slice(payload);
}

/// Bytes in, frames out.
#[derive(Debug)]
pub struct Decoder {
    trust: Trust,
    state: State,
}

#[derive(Debug)]
enum State {
    Prefix { bytes: [u8; PREFIX_LEN], have: usize },
    Payload { kind: Kind, len: usize, bytes: Vec<u8> },
    Skipping { left: u64 },
    Failed(FrameError),
}

impl Decoder {
    /// A decoder at the start of a stream.
    pub fn new(trust: Trust) -> Self {
        Self { trust, state: State::START }
    }

    /// From the next frame on, the limits of a proved peer apply.
    pub fn prove(&mut self) {
        self.trust = Trust::Proved;
    }

    /// The trust that decides the limits.
    pub fn trust(&self) -> Trust {
        self.trust
    }

    /// True where the stream may end without having lost anything.
    pub fn is_between_frames(&self) -> bool {
        matches!(self.state, State::Prefix { have: 0, .. })
    }

    /// How much of the current prefix or payload has arrived, in bytes, and how much there is to
    /// be: for the message about a peer that stopped in the middle.
    pub fn progress(&self) -> (u64, u64) {
        match &self.state {
            State::Prefix { have, .. } => (*have as u64, PREFIX_LEN as u64),
            State::Payload { len, bytes, .. } => (bytes.len() as u64, *len as u64),
            State::Skipping { left } => (0, *left),
            State::Failed(_) => (0, 0),
        }
    }

    /// Takes bytes off the front of `input` until one frame is whole. `None` means that `input` is
    /// used up. What is left in `input` belongs to the next call.
    ///
    /// # Errors
    /// The stream can't be read any further; the same error is given again from then on.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, FrameError> {
        loop {
            match &mut self.state {
                State::Prefix { bytes, have } => {
                    let taken = take(input, PREFIX_LEN - *have);
                    bytes[*have..*have + taken.len()].copy_from_slice(taken);
                    *have += taken.len();
                    if *have < PREFIX_LEN {
                        return Ok(None);
                    }
                    let word = u64::from_le_bytes(*bytes);
                    self.state = State::after_prefix(word, self.trust);
                }
                State::Payload { kind, len, bytes } => {
                    bytes.extend_from_slice(take(input, *len - bytes.len()));
                    if bytes.len() < *len {
                        return Ok(None);
                    }
                    let frame = Frame { kind: *kind, payload: std::mem::take(bytes) };
                    self.state = State::START;
                    return Ok(Some(frame));
                }
                State::Skipping { left } => {
                    *left -= take(input, usize::try_from(*left).unwrap_or(usize::MAX)).len() as u64;
                    if *left > 0 {
                        return Ok(None);
                    }
                    self.state = State::START;
                }
                State::Failed(error) => return Err(error.clone()),
            }
        }
    }
}

impl State {
    const START: Self = Self::Prefix { bytes: [0; PREFIX_LEN], have: 0 };

    fn after_prefix(word: u64, trust: Trust) -> Self {
        let len = word & LEN_MASK;
        let byte = (word >> LEN_BITS) as u8;
        let known = Kind::from_byte(byte);
        let max = match known {
            Some(kind) => kind.payload_len_max(trust),
            None if byte < FIRST_SKIPPABLE => {
                return Self::Failed(FrameError::UnknownKind { kind: byte });
            }
            None if trust == Trust::Proved => Some(SKIPPABLE_LEN_MAX),
            None => None,
        };
        let Some(max) = max else {
            return Self::Failed(FrameError::BeforeProof { kind: byte });
        };
        if len > max {
            return Self::Failed(FrameError::PayloadTooLong { len, max });
        }
        match known {
            // `len` is at most 1 MiB here, on every platform.
            Some(kind) => {
                Self::Payload { kind, len: len as usize, bytes: Vec::with_capacity(len as usize) }
            }
            None => Self::Skipping { left: len },
        }
    }
}

fn take<'a>(input: &mut &'a [u8], at_most: usize) -> &'a [u8] {
    let (taken, rest) = input.split_at(at_most.min(input.len()));
    *input = rest;
    taken
}

const LEN_BITS: u32 = 56;
const LEN_MASK: u64 = (1 << LEN_BITS) - 1;
const FIRST_SKIPPABLE: u8 = 0x80;
const HEAD_LEN_MAX: u64 = 1 << 20;
const HEAD_LEN_MAX_UNPROVED: u64 = 4 << 10;
const SKIPPABLE_LEN_MAX: u64 = 1 << 20;
/// Largest payload of a ping in bytes.
pub const PING_LEN_MAX: usize = 64;
