//! The committed vectors, read and written: what another implementation can hold itself against.

use std::io::ErrorKind;

use serde::Deserialize;
use tow_proto::classic;
use tow_proto::frame::{self, Decoder, Frame, FrameError, Kind, Trust};
use tow_proto::json::big;

#[path = "vectors/messages.rs"]
mod messages;
#[path = "vectors/sessions.rs"]
mod sessions;

use messages::{is_understood, messages};

#[test]
fn every_stream_of_frames_is_read_as_its_vector_says() {
    for vector in read_file::<Frames>(include_str!("../vectors/frames.json")).streams {
        let stream = unhex(&vector.hex);
        let mut decoder = Decoder::new(vector.trust.into());
        let mut input = stream.as_slice();
        for expected in &vector.frames {
            let frame = decoder.read(&mut input).expect(&vector.name);
            assert_eq!(frame, Some(expected.to_frame()), "{}", vector.name);
        }
        match &vector.error {
            Some(error) => assert_eq!(decoder.read(&mut input), Err(error.into())),
            None => assert_eq!(decoder.read(&mut input), Ok(None), "{}", vector.name),
        }
        let between = vector.ends_between_frames.unwrap_or(false);
        assert_eq!(decoder.is_between_frames(), between, "{}", vector.name);
    }
}

#[test]
fn every_stream_of_frames_is_written_as_its_vector_says() {
    let vectors = read_file::<Frames>(include_str!("../vectors/frames.json")).streams;
    let mut compared = 0;
    for vector in vectors.iter().filter(|vector| vector.ends_between_frames == Some(true)) {
        let mut written = Vec::new();
        for frame in &vector.frames {
            let Frame { kind, payload } = frame.to_frame();
            frame::encode(kind, &payload, &mut written);
        }
        let stream = unhex(&vector.hex);
        // What is skipped can't be written: it stands at the start of the one vector that has it.
        assert!(stream.ends_with(&written), "{}", vector.name);
        assert_eq!(stream.len() == written.len(), vector.name != "skipped", "{}", vector.name);
        compared += 1;
    }
    assert!(compared > 8, "{compared}");
}

#[test]
fn every_message_is_read_and_written_as_its_vector_says() {
    let vectors = read_file::<Heads>(include_str!("../vectors/heads.json")).messages;
    let mut values = messages();
    for vector in &vectors {
        let at = values.iter().position(|value| value.name == vector.name);
        let value = values.swap_remove(at.expect(&vector.name));
        assert_eq!(value.kind, vector.message, "{}", vector.name);
        assert_eq!(value.written, vector.text, "{}", vector.name);
        for text in vector.also.iter().chain([&vector.text]) {
            assert!((value.is_read_from)(text), "{}: {text}", vector.name);
        }
    }
    assert_eq!(values.iter().map(|value| value.name).collect::<Vec<_>>(), [""; 0], "no vector");
}

#[test]
fn what_is_not_to_be_understood_is_not() {
    let vectors = read_file::<Heads>(include_str!("../vectors/heads.json")).not_understood;
    assert!(vectors.len() > 10);
    for vector in vectors {
        assert!(!is_understood(&vector.message, &vector.text), "{}", vector.meaning);
    }
}

#[test]
fn every_classic_block_is_read_and_written_as_its_vector_says() {
    for vector in read_file::<Classic>(include_str!("../vectors/classic.json")).blocks {
        let block = unhex(&vector.hex);
        match (classic::recv_data(&mut block.as_slice(), 1024), vector.payload) {
            (Ok(payload), Some(expected)) => {
                assert_eq!(payload, unhex(&expected), "{}", vector.name);
                let mut written = Vec::new();
                classic::send_data(&mut written, &payload).expect("a vector takes everything");
                assert_eq!(written, block, "{}", vector.name);
            }
            (Err(error), None) => {
                let name = match error.kind() {
                    ErrorKind::InvalidData => "invalid_data",
                    ErrorKind::UnexpectedEof => "unexpected_eof",
                    _ => "another",
                };
                assert_eq!(Some(name), vector.error.as_deref(), "{}", vector.name);
            }
            (result, expected) => panic!("{}: {result:?}, not {expected:?}", vector.name),
        }
    }
}

#[derive(Deserialize)]
struct Frames {
    streams: Vec<Stream>,
}

#[derive(Deserialize)]
struct Stream {
    name: String,
    trust: WireTrust,
    hex: String,
    frames: Vec<WireFrame>,
    error: Option<WireError>,
    ends_between_frames: Option<bool>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WireTrust {
    Proved,
    Unproved,
}

impl From<WireTrust> for Trust {
    fn from(trust: WireTrust) -> Self {
        match trust {
            WireTrust::Proved => Self::Proved,
            WireTrust::Unproved => Self::Unproved,
        }
    }
}

#[derive(Deserialize)]
struct WireFrame {
    kind: String,
    hex: String,
}

impl WireFrame {
    fn to_frame(&self) -> Frame {
        let kind = match self.kind.as_str() {
            "head" => Kind::Head,
            "data" => Kind::Data,
            "data_err" => Kind::DataErr,
            "end" => Kind::End,
            "credit" => Kind::Credit,
            "ping" => Kind::Ping,
            "pong" => Kind::Pong,
            other => panic!("no kind is called {other}"),
        };
        Frame::new(kind, unhex(&self.hex))
    }
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum WireError {
    UnknownKind {
        byte: u8,
    },
    BeforeProof {
        byte: u8,
    },
    PayloadTooLong {
        #[serde(with = "big")]
        len: u64,
        max: u64,
    },
}

impl From<&WireError> for FrameError {
    fn from(error: &WireError) -> Self {
        match *error {
            WireError::UnknownKind { byte } => Self::UnknownKind { kind: byte },
            WireError::BeforeProof { byte } => Self::BeforeProof { kind: byte },
            WireError::PayloadTooLong { len, max } => Self::PayloadTooLong { len, max },
        }
    }
}

#[derive(Deserialize)]
struct Heads {
    messages: Vec<Head>,
    not_understood: Vec<NotUnderstood>,
}

#[derive(Deserialize)]
struct Head {
    name: String,
    message: String,
    text: String,
    #[serde(default)]
    also: Vec<String>,
}

#[derive(Deserialize)]
struct NotUnderstood {
    message: String,
    text: String,
    meaning: String,
}

#[derive(Deserialize)]
struct Classic {
    blocks: Vec<Block>,
}

#[derive(Deserialize)]
struct Block {
    name: String,
    hex: String,
    payload: Option<String>,
    error: Option<String>,
}

fn read_file<T: serde::de::DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).expect("a file of vectors")
}

fn unhex(digits: &str) -> Vec<u8> {
    assert!(digits.len().is_multiple_of(2) && digits.is_ascii());
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits");
    (0..digits.len()).step_by(2).map(byte).collect()
}
