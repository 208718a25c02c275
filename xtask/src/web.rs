//! `cargo x web` and `cargo x e2e`: the page, and the page in a real browser.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::demo::{Node, Stage, text_after};

/// Installs what the page is made of, checks it, tests what needs no browser, and builds it into
/// `web/dist`, from where it goes into the binary.
pub(crate) fn web() -> Result<()> {
    npm(&["ci", "--no-audit", "--no-fund"], &[])?;
    npm(&["run", "check"], &[])?;
    npm(&["test"], &[])?;
    npm(&["run", "build"], &[])
}

/// Only builds it.
pub(crate) fn build() -> Result<()> {
    npm(&["ci", "--no-audit", "--no-fund"], &[])?;
    npm(&["run", "build"], &[])
}

/// Installs what the page is made of, where nobody has yet.
pub(crate) fn install_if_missing() -> Result<()> {
    if directory().join("node_modules").is_dir() {
        return Ok(());
    }
    npm(&["ci", "--no-audit", "--no-fund"], &[])
}

/// Every flow of the page in Chromium, against a node of its own. Screenshots are left in
/// `web/e2e/shots`. Its limits of time are wide: how fast it is, a quiet machine says
/// (docs/BENCHMARKS.md).
pub(crate) fn e2e() -> Result<()> {
    super::cargo(&["build", "--locked", "--package", "towline"])?;
    for spec in specs()? {
        try_in_browser(&spec, &Stage::new()?, &[("TOW_LOADED", "1")])?;
    }
    Ok(())
}

/// How fast the page is: the flows that have a limit of time, with `tow` as it ships.
pub(crate) fn page_speed() -> Result<()> {
    super::cargo(&["build", "--release", "--locked", "--package", "towline"])?;
    for spec in ["speed.spec.ts", "page.spec.ts"] {
        try_in_browser(spec, &Stage::of_release()?, &[])?;
    }
    Ok(())
}

fn specs() -> Result<Vec<String>> {
    let mut specs: Vec<_> = fs::read_dir(directory().join("e2e"))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".spec.ts"))
        .collect();
    specs.sort();
    Ok(specs)
}

fn try_in_browser(spec: &str, stage: &Stage, more: &[(&str, &str)]) -> Result<()> {
    let node = Node::start(stage)?;
    let invitation = stage.output("machine", &["invite", "--json"])?;
    let link = text_after(&invitation, "\"ticket\":\"").context("no ticket")?;
    let url = format!("http://{}/", node.address);
    let (home, tow) = (stage.path("machine"), stage.tow_path());
    let (home, tow) = (home.to_string_lossy(), tow.to_string_lossy());
    let mut variables = vec![
        ("TOW_URL", url.as_str()),
        ("TOW_LINK", &link),
        ("TOW_BIN", &tow),
        ("TOWLINE_HOME", &home),
    ];
    variables.extend(more);
    npm(&["run", "e2e", "--", spec], &variables)
}

fn npm(args: &[&str], variables: &[(&str, &str)]) -> Result<()> {
    let mut command = Command::new("npm");
    command.args(args).envs(variables.iter().copied()).current_dir(directory());
    let status = command.status().context("npm could not be started: make tools")?;
    if !status.success() {
        bail!("`npm {}` failed: {status}", args.join(" "));
    }
    Ok(())
}

fn directory() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../web"))
}
