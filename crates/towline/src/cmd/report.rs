//! What became of a transfer, for people and for scripts.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use indicatif::ProgressBar;
use serde::Serialize;
use tow_node::transfer::{Change, Outcome, Watch};
use tow_proto::{ByteString, Code, Refusal};

use crate::failure::Failure;
use crate::output::{self, Quiet};

/// Says every change: with `--dry-run` and `-v`.
pub(crate) struct Items {
    bar: ProgressBar,
    json: bool,
    /// Nobody reads stdout any more.
    is_unread: AtomicBool,
}

impl Items {
    pub(crate) fn new(bar: ProgressBar, json: bool) -> Self {
        Self { bar, json, is_unread: AtomicBool::new(false) }
    }
}

#[derive(Serialize)]
struct ItemLine<'a> {
    event: &'static str,
    change: &'static str,
    path: &'a ByteString,
    size: u64,
}

impl Watch for Items {
    fn item(&self, change: Change, path: &[u8], size: u64) {
        if self.is_unread.load(Relaxed) {
            return;
        }
        let path = ByteString::from(if path.is_empty() { b"." } else { path });
        let change = word(change);
        let said = self.bar.suspend(|| {
            if self.json {
                output::json(&ItemLine { event: "item", change, path: &path, size })
            } else {
                output::line(format_args!("{change:<8} {path}"))
            }
        });
        if said.is_err() {
            self.is_unread.store(true, Relaxed);
        }
    }
}

fn word(change: Change) -> &'static str {
    match change {
        Change::New => "new",
        Change::Content => "update",
        Change::Meta => "meta",
        Change::Delete => "delete",
        Change::Dir => "dir",
        Change::Link => "link",
        Change::Hard => "hard",
        Change::Special => "special",
    }
}

#[derive(Serialize)]
struct Failed<'a> {
    event: &'static str,
    path: &'a ByteString,
    code: u16,
    message: String,
}

#[derive(Serialize)]
struct Done<'a> {
    event: &'static str,
    path: &'a ByteString,
    dry_run: bool,
    files: u64,
    same: u64,
    patched: u64,
    dirs: u64,
    links: u64,
    hard_links: u64,
    special: u64,
    deleted: u64,
    bytes: u64,
    reused: u64,
    failed: u64,
    seconds: f64,
}

/// How a report is given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    pub(crate) json: bool,
    pub(crate) quiet: Quiet,
    pub(crate) dry_run: bool,
    /// How many entries may be removed.
    pub(crate) max_delete: Option<u64>,
}

/// Says what became of a transfer to or from `path`, and whether all of it worked.
pub(crate) fn report(
    path: &ByteString,
    outcome: &Outcome,
    took: Duration,
    style: Style,
) -> Result<bool, Failure> {
    let shown_max = if style.json { usize::MAX } else { FAILURES_SHOWN_MAX };
    for failure in outcome.failures.iter().take(shown_max) {
        let shown = if failure.path.is_empty() { path } else { &failure.path };
        let message = message(&failure.why, style);
        if style.json {
            let code = failure.why.code.number();
            output::json(&Failed { event: "failed", path: shown, code, message })?;
        } else {
            output::status(format_args!("tow: error: {shown}: {message}"));
        }
    }
    let more = outcome.failures.len().saturating_sub(shown_max);
    if more > 0 {
        output::status(format_args!("tow: error: {more} more failed; --json names each"));
    }
    let s = outcome.summary;
    if style.json {
        output::json(&Done {
            event: "done",
            path,
            dry_run: style.dry_run,
            files: s.files,
            same: s.same,
            patched: s.patched,
            dirs: s.dirs,
            links: s.links,
            hard_links: s.hard_links,
            special: s.special,
            deleted: s.deleted,
            bytes: s.bytes,
            reused: s.reused,
            failed: s.failed,
            seconds: took.as_secs_f64(),
        })?;
    } else if (output::is_watched() || style.dry_run) && !style.quiet.0 {
        output::status(summary(path, outcome, took, style.dry_run));
    }
    Ok(s.failed == 0 && outcome.failures.is_empty())
}

fn message(why: &Refusal, style: Style) -> String {
    match style.max_delete {
        Some(max) if why.code == Code::TooLong && why.count == Some(max) => {
            format!("stays, with what else was to be removed: --max-delete {max} is reached")
        }
        _ => Refusal { path: None, ..why.clone() }.to_string(),
    }
}

fn summary(path: &ByteString, outcome: &Outcome, took: Duration, dry_run: bool) -> String {
    let s = outcome.summary;
    let seconds = took.as_secs_f64().max(0.001);
    let mut text = if dry_run {
        format!("{path}: {} files to copy, nothing done", s.files)
    } else {
        format!(
            "{path}: {} files, {} in {seconds:.1} s ({}/s), verified",
            s.files,
            output::bytes(s.bytes),
            output::bytes((s.bytes as f64 / seconds) as u64),
        )
    };
    let mut also = |count: u64, what: String| {
        if count > 0 {
            text.push_str(&format!("; {what}"));
        }
    };
    also(s.reused, format!("{} were here already", output::bytes(s.reused)));
    also(s.patched, format!("{} of them patched", s.patched));
    also(s.same, format!("{} files unchanged", s.same));
    also(s.deleted, format!("{} {}", s.deleted, if dry_run { "to delete" } else { "deleted" }));
    also(s.failed, format!("{} failed", s.failed));
    text
}

/// Failures that a person is shown: a full disk has the same to say of every file.
const FAILURES_SHOWN_MAX: usize = 20;
