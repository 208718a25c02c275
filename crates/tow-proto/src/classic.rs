//! The wire format of the text on socket programming: an 8-byte length, then so many bytes
//! (PROTOCOL 8). A frame of kind `head` is the same bytes.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

/// Reads one block: an `i64` length, little-endian, then the payload, however it is cut into
/// pieces on the way.
///
/// # Errors
/// `InvalidData` for a length below 0 or above `len_max` (nothing is allocated then),
/// `UnexpectedEof` where the stream ends early, and the reader's own errors.
pub fn recv_data(reader: &mut impl Read, len_max: u64) -> io::Result<Vec<u8>> {
    let mut prefix = [0; 8];
    reader.read_exact(&mut prefix).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            io::Error::new(error.kind(), "the stream ended before a block")
        }
        _ => error,
    })?;
    let len = checked_len(prefix, len_max)?;
    let mut payload = Vec::new();
    let got = reader.take(len).read_to_end(&mut payload)?;
    if (got as u64) < len {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("the stream ended after {got} of {len} bytes"),
        ));
    }
    Ok(payload)
}

/// Writes one block.
///
/// # Errors
/// The writer's own.
pub fn send_data(writer: &mut impl Write, payload: &[u8]) -> io::Result<()> {
    writer.write_all(&prefix(payload.len() as u64))?;
    writer.write_all(payload)?;
    writer.flush()
}

/// The 8 bytes before a payload of `len` bytes.
pub fn prefix(len: u64) -> [u8; 8] {
    len.to_le_bytes()
}

/// What a prefix says, checked.
///
/// # Errors
/// `InvalidData` for a length below 0 or above `len_max`.
pub fn checked_len(prefix: [u8; 8], len_max: u64) -> io::Result<u64> {
    let len = i64::from_le_bytes(prefix);
    u64::try_from(len).ok().filter(|len| *len <= len_max).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a block of {len} bytes was announced, 0 to {len_max} are allowed"),
        )
    })
}

/// The header before a file's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileHeader {
    /// The file's name; a receiver uses its last component only.
    pub file_name: String,
    /// Length in bytes.
    pub file_size: u64,
}

/// Longest command line or header that is accepted, in bytes.
pub const COMMAND_LEN_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives at most `piece` bytes per read, and is interrupted before each.
    struct Pieces<'a> {
        bytes: &'a [u8],
        piece: usize,
        is_interrupted: bool,
    }

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.is_interrupted = !self.is_interrupted;
            if self.is_interrupted {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let len = self.piece.min(buffer.len());
            self.bytes.read(&mut buffer[..len])
        }
    }

    #[test]
    fn blocks_are_found_again_however_the_stream_is_cut() {
        let payloads = [&b"first"[..], b"", &[0xff; 1000], b"last"];
        let mut stream = Vec::new();
        for payload in payloads {
            send_data(&mut stream, payload).unwrap();
        }
        for piece in [1, 7, 8, 9, 64, 4096] {
            let mut reader = Pieces { bytes: &stream, piece, is_interrupted: false };
            for payload in payloads {
                assert_eq!(recv_data(&mut reader, 1000).unwrap(), payload, "pieces of {piece}");
            }
            let error = recv_data(&mut reader, 1000).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
            assert_eq!(error.to_string(), "the stream ended before a block");
        }
    }

    #[test]
    fn a_file_header_has_exactly_these_bytes() {
        let header = FileHeader { file_name: "a\"b".to_owned(), file_size: 1 << 33 };
        let bytes = crate::json::to_vec(&header);
        assert_eq!(bytes, br#"{"file_name":"a\"b","file_size":8589934592}"#);
        let more = br#"{"file_size": 8589934592, "md5": "0", "file_name": "a\"b"}"#;
        assert_eq!(crate::json::from_slice::<FileHeader>(more).unwrap(), header);
    }
}
