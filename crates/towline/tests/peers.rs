//! Programs of other people on terminals over towline: what they show, what they are typed, and that
//! they are the same wherever they are looked at.

#![allow(clippy::unwrap_used, reason = "what a test can't do without has failed it")]

#[path = "peers/full_screen.rs"]
mod full_screen;
#[path = "peers/look.rs"]
mod look;
#[path = "peers/other_terminal.rs"]
mod other_terminal;

use tow_testkit::{Pair, Terminal, files_beneath};

const TOW: &str = env!("CARGO_BIN_EXE_tow");
const JOB_CONTROL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/job_control.exp");

/// A terminal on which `tow` runs with these arguments.
fn on_terminal(pair: &Pair, args: &[&str], (rows, cols): (u16, u16)) -> Terminal {
    pair.client.tow(args).env("TERM", "xterm-256color").on_terminal(rows, cols)
}

/// The id of the only session on the machine.
fn session(pair: &Pair) -> String {
    let listed = pair.client.tow(["sessions", "box", "--json"]).run().ok().json();
    assert_eq!(listed.len(), 1, "{listed:?}");
    listed[0]["id"].as_str().unwrap().to_owned()
}

/// Variables of the last exit status and of the job in the background.
const POSIX: [&str; 2] = ["$?", "%1"];

/// Has a shell driven that `tow` starts with these arguments.
#[track_caller]
fn check_jobs(prompt: &str, [status, job]: [&str; 2], tow: &[&str]) {
    let pair = Pair::new(TOW);
    let line = r#"exec expect -f "$SCRIPT" "$PROMPT" "$STATUS" "$JOB" "$TOW" "$@""#;
    let driven = pair.client.sh(line).arg("sh").args(tow).env("TERM", "xterm");
    let driven = driven
        .env("SCRIPT", JOB_CONTROL)
        .env("PROMPT", prompt)
        .env("STATUS", status)
        .env("JOB", job);
    let _ = driven.run().expect(7);
}

#[test]
fn jobs_of_bash_are_controlled() {
    let bash = ["bash", "--norc", "--noprofile", "-i"];
    let run = ["run", "-t", "--env", "PS1=ready> ", "box", "--"];
    check_jobs("ready> ", POSIX, &[&run[..], &bash].concat());
}

#[test]
fn jobs_of_zsh_are_controlled() {
    let run = ["run", "-t", "--env", "PS1=ready> ", "box", "--", "zsh", "-f", "-i"];
    check_jobs("ready> ", POSIX, &run);
}

#[test]
fn jobs_of_dash_are_controlled() {
    let run = ["run", "-t", "--env", "PS1=ready> ", "box", "--", "dash", "-i"];
    check_jobs("ready> ", POSIX, &run);
}

#[test]
fn jobs_of_fish_are_controlled() {
    let prompt = "function fish_prompt; echo -n 'ready> '; end";
    let run = ["run", "-t", "box", "--", "fish", "--no-config", "-C", prompt, "-i"];
    check_jobs("ready> ", ["$status", "$last_pid"], &run);
}

#[test]
fn jobs_of_the_login_shell_are_controlled() {
    check_jobs("[$#%] ", POSIX, &["shell", "box"]);
}

#[test]
fn a_secret_that_is_asked_for_on_the_terminal_is_kept_nowhere() {
    let pair = Pair::new(TOW);
    let program = "import getpass\n\
        secret = getpass.getpass('Secret: ')\n\
        print('backwards:', secret[::-1])";
    // Its stdin is none: it asks at the terminal itself, as sudo does.
    let line = format!("python3 -c \"{program}\" </dev/null");
    let mut terminal = on_terminal(&pair, &["run", "-t", "box", &line], (24, 80));
    terminal.shows("Secret:");
    terminal.keys("Kx7-wörd 93\r");
    terminal.shows("backwards: 39 dröw-7xK");
    assert_eq!(terminal.ended(), 0);
    let id = session(&pair);
    let log = pair.client.tow(["logs", "box", &id]).run().ok().stdout;
    let has_secret = |bytes: &[u8]| bytes.windows(4).any(|part| part == b"Kx7-");
    assert!(log.windows(7).any(|part| part == "dröw-7".as_bytes()), "{log:?}");
    assert!(!has_secret(&log) && !has_secret(&terminal.bytes()));
    for (path, content) in files_beneath(&pair.host.home()) {
        assert!(!content.is_some_and(|content| has_secret(&content)), "{}", path.display());
    }
}
