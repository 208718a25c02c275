//! Programs that have the whole screen, beside the same ones on a terminal of this machine: when they
//! run, when they were left and looked at again, and on a terminal of another size.

use tow_testkit::{Pair, Terminal, is_running, until};
use vt100::{CursorStyle, MouseProtocolEncoding, MouseProtocolMode};

use super::look::{Look, are_the_same};
use super::{TOW, on_terminal, session};

/// A program here and there. The files of both are those of the machine that is served.
struct Both {
    pair: Pair,
    here: Terminal,
    there: Terminal,
    /// How the last line starts when the program has drawn all of it.
    bottom: &'static str,
}

const SMALL: (u16, u16) = (24, 80);
const LARGE: (u16, u16) = (33, 101);

/// A clean environment: what differs is the way to the screen alone.
const ENV: &str =
    "exec env -i PATH=\"$PATH\" HOME=\"$PWD\" TERM=xterm-256color LANG=C.UTF-8 LINES= COLUMNS=";

impl Both {
    /// Starts `line` on both; `$1` is `here` or `there`.
    fn start(pair: Pair, line: &str, bottom: &'static str) -> Self {
        let script = pair.host.write("program.sh", line);
        let script = script.display();
        let here = pair.host.sh(&format!("cd {}; sh {script} here", pair.host.work().display()));
        let here = here.on_terminal(SMALL.0, SMALL.1);
        let there = on_terminal(&pair, &["shell", "box"], SMALL);
        there.keys("PS1='ready> '; clear; echo pri''mary\r");
        there.until("a shell", |screen| screen == "primary\nready>");
        there.keys(format!("sh {script} there\r"));
        Self { pair, here, there, bottom }
    }

    /// Types the same on both, and waits for it to show.
    #[track_caller]
    fn keys(&self, keys: &str, shows: &str) {
        self.here.keys(keys);
        self.there.keys(keys);
        self.show(shows);
    }

    /// Waits for so many prompts of shells.
    #[track_caller]
    fn prompts(&self, count: usize) {
        for terminal in [&self.here, &self.there] {
            terminal.until("prompts", |screen| screen.matches("pane>").count() == count);
        }
    }

    #[track_caller]
    fn show(&self, text: &str) {
        self.here.shows(text);
        self.there.shows(text);
    }

    /// Once both have drawn for the size that they have: what is on a terminal that became larger or
    /// smaller is the same everywhere.
    #[track_caller]
    fn are_the_same(&self, when: &str) {
        for terminal in [&self.here, &self.there] {
            let is_drawn = || last_line(terminal).starts_with(self.bottom);
            until(&format!("{when}: {:?} at the bottom", self.bottom), is_drawn);
        }
        are_the_same(when, &self.here, &self.there);
    }

    /// Detaches there, and attaches from a terminal of this size.
    #[track_caller]
    fn move_to(&mut self, size: (u16, u16)) {
        let id = session(&self.pair);
        self.there.keys("~d");
        assert_eq!(self.there.ended(), 0);
        self.there.shows("detached");
        assert!(!self.there.look(vt100::Screen::alternate_screen));
        self.there = on_terminal(&self.pair, &["attach", "box", &id], size);
    }

    /// Leaves it and looks again, on terminals of the same size and of others.
    #[track_caller]
    fn is_the_same_wherever_it_is_seen(&mut self) {
        self.are_the_same("at first");
        self.move_to(SMALL);
        self.are_the_same("attached again");
        for size in [LARGE, SMALL] {
            self.here.resize(size.0, size.1);
            self.move_to(size);
            self.are_the_same("attached on a terminal of another size");
        }
        self.there.resize(LARGE.0, LARGE.1);
        self.here.resize(LARGE.0, LARGE.1);
        self.are_the_same("resized");
    }

    /// The program ends there: the shell has its own screen back.
    #[track_caller]
    fn ends(&self, keys: &str) {
        self.there.keys(keys);
        self.there
            .until("the shell's own screen", |screen| screen.starts_with("primary\nready> sh"));
        assert!(!self.there.look(vt100::Screen::alternate_screen));
    }
}

fn last_line(terminal: &Terminal) -> String {
    terminal.look(|screen| {
        let (rows, cols) = screen.size();
        let (last, cols) = (rows.get() - 1, cols.get());
        screen.contents_between(last, 0, last, cols).trim_end().to_owned()
    })
}

/// Text with letters of all widths, numbered.
fn text() -> String {
    (1..=200).map(|number| format!("{number}: naïve 漢字 e\u{301} \tand so on\n")).collect()
}

#[test]
fn vim_looks_the_same_from_everywhere() {
    let pair = Pair::new(TOW);
    let _ = pair.host.write("text.c", format!("int main(void) {{ return 0; }}\n{}", text()));
    let vimrc = "set nocompatible number cursorline laststatus=2 ruler showmode noswapfile viminfo=\n\
        set mouse=a ttymouse=sgr title titlestring=text\\ in\\ vim nomodeline ambiwidth=single\n\
        let &t_SI = \"\\e[6 q\"\nlet &t_EI = \"\\e[2 q\"\nsyntax on\nset background=dark\n";
    let _ = pair.host.write("vimrc", vimrc);
    let mut both = Both::start(pair, &format!("{ENV} vim -u vimrc text.c"), "");
    both.show("int main");
    both.keys("20Gvjj", "VISUAL");
    both.are_the_same("visual");
    both.keys("\x1b:vsplit\r", "vsplit");
    both.keys("40Gzti", "INSERT");
    both.keys("typed\r", "typed");
    both.bottom = "-- INSERT --";
    let look = Look::of(&both.there);
    let modes = look.modes();
    assert_eq!(modes.cursor_style, CursorStyle::SteadyVerticalBar);
    assert_eq!(modes.mouse, (MouseProtocolMode::ButtonMotion, MouseProtocolEncoding::Sgr));
    assert!(modes.is_alternate && modes.has_bracketed_paste);
    assert_eq!(modes.title, "text in vim");
    both.is_the_same_wherever_it_is_seen();
    // It hears what it asked for: a click, and a paste.
    both.keys("\x1b[<0;20;3M\x1b[<0;20;3m", "41,");
    both.are_the_same("clicked");
    both.keys("\x1b[200~  pasted\x1b[201~", "pasted");
    both.are_the_same("pasted");
    both.ends("\x1b:qa!\r");
}

#[test]
fn less_looks_the_same_from_everywhere() {
    let pair = Pair::new(TOW);
    let coloured: String = text()
        .lines()
        .enumerate()
        .map(|(at, line)| format!("\x1b[3{}m{line}\x1b[0m\n", at % 8))
        .collect();
    let _ = pair.host.write("text", coloured);
    let mut both = Both::start(pair, &format!("{ENV} LESSHISTFILE=- less -R text"), ":");
    both.show("21: naïve");
    both.keys("/150: na\r", "171: naïve");
    both.keys("\r\r", "173: naïve");
    both.is_the_same_wherever_it_is_seen();
    both.bottom = "(END)";
    both.keys("G", "200: naïve");
    both.are_the_same("at the end");
    both.ends("q");
}

#[test]
fn htop_looks_the_same_from_everywhere() {
    let pair = Pair::new(TOW);
    // Only what does not change: one process that sleeps, and no meters.
    let sleep = pair.host.sh("exec sleep 1000").start();
    let settings = "htop_version=3.2.2\nconfig_reader_min_version=3\nenable_mouse=1\n\
        header_layout=two_50_50\ncolumn_meters_0=Blank\ncolumn_meter_modes_0=2\n\
        column_meters_1=Blank\ncolumn_meter_modes_1=2\n\
        screen:Main=PID USER PRIORITY NICE Command\n.sort_key=PID\n";
    let _ = pair.host.write("htoprc", settings);
    let line = format!("cp htoprc htoprc-$1; {ENV} HTOPRC=htoprc-$1 htop -p {}", sleep.pid());
    let mut both = Both::start(pair, &line, "F1Help");
    both.show("sleep 1000");
    both.show("F10");
    both.is_the_same_wherever_it_is_seen();
    let look = Look::of(&both.there);
    assert!(look.modes().mouse.0 != MouseProtocolMode::None && look.modes().is_alternate);
    both.keys("\x1bOP", "Arrows");
    both.bottom = "";
    both.are_the_same("help");
    both.keys("q", "sleep 1000");
    both.ends("q");
}

#[test]
fn tmux_looks_the_same_from_everywhere() {
    let pair = Pair::new(TOW);
    let conf = "set -g status-right ''\nset -g status-left 'tmux '\nset -g mouse on\nset -g set-titles on\n\
        set -g set-titles-string 'panes in tmux'\nset -g default-command \"PS1='pane> ' exec sh\"\nset -sg escape-time 0\nset -g assume-paste-time 0\n\
        set -g automatic-rename off\nset -g destroy-unattached on\nset -g default-terminal screen-256color\n";
    let _ = pair.host.write("tmux.conf", conf);
    let line = format!("{ENV} TMUX_TMPDIR=\"$PWD\" tmux -L $1 -f tmux.conf new -n work");
    let mut both = Both::start(pair, &line, "tmux 0:work");
    both.prompts(1);
    both.keys("printf '\\033[32m%s\\n' gr''een\r", "\ngreen");
    both.keys("\x02%", "│");
    both.prompts(3);
    both.keys("echo ri''ght\r", "│right");
    both.keys("\x02\"", "───");
    both.prompts(5);
    both.keys("seq 5 | tac\r", "│1");
    both.prompts(6);
    assert_eq!(Look::of(&both.there).modes().title, "panes in tmux");
    assert!(Look::of(&both.there).modes().mouse.0 != MouseProtocolMode::None);
    both.is_the_same_wherever_it_is_seen();
    both.keys("\x02[", "[0/");
    both.are_the_same("looking back");
    both.keys("q\r\r", "pane> \n");
    both.keys("\x02:", "\n:");
    both.ends("kill-server\r");
    // What was started here ends here.
    both.here.keys("kill-server\r");
    let pid = both.here.pid();
    until("tmux has ended", || !is_running(pid));
}
