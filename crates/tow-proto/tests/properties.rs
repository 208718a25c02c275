//! What holds for every value and for every byte string, looked for by chance.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tow_proto::byte_string::escape;
use tow_proto::frame::{self, Decoder, Frame, Kind, PREFIX_LEN, Trust};
use tow_proto::json::big::EXACT_MAX;
use tow_proto::message::{
    Attached, Confirm, Credit, EntryKind, FirstHead, Hello, Invite, Join, KeyRm, Ls, Mkdir, Move,
    Read, Remove, Reply, Request, Rights, RunEvent, RunReply, SessionList, Stat, Upward, Welcome,
};
use tow_proto::{ByteString, Code, Refusal, json};

#[path = "properties/sessions.rs"]
mod sessions;
#[path = "properties/transfers.rs"]
mod transfers;
#[path = "properties/writing.rs"]
mod writing;

use sessions::{any_attached, any_run_event, any_run_reply, any_session_list, any_upward};

proptest! {
    #[test]
    fn frames_survive_any_portions(
        frames in vec(any_frame(), 0..12),
        portions in vec(1usize..40, 1..8),
    ) {
        let stream = encode(&frames);
        let mut decoder = Decoder::new(Trust::Proved);
        let mut read = Vec::new();
        let mut rest = stream.as_slice();
        for len in portions.iter().cycle() {
            let (mut portion, after) = rest.split_at((*len).min(rest.len()));
            while let Some(frame) = decoder.read(&mut portion)? {
                read.push(frame);
            }
            prop_assert!(portion.is_empty());
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert!(decoder.is_between_frames());
        prop_assert_eq!(read, frames);
    }

    #[test]
    fn a_frame_takes_its_prefix_and_its_payload_and_nothing_else(
        frames in vec(any_frame(), 1..6),
        more in vec(any::<u8>(), 0..20),
    ) {
        let mut stream = encode(&frames);
        stream.extend_from_slice(&more);
        let mut decoder = Decoder::new(Trust::Proved);
        let mut input = stream.as_slice();
        for frame in frames {
            let before = input.len();
            let taken = PREFIX_LEN + frame.payload.len();
            prop_assert_eq!(decoder.read(&mut input)?, Some(frame));
            prop_assert_eq!(before - input.len(), taken);
        }
        prop_assert_eq!(input, more);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic_or_forget_an_error(
        stream in vec(any::<u8>(), 0..200),
        trust in prop_oneof![Just(Trust::Proved), Just(Trust::Unproved)],
    ) {
        let mut decoder = Decoder::new(trust);
        let mut input = stream.as_slice();
        loop {
            match decoder.read(&mut input) {
                Ok(Some(_)) => {}
                Ok(None) => {
                    prop_assert!(input.is_empty());
                    break;
                }
                Err(error) => {
                    prop_assert_eq!(decoder.read(&mut &b"\0\0\0\0\0\0\0\0"[..]), Err(error));
                    break;
                }
            }
        }
    }

    #[test]
    fn no_bytes_make_the_json_readers_panic(bytes in vec(any::<u8>(), 0..200)) {
        let _ = json::from_slice::<Request>(&bytes);
        let _ = json::from_slice::<FirstHead>(&bytes);
        let _ = json::from_slice::<RunEvent>(&bytes);
        let _ = json::from_slice::<Upward>(&bytes);
    }

    #[test]
    fn byte_strings_survive_json(bytes in vec(any::<u8>(), 0..40)) {
        let name = ByteString(bytes);
        let written = json::to_vec(&name);
        prop_assert_eq!(written[0] == b'"', std::str::from_utf8(name.as_bytes()).is_ok());
        prop_assert_eq!(json::from_slice::<ByteString>(&written)?, name);
    }

    #[test]
    fn what_is_shown_moves_no_cursor_and_reorders_nothing(name in any_name()) {
        let shown = escape(name.as_bytes()).into_owned();
        let acts = |char: char| char.is_control() || matches!(char, '\u{202a}'..='\u{202e}');
        prop_assert_eq!(shown.chars().find(|char| acts(*char)), None);
    }

    #[test]
    fn integers_are_numbers_up_to_2_to_the_53_and_digits_above(to in any_offset()) {
        let credit = Credit { stream: 0, to };
        let written = json::to_vec(&credit);
        let as_digits = written.windows(5).any(|five| five == b"\"to\":" ) && written.ends_with(b"\"}");
        prop_assert_eq!(as_digits, to > EXACT_MAX);
        prop_assert_eq!(json::from_slice::<Credit>(&written)?, credit);
    }

    #[test]
    fn first_heads_survive_json(head in any_first_head()) {
        prop_assert_eq!(json::from_slice::<FirstHead>(&json::to_vec(&head))?, head);
    }

    #[test]
    fn requests_survive_json(request in any_request()) {
        prop_assert_eq!(json::from_slice::<Request>(&json::to_vec(&request))?, request);
    }

    #[test]
    fn replies_about_sessions_survive_json(
        run in any_reply(any_run_reply()),
        attached in any_reply(any_attached()),
        list in any_reply(any_session_list()),
    ) {
        prop_assert_eq!(json::from_slice::<Reply<RunReply>>(&json::to_vec(&run))?, run);
        prop_assert_eq!(json::from_slice::<Reply<Attached>>(&json::to_vec(&attached))?, attached);
        prop_assert_eq!(json::from_slice::<Reply<SessionList>>(&json::to_vec(&list))?, list);
    }

    #[test]
    fn what_is_said_while_a_session_is_looked_at_survives_json(
        event in any_run_event(),
        upward in any_upward(),
    ) {
        prop_assert_eq!(json::from_slice::<RunEvent>(&json::to_vec(&event))?, event);
        prop_assert_eq!(json::from_slice::<Upward>(&json::to_vec(&upward))?, upward);
    }

    #[test]
    fn no_event_of_one_side_is_taken_for_another_of_the_other(
        event in any_run_event(),
        upward in any_upward(),
    ) {
        // `lease` is in both, on purpose: it is the answer.
        if let Ok(read) = json::from_slice::<Upward>(&json::to_vec(&event)) {
            let is_lease = matches!(event, RunEvent::Lease { .. });
            prop_assert!(read == Upward::Unknown || is_lease, "{:?}", read);
        }
        if let Ok(read) = json::from_slice::<RunEvent>(&json::to_vec(&upward)) {
            let is_lease = matches!(upward, Upward::Lease { .. });
            prop_assert!(read == RunEvent::Unknown || is_lease, "{:?}", read);
        }
    }
}

fn encode(frames: &[Frame]) -> Vec<u8> {
    frames.iter().fold(Vec::new(), |mut out, frame| {
        frame::encode(frame.kind, &frame.payload, &mut out);
        out
    })
}

fn any_frame() -> impl Strategy<Value = Frame> {
    use Kind::{Credit, Data, DataErr, End, Head, Ping, Pong};
    prop_oneof![
        (prop::sample::select(vec![Head, Data, DataErr, End, Credit]), vec(any::<u8>(), 0..300)),
        (prop::sample::select(vec![Ping, Pong]), vec(any::<u8>(), 0..=64)),
    ]
    .prop_map(|(kind, payload)| Frame::new(kind, payload))
}

fn any_name() -> impl Strategy<Value = ByteString> {
    prop_oneof![
        vec(any::<u8>(), 0..24).prop_map(ByteString),
        any::<String>().prop_map(ByteString::from),
        "[\u{1b}\u{9b}\u{202e}\r\n a-z.%/]{0,12}".prop_map(ByteString::from),
    ]
}

fn any_offset() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), 0..1000u64, EXACT_MAX - 2..EXACT_MAX + 3]
}

/// A number that JSON readers keep exact.
fn any_number() -> impl Strategy<Value = u64> {
    0..=EXACT_MAX
}

fn any_rights() -> impl Strategy<Value = Rights> {
    any::<[bool; 6]>().prop_map(|[run, read, write, forward, admin, watch]| Rights {
        run,
        read,
        write,
        forward,
        admin,
        watch,
    })
}

fn any_refusal() -> impl Strategy<Value = Refusal> {
    let code = prop::sample::select(Code::ALL.to_vec());
    (code, option::of(any_name()), option::of(any::<String>()), option::of(any_number()))
        .prop_map(|(code, path, right, count)| Refusal { path, right, count, ..Refusal::new(code) })
}

fn any_reply<T: std::fmt::Debug>(ok: impl Strategy<Value = T>) -> impl Strategy<Value = Reply<T>> {
    prop_oneof![4 => ok.prop_map(Reply::Ok), 1 => any_refusal().prop_map(Reply::Refused)]
}

fn any_hello() -> impl Strategy<Value = Hello> {
    let join = prop_oneof![
        vec(any::<u8>(), 0..40).prop_map(|pake| Join::Code { pake }),
        vec(any::<u8>(), 0..40).prop_map(|proof| Join::Ticket { proof }),
    ];
    (
        vec(any::<u32>(), 0..4),
        vec(any::<String>(), 0..3),
        any::<String>(),
        any::<String>(),
        option::of(join),
    )
        .prop_map(|(versions, features, agent, name, join)| Hello {
            versions,
            features,
            agent,
            name,
            join,
        })
}

fn any_first_head() -> impl Strategy<Value = FirstHead> {
    let confirm = vec(any::<u8>(), 0..40).prop_map(|confirm| Confirm { confirm });
    let dirs = (option::of(any_name()), option::of(any_name()));
    let welcome = (any::<u32>(), any::<String>(), any_rights(), dirs, option::of(confirm.clone()))
        .prop_map(|(version, machine, rights, (root, start), confirm)| Welcome {
            version,
            features: Vec::new(),
            agent: String::new(),
            machine,
            rights,
            root,
            start,
            confirm,
        });
    prop_oneof![
        any_hello().prop_map(FirstHead::Hello),
        confirm.prop_map(FirstHead::Confirm),
        welcome.prop_map(FirstHead::Welcome),
        any_refusal().prop_map(FirstHead::Refused),
    ]
}

fn any_kind() -> impl Strategy<Value = EntryKind> {
    prop::sample::select(vec![EntryKind::File, EntryKind::Dir])
}

fn any_request() -> impl Strategy<Value = Request> {
    prop_oneof![
        sessions::any_request(),
        (any_name(), any::<bool>()).prop_map(|(path, itself)| Request::Ls(Ls { path, itself })),
        any_request_of_files(),
        writing::any_request(),
        transfers::any_get().prop_map(Request::Get),
        transfers::any_put().prop_map(Request::Put),
        any_invite().prop_map(Request::Invite),
        any::<String>().prop_map(|key| Request::KeyRm(KeyRm { key })),
        prop::sample::select(vec![Request::Keys, Request::Status, Request::Unknown]),
    ]
}

fn any_request_of_files() -> impl Strategy<Value = Request> {
    prop_oneof![
        (any_name(), any::<bool>()).prop_map(|(path, follow)| Request::Stat(Stat { path, follow })),
        (any_name(), any_offset(), option::of(any_offset()))
            .prop_map(|(path, from, len)| Request::Read(Read { path, from, len })),
        (any_name(), any::<bool>())
            .prop_map(|(path, parents)| Request::Mkdir(Mkdir { path, parents })),
        (any_name(), any_name(), any::<bool>())
            .prop_map(|(from, to, replace)| Request::Move(Move { from, to, replace })),
        (any_name(), any::<bool>(), any::<bool>()).prop_map(|(path, recursive, force)| {
            Request::Remove(Remove { path, recursive, force })
        }),
    ]
}

fn any_invite() -> impl Strategy<Value = Invite> {
    (
        (any_rights(), option::of(any_name()), option::of(any::<String>())),
        (any_number(), option::of(any_number())),
    )
        .prop_map(|((rights, root, name), (valid_secs, grant_secs))| Invite {
            rights,
            root,
            name,
            valid_secs,
            grant_secs,
        })
}
