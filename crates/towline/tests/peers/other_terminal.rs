//! The same on the terminal that tmux is, which shares no line with the one that the machine remembers
//! a screen by: what is drawn for whoever attaches is right for others, too.

use tow_testkit::{Machine, Pair, until};

use super::{TOW, on_terminal, session};

/// tmux as a terminal with a window for each command. It ends when dropped.
struct Tmux<'a>(&'a Machine);

impl<'a> Tmux<'a> {
    fn start(machine: &'a Machine) -> Self {
        let conf = "set -g default-terminal screen-256color\nset -g status off\n\
            set -g remain-on-exit on\nset -g allow-rename off\n";
        let _ = machine.write("outer.conf", conf);
        let tmux = Self(machine);
        tmux.ask("new-session -d -x 80 -y 24 -n first cat");
        tmux
    }

    fn ask(&self, command: &str) -> String {
        let line = format!("TMUX_TMPDIR=\"$PWD\" exec tmux -L outer -f outer.conf {command}");
        self.0.sh(&line).run().ok().out()
    }

    fn open(&self, name: &str, command: &str) {
        self.ask(&format!("new-window -d -n {name} '{command}'"));
    }

    /// What is on the screen, with colours, and what is not on it.
    fn look(&self, name: &str) -> (String, String) {
        let flags = [
            "cursor_x",
            "cursor_y",
            "cursor_flag",
            "alternate_on",
            "insert_flag",
            "origin_flag",
            "wrap_flag",
            "keypad_flag",
            "keypad_cursor_flag",
            "mouse_any_flag",
            "mouse_button_flag",
            "mouse_sgr_flag",
            "scroll_region_upper",
            "scroll_region_lower",
        ];
        let flags = flags.map(|flag| format!("{flag} #{{{flag}}}")).join(", ");
        let screen = self.ask(&format!("capture-pane -ep -t {name}"));
        (screen, self.ask(&format!("display -p -t {name} '{flags}'")))
    }

    fn keys(&self, name: &str, keys: &str) {
        let bytes: String = keys.bytes().map(|byte| format!(" {byte:02x}")).collect();
        self.ask(&format!("send-keys -t {name} -H{bytes}"));
    }
}

impl Drop for Tmux<'_> {
    fn drop(&mut self) {
        let line = "TMUX_TMPDIR=\"$PWD\" exec tmux -L outer kill-server";
        let _ = self.0.sh(line).run();
    }
}

/// Runs `program` there, types until it shows `text`, leaves it, and looks at it beside one that runs
/// here: what most programs show then is what the machine remembers, as the size is the one that it was.
#[track_caller]
fn check(pair: &Pair, program: &str, keys: &str, text: &str) {
    let script = format!(
        "cd {}; exec env -i PATH=\"$PATH\" HOME=\"$PWD\" TERM=xterm-256color LANG=C.UTF-8 {program}",
        pair.host.work().display()
    );
    let script = pair.host.write("program.sh", script);
    let script = script.display();
    let mut left = on_terminal(pair, &["run", "-t", "box", &format!("sh {script}")], (24, 80));
    left.until("it shows", |screen| !screen.is_empty());
    left.keys(keys);
    left.shows(text);
    let id = session(pair);
    left.keys("~d");
    assert_eq!(left.ended(), 0);

    let tmux = Tmux::start(&pair.client);
    tmux.open("here", &format!("sh {script}"));
    until("it shows here", || !tmux.look("here").0.trim().is_empty());
    tmux.keys("here", keys);
    until(text, || tmux.look("here").0.contains(text));
    tmux.open("there", &format!("exec \"$TOW\" attach box {id}"));
    until(text, || tmux.look("there").0.contains(text));
    let (here, there) = (tmux.look("here"), tmux.look("there"));
    assert!(here == there, "--- here\n{}\n{}\n--- there\n{}\n{}", here.0, here.1, there.0, there.1);
}

#[test]
fn vim_is_drawn_right_on_another_terminal() {
    let pair = Pair::new(TOW);
    let _ = pair
        .host
        .write("text.c", "int main(void) { return 0; } // naïve 漢字 e\u{301}\n".repeat(50));
    let settings =
        "set number cursorline laststatus=2 noswapfile viminfo= mouse=a ttymouse=sgr hlsearch";
    let program = format!("vim -Nu NONE -c '{settings}' -c 'syntax on' text.c");
    check(&pair, &program, ":vsplit\r/return\r:set stl=rea\\ ched\r\x0c\r", "rea ched");
}

#[test]
fn less_is_drawn_right_on_another_terminal() {
    let pair = Pair::new(TOW);
    let lines = (1..=99).map(|n| format!("\x1b[1;3{}m{n}\x1b[0;4m 漢字 naïve\x1b[0m\n", n % 8));
    let _ = pair.host.write("text", lines.collect::<String>());
    check(&pair, "LESSHISTFILE=- less -R text", "/50\r\r", "73");
}

#[test]
fn modes_are_drawn_right_on_another_terminal() {
    let pair = Pair::new(TOW);
    // Colours, attributes, margins, and the modes of the keys, the mouse, the cursor and the lines.
    let script = r"stty -echo; printf 'before\r\n\033[38;5;208mcolour\033[48;2;1;2;3m of 24 bits\033[0m\r\n'
        printf '\033[7;3mboth\033[0m\r\n\033[5;20r\033[?6h\033[3;4Hin margins\033[?6l'
        printf '\033[22;1Hno wrap\033[?7l\033[?1002h\033[?1006h\033[?1h\033=\033[?25l\033[4h\033[10;7H'
        while read word; do printf %s $word; done";
    let _ = pair.host.write("modes", script);
    check(&pair, "sh modes", "typed\r", "typed");
}
