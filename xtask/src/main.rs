//! `cargo x …`: the steps that every change goes through, each a thin name for one command.
//!
//! The rules of the house are in `xtask/tests/tidy.rs` and run with the other tests.

#![allow(clippy::print_stderr)] // A tool for the terminal of whoever builds.

mod demo;
mod web;

use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

/// One command, run at the top of the workspace.
type Step = fn() -> Result<()>;

/// The steps of `ci`, in its order.
const STEPS: [(&str, Step); 6] = [
    ("fmt-check", fmt_check),
    ("clippy", clippy),
    ("deny", deny),
    ("web", web::web),
    ("test", test),
    ("e2e", web::e2e),
];

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let name = args.first().map_or("", String::as_str);
    if let Some((name, step)) = STEPS.iter().find(|(known, _)| *known == name) {
        return run(name, *step);
    }
    match name {
        "ci" => STEPS.iter().try_for_each(|(name, step)| run(name, *step)),
        "test-peers" => test_peers(),
        "bench" => bench(&args[1..]),
        "demo" => demo::demo(),
        "page-speed" => web::page_speed(),
        "web-build" => web::build(),
        _ => {
            let steps = STEPS.map(|(name, _)| name).join("|");
            bail!("usage: cargo x {steps}|ci|test-peers|bench [CASE]…|demo|web-build|page-speed")
        }
    }
}

fn run(name: &str, step: Step) -> Result<()> {
    eprintln!("== {name}");
    let started = Instant::now();
    step().with_context(|| format!("cargo x {name}"))?;
    eprintln!("== {name}: {:.1} s", started.elapsed().as_secs_f32());
    Ok(())
}

fn fmt_check() -> Result<()> {
    cargo(&["fmt", "--all", "--check"])?;
    cargo(&["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"])
}

fn clippy() -> Result<()> {
    // `--all-targets` leaves out what no plain test run has.
    for targets in [&["--all-targets"][..], &["--test", "tus_peer"]] {
        let clippy = ["clippy", "--workspace", "--locked"];
        cargo(&[&clippy[..], targets, &["--", "--deny", "warnings"]].concat())?;
    }
    Ok(())
}

fn deny() -> Result<()> {
    if !has("deny") {
        bail!("cargo-deny is missing: make tools");
    }
    let checks = ["bans", "licenses", "sources"];
    cargo(&[&["deny", "--locked", "check", "--hide-inclusion-graph"][..], &checks].concat())
}

fn test() -> Result<()> {
    if has("nextest") {
        return cargo(&["nextest", "run", "--workspace", "--locked", "--no-fail-fast"]);
    }
    cargo(&["test", "--workspace", "--locked", "--quiet"])
}

/// The long ones: other people's programs, and far more cuts and kills than every run has time for.
fn test_peers() -> Result<()> {
    let of_towline = ["test", "--locked", "--package", "towline"];
    web::install_if_missing()?;
    let peers = ["--test", "classic", "--test", "peers", "--test", "tus_peer"];
    cargo(&[&of_towline[..], &peers].concat())?;
    let thorough = [&of_towline[..], &["--test", "resume", "--test", "dav"]].concat();
    cargo_with(&thorough, &[("TOW_THOROUGH", "1")])?;
    let kills = [&of_towline[..], &["--test", "files", "kill::"]].concat();
    cargo_with(&kills, &[("TOWLINE_KILLS", "1000")])
}

fn bench(cases: &[String]) -> Result<()> {
    let cases: Vec<&str> = cases.iter().map(String::as_str).collect();
    let bench = ["run", "--release", "--locked", "--quiet", "--package", "tow-bench", "--"];
    cargo(&[&bench[..], &cases].concat())
}

/// Whether cargo knows a subcommand.
fn has(subcommand: &str) -> bool {
    let asked = Command::new(cargo_path())
        .args([subcommand, "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    asked.is_ok_and(|status| status.success())
}

/// Runs cargo at the top of the workspace.
fn cargo(args: &[&str]) -> Result<()> {
    cargo_with(args, &[])
}

/// The same with more variables.
fn cargo_with(args: &[&str], variables: &[(&str, &str)]) -> Result<()> {
    let top = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let mut command = Command::new(cargo_path());
    let status = command.args(args).envs(variables.iter().copied()).current_dir(top).status();
    let status = status.context("cargo could not be started")?;
    if !status.success() {
        bail!("`cargo {}` failed: {status}", args.join(" "));
    }
    Ok(())
}

fn cargo_path() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
