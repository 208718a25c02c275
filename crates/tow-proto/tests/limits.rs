//! One hostile peer for each limit of PROTOCOL 2.2 and 4, and what its bytes may cost.

use std::fmt::Write as _;

use tow_proto::byte_string::ByteString;
use tow_proto::classic;
use tow_proto::content::Tally;
use tow_proto::frame::{self, DATA_LEN_MAX, Decoder, Frame, FrameError, Kind, PING_LEN_MAX, Trust};
use tow_proto::json::{self, DEPTH_MAX, JsonError};
use tow_proto::message::{
    Attached, Credit, Ended, EndedBy, Entry, ExitRecord, FirstHead, Hello, Lease, Program, Reply,
    Request, RunEvent, RunReply, SessionInfo, SessionList, Status, StreamTotal, Upward,
};
use tow_proto::transfer::Event;

#[path = "limits/packs.rs"]
mod packs;

/// Every kind with its limit once the peer is proved, as PROTOCOL 2.2 has them.
const LIMITS: [(Kind, u64); 9] = [
    (Kind::Head, 1_048_576),
    (Kind::Data, 1_048_576),
    (Kind::DataErr, 1_048_576),
    (Kind::End, 65_536),
    (Kind::Credit, 4_096),
    (Kind::Ping, 64),
    (Kind::Pong, 64),
    (Kind::Pack, 1_048_576),
    (Kind::DataZstd, 1_048_576),
];

#[test]
fn the_limits_in_the_code_are_those_of_the_document() {
    for (kind, max) in LIMITS {
        assert_eq!(kind.payload_len_max(Trust::Proved), Some(max), "{kind:?}");
        let before = (kind == Kind::Head).then_some(4_096);
        assert_eq!(kind.payload_len_max(Trust::Unproved), before, "{kind:?}");
    }
    assert_eq!((DATA_LEN_MAX, PING_LEN_MAX), (1_048_576, 64));
}

#[test]
fn the_longest_length_there_is_allocates_nothing() {
    let longest = (1 << 56) - 1;
    for trust in [Trust::Proved, Trust::Unproved] {
        let (result, cost) = counting::cost(|| read(trust, &announce(0x00, longest)));
        let max = if trust == Trust::Proved { 1_048_576 } else { 4_096 };
        assert_eq!(result, Err(FrameError::PayloadTooLong { len: longest, max }));
        assert_eq!(cost.total, 0, "bytes allocated for a refused length");
    }
}

#[test]
fn every_kind_may_be_as_long_as_its_limit_and_not_one_byte_longer() {
    for (kind, max) in LIMITS {
        let mut stream = Vec::new();
        frame::encode(kind, &vec![b' '; max as usize], &mut stream);
        let frames = read(Trust::Proved, &stream).expect("a payload at the limit");
        assert_eq!(frames.len(), 1, "{kind:?}");

        let (result, cost) =
            counting::cost(|| read(Trust::Proved, &announce(kind.to_byte(), max + 1)));
        assert_eq!(result, Err(FrameError::PayloadTooLong { len: max + 1, max }), "{kind:?}");
        assert_eq!(cost.total, 0, "{kind:?}");
    }
}

#[test]
fn an_announced_payload_costs_no_more_than_its_limit_however_little_of_it_comes() {
    let (result, cost) = counting::cost(|| read(Trust::Unproved, &announce(0x00, 4_096)));
    assert_eq!(result, Ok(vec![]));
    assert!(cost.total <= 4_096, "{} bytes for an unproved peer", cost.total);
    let (result, cost) = counting::cost(|| read(Trust::Proved, &announce(0x01, 1_048_576)));
    assert_eq!(result, Ok(vec![]));
    assert!(cost.total <= 1_048_576, "{} bytes for a proved peer", cost.total);
}

#[test]
fn half_a_prefix_is_neither_a_frame_nor_an_error() {
    for len in 1..8 {
        let mut decoder = Decoder::new(Trust::Unproved);
        let mut input = &[0xff; 8][..len];
        assert_eq!(decoder.read(&mut input), Ok(None));
        assert!(!decoder.is_between_frames(), "a stream that ends here has lost something");
        assert_eq!(decoder.progress(), (len as u64, 8));
    }
}

#[test]
fn an_unknown_kind_below_0x80_ends_the_link_for_good() {
    for byte in 0x09..0x80 {
        for trust in [Trust::Proved, Trust::Unproved] {
            let mut stream = announce(byte, 0).to_vec();
            frame::encode(Kind::Head, b"{}", &mut stream);
            let mut decoder = Decoder::new(trust);
            let mut input = stream.as_slice();
            let error = Err(FrameError::UnknownKind { kind: byte });
            assert_eq!(decoder.read(&mut input), error);
            assert_eq!(decoder.read(&mut input), error, "no frame after an error");
        }
    }
}

#[test]
fn an_unknown_kind_from_0x80_on_is_skipped_without_being_kept() {
    let mut stream = Vec::with_capacity(129 << 20);
    for byte in 0x80..=0xff {
        stream.extend_from_slice(&announce(byte, 1_048_576));
        stream.resize(stream.len() + 1_048_576, 0xaa);
    }
    frame::encode(Kind::Ping, b"still there?", &mut stream);
    let (frames, cost) = counting::cost(|| read(Trust::Proved, &stream));
    assert_eq!(frames, Ok(vec![Frame::new(Kind::Ping, b"still there?".to_vec())]));
    assert!(cost.total < 1_024, "{} bytes to skip 128 MiB", cost.total);
}

#[test]
fn what_can_be_skipped_has_a_limit_too() {
    for byte in [0x80, 0xc1, 0xff] {
        let error = FrameError::PayloadTooLong { len: 1_048_577, max: 1_048_576 };
        assert_eq!(read(Trust::Proved, &announce(byte, 1_048_577)), Err(error));
    }
}

#[test]
fn before_the_proof_nothing_but_heads_is_read() {
    for byte in (0x01..=0x08).chain(0x80..=0xff) {
        let error = FrameError::BeforeProof { kind: byte };
        assert_eq!(read(Trust::Unproved, &announce(byte, 0)), Err(error));
    }
}

#[test]
fn before_the_proof_a_head_has_4_kib() {
    let mut stream = Vec::new();
    frame::encode(Kind::Head, &[b' '; 4_096], &mut stream);
    assert_eq!(read(Trust::Unproved, &stream).map(|frames| frames.len()), Ok(1));
    let error = FrameError::PayloadTooLong { len: 4_097, max: 4_096 };
    assert_eq!(read(Trust::Unproved, &announce(0x00, 4_097)), Err(error));
}

#[test]
fn json_may_be_32_deep_and_no_deeper_and_is_refused_before_it_is_parsed() {
    let nested = |depth: usize| {
        format!("{{\"versions\":[1],\"x\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1))
    };
    assert!(json::from_slice::<Hello>(nested(DEPTH_MAX).as_bytes()).is_ok());
    let error = json::from_slice::<Hello>(nested(DEPTH_MAX + 1).as_bytes());
    assert!(matches!(error, Err(JsonError::TooDeep { at: 51 })), "{error:?}");

    let bomb = "[{\"a\":".repeat(170_000);
    let (result, cost) = counting::cost(|| json::from_slice::<Request>(bomb.as_bytes()));
    assert!(matches!(result, Err(JsonError::TooDeep { .. })), "{result:?}");
    assert_eq!(cost.total, 0);
}

#[test]
fn brackets_inside_of_strings_are_not_depth() {
    let path = "[{\\\"[".repeat(100);
    let request = format!("{{\"verb\":\"get\",\"path\":\"{path}\"}}");
    let read = json::from_slice::<Request>(request.as_bytes()).expect("flat");
    let Request::Get(get) = read else { panic!("{read:?}") };
    assert_eq!(get.path, ByteString::from("[{\"[".repeat(100)));
}

#[test]
fn a_long_array_costs_a_fixed_multiple_of_its_bytes() {
    let tail = "0,".repeat((1 << 19) - 40) + "0]}";
    for head in ["{\"verb\":\"status\",\"x\":[", "{\"x\":[", "{\"verb\":\"later\",\"x\":["] {
        let bomb = format!("{head}{tail}");
        assert!(bomb.len() <= 1 << 20, "fits into a head");
        let (_, cost) = counting::cost(|| json::from_slice::<Request>(bomb.as_bytes()).is_ok());
        let factor = cost.peak / bomb.len();
        assert!(factor <= JSON_COST_FACTOR_MAX, "{head}: {factor} bytes for each byte");
    }
}

#[test]
fn a_long_array_of_a_node_costs_no_more_than_one_of_a_client() {
    fn factor<T: serde::de::DeserializeOwned>(head: &str, tail: &str) -> usize {
        let bomb = format!("{head}{tail}");
        let (_, cost) = counting::cost(|| json::from_slice::<T>(bomb.as_bytes()).is_ok());
        cost.peak / bomb.len()
    }
    let tail = "0,".repeat((1 << 19) - 40) + "0]}";
    for factor in [
        factor::<Reply<RunReply>>("{\"ok\":{\"x\":[", &(tail.clone() + "}")),
        factor::<Reply<Attached>>("{\"ok\":{\"x\":[", &(tail.clone() + "}")),
        factor::<Reply<SessionList>>("{\"ok\":{\"sessions\":[", &(tail.clone() + "}")),
        factor::<RunEvent>("{\"event\":\"screen\",\"x\":[", &tail),
        factor::<RunEvent>("{\"x\":[", &tail),
        factor::<Upward>("{\"event\":\"later\",\"x\":[", &tail),
    ] {
        assert!(factor <= JSON_COST_FACTOR_MAX, "{factor} bytes for each byte");
    }
}

/// A list is cut into heads between sessions, so each of them has to fit.
#[test]
fn a_session_with_the_longest_list_of_arguments_fits_into_a_head() {
    let total = StreamTotal { bytes: u64::MAX, blake3: Tally::default().hash() };
    let exit = ExitRecord {
        ended: Ended::Signal { name: "x".repeat(64), number: u8::MAX, core: true },
        by: EndedBy::Timeout,
        lingering: vec![u32::MAX; 1_000],
        stdout: total,
        stderr: total,
    };
    // 128 KiB with the byte that ends each: the shortest arguments of the longest spelling.
    let argument = ByteString(vec![0xff]);
    let session = SessionInfo {
        id: "x".repeat(64),
        owner: "x".repeat(64),
        program: Program::Argv(vec![argument; (128 << 10) / 2]),
        terminal: true,
        started: u64::MAX,
        lease: Lease::Ms(u64::MAX),
        typing: u32::MAX,
        watching: u32::MAX,
        stdout: u64::MAX,
        stderr: u64::MAX,
        exit: Some(Box::new(exit)),
        ended: Some(u64::MAX),
    };
    let len = json::to_vec(&Reply::Ok(SessionList { sessions: vec![session], more: true })).len();
    let max = Kind::Head.payload_len_max(Trust::Proved);
    assert!(Some(len as u64) <= max, "{len} bytes");
    assert!(len > 983_040, "{len} bytes: the arguments alone are that long");
}

#[test]
fn before_the_proof_a_long_array_costs_less_than_a_quarter_of_a_mebibyte() {
    for head in ["{\"hello\":{\"versions\":[", "{\"hello\":{\"join\":{\"by\":\"code\",\"pake\":["] {
        let bomb = format!("{head}{}", "1,".repeat((4_096 - head.len()) / 2));
        let (read, cost) = counting::cost(|| json::from_slice::<FirstHead>(bomb.as_bytes()));
        assert!(read.is_err());
        assert!(cost.peak < 256 << 10, "{} bytes", cost.peak);
    }
}

#[test]
fn a_key_that_comes_twice_is_not_understood() {
    for twice in [
        r#"{"verb":"status","verb":"keys"}"#,
        r#"{"verb":"get","path":"a","path":"b"}"#,
        r#"{"verb":"run","id":"a","program":{"shell":"a"},"program":{"shell":"b"},"stdout_to":0,"stderr_to":0}"#,
        r#"{"verb":"attach","session":"s","view":"log","stdout_from":1,"stdout_from":2,"room":0}"#,
    ] {
        assert!(json::from_slice::<Request>(twice.as_bytes()).is_err(), "{twice}");
    }
    let twice = br#"{"ok":{"session":"s","stdin_window":1,"stdin_window":1}}"#;
    assert!(json::from_slice::<Reply<RunReply>>(twice).is_err());
    let twice = br#"{"event":"resize","rows":1,"cols":1,"rows":1}"#;
    assert!(json::from_slice::<Upward>(twice).is_err());
    assert!(json::from_slice::<RunEvent>(br#"{"event":"caught_up","event":"exit"}"#).is_err());
    assert!(json::from_slice::<Hello>(br#"{"versions":[1],"versions":[2]}"#).is_err());
    assert!(json::from_slice::<Credit>(br#"{"stream":1,"to":1,"to":2}"#).is_err());
    assert!(json::from_slice::<ByteString>(br#"{"b64":"","b64":""}"#).is_err());
    assert!(json::from_slice::<FirstHead>(br#"{"confirm":{"confirm":""},"hello":{}}"#).is_err());
}

#[test]
fn numbers_that_are_not_whole_or_too_large_are_not_understood() {
    for to in [
        "-1",
        "1.5",
        "1e3",
        "1e400",
        "18446744073709551616",
        "\"18446744073709551616\"",
        "\"-1\"",
        "\"+1\"",
        "\" 1\"",
        "\"0x1\"",
        "\"\"",
        "null",
        "true",
        "[1]",
        "01",
    ] {
        let credit = format!("{{\"stream\":1,\"to\":{to}}}");
        assert!(json::from_slice::<Credit>(credit.as_bytes()).is_err(), "{credit}");
    }
    assert!(json::from_slice::<Credit>(br#"{"stream":256,"to":1}"#).is_err());
    let digits = "9".repeat(1 << 20);
    assert!(json::from_slice::<Credit>(format!("{{\"to\":{digits}}}").as_bytes()).is_err());
}

#[test]
fn an_offset_that_may_be_absent_is_an_offset_where_it_is_there() {
    let read = |from: &str| {
        let attach = format!(r#"{{"verb":"attach","session":"s","view":"log",{from}"room":0}}"#);
        match json::from_slice::<Request>(attach.as_bytes()) {
            Ok(Request::Attach(attach)) => Some(attach.stdout_from),
            Ok(other) => panic!("{other:?}"),
            Err(_) => None,
        }
    };
    assert_eq!(read(""), Some(None));
    assert_eq!(read(r#""stdout_from":null,"#), Some(None));
    assert_eq!(read(r#""stdout_from":0,"#), Some(Some(0)));
    assert_eq!(read(r#""stdout_from":"18446744073709551615","#), Some(Some(u64::MAX)));
    for from in ["-1", "1.5", "18446744073709551616", "\"+1\"", "\"\"", "true", "[1]", "{}"] {
        assert_eq!(read(&format!("\"stdout_from\":{from},")), None, "{from}");
    }
}

#[test]
fn sizes_of_terminals_and_numbers_of_streams_have_their_bits_and_no_more() {
    let is_read = |event: &str| json::from_slice::<Upward>(event.as_bytes()).is_ok();
    assert!(is_read(r#"{"event":"resize","rows":65535,"cols":0,"xpixel":65535,"ypixel":65535}"#));
    assert!(!is_read(r#"{"event":"resize","rows":65536,"cols":80}"#));
    assert!(!is_read(r#"{"event":"resize","rows":24,"cols":"80"}"#));
    assert!(!is_read(r#"{"event":"resize","rows":24,"cols":80,"xpixel":-1}"#));
    assert!(!is_read(r#"{"event":"stop","stream":256}"#));
    let is_read = |event: &str| json::from_slice::<RunEvent>(event.as_bytes()).is_ok();
    assert!(is_read(r#"{"event":"viewers","typing":4294967295,"watching":0}"#));
    assert!(!is_read(r#"{"event":"viewers","typing":4294967296,"watching":0}"#));
    assert!(!is_read(r#"{"event":"screen","at":0,"rows":65536,"cols":80,"bytes":0}"#));
    assert!(!is_read(r#"{"event":"gap","stream":256,"from":0,"to":1}"#));
}

#[test]
fn text_that_is_not_utf_8_is_not_understood() {
    for bad in [
        &b"{\"verb\":\"get\",\"path\":\"\xff\"}"[..],
        b"{\"verb\":\"get\",\"path\":\"\xc0\xaf\"}",
        b"{\"verb\":\"get\",\"path\":\"\\ud800\"}",
        b"{\"verb\":\"get\",\"path\":\"\n\"}",
        b"{\"verb\":\"get\",\"path\":\"a\"}\0",
        b"\xef\xbb\xbf{\"verb\":\"status\"}",
        b"",
        b"{",
        b"null",
    ] {
        assert!(json::from_slice::<Request>(bad).is_err(), "{}", bad.escape_ascii());
    }
}

#[test]
fn a_byte_string_is_text_or_base64_and_nothing_else() {
    for bad in [
        r#"{"b64":"A"}"#,
        r#"{"b64":"AB=="}"#,
        r#"{"b64":"AA"}"#,
        r#"{"b64":"-_8="}"#,
        r#"{"b64":"AA==\n"}"#,
        r#"{"b64":"AA==","x":1}"#,
        r#"{"hex":"00"}"#,
        r#"{"b64":null}"#,
        "{}",
        "[]",
        "[0]",
        "0",
        "null",
    ] {
        assert!(json::from_slice::<ByteString>(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn an_error_never_repeats_what_the_peer_sent() {
    let secret = "correct-horse";
    let head = format!("{{\"verb\":\"audit\",\"follow\":\"{secret}\"}}");
    let error = json::from_slice::<Request>(head.as_bytes()).expect_err("follow is a boolean");
    let mut said = error.to_string();
    write!(said, "{error:?}").expect("a string takes everything");
    assert!(!said.contains(secret), "{said}");
}

#[test]
fn verbs_and_events_of_a_later_version_are_unknown_whatever_comes_with_them() {
    let later =
        br#"{"deep":[1,{"path":{"b64":"/w=="}}],"verb":"teleport","n":-1.5,"verbs":["run"]}"#;
    assert_eq!(json::from_slice::<Request>(later).expect("understood"), Request::Unknown);
    let later = br#"{"event":"teleport","rows":24,"cols":80}"#;
    assert_eq!(json::from_slice::<Upward>(later).expect("understood"), Upward::Unknown);
    let later = br#"{"size":[],"event":"xattr","path":{"b64":"/w=="}}"#;
    let read = json::from_slice::<Event>(later).expect("understood");
    assert_eq!(read, Event::Unknown);
    assert!(json::from_slice::<Request>(br#"{"verb":0}"#).is_err(), "a verb is a name");
    assert!(json::from_slice::<Request>(br#"{"path":"a"}"#).is_err(), "a verb is needed");
}

#[test]
fn fields_of_a_later_version_are_ignored() {
    let hello = br#"{"hello":{"versions":[1,2],"color":"red","join":null,"features":["x"]}}"#;
    assert!(matches!(json::from_slice::<FirstHead>(hello), Ok(FirstHead::Hello(_))));
    let status = br#"{"verb":"status","verbose":true}"#;
    assert_eq!(json::from_slice::<Request>(status).expect("understood"), Request::Status);
    let entries =
        br#"[{"name":"a","kind":"file","size":1,"mode":420,"mtime":[1,0],"uid":0,"gid":0,"x":1}]"#;
    assert_eq!(json::from_slice::<Vec<Entry>>(entries).map(|all| all.len()).ok(), Some(1));
    assert!(json::from_slice::<Status>(b"{}").is_err(), "what is not optional is needed");
}

#[test]
fn a_classic_length_below_zero_or_over_the_limit_allocates_nothing() {
    for len in [-1, i64::MIN, 65, i64::MAX] {
        let block = len.to_le_bytes();
        let (kind, cost) = counting::cost(|| classic::checked_len(block, 64).is_err());
        assert!(kind, "{len}");
        assert!(cost.total < 512, "{len}: only the words of the error, not {}", cost.total);
        let error = classic::recv_data(&mut &block[..], 64).expect_err("an announced {len}");
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    }
}

#[test]
fn a_classic_block_that_ends_early_says_after_how_many_bytes() {
    let mut block = 10i64.to_le_bytes().to_vec();
    block.extend_from_slice(b"four");
    let error = classic::recv_data(&mut block.as_slice(), 64).expect_err("6 bytes are missing");
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    assert_eq!(error.to_string(), "the stream ended after 4 of 10 bytes");
}

/// Memory that reading JSON may take for each of its bytes: unknown fields of tagged messages are
/// held until the tag is known, 32 bytes for each value of 2, while a vector doubles.
const JSON_COST_FACTOR_MAX: usize = 48;

fn announce(kind: u8, len: u64) -> [u8; 8] {
    ((u64::from(kind) << 56) | len).to_le_bytes()
}

fn read(trust: Trust, mut stream: &[u8]) -> Result<Vec<Frame>, FrameError> {
    let mut decoder = Decoder::new(trust);
    let mut frames = Vec::new();
    while let Some(frame) = decoder.read(&mut stream)? {
        frames.push(frame);
    }
    Ok(frames)
}

/// An allocator that counts, for each thread, so that tests beside each other do not mix.
#[allow(unsafe_code)]
mod counting {
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::cell::Cell;

    /// What a closure allocated, in bytes.
    #[derive(Clone, Copy, Debug, Default)]
    pub(super) struct Cost {
        /// Altogether.
        pub(super) total: usize,
        /// At once.
        pub(super) peak: usize,
        live: usize,
    }

    thread_local! {
        static COST: Cell<Cost> = const { Cell::new(Cost { total: 0, peak: 0, live: 0 }) };
    }

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    pub(super) fn cost<T>(of: impl FnOnce() -> T) -> (T, Cost) {
        COST.set(Cost::default());
        let result = of();
        (result, COST.get())
    }

    struct Counting;

    impl Counting {
        fn took(size: usize) {
            // The cell has no destructor, so it is there for as long as the thread is.
            let Cost { total, peak, live } = COST.get();
            let live = live.saturating_add(size);
            COST.set(Cost { total: total.saturating_add(size), peak: peak.max(live), live });
        }

        fn gave_back(size: usize) {
            let cost = COST.get();
            COST.set(Cost { live: cost.live.saturating_sub(size), ..cost });
        }
    }

    // SAFETY: every call goes on to `System` with the caller's own arguments, so its contract is
    // kept exactly where the caller keeps ours. Counting touches a thread-local cell that is
    // initialised at compile time and has no destructor: it neither allocates nor unwinds.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            Self::took(layout.size());
            // SAFETY: the caller's promises about `layout` are those that `System` wants.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
            Self::gave_back(layout.size());
            // SAFETY: `pointer` came from `alloc` above, and so from `System`, with this layout.
            unsafe { System.dealloc(pointer, layout) }
        }
    }
}
