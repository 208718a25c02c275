//! Somebody types while there is no link, or one that is dead and does not know it.

use std::fs;
use std::time::{Duration, Instant};

use tow_testkit::{Cut, Direction, How, Pair, Terminal, closed, until};

use super::{TOW, is_thorough, on_terminal, session};

/// A shell whose lines end in a file.
fn typing(pair: &Pair) -> Terminal {
    let terminal = on_terminal(pair, &["shell", "box"]);
    terminal.keys("cat >typed\r");
    until("cat reads", || pair.host.file("typed").exists());
    terminal
}

fn has_typed(pair: &Pair, expected: &str) {
    until(&format!("{expected:?} was typed"), || {
        let typed = fs::read_to_string(pair.host.file("typed")).unwrap();
        assert!(expected.starts_with(&typed), "{typed:?}");
        typed == expected
    });
}

#[test]
fn keys_typed_without_a_link_arrive_once_when_there_is_one() {
    let pair = Pair::new(TOW);
    let terminal = typing(&pair);
    let address = pair.node.address();
    let mut expected = String::new();
    for round in 0..3 {
        // It takes what is sent, and does not pass it on.
        pair.proxy.cut_now(How::Silence);
        for key in format!("silent {round}\r").bytes() {
            terminal.keys([key]);
        }
        // Nobody answers the next calls either.
        pair.proxy.point_to(closed());
        pair.proxy.cut_now(How::Reset);
        terminal.shows("connection lost");
        for key in format!("refused {round}\r").bytes() {
            terminal.keys([key]);
        }
        pair.proxy.point_to(address);
        expected.push_str(&format!("silent {round}\nrefused {round}\n"));
        has_typed(&pair, &expected);
        terminal.until("our line has gone", |screen| !screen.contains("connection lost"));
        terminal.shows(&format!("refused {round}"));
    }
    assert_eq!(terminal.screen().matches("refused 1").count(), 1, "{}", terminal.screen());
}

#[test]
fn a_line_says_that_the_link_is_lost_after_300_ms_and_no_sooner() {
    let pair = Pair::new(TOW);
    let terminal = typing(&pair);
    let address = pair.node.address();
    // A cut that is mended at once is not seen. Once in 20 times, at least, nothing else on this
    // machine holds it up.
    let mut expected = String::new();
    let is_unseen = (0..20).any(|_| {
        let seen_before = terminal.bytes().len();
        pair.proxy.cut_now(How::Reset);
        terminal.keys("mended\r");
        expected.push_str("mended\n");
        has_typed(&pair, &expected);
        !String::from_utf8_lossy(&terminal.bytes()[seen_before..]).contains("connection lost")
    });
    assert!(is_unseen, "{}", terminal.screen());
    terminal.until("no line of ours", |screen| !screen.contains("connection lost"));

    pair.proxy.point_to(closed());
    let cut = Instant::now();
    pair.proxy.cut_now(How::Reset);
    terminal.shows("connection lost");
    let seen = cut.elapsed();
    assert!((Duration::from_millis(300)..Duration::from_secs(20)).contains(&seen), "{seen:?}");
    pair.proxy.point_to(address);
    terminal.until("our line has gone", |screen| !screen.contains("connection lost"));
}

#[test]
fn a_dead_link_can_be_left_at_once() {
    let pair = Pair::new(TOW);
    for how in [How::Silence, How::Stall, How::Reset] {
        let mut terminal = on_terminal(&pair, &["run", "-t", "box", "echo star''ted; sleep 100"]);
        terminal.shows("started");
        let address = pair.node.address();
        pair.proxy.point_to(closed());
        pair.proxy.cut_now(how);
        if how == How::Reset {
            terminal.shows("connection lost");
        }
        terminal.keys("~.");
        let typed = Instant::now();
        assert_eq!(terminal.ended(), 254);
        // Sooner than a silent peer is dead, and than a machine that is not there is given up.
        assert!(typed.elapsed() < Duration::from_secs(20), "{how:?}: {:?}", typed.elapsed());
        assert!(terminal.is_cooked());
        pair.proxy.release();
        pair.proxy.point_to(address);
    }
}

#[test]
fn a_size_that_changed_without_a_link_reaches_the_program() {
    let pair = Pair::new(TOW);
    let line = "trap 'stty size' WINCH; stty size; while :; do sleep 0.05; done";
    let terminal = on_terminal(&pair, &["run", "-t", "box", line]);
    terminal.shows("24 80");
    let address = pair.node.address();
    pair.proxy.point_to(closed());
    pair.proxy.cut_now(How::Reset);
    terminal.shows("connection lost");
    terminal.resize(30, 100);
    pair.proxy.point_to(address);
    terminal.shows("30 100");
    let listed = pair.host.tow(["sessions", ".", "--json"]).run().ok().json();
    assert_eq!(listed[0]["id"].as_str(), Some(session(&pair).as_str()));
}

/// A full screen of its own, with colours, and a cursor in the middle of it.
const PICTURE: &str = r"printf '\033[?1049h\033[H'
    for line in $(seq 1 23); do printf '\033[3%sm%s: 漢字 naïve\r\n' $((line % 8)) $line; done
    printf '\033[24;60Hlast\033[5;7H\033[?2004h\033[?1h'; exec cat";

#[test]
fn a_screen_is_whole_wherever_its_drawing_is_cut() {
    let pair = Pair::new(TOW);
    let _ = pair.host.write("picture", PICTURE);
    let mut first = on_terminal(&pair, &["run", "-t", "box", "exec sh picture"]);
    first.shows("last");
    first.until("the cursor's place", |_| first.look(|screen| screen.cursor_position() == (4, 6)));
    let expected = first.look(vt100::Screen::state_formatted);
    let id = session(&pair);
    first.keys("~d");
    assert_eq!(first.ended(), 0);
    let step = if is_thorough() { 7 } else { 191 };
    for (index, after) in (0..6_000).step_by(step).enumerate() {
        let how = if index % 2 == 0 { How::Fin } else { How::Reset };
        pair.proxy.cut(Cut { direction: Direction::Down, after, how });
        let again = on_terminal(&pair, &["attach", "box", &id]);
        again.until("the screen as it was", |_| {
            again.look(|screen| screen.alternate_screen() && screen.state_formatted() == expected)
        });
    }
}

#[test]
fn a_flood_over_cut_links_ends_as_it_should() {
    let pair = Pair::new(TOW);
    for round in 0..CUTS {
        let after = 300_000 + round * 50_021;
        pair.proxy.cut(Cut { direction: Direction::Down, after, how: How::Reset });
    }
    let before = pair.proxy.connections();
    // How much of a flood is carried, and how much a screen stands for, is nobody's to say.
    let line = r"until test -e go; do seq 1 100000; done
        seq 1 200000; printf '\033[31mend\033[0m%s' .";
    let mut terminal = on_terminal(&pair, &["run", "-t", "box", line]);
    until("all were cut", || pair.proxy.connections() - before > CUTS as usize);
    let _ = pair.host.write("go", "");
    assert_eq!(terminal.ended(), 0);
    let lines: Vec<_> = (199_978..=200_000).map(|number| number.to_string()).collect();
    terminal.shows(&format!("{}\nend.", lines.join("\n")));
}

/// Cuts of a flood; each has let more of it pass than comes at once.
const CUTS: u64 = 8;
