//! A terminal that was drawn to is the terminal that was drawn.

use proptest::prelude::*;

use super::super::escape::tests::soup;
use super::*;

const SIZE: Size = Size { rows: 8, cols: 20 };

/// Programs' output, each with its name.
const SCRIPTS: [(&str, &str); 27] = [
    ("nothing", ""),
    ("text", "one\r\ntwo\r\n\r\nfour"),
    (
        "colours",
        "\x1b[31ma\x1b[92;44mb\x1b[38;5;200mc\x1b[48;2;1;2;3md\x1b[38:5:9me\x1b[mf\x1b[35m",
    ),
    ("looks", "\x1b[1ma\x1b[22;2mb\x1b[22;3mc\x1b[4md\x1b[7me\x1b[23;24mf\x1b[27mg\x1b[1;4m"),
    (
        "coloured blanks",
        "\x1b[41m\x1b[2K\r\nab\x1b[K\x1b[44m\x1b[3X\x1b[m\x1b[4;4Hx\x1b[42m\x1b[1J",
    ),
    ("wide characters", "中文a字\x1b[2;19H字\x1b[3;20H字\x1b[4;1H中文\x1b[4;2Hx"),
    ("combining characters", "e\u{301}a\u{308}\u{301} 中\u{301} ❤\u{fe0f}x\x1b[2;5H\u{301}"),
    ("a line that is full", "01234567890123456789"),
    ("a line that wraps", "0123456789012345678901234\r\nnext"),
    ("a line that wraps into nothing", "012345678901234567890\x08\x1b[K"),
    ("wide characters that wrap", "字0123456789012345678字字字字字字字字字字字字"),
    ("a full line, then colours", "\x1b[7m01234567890123456789\x1b[m\x1b[32m"),
    ("the last cell", "\x1b[8;20Hx"),
    ("scrolled", "1\r\n2\r\n3\r\n4\r\n5\r\n6\r\n7\r\n8\r\n9\r\n10"),
    ("margins", "top\r\n\x1b[3;6r\x1b[3Ha\r\nb\r\nc\r\nd\r\ne\r\nf"),
    ("margins and origin", "\x1b[3;6r\x1b[?6h\x1b[2;3Hhere"),
    ("a saved cursor", "\x1b[3;4H\x1b[33m\x1b7\x1b[m\x1b[6;7Hx"),
    ("the alternate screen", "shell$ vi\r\n\x1b[?1049h\x1b[2;3H\x1b[32mfile\x1b[8;1H~"),
    ("the alternate screen, left", "shell$ \x1b[?1049h\x1b[2Jfile\x1b[?1049lafter"),
    ("the alternate screen of old", "shell$ \x1b[4;4H\x1b7\x1b[2;2H\x1b[?47h\x1b[H\x1b[2Jfile"),
    ("margins on both screens", "\x1b[2;4r\x1b[3;1Hx\x1b[?1049h\x1b[5;7r\x1b[?6h\x1b[2;2Hy"),
    ("a full line under the alternate screen", "01234567890123456789\x1b[?1049hx"),
    ("input modes", "\x1b[?1h\x1b=\x1b[?2004h\x1b[?1002h\x1b[?1006h"),
    ("another mouse", "\x1b[?9h\x1b[?1005h"),
    ("a hidden cursor", "\x1b[?25l\x1b[4;4H"),
    ("the cursor's style", "\x1b[5 q"),
    ("lines and corners", "\x1b(0lqk\x1b(B\r\n\x1b)0\x0ex x\x0fx"),
];

/// What another program may have left behind in the terminal that is drawn to.
const LEFT_BEHIND: &str = "left\x1b[?1049h\x1b[2;3r\x1b[?6h\x1b[?7l\x1b[4h\x1b[1;7;31;44mbehind\
    \x1b[?1h\x1b=\x1b[?1003h\x1b[?1006h\x1b[?2004h\x1b[?1004h\x1b[?25l\x1b[6 q\x1b(0\x1b)0\x0e\x1b7\
    \x1b[>4;2m\x1b[=5;1u\x1b[?2026h\x1b[38;5";

fn screen_of(output: &str) -> Screen {
    let mut screen = Screen::new(SIZE);
    screen.feed(output.as_bytes());
    screen
}

/// A terminal of which nothing but vt100 is part, after `before` and a drawing.
fn drawn_to(before: &str, screen: &Screen) -> vt100::Parser {
    let mut terminal = parser(screen.size, 1_000);
    terminal.process(before.as_bytes());
    terminal.process(&screen.draw());
    terminal
}

fn assert_same(name: &str, one: &vt100::Screen, other: &vt100::Screen) {
    assert_eq!(one.size(), other.size());
    for row in 0..one.size().0.get() {
        for col in 0..one.size().1.get() {
            assert_eq!(one.cell(row, col), other.cell(row, col), "{name}: at {row}, {col}");
        }
        assert_eq!(one.row_wrapped(row), other.row_wrapped(row), "{name}: the end of {row}");
    }
    assert_eq!(one.cursor_position(), other.cursor_position(), "{name}");
    assert_eq!(one.hide_cursor(), other.hide_cursor(), "{name}");
    assert_eq!(one.attributes_formatted(), other.attributes_formatted(), "{name}");
    assert_eq!(one.input_mode_formatted(), other.input_mode_formatted(), "{name}");
    assert_eq!(one.alternate_screen(), other.alternate_screen(), "{name}");
}

#[test]
fn what_is_drawn_is_what_was_there_whatever_was_there_before() {
    for (name, output) in SCRIPTS {
        for before in ["", LEFT_BEHIND] {
            let mut screen = screen_of(output);
            let mut terminal = drawn_to(before, &screen);
            assert_same(name, screen.parser.screen(), terminal.screen());
            // Both go on in the same way, on this screen and on the one beneath it.
            for more in
                ["", "\r\n\nmore\x1b[9;9H\n\n", "\x1b8x", "\x1b[?6l\x1b[2;2H\x1bM\x1b[H\x1bM"]
            {
                screen.feed(more.as_bytes());
                terminal.process(more.as_bytes());
                assert_same(name, screen.parser.screen(), terminal.screen());
            }
            let leave = if output.contains("[?47h") { b"\x1b[?47l  " } else { b"\x1b[?1049l" };
            screen.feed(leave);
            terminal.process(leave);
            assert_same(name, screen.parser.screen(), terminal.screen());
        }
    }
}

#[test]
fn lines_that_scrolled_away_can_be_scrolled_back_to_in_their_colours() {
    for (rows, before) in [(8, ""), (8, LEFT_BEHIND), (3, ""), (30, "")] {
        let size = Size { rows, cols: 20 };
        let mut screen = Screen::new(size).with_history(100);
        for line in 1..=40 {
            screen.feed(format!("\x1b[3{}mline {line}\x1b[m\r\n", line % 8).as_bytes());
        }
        screen.feed(b"a line that is longer than the screen is wide\r\n\x1b[?1049hover it");
        let mut terminal = drawn_to(before, &screen);
        screen.feed(b"\x1b[?1049l");
        terminal.process(b"\x1b[?1049l");
        let mut shown = screen.parser.screen().clone();
        let redrawn = terminal.screen_mut();
        assert_eq!(shown.scrollback_len(), redrawn.scrollback_len(), "{rows} rows");
        for back in (0..=shown.scrollback_len()).rev() {
            shown.set_scrollback(back);
            redrawn.set_scrollback(back);
            assert_eq!(shown.contents_formatted(), redrawn.contents_formatted(), "{back} back");
        }
    }
}

#[test]
fn modes_and_names_that_are_not_on_the_screen_are_drawn_too() {
    for (output, expected) in [
        ("\x1b]2;vi\x07", "\x1b]2;vi\x1b\\"),
        ("\x1b]0;both\x1b\\", "\x1b]1;both\x1b\\\x1b]2;both\x1b\\"),
        ("\x1b]2;shell\x07\x1b[22;0;0t\x1b]2;vi\x07\x1b[23;0;0t", "\x1b]2;shell\x1b\\"),
        ("\x1b]7;file://h/tmp\x07", "\x1b]7;file://h/tmp\x1b\\"),
        ("\x1b[?1004h", "\x1b[?1004h"),
        ("\x1b[?7l", "\x1b[?7l"),
        ("\x1b[4h", "\x1b[4h"),
        ("\x1b[>4;2m", "\x1b[>4;2m"),
        ("\x1b[>1u\x1b[=4;2u", "\x1b[=5;1u"),
        ("\x1b[>1u\x1b[>3u\x1b[<u", "\x1b[=1;1u"),
        ("\x1b(0", "\x1b(0\x1b)B\x0f"),
    ] {
        let drawing = String::from_utf8(screen_of(output).draw()).unwrap();
        assert!(drawing.contains(expected), "{output:?}: {drawing:?}");
        assert!(!String::from_utf8_lossy(&screen_of("").draw()).contains(expected), "{expected:?}");
    }
    let drawing = String::from_utf8(screen_of("\x1b[?2026h\x1b[?1004h\x1b[?1004l").draw()).unwrap();
    assert!(!drawing.contains("\x1b[?2026h") && !drawing.contains("\x1b[?1004h"), "{drawing:?}");
}

#[test]
fn what_vt100_has_no_ear_for_is_said_in_its_words() {
    for (output, same) in [
        ("ab\x1bDcd\x1bEe", "ab\ncd\r\ne"),
        ("ab\x1b[3acd\x1b[2ee", "ab\x1b[3Ccd\x1b[2Be"),
        ("a\x1b[2Ib\x1b[Zc\x1b[Zd", "a\t\tb\x1b[17Gc\x1b[17Gd"),
        ("ab\x1b[scd\x1b[ue", "ab\x1b7cd\x1b8e"),
        ("x\x1b[?1047hy\x1b[?1047lz", "x\x1b[?47hy\x1b[2J\x1b[?47lz"),
        ("ab\x1b[?1048hcd\x1b[?1048le", "ab\x1b7cd\x1b8e"),
        ("ab\x1b[65535b", "abbbbbbbbbbbbbbbbbbbbb"),
        ("\x1b(0lqk~\x1b(Blqk", "┌─┐·lqk"),
        ("\x1b7\x1b(0q\x1b8\x1b[2Cq", "─ q"),
        ("\x1b[31m\x1b[2;4r\x1b[?25l\x1b[3;3Hx\x1b[!py", "\x1b[31m\x1b[3;3Hx\x1b[my"),
        ("\x1b[?7l01234567890123456789xyz", "0123456789012345678z\x1b[19C"),
        ("a\u{fffd}b", "a?b"),
    ] {
        let (one, other) = (screen_of(output), screen_of(same));
        let (one, other) = (one.parser.screen(), other.parser.screen());
        assert_eq!(one.contents(), other.contents(), "{output:?}");
        assert_eq!(one.attributes_formatted(), other.attributes_formatted(), "{output:?}");
    }
    let mut screen = Screen::new(SIZE);
    screen.feed(b"a\xffb\xe4\xb8c\xc0\xafd");
    assert_eq!(screen.parser.screen().contents(), "a?b?c??d");
}

#[test]
fn a_size_that_nobody_knows_is_the_last_one_and_none_is_absurd() {
    let size = |rows, cols| Size { rows, cols };
    assert_eq!(Size::sane(0, 0, None), size(24, 80));
    assert_eq!(Size::sane(0, 80, Some(size(50, 132))), size(50, 132));
    assert_eq!(Size::sane(30, 0, Some(size(50, 132))), size(50, 132));
    assert_eq!(Size::sane(1, 1, None), size(1, 1));
    assert_eq!(Size::sane(u16::MAX, u16::MAX, None), size(1_000, 1_000));
}

#[test]
fn a_terminal_that_becomes_higher_grows_below() {
    for alternate in ["", "\x1b[?1049h"] {
        let mut screen = screen_of("1\r\n2\r\n3\r\n4\r\n5\r\n6\r\n7\r\n8\r\n9\r\n10");
        screen.feed(alternate.as_bytes());
        screen.resize(Size { rows: 20, cols: 20 });
        screen.feed(b"\x1b[?47l");
        assert_eq!(screen.parser.screen().contents(), "3\n4\n5\n6\n7\n8\n9\n10");
    }
}

#[test]
fn the_oldest_history_is_left_out_of_a_drawing_that_would_be_too_long() {
    let mut screen = Screen::new(Size { rows: 24, cols: 1_000 }).with_history(500);
    let mut line = String::new();
    for col in 0..1_000 {
        line += &format!("\x1b[38;2;250;251;{};48;2;150;151;{}mx", 100 + col % 2, 100 + col % 2);
    }
    for number in 0..300 {
        screen.feed(format!("\x1b[m{number:<4}{line}\x1b[m\x1b[K\r\n").as_bytes());
    }
    screen.feed(b"the end");
    let drawing = screen.draw();
    assert!(drawing.len() < (8 << 20) + (64 << 10), "{}", drawing.len());
    let mut terminal = parser(screen.size, 1_000);
    terminal.process(&drawing);
    assert_same("rainbow", screen.parser.screen(), terminal.screen());
    let history = terminal.screen().scrollback_len();
    assert!((100..500).contains(&history), "{history}");
    terminal.screen_mut().set_scrollback(1);
    let mut shown = screen.parser.screen().clone();
    shown.set_scrollback(1);
    assert_eq!(terminal.screen().rows(0, 9).next(), shown.rows(0, 9).next());
}

proptest! {
    #[test]
    fn a_drawing_draws_itself(
        (rows, cols, output) in (2..9_u16, 1..20_u16, soup()),
        (later_rows, later_cols, more) in (2..9_u16, 1..20_u16, soup()),
        history in 0..20_usize,
    ) {
        let mut screen = Screen::new(Size { rows, cols }).with_history(history);
        screen.feed(&output);
        let size = Size { rows: later_rows, cols: later_cols };
        screen.resize(size);
        screen.feed(&more);
        let drawing = screen.draw();
        let mut again = Screen::new(size).with_history(1_000);
        again.feed(&drawing);
        prop_assert_eq!(again.pending(), 0);
        let redrawn = again.draw();
        prop_assert_eq!(drawing.escape_ascii().to_string(), redrawn.escape_ascii().to_string());
        prop_assert_eq!(screen.clone().draw(), drawing);
    }
}
