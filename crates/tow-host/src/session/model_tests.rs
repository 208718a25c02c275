//! The model and its log, at every offset.

use super::*;

const SIZE: Size = Size { rows: 4, cols: 12 };

const OUTPUT: &[u8] = "$ ls\r\n\x1b[01;34mbin\x1b[0m  e\u{301}té 中文\r\n\x1b]0;title\x07$ vi\r\n\
    \x1b[?1049h\x1b[2;3r\x1b[32mtext\x1b[1;4H\x1b]11;?\x1b\\~\x1b[?25lmore and more\x1b[m\r\n"
    .as_bytes();

/// The drawing, and a terminal of that size after it and the output that follows.
fn attach(picture: Picture) -> (Drawn, Vec<u8>) {
    let drawn = picture.draw();
    let mut terminal = Screen::new(drawn.size);
    terminal.feed(&drawn.bytes);
    let at = usize::try_from(drawn.at).unwrap();
    terminal.feed(OUTPUT.get(at..).unwrap_or_default());
    (drawn, terminal.draw())
}

#[test]
fn a_picture_and_what_follows_it_are_the_whole_wherever_it_is_taken() {
    let mut whole = Screen::new(SIZE);
    whole.feed(OUTPUT);
    let whole = whole.draw();
    for end in 0..=OUTPUT.len() {
        for fed in 0..=end {
            let mut model = Model::new(SIZE);
            model.feed(&OUTPUT[..fed]);
            assert_eq!(model.fed_to(), fed as u64);
            let (drawn, shown) = attach(model.picture(OUTPUT[fed..end].to_vec()));
            assert!(drawn.at <= end as u64 && end as u64 - drawn.at < 12, "{} of {end}", drawn.at);
            assert!(shown == whole, "fed to {fed}, drawn at {end}: {:?}", shown.escape_ascii());
        }
    }
}

#[test]
fn a_picture_is_never_taken_inside_of_a_sequence_or_a_character() {
    for (output, at) in [
        (&b"ab\x1b[31mcd"[..], 9),
        (b"ab\x1b[3", 2),
        (b"ab\x1b]0;title", 2),
        (b"ab\x1b]0;title\x1b", 2),
        (b"ab\xe4\xb8", 2),
        (b"ab\xe4\xb8\xad", 5),
    ] {
        for fed in 0..=output.len() {
            let mut model = Model::new(SIZE);
            model.feed(&output[..fed]);
            let drawn = model.picture(output[fed..].to_vec()).draw();
            assert_eq!(drawn.at, at, "{:?} fed to {fed}", output.escape_ascii());
        }
    }
}

#[test]
fn a_size_holds_from_the_offset_where_it_was_set() {
    let output = b"a line of text that is long, and then another line of text that is long";
    let (wide, narrow) = (Size { rows: 4, cols: 30 }, Size { rows: 4, cols: 9 });
    let mut expected = Screen::new(SIZE);
    expected.feed(&output[..20]);
    expected.resize(wide);
    expected.feed(&output[20..40]);
    expected.resize(narrow);
    for fed in 0..=40 {
        let mut model = Model::new(SIZE);
        model.resized(20, SIZE);
        model.resized(20, wide);
        model.resized(40, narrow);
        assert_eq!(model.size(), narrow);
        model.feed(&output[..fed]);
        let drawn = model.picture(output[fed..40].to_vec()).draw();
        assert_eq!((drawn.at, drawn.size), (40, narrow), "fed to {fed}");
        let mut terminal = Screen::new(narrow);
        terminal.feed(&drawn.bytes);
        let shown = terminal.draw();
        assert!(shown == expected.draw(), "fed to {fed}: {}", shown.escape_ascii());
    }
}

#[test]
fn more_sizes_than_are_remembered_hold_too_early_but_the_last_one_holds() {
    let mut model = Model::new(SIZE);
    for at in 0..200 {
        model.resized(at, Size { rows: 4, cols: 20 + u16::try_from(at).unwrap() });
        assert!(model.sizes.len() <= SIZES_MAX);
    }
    assert_eq!(model.size(), Size { rows: 4, cols: 219 });
    assert_eq!(model.picture(Vec::new()).draw().size, Size { rows: 4, cols: 219 });
    model.feed(&[b'x'; 150]);
    assert_eq!(model.size, Size { rows: 4, cols: 20 + 149 });
}

#[test]
fn a_session_that_nothing_was_taken_in_of_has_no_grid() {
    let mut model = Model::new(SIZE);
    model.resized(3, Size { rows: 50, cols: 200 });
    let drawn = model.picture(b"$ ".to_vec()).draw();
    assert_eq!(drawn.at, 2);
    assert!(model.screen.is_none());
    assert!(size_of::<Model>() < 128, "{}", size_of::<Model>());
}

#[test]
fn what_a_picture_takes_in_itself_can_be_scrolled_back_to() {
    let lines: String = (0..2_000).map(|line| format!("line {line}\r\n")).collect();
    for fed in [0, 5_000] {
        let mut model = Model::new(SIZE);
        model.feed(&lines.as_bytes()[..fed]);
        let drawn = model.picture(lines.as_bytes()[fed..].to_vec()).draw();
        let drawing = String::from_utf8(drawn.bytes).unwrap();
        assert!(drawing.contains("line 1990\r\nline 1991\r\n"), "fed to {fed}");
        assert!(!drawing.contains("line 1400\r\n"), "fed to {fed}");
    }
}

#[test]
fn a_flood_of_plain_lines_shows_what_all_of_it_shows() {
    for before in
        ["", "top\r\nof the screen", "\x1b[2;3r\x1b[4;1H", "\x1b[?1049h\x1b[31m", "\x1b[3"]
    {
        for line_len in [0, 1, 11, 12, 13, 40] {
            let mut output = before.as_bytes().to_vec();
            for number in 0..300 {
                let len = (line_len + number % 3).min(40);
                output.extend(number.to_string().bytes().cycle().take(len));
                output.extend(if number == 17 { &b"\n"[..] } else { b"\r\n" });
            }
            output.extend(b"last \x1b[7m");
            output.extend(b"plain\r\n".repeat(20));
            let mut whole = Screen::new(SIZE);
            output.iter().for_each(|byte| whole.feed(&[*byte]));
            let mut model = Model::new(SIZE);
            output.chunks(1000).for_each(|chunk| model.feed(chunk));
            assert!(model.screen.unwrap().draw() == whole.draw(), "{before:?} {line_len}");
        }
    }
}
