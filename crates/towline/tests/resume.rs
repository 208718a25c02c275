//! Sessions go on where their link was cut, wherever that was: no byte is lost, none comes twice, and
//! nothing is run twice. With `TOW_THOROUGH` set there is more of it than every run has time for.

#![allow(clippy::unwrap_used, reason = "what a test can't do without has failed it")]

#[path = "resume/anywhere.rs"]
mod anywhere;
#[path = "resume/devices.rs"]
mod devices;
#[path = "resume/pipe.rs"]
mod pipe;
#[path = "resume/terminal.rs"]
mod terminal;

use tow_testkit::{Pair, Terminal};

const TOW: &str = env!("CARGO_BIN_EXE_tow");

/// Whether there is time for everything.
fn is_thorough() -> bool {
    std::env::var_os("TOW_THOROUGH").is_some()
}

/// A terminal on which `tow` runs with these arguments.
fn on_terminal(pair: &Pair, args: &[&str]) -> Terminal {
    pair.client.tow(args).env("TERM", "xterm-256color").on_terminal(24, 80)
}

/// The id of the only session on the machine.
fn session(pair: &Pair) -> String {
    let listed = pair.host.tow(["sessions", ".", "--json"]).run().ok().json();
    assert_eq!(listed.len(), 1, "{listed:?}");
    listed[0]["id"].as_str().unwrap().to_owned()
}
