//! The command reference: docs/COMMANDS.md, written from the definitions that `--help` shows.

use std::fmt::Write as _;

use clap::{Command, CommandFactory as _};

use crate::args::Args;

#[test]
fn the_command_reference_is_what_the_commands_say() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/COMMANDS.md");
    let reference = reference();
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(path, &reference).unwrap();
    }
    let stored = std::fs::read_to_string(path).unwrap();
    assert!(
        stored == reference,
        "docs/COMMANDS.md is out of date: UPDATE_REFERENCE=1 cargo test -p towline reference"
    );
}

fn reference() -> String {
    let mut root = Args::command().term_width(WIDTH);
    root.build();
    let mut text = String::from(
        "# Commands\n\nWritten from the program's own help; a test keeps it so. `-h` shows the same.\n",
    );
    describe(&root, "tow", &mut text);
    text
}

fn describe(command: &Command, name: &str, text: &mut String) {
    let help = command.clone().term_width(WIDTH).render_long_help();
    let lines: Vec<_> =
        help.to_string().trim_end().lines().map(|line| line.trim_end().to_owned()).collect();
    let _ = write!(text, "\n## {name}\n\n```text\n{}\n```\n", lines.join("\n"));
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        describe(sub, &format!("{name} {}", sub.get_name()), text);
    }
}

const WIDTH: usize = 100;
