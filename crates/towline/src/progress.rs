//! One line that shows how far a transfer has come: only where a person watches.

use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tow_host_progress::{Phase, Progress};

use crate::output::{self, Quiet};

mod tow_host_progress {
    pub(super) use tow_node::transfer::{Phase, Progress};
}

/// A progress line that follows the counters of a transfer until it is dropped.
pub(crate) struct Line {
    bar: ProgressBar,
    ticker: Option<tokio::task::JoinHandle<()>>,
}

impl Line {
    /// A line for `name`. Must be called within a tokio runtime.
    pub(crate) fn show(name: &str, progress: Arc<Progress>, quiet: Quiet) -> Self {
        let is_shown = output::is_watched() && !quiet.0;
        let bar = ProgressBar::with_draw_target(
            None,
            if is_shown {
                ProgressDrawTarget::stderr_with_hz(10)
            } else {
                ProgressDrawTarget::hidden()
            },
        );
        if !is_shown {
            return Self { bar, ticker: None };
        }
        bar.set_style(style("{prefix:.bold} {msg}"));
        bar.set_prefix(name.to_owned());
        let ticker = tokio::spawn({
            let bar = bar.clone();
            async move {
                let mut is_sized = false;
                loop {
                    // A bar without a total would say that all of nothing is done.
                    if !is_sized && progress.now().bytes_total > 0 {
                        bar.set_style(style(SIZED));
                        is_sized = true;
                    }
                    update(&bar, &progress);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        });
        Self { bar, ticker: Some(ticker) }
    }

    /// Prints above the line.
    pub(crate) fn say(&self, text: &str) {
        self.bar.suspend(|| output::status(text));
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(ticker) = &self.ticker {
            ticker.abort();
            self.bar.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("a valid template").progress_chars("=> ")
}

const SIZED: &str = "{prefix:.bold} {msg} [{bar:20}] {percent:>3}% {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta} left";

fn update(bar: &ProgressBar, progress: &Progress) {
    let now = progress.now();
    bar.set_length(now.bytes_total.max(now.bytes_done));
    bar.set_position(now.bytes_done);
    let files = if now.files_total > 1 {
        format!("{}/{} files", now.files_done, now.files_total)
    } else {
        String::new()
    };
    bar.set_message(match now.phase {
        Phase::Scanning => "scanning".to_owned(),
        Phase::Comparing => "comparing".to_owned(),
        Phase::Saving => "saving".to_owned(),
        _ => files,
    });
}
