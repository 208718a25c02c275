//! What every input must do, whatever it is: the bodies of the fuzz targets.
//!
//! `crates/tow-proto/tests/corpus.rs` includes this file and runs the committed inputs through it,
//! so that what was found once is looked at by every test run.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tow_proto::classic::{self, FileHeader};
use tow_proto::frame::{self, Decoder, Frame, FrameError, Kind, PREFIX_LEN, Trust};
use tow_proto::message::{
    Attached, Credit, End, Entry, FirstHead, GetReply, Invited, KeyRmDone, Keys, Killed, PutReply,
    Reply, Request, RunEvent, RunReply, SessionList, Status, Upward,
};
use tow_proto::transfer::{Columns, Event, PACK_BODY_MAX, Pack, PackWriter, Record};
use tow_proto::{ByteString, json};

/// The decoder says the same about a stream however it is cut up, and it agrees with a reading of
/// the whole stream at once that follows the text of PROTOCOL 2.
///
/// Byte 0 picks the trust, byte 1 the number of portion lengths, which follow; the rest is the
/// stream.
pub fn frame(input: &[u8]) {
    let [mode, portions, rest @ ..] = input else { return };
    let (portions, stream) = rest.split_at(usize::from(portions % 16).min(rest.len()));
    let mode = match mode % 3 {
        0 => Mode::Unproved,
        1 => Mode::Proved,
        _ => Mode::ProvedAfterOne,
    };
    let whole = read_whole(mode, stream);
    assert_eq!(read_in_portions(mode, stream, portions), whole);
    assert_eq!(read_in_portions(mode, stream, &[]), whole);

    let again: Vec<u8> = whole.frames.iter().fold(Vec::new(), |mut out, frame| {
        frame::encode(frame.kind, &frame.payload, &mut out);
        out
    });
    let reread = read_whole(mode, &again);
    assert_eq!((reread.frames, reread.error, reread.used), (whole.frames, None, again.len()));

    let block = classic::recv_data(&mut &stream[..], classic::COMMAND_LEN_MAX);
    if let Ok(payload) = block {
        let mut written = Vec::new();
        classic::send_data(&mut written, &payload).expect("a vector takes everything");
        assert_eq!(written, stream[..written.len()]);
    }
}

/// What is understood is written so that it is understood as the same again.
pub fn head(input: &[u8]) {
    round_trip::<FirstHead>(input);
    round_trip::<Request>(input);
    round_trip::<Reply<RunReply>>(input);
    round_trip::<Reply<Attached>>(input);
    round_trip::<Reply<SessionList>>(input);
    round_trip::<Reply<Killed>>(input);
    round_trip::<Reply<GetReply>>(input);
    round_trip::<Reply<PutReply>>(input);
    round_trip::<Reply<Invited>>(input);
    round_trip::<Reply<Keys>>(input);
    round_trip::<Reply<KeyRmDone>>(input);
    round_trip::<Reply<Status>>(input);
    round_trip::<RunEvent>(input);
    round_trip::<Upward>(input);
    round_trip::<Event>(input);
    round_trip::<Vec<Entry>>(input);
    round_trip::<End>(input);
    round_trip::<Credit>(input);
    round_trip::<FileHeader>(input);
    if let Some(name) = round_trip::<ByteString>(input) {
        assert!(!name.to_string().chars().any(char::is_control), "{name:?} on a terminal");
    }
}

/// A body with a good hash is read to its end or to one error; what was read is written so that it
/// is read as the same again, and no name in it leads astray.
///
/// Byte 0 picks the columns and whether the rest is a body or a whole payload.
pub fn pack(input: &[u8]) {
    let [mode, rest @ ..] = input else { return };
    let columns = Columns { owners: mode & 1 != 0, hashes: mode & 2 != 0 };
    let payload = match mode & 4 {
        0 => [&[0][..], blake3::hash(rest).as_bytes(), rest].concat(),
        _ => rest.to_vec(),
    };
    let Ok(pack) = Pack::open(payload, columns) else { return };
    assert!(pack.body().len() <= PACK_BODY_MAX);
    let mut writer = PackWriter::new(0, columns);
    let mut read = Vec::new();
    let mut is_whole = true;
    for record in pack.records() {
        assert!(is_whole, "nothing after an error");
        match record {
            Ok(record) => {
                writer.record(&record);
                read.push(record);
            }
            Err(_) => is_whole = false,
        }
    }
    for record in &read {
        match record {
            Record::File { name, .. } | Record::Delete { name } => {
                assert!(!name.is_empty() && !name.contains(&b'/') && *name != b"..");
            }
            Record::Enter { path } | Record::Large { path, .. } => {
                assert!(
                    !path.starts_with(b"/")
                        && path.split(|byte| *byte == b'/').all(|name| name != b"..")
                );
            }
            _ => {}
        }
    }
    assert_eq!(writer.body_len() == pack.body().len(), is_whole);
    if writer.body_len() > PackWriter::BODY_MAX {
        return;
    }
    let again = Pack::open(writer.seal(None), columns).expect("what we write, we read");
    assert!(pack.body().starts_with(again.body()), "there is one way to write a record");
    assert!(again.records().eq(read.into_iter().map(Ok)));
}

fn round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(input: &[u8]) -> Option<T> {
    let value: T = json::from_slice(input).ok()?;
    let written = json::to_vec(&value);
    let again: T = json::from_slice(&written).expect("what we write, we read");
    assert_eq!(again, value);
    assert_eq!(json::to_vec(&again), written);
    Some(value)
}

/// When the peer is proved.
#[derive(Clone, Copy, Debug)]
enum Mode {
    Unproved,
    Proved,
    /// As on a real link: the first head decides.
    ProvedAfterOne,
}

impl Mode {
    fn trust(self, frames_read: usize) -> Trust {
        match self {
            Self::ProvedAfterOne if frames_read > 0 => Trust::Proved,
            Self::Proved => Trust::Proved,
            Self::Unproved | Self::ProvedAfterOne => Trust::Unproved,
        }
    }
}

/// What a stream turned out to be.
#[derive(Debug, PartialEq)]
struct Outcome {
    frames: Vec<Frame>,
    error: Option<FrameError>,
    /// Bytes that were taken: all of them, or those before the prefix that was wrong and itself.
    used: usize,
    between_frames: bool,
}

fn read_in_portions(mode: Mode, stream: &[u8], portions: &[u8]) -> Outcome {
    let mut decoder = Decoder::new(mode.trust(0));
    let mut frames = Vec::new();
    let mut rest = stream;
    let mut lengths = portions.iter().map(|len| usize::from(*len)).cycle();
    while !rest.is_empty() {
        let len = lengths.next().unwrap_or(rest.len()).clamp(1, rest.len());
        let (mut portion, after) = rest.split_at(len);
        loop {
            match decoder.read(&mut portion) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.read(&mut portion), Err(error.clone()), "for good");
                    let used = stream.len() - after.len() - portion.len();
                    return Outcome { frames, error: Some(error), used, between_frames: false };
                }
            }
            if mode.trust(frames.len()) == Trust::Proved {
                decoder.prove();
            }
        }
        assert!(portion.is_empty(), "None means that the input is used up");
        rest = after;
    }
    let between_frames = decoder.is_between_frames();
    Outcome { frames, error: None, used: stream.len(), between_frames }
}

/// PROTOCOL 2 once more, in the plainest way.
fn read_whole(mode: Mode, stream: &[u8]) -> Outcome {
    let mut frames = Vec::new();
    let mut at = 0;
    while let Some(prefix) = stream.get(at..at + PREFIX_LEN) {
        let word = u64::from_le_bytes(prefix.try_into().expect("8 bytes"));
        let (byte, len) = (prefix[7], word & 0x00ff_ffff_ffff_ffff);
        at += PREFIX_LEN;
        if let Some(error) = judge(byte, len, mode.trust(frames.len())) {
            return Outcome { frames, error: Some(error), used: at, between_frames: false };
        }
        let Some(payload) = stream.get(at..at + len as usize) else {
            return Outcome { frames, error: None, used: stream.len(), between_frames: false };
        };
        at += payload.len();
        if let Some(kind) = known(byte) {
            frames.push(Frame::new(kind, payload.to_vec()));
        }
    }
    Outcome { frames, error: None, used: stream.len(), between_frames: at == stream.len() }
}

fn judge(byte: u8, len: u64, trust: Trust) -> Option<FrameError> {
    let max = match (trust, byte) {
        (_, 0x09..=0x7f) => return Some(FrameError::UnknownKind { kind: byte }),
        (Trust::Unproved, 0x00) => 4_096,
        (Trust::Unproved, _) => return Some(FrameError::BeforeProof { kind: byte }),
        (Trust::Proved, 0x00..=0x02 | 0x07 | 0x08 | 0x80..=0xff) => 1_048_576,
        (Trust::Proved, 0x03) => 65_536,
        (Trust::Proved, 0x04) => 4_096,
        (Trust::Proved, 0x05 | 0x06) => 64,
    };
    (len > max).then_some(FrameError::PayloadTooLong { len, max })
}

fn known(byte: u8) -> Option<Kind> {
    Some(match byte {
        0x00 => Kind::Head,
        0x01 => Kind::Data,
        0x02 => Kind::DataErr,
        0x03 => Kind::End,
        0x04 => Kind::Credit,
        0x05 => Kind::Ping,
        0x06 => Kind::Pong,
        0x07 => Kind::Pack,
        0x08 => Kind::DataZstd,
        _ => return None,
    })
}
