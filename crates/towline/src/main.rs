//! `tow`: run commands and move files on machines you own, over one encrypted port.
//!
//! This crate has arguments, configuration, terminal output and exit codes. It is the only one
//! that prints, exits or reads the environment, and it decides nothing about what is allowed.

mod account;
mod allocator;
mod args;
mod carry;
mod client;
mod cmd;
mod encoding;
mod escape;
mod failure;
mod home;
mod local_peer;
mod output;
mod progress;
#[cfg(test)]
mod reference;
mod remote;
mod stdio;
mod terminal;

use std::process::ExitCode;

use clap::Parser as _;
use tracing_subscriber::EnvFilter;

use crate::args::{Args, Command};
use crate::failure::Failure;

fn main() -> ExitCode {
    allocator::keep_freed_memory();
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return usage(&error),
    };
    start_log(&args);
    let kind = failure::Kind::of(&args.command);
    match dispatch(args) {
        Ok(code) => code,
        Err(failure) => failure.report(kind),
    }
}

fn dispatch(args: Args) -> Result<ExitCode, Failure> {
    let Args { command, quiet, verbose } = args;
    let (quiet, verbose) = (output::Quiet(quiet), verbose > 0);
    match command {
        Command::Serve(args) => cmd::serve::run(args),
        Command::Keeper(args) => cmd::keeper::run(args),
        Command::Invite(args) => cmd::invite::run(args),
        Command::Join(args) => cmd::join::run(args),
        Command::Keys(args) => cmd::keys::run(args),
        Command::Hosts(args) => cmd::hosts::run(args),
        Command::Run(args) => cmd::run::run(args, quiet),
        Command::Shell(args) => cmd::shell::run(args, quiet),
        Command::Attach(args) => cmd::attach::run(args, quiet),
        Command::Sessions(args) => cmd::sessions::run(args),
        Command::Logs(args) => cmd::logs::run(args, quiet),
        Command::Wait(args) => cmd::wait::run(args, quiet),
        Command::Kill(args) => cmd::kill::run(args),
        Command::Ls(args) => cmd::ls::run(args),
        Command::Stat(args) => cmd::stat::run(args),
        Command::Cat(args) => cmd::cat::run(args),
        Command::Mkdir(args) => cmd::mkdir::run(args),
        Command::Mv(args) => cmd::mv::run(args),
        Command::Rm(args) => cmd::rm::run(args),
        Command::Get(args) => cmd::get::run(args, quiet, verbose),
        Command::Put(args) => cmd::put::run(args, quiet, verbose),
        Command::Sync(args) => cmd::sync::run(args, quiet, verbose),
        Command::Share(args) => cmd::share::run(args),
        Command::Open(args) => cmd::open::run(args, quiet),
        Command::Audit(args) => cmd::audit::run(args),
        Command::Doctor(args) => cmd::doctor::run(args),
        Command::Classic(args) => Ok(cmd::classic::run(args)),
        Command::Completions { shell } => cmd::completions::run(shell),
    }
}

/// Clap's own exits, in the two lines and with the exit codes of this program.
fn usage(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind;
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        output::status(text.trim_end());
        return ExitCode::from(failure::USAGE);
    }
    let command =
        std::env::args_os().skip(1).find(|word| !word.as_encoded_bytes().starts_with(b"-"));
    let command = command.filter(|word| args::is_command(word)).unwrap_or_default();
    let help = ["tow", &command.to_string_lossy(), "--help"].join(" ").replace("  ", " ");
    let kind = failure::Kind::named(&command);
    Failure::usage(args::in_one_line(&text)).hint(help).report(kind)
}

fn start_log(args: &Args) {
    let default = match (&args.command, args.verbose) {
        (_, 2..) => "debug",
        (Command::Serve(_) | Command::Keeper(_), _) | (_, 1) => "info",
        _ => "error",
    };
    let filter = EnvFilter::try_from_env("TOWLINE_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(false)
        .init();
}
