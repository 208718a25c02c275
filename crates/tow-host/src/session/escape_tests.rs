//! Boundaries and questions, at every position where a stream can be cut.

use proptest::prelude::*;

use super::super::screen::{Screen, Size};
use super::*;

/// Sequences that a terminal answers.
const QUESTIONS: [&str; 55] = [
    "\x1b[c",
    "\x1b[0c",
    "\x1b[>c",
    "\x1b[>0c",
    "\x1b[=c",
    "\x1bZ",
    "\x1b[5n",
    "\x1b[6n",
    "\x1b[?6n",
    "\x1b[?996n",
    "\x1b[x",
    "\x1b[1x",
    "\x1b[>q",
    "\x1b[>0q",
    "\x1b[?2026$p",
    "\x1b[4$p",
    "\x1b[?u",
    "\x1b[?4m",
    "\x1b[?4g",
    "\x1b[11t",
    "\x1b[13t",
    "\x1b[13;2t",
    "\x1b[14t",
    "\x1b[15t",
    "\x1b[16t",
    "\x1b[18t",
    "\x1b[19t",
    "\x1b[20t",
    "\x1b[21t",
    "\x1b[?1;1;0S",
    "\x1b[1;1;1;1;2;2*y",
    "\x1b[1$w",
    "\x1b[1$u",
    "\x1b[#R",
    "\x1b[6\nn",
    "\x1b[\x056n",
    "\x1b]4;1;?\x07",
    "\x1b]4;1;?;2;red\x1b\\",
    "\x1b]5;0;?\x07",
    "\x1b]10;?\x07",
    "\x1b]11;?\x1b\\",
    "\x1b]12;?\x07",
    "\x1b]17;?\x07",
    "\x1b]19;?\x1b\\",
    "\x1b]21;foreground=?\x1b\\",
    "\x1b]50;?\x07",
    "\x1b]52;c;?\x07",
    "\x1b]52;;?\x1b\\",
    "\x1b]1337;?\x07",
    "\x1bP$qm\x1b\\",
    "\x1bP$q q\x1b\\",
    "\x1bP+q544e\x1b\\",
    "\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\",
    "\x1b_Ga=q\x1b\\",
    "\x05",
];

/// Sequences that are like them, or of their kind, and are answered by nothing.
const STATEMENTS: [&str; 36] = [
    "\x1b[1;38;5;200;48:2::1:2:3m",
    "\x1b[2 q",
    "\x1b[\"q",
    "\x1b[>4n",
    "\x1b[>4;2m",
    "\x1b[?1049h\x1b[?25l",
    "\x1b[=1;1u\x1b[>1u\x1b[<u\x1b[u",
    "\x1b[8;24;80t",
    "\x1b[22;0t\x1b[23;0t",
    "\x1b[2S",
    "\x1b[!p",
    "\x1b[2*x",
    "\x1b[65;1;1;2;2$x",
    "\x1b[?2c",
    "\x1b]0;?\x07",
    "\x1b]2;why?\x1b\\",
    "\x1b]8;;http://h/?q=?\x07text\x1b]8;;\x07",
    "\x1b]9;?\x07",
    "\x1b]11;#102030\x07",
    "\x1b]52;c;aGVsbG8/\x07",
    "\x1b]104\x07",
    "\x1b]1337;File=name=YQ==:AAAA\x07",
    "\x1bPq#0;2;0;0;0~~@@vv\x1b\\",
    "\x1bP1$r0m\x1b\\",
    "\x1b_Ga=T,f=100,q=2;AAAA=q\x1b\\",
    "\x1b_Gq=1,a=t;a=q\x1b\\",
    "\x1b_qa=q\x1b\\",
    "\x1bXa ?;?\x1b\\",
    "\x1b^c\x1b\\",
    "\x1b(0\x1b)B\x0e\x0f",
    "\x1b7\x1b8\x1bM\x1b=\x1b>",
    "\x1b#8",
    "\x1b[6\x18n",
    "\x1b[6\x1b[m n",
    "e\u{301} 中文 \u{1f600} [6n ]11;?",
    "\r\n\t\x07",
];

fn silenced(portions: &[&[u8]]) -> Vec<u8> {
    let mut scanner = Scanner::default();
    let mut out = Vec::new();
    for portion in portions {
        let mut portion = portion.to_vec();
        scanner.silence(&mut portion);
        out.append(&mut portion);
    }
    out
}

/// What differs, as pairs of old and new.
fn changes(old: &[u8], new: &[u8]) -> Vec<(u8, u8)> {
    assert_eq!(old.len(), new.len());
    old.iter().zip(new).filter(|(old, new)| old != new).map(|(old, new)| (*old, *new)).collect()
}

#[test]
fn every_question_is_silenced_wherever_it_is_cut() {
    for question in QUESTIONS {
        let stream = format!("\x1b[mä{question}z\x1b[1m").into_bytes();
        let whole = silenced(&[&stream]);
        let changes = changes(&stream, &whole);
        let expected = if question == "\x1b[\x056n" { 2 } else { 1 };
        assert_eq!(changes.len(), expected, "{question:?} became {:?}", whole.escape_ascii());
        for cut in 0..=stream.len() {
            let (front, back) = stream.split_at(cut);
            assert_eq!(silenced(&[front, back]), whole, "{question:?} cut at {cut}");
        }
        assert_eq!(silenced(&[&whole]), whole, "{question:?} is still a question");
    }
}

#[test]
fn a_csi_is_cancelled_at_its_end_and_a_string_keeps_its_terminator() {
    for (question, expected) in [
        ("\x1b[6n", "\x1b[6\x18"),
        ("\x1bZ", "\x1b\x18"),
        ("\x1b]11;?\x07", "\x1b]11;~\x07"),
        ("\x1b]11;?\x1b\\", "\x1b]11;~\x1b\\"),
        ("\x1bP$qm\x1b\\", "\x1bP$~m\x1b\\"),
        ("\x1b_Ga=q,i=1;AAAA\x1b\\", "\x1b_Ga=~,i=1;AAAA\x1b\\"),
        ("a\x05b", "a\0b"),
        ("\x1b[3\x051m", "\x1b[3\x001m"),
    ] {
        let silenced = silenced(&[question.as_bytes()]);
        assert_eq!(silenced, expected.as_bytes(), "{:?}", silenced.escape_ascii());
    }
}

#[test]
fn what_is_no_question_stays_as_it_is() {
    for statement in STATEMENTS {
        let stream = format!("a{statement}z").into_bytes();
        for cut in 0..=stream.len() {
            let (front, back) = stream.split_at(cut);
            let out = silenced(&[front, back]);
            assert_eq!(out, stream, "{statement:?} cut at {cut}: {:?}", out.escape_ascii());
        }
    }
}

#[test]
fn what_is_unfinished_is_counted_from_its_start() {
    for (stream, pending) in [
        (&b""[..], 0),
        (b"abc", 0),
        (b"abc\x1b", 1),
        (b"abc\x1b[31", 4),
        (b"abc\x1b[31m", 0),
        (b"abc\x1b[31\x1b[", 2),
        (b"\x1b[31\x18", 0),
        (b"\x1b(", 2),
        (b"\x1b(0", 0),
        (b"\x1b]0;title", 9),
        (b"\x1b]0;title\x1b", 10),
        (b"\x1b]0;title\x1b\\", 0),
        (b"\x1b]0;title\x07", 0),
        (b"\x1b]0;title\x1b[3", 3),
        (b"\x1bPq~~\x07", 6),
        (b"\x1b_Ga=T;AAAA\x1b\\", 0),
        (b"\xc3", 1),
        (b"a\xe4\xb8", 2),
        (b"a\xe4\xb8\xad", 0),
        (b"\xf0\x9f\x98", 3),
        (b"\xf0\x9f\x98\x80", 0),
        (b"\xe4\xb8a", 0),
        (b"\xe4\xb8\xc3", 1),
        (b"\xe4\x1b", 1),
        (b"\xff\x80\x80", 0),
    ] {
        let mut scanner = Scanner::default();
        scanner.scan(stream);
        assert_eq!(scanner.pending(), pending, "{:?}", stream.escape_ascii());
    }
}

#[test]
fn a_string_that_is_too_long_is_waited_for_no_more_but_is_still_no_text() {
    let mut scanner = Scanner::default();
    scanner.scan(b"\x1b]1337;File=:");
    let image = vec![b'A'; 64 << 10];
    scanner.scan(&image);
    assert_eq!((scanner.pending(), scanner.opening()), (0, &b"\x1b]9999;"[..]));
    let mut screen = Screen::new(Size { rows: 2, cols: 9 });
    screen.feed(b"\x1b]1337;File=:");
    screen.feed(&image);
    let mut same = Screen::new(Size { rows: 2, cols: 9 });
    for screen in [&mut screen, &mut same] {
        screen.feed(b"\x07text");
    }
    assert_eq!(screen.draw(), same.draw());
    scanner.scan(b"\x07\x1b[3");
    assert_eq!((scanner.pending(), scanner.opening()), (3, &b""[..]));
}

/// Output of a program that has gone mad: text, sequences that exist, parts of them, other bytes.
pub(in super::super) fn soup() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![0..12_u16, Just(65_535_u16)];
    let pair = (number.clone(), number);
    let csi = (pair.clone(), "[@-~]").prop_map(|((a, b), last)| format!("\x1b[{a};{b}{last}"));
    let modes = [1, 6, 7, 9, 25, 47, 1000, 1003, 1004, 1006, 1047, 1048, 1049, 2004, 2031];
    let mode = (proptest::sample::select(modes.to_vec()), "[hl]")
        .prop_map(|(mode, last)| format!("\x1b[?{mode}{last}"));
    let colour =
        (30..38_u16, 0..256_u16).prop_map(|(fg, bg)| format!("\x1b[{};{fg};48;5;{bg}m", bg % 8));
    let margins = pair.prop_map(|(a, b)| format!("\x1b[{a};{b}r\x1b[{b};{a}H"));
    let texts = ["abc def ", "中文字", "e\u{301}", "❤\u{fe0f}", "xxxxxxxxxx", "\r\n", "\t", "\x08"];
    let known = [&QUESTIONS[..], &STATEMENTS[..], &texts[..], &texts[..]].concat();
    let known = proptest::sample::select(known).prop_map(str::to_owned);
    let text = prop_oneof![known.clone(), known, csi, mode, colour, margins];
    let other = prop_oneof![
        proptest::collection::vec(any::<u8>(), 1..4),
        proptest::sample::select(vec![
            &b"\x1b"[..],
            b"\x1b[",
            b"\x1b]",
            b"\x1bP",
            b"\x18",
            b"\x07"
        ])
        .prop_map(<[u8]>::to_vec),
    ];
    let part = prop_oneof![8 => text.prop_map(String::into_bytes), 1 => other];
    proptest::collection::vec(part, 1..40).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn byte_by_byte_is_the_same_as_at_once(stream in soup()) {
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        prop_assert_eq!(silenced(&bytes), silenced(&[&stream]));
        let mut slow = Scanner::default();
        for (at, byte) in stream.iter().enumerate() {
            slow.scan(&[*byte]);
            let mut fast = Scanner::default();
            fast.scan(&stream[..=at]);
            prop_assert_eq!(slow.pending(), fast.pending());
            let from_boundary = at + 1 - usize::try_from(fast.pending()).unwrap();
            let mut rest = Scanner::default();
            rest.scan(&stream[from_boundary..=at]);
            prop_assert_eq!(rest.pending(), fast.pending());
        }
    }

    #[test]
    fn silencing_shows_on_no_screen(stream in soup()) {
        let silenced = silenced(&[&stream]);
        prop_assert_eq!(silenced.len(), stream.len());
        let [before, after] = [stream, silenced].map(|stream| {
            let mut screen = Screen::new(Size { rows: 6, cols: 20 });
            screen.feed(&stream);
            screen.draw()
        });
        prop_assert_eq!(before, after);
    }

    #[test]
    fn any_bytes_are_taken(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut screen = Screen::new(Size { rows: 3, cols: 7 });
        screen.feed(&bytes);
        prop_assert!(screen.pending() <= bytes.len() as u64);
        prop_assert_eq!(silenced(&[&bytes]).len(), bytes.len());
    }
}
