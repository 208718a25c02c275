//! The committed vectors, read and written: what another implementation can hold itself against.

use std::collections::BTreeSet;
use std::io::ErrorKind;

use serde::Deserialize;
use serde_json::Value;
use tow_proto::classic;
use tow_proto::frame::{self, Decoder, Frame, FrameError, Kind, Trust};
use tow_proto::json::big;

#[path = "vectors/messages.rs"]
mod messages;
#[path = "vectors/packs.rs"]
mod packs;
#[path = "vectors/sessions.rs"]
mod sessions;
#[path = "vectors/sharing.rs"]
mod sharing;
#[path = "vectors/transfers.rs"]
mod transfers;
#[path = "vectors/writing.rs"]
mod writing;

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
fn an_integer_may_be_digits_where_the_document_calls_it_large_and_nowhere_else() {
    let large = large_in_document();
    let mut seen = BTreeSet::new();
    for value in messages() {
        let message: Value = serde_json::from_str(&value.written).expect("JSON");
        for path in paths_of_numbers(&message) {
            let mut changed = message.clone();
            let number = changed.pointer_mut(&path).expect("it was found there");
            *number = Value::String(number.to_string());
            let key = path.rsplit('/').next().expect("a key");
            let is_read = (value.is_read_from)(&changed.to_string());
            assert_eq!(is_read, large.contains(key), "{}: {path}", value.name);
            seen.insert(key.to_owned());
        }
    }
    assert!(seen.is_superset(&large), "{large:?} is in no vector as a number: {seen:?}");
}

/// The names in the table of PROTOCOL 4.3.
fn large_in_document() -> BTreeSet<String> {
    let document = include_str!("../../../docs/PROTOCOL.md");
    let section = document.split("### 4.").find(|section| section.starts_with("3 ")).expect("4.3");
    let cells = section.lines().filter(|line| line.starts_with("| ")).filter_map(|line| {
        let cell = line.split('|').nth(2)?;
        Some(cell.replace("`stored`", STORED))
    });
    let names = |cell: String| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    cells.flat_map::<Vec<String>, _>(names).collect()
}

/// The fields of `stored` that nothing else has.
const STORED: &str =
    "`patched`, `same`, `dirs`, `links`, `hard_links`, `special`, `deleted`, `reused`, `failed`";

/// JSON pointers to all numbers that are the value of a key.
fn paths_of_numbers(value: &Value) -> Vec<String> {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), value)).collect(),
        Value::Array(items) => {
            let items = items.iter().enumerate().filter(|(_, item)| !item.is_number());
            items.map(|(at, item)| (at.to_string(), item)).collect()
        }
        _ => Vec::new(),
    };
    let paths = |(key, value): (String, &Value)| -> Vec<String> {
        let of_its_own = value.is_number().then(String::new);
        let below = of_its_own.into_iter().chain(paths_of_numbers(value));
        below.map(|path| format!("/{key}{path}")).collect()
    };
    children.into_iter().flat_map(paths).collect()
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
            "pack" => Kind::Pack,
            "data_zstd" => Kind::DataZstd,
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
