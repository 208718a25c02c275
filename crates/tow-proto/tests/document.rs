//! The tables and the examples of `docs/PROTOCOL.md` say what the code says.

use tow_proto::content::Tally;
use tow_proto::frame::{Kind, Trust};
use tow_proto::heartbeat::{DEAD_AFTER, PING_AFTER};
use tow_proto::json::{self, DEPTH_MAX};
use tow_proto::message::{Reply, Request, RunEvent, RunReply, SessionInfo, Upward};
use tow_proto::{ALPN, Code, DEFAULT_PORT};

const DOCUMENT: &str = include_str!("../../../docs/PROTOCOL.md");

#[test]
fn the_table_of_refusals_is_the_list_in_the_code() {
    let rows: Vec<String> = section("## 6.")
        .lines()
        .filter(|line| line.starts_with("| ") && line.as_bytes()[2].is_ascii_digit())
        .map(str::to_owned)
        .collect();
    let codes: Vec<String> = Code::ALL
        .iter()
        .map(|code| {
            let blame = format!("{:?}", code.blame()).to_lowercase();
            let retry = if code.is_retryable() { "yes" } else { "no" };
            let (number, sentence) = (code.number(), code.sentence());
            format!("| {number} | {code:?} | {blame} | {retry} | {sentence} |")
        })
        .collect();
    assert_eq!(rows, codes);
}

#[test]
fn the_numbers_of_refusals_rise_and_lead_back_to_their_codes() {
    assert!(Code::ALL.is_sorted_by_key(|code| code.number()));
    for code in Code::ALL {
        assert_eq!(Code::from_number(code.number()), *code);
    }
    assert_eq!(Code::from_number(9_999), Code::Other(9_999));
}

#[test]
fn the_table_of_kinds_is_what_the_decoder_allows() {
    let kinds = [
        ("head", Kind::Head),
        ("data", Kind::Data),
        ("data-err", Kind::DataErr),
        ("end", Kind::End),
        ("credit", Kind::Credit),
        ("ping", Kind::Ping),
        ("pong", Kind::Pong),
        ("pack", Kind::Pack),
        ("data-zstd", Kind::DataZstd),
    ];
    for (name, kind) in kinds {
        let byte = format!("| {:#04x} | {name} |", kind.to_byte());
        let row = section("### 2.2").lines().find(|line| line.starts_with(&byte)).expect(name);
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let limit = |trust| kind.payload_len_max(trust).map_or("not allowed".to_owned(), thousands);
        assert_eq!(cells[4], limit(Trust::Proved), "{row}");
        assert_eq!(cells[5], limit(Trust::Unproved), "{row}");
    }
}

#[test]
fn the_other_numbers_are_those_of_the_code() {
    let alpn = std::str::from_utf8(ALPN).expect("ALPN is text");
    for (heading, words) in [
        ("# The", format!("# The protocol `{alpn}`")),
        ("### 5.1", format!("ALPN `{alpn}`")),
        ("## 1.", format!("default TCP port is {DEFAULT_PORT}")),
        ("### 3.5", format!("After {} s", PING_AFTER.as_secs())),
        ("### 3.5", format!("After {} s", DEAD_AFTER.as_secs())),
        ("### 4.1", format!("at most {DEPTH_MAX} deep")),
    ] {
        assert!(section(heading).contains(&words), "{heading} does not say: {words}");
    }
}

#[test]
fn every_request_that_is_shown_is_understood() {
    let mut verbs = Vec::new();
    for text in examples(section("## 7."), "{\"verb\":") {
        let request = json::from_slice::<Request>(text.as_bytes()).expect(&text);
        assert_ne!(request, Request::Unknown, "{text}");
        verbs.push(text.split('"').nth(3).expect("a verb").to_owned());
    }
    verbs.sort();
    let all = [
        "attach",
        "audit",
        "copy",
        "get",
        "invite",
        "key_rm",
        "keys",
        "kill",
        "ls",
        "mkdir",
        "move",
        "put",
        "read",
        "remove",
        "run",
        "session_rm",
        "sessions",
        "set",
        "share",
        "share_rm",
        "shares",
        "stat",
        "status",
        "token",
        "upload_rm",
        "upload_stat",
        "write",
    ];
    assert_eq!(verbs, all, "each once");
}

#[test]
fn every_event_of_a_session_that_is_shown_is_understood_on_its_side() {
    let (mut events, mut upward) = (0, 0);
    for line in section("### 7.1").lines() {
        for text in examples(line, "{\"event\":").filter(|text| !text.contains(",…}")) {
            if line.starts_with("| client |") {
                let event = json::from_slice::<Upward>(text.as_bytes()).expect(&text);
                assert_ne!(event, Upward::Unknown, "{text}");
                upward += 1;
            } else {
                let event = json::from_slice::<RunEvent>(text.as_bytes()).expect(&text);
                assert_ne!(event, RunEvent::Unknown, "{text}");
                events += 1;
            }
        }
    }
    // The exit record has its example below the table.
    assert_eq!((events, upward), (7, 6), "each once");
}

#[test]
fn the_replies_that_are_shown_are_understood() {
    let reply = examples(section("### 7.1"), "{\"ok\":").next().expect("a reply");
    assert!(json::from_slice::<Reply<RunReply>>(reply.as_bytes()).is_ok(), "{reply}");
    let session = examples(section("### 7.5"), "{\"id\":").next().expect("a session");
    let read = json::from_slice::<SessionInfo>(session.as_bytes()).expect(&session);
    assert_eq!(
        json::to_vec(&read).escape_ascii().to_string(),
        session.as_bytes().escape_ascii().to_string()
    );
}

/// What is between backticks and starts so, with something in place of what the document leaves
/// out.
fn examples(text: &str, start: &str) -> impl Iterator<Item = String> {
    let hash = format!("\"blake3\":\"{}\"", Tally::default().hash());
    let code = text.split('`').skip(1).step_by(2);
    code.filter(move |code| code.starts_with(start))
        .map(move |code| code.replace("\"blake3\":\"…\"", &hash).replace("{…}", "{}"))
}

/// From a heading to the next one of its level or above.
fn section(heading: &str) -> &'static str {
    let start = DOCUMENT.find(heading).expect(heading);
    let level = heading.bytes().take_while(|byte| *byte == b'#').count();
    let is_next = |line: &str| {
        let hashes = line.bytes().take_while(|byte| *byte == b'#').count();
        (1..=level).contains(&hashes) && line.as_bytes().get(hashes) == Some(&b' ')
    };
    let body = &DOCUMENT[start..];
    let next = body.match_indices('\n').find(|(at, _)| is_next(&body[at + 1..]));
    next.map_or(body, |(at, _)| &body[..at])
}

/// `1048576` as `1,048,576`.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
