//! A stream of frames reads the same however it is cut into pieces on its way (PROTOCOL 2).

use tow_proto::frame::{self, Decoder, Frame, FrameError, Kind, Trust};

#[test]
fn a_stream_that_comes_byte_by_byte_gives_the_same_frames() {
    let (stream, frames) = long_stream();
    assert_eq!(read(&stream.chunks(1).collect::<Vec<_>>()), Ok(frames));
}

#[test]
fn one_cut_anywhere_changes_nothing() {
    let (stream, frames) = long_stream();
    for cut in 0..=stream.len() {
        let (before, after) = stream.split_at(cut);
        assert_eq!(read(&[before, after]).as_ref(), Ok(&frames), "cut at {cut}");
    }
}

#[test]
fn two_cuts_anywhere_change_nothing() {
    let (stream, frames) = short_stream();
    for first in 0..=stream.len() {
        for second in first..=stream.len() {
            let portions = [&stream[..first], &stream[first..second], &stream[second..]];
            assert_eq!(read(&portions).as_ref(), Ok(&frames), "cuts at {first} and {second}");
        }
    }
}

#[test]
fn a_stream_is_between_frames_at_the_ends_of_frames_and_nowhere_else() {
    let (stream, _) = short_stream();
    let ends = ends_of_frames(&stream);
    for len in 0..=stream.len() {
        let mut decoder = Decoder::new(Trust::Proved);
        let mut input = &stream[..len];
        while decoder.read(&mut input).expect("a good stream").is_some() {}
        assert_eq!(decoder.is_between_frames(), ends.contains(&len), "after {len} bytes");
    }
}

#[test]
fn a_frame_is_given_out_with_its_last_byte_and_not_one_byte_later() {
    let (stream, _) = short_stream();
    let mut decoder = Decoder::new(Trust::Proved);
    let mut given_at = Vec::new();
    for (at, byte) in stream.iter().enumerate() {
        let mut input = std::slice::from_ref(byte);
        while decoder.read(&mut input).expect("a good stream").is_some() {
            given_at.push(at + 1);
        }
    }
    let mut ends = ends_of_frames(&stream);
    ends.retain(|end| *end > 0 && !skippable_ends(&stream).contains(end));
    assert_eq!(given_at, ends);
}

#[test]
fn what_follows_a_frame_is_left_to_the_next_call() {
    let mut stream = Vec::new();
    frame::encode(Kind::Head, b"{}", &mut stream);
    stream.extend_from_slice(b"\x07what comes next");
    let mut decoder = Decoder::new(Trust::Unproved);
    let mut input = stream.as_slice();
    let head = decoder.read(&mut input).expect("a good frame").expect("a whole frame");
    assert_eq!(head, Frame::new(Kind::Head, b"{}".to_vec()));
    assert_eq!(input, b"\x07what comes next");
}

#[test]
fn proof_between_two_frames_of_one_flight_frees_the_second() {
    let mut stream = Vec::new();
    frame::encode(Kind::Head, b"{\"hello\":{\"versions\":[1]}}", &mut stream);
    let request = vec![b' '; 5_000];
    frame::encode(Kind::Head, &request, &mut stream);
    let mut decoder = Decoder::new(Trust::Unproved);
    let mut input = stream.as_slice();
    assert!(decoder.read(&mut input).expect("a small head").is_some());
    decoder.prove();
    assert_eq!(decoder.read(&mut input), Ok(Some(Frame::new(Kind::Head, request))));
}

#[test]
fn progress_counts_what_came_of_the_prefix_and_then_of_the_payload() {
    let mut stream = Vec::new();
    frame::encode(Kind::Data, b"0123456789", &mut stream);
    let mut decoder = Decoder::new(Trust::Proved);
    assert_eq!(decoder.progress(), (0, 8));
    assert_eq!(decoder.read(&mut &stream[..3]), Ok(None));
    assert_eq!(decoder.progress(), (3, 8));
    assert_eq!(decoder.read(&mut &stream[3..12]), Ok(None));
    assert_eq!(decoder.progress(), (4, 10));
}

fn read(portions: &[&[u8]]) -> Result<Vec<Frame>, FrameError> {
    let mut decoder = Decoder::new(Trust::Proved);
    let mut frames = Vec::new();
    for portion in portions {
        let mut input = *portion;
        while let Some(frame) = decoder.read(&mut input)? {
            frames.push(frame);
        }
        assert!(input.is_empty(), "None means that the input is used up");
    }
    assert!(decoder.is_between_frames());
    Ok(frames)
}

/// Every kind, empty payloads, something to be skipped, and lengths on both sides of 256.
fn long_stream() -> (Vec<u8>, Vec<Frame>) {
    let frames = vec![
        Frame::new(Kind::Head, b"{\"verb\":\"status\"}".to_vec()),
        Frame::new(Kind::Data, Vec::new()),
        Frame::new(Kind::Data, (0..=255).cycle().take(700).collect()),
        Frame::new(Kind::DataErr, vec![0; 255]),
        Frame::new(Kind::End, vec![b' '; 256]),
        Frame::new(Kind::Credit, b"{\"stream\":1,\"to\":9}".to_vec()),
        Frame::new(Kind::Ping, vec![0xff; 64]),
        Frame::new(Kind::Pong, vec![0x80; 64]),
    ];
    (encode_with_skippable(&frames, 3, 300), frames)
}

fn short_stream() -> (Vec<u8>, Vec<Frame>) {
    let frames = vec![
        Frame::new(Kind::Head, b"{}".to_vec()),
        Frame::new(Kind::Data, b"some bytes".to_vec()),
        Frame::new(Kind::Data, Vec::new()),
        Frame::new(Kind::Ping, b"?".to_vec()),
    ];
    (encode_with_skippable(&frames, 2, 5), frames)
}

/// The frames, with a frame of an unknown skippable kind before the one at `before`.
fn encode_with_skippable(frames: &[Frame], before: usize, len: usize) -> Vec<u8> {
    let mut stream = Vec::new();
    for (at, frame) in frames.iter().enumerate() {
        if at == before {
            stream.extend_from_slice(&((0x80 << 56) | len as u64).to_le_bytes());
            stream.resize(stream.len() + len, 0xaa);
        }
        frame::encode(frame.kind, &frame.payload, &mut stream);
    }
    stream
}

/// Offsets at which a frame ends, 0 included.
fn ends_of_frames(stream: &[u8]) -> Vec<usize> {
    let mut ends = vec![0];
    let mut at = 0;
    while let Some(prefix) = stream[at..].first_chunk::<8>() {
        at += 8 + (u64::from_le_bytes(*prefix) & 0xff_ffff) as usize;
        ends.push(at);
    }
    ends
}

/// Offsets at which a skippable frame ends.
fn skippable_ends(stream: &[u8]) -> Vec<usize> {
    let ends = ends_of_frames(stream);
    let is_skippable = |pair: &&[usize]| stream.get(pair[0] + 7).is_some_and(|kind| *kind >= 0x80);
    ends.windows(2).filter(is_skippable).map(|pair| pair[1]).collect()
}
