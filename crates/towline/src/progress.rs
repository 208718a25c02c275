//! How far a transfer has come: one line where a person watches, JSON lines where a script does.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use tow_node::transfer::{Phase, Progress, ProgressNow};

use crate::output::{self, Quiet};

/// A progress line that follows the counters of a transfer until it is dropped.
pub(crate) struct Line {
    bar: ProgressBar,
    ticker: Option<tokio::task::JoinHandle<()>>,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown {
    /// `-q` was given.
    pub(crate) quiet: Quiet,
    /// `--json` was given.
    pub(crate) json: bool,
}

impl Line {
    /// A line for `name`. Must be called within a tokio runtime.
    pub(crate) fn show(name: &str, progress: Arc<Progress>, shown: Shown) -> Self {
        let is_shown = output::is_watched() && !shown.quiet.0 && !shown.json;
        let target = if is_shown {
            ProgressDrawTarget::stderr_with_hz(10)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(None, target);
        let ticker = match (is_shown, shown.json && !shown.quiet.0) {
            (true, _) => {
                bar.set_style(
                    ProgressStyle::with_template("{wide_msg}").expect("a valid template"),
                );
                Some(tokio::spawn(draw(bar.clone(), name.to_owned(), progress)))
            }
            (false, true) => Some(tokio::spawn(tell(progress))),
            (false, false) => None,
        };
        Self { bar, ticker }
    }

    /// Prints above the line.
    pub(crate) fn say(&self, text: &str) {
        self.bar.suspend(|| output::status(text));
    }

    /// What others print above the line with.
    pub(crate) fn bar(&self) -> ProgressBar {
        self.bar.clone()
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

async fn draw(bar: ProgressBar, name: String, progress: Arc<Progress>) {
    let mut rate = Rate::default();
    loop {
        let now = progress.now();
        rate.add(Instant::now(), now.bytes_done - now.bytes_reused.min(now.bytes_done));
        let columns = console_columns();
        bar.set_message(text(&name, &now, &rate, columns));
        bar.tick();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn tell(progress: Arc<Progress>) {
    let mut rate = Rate::default();
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = progress.now();
        rate.add(Instant::now(), now.bytes_done - now.bytes_reused.min(now.bytes_done));
        let told = output::json(&Told {
            event: "progress",
            phase: phase_word(now.phase),
            files_done: now.files_done,
            files_total: now.files_total,
            bytes_done: now.bytes_done,
            bytes_total: now.bytes_total,
            bytes_per_second: rate.per_second(),
            seconds_left: rate.left(&now).map(|left| left.as_secs()),
        });
        if told.is_err() {
            return;
        }
    }
}

#[derive(Serialize)]
struct Told {
    event: &'static str,
    phase: &'static str,
    files_done: u64,
    files_total: u64,
    bytes_done: u64,
    bytes_total: u64,
    bytes_per_second: u64,
    seconds_left: Option<u64>,
}

/// As the one who draws the line takes it: without rows there are no columns to be believed either.
fn console_columns() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stderr()).ok();
    let size = size.filter(|size| size.ws_row > 0 && size.ws_col > 0);
    size.map_or(80, |size| usize::from(size.ws_col))
}

fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Scanning => "scanning",
        Phase::Comparing => "comparing",
        Phase::Hashing => "hashing",
        Phase::Moving => "moving",
        Phase::Saving => "flushing",
        Phase::Done => "done",
    }
}

/// One line of at most `columns`: what matters most stands first, and what does not fit is left
/// out, the name first.
fn text(name: &str, now: &ProgressNow, rate: &Rate, columns: usize) -> String {
    let mut parts: Vec<String> = Vec::new();
    if now.bytes_total > 0 {
        let share = 100 * now.bytes_done.min(now.bytes_total) / now.bytes_total.max(1);
        parts.push(format!("{share:>3}%"));
    }
    if now.phase != Phase::Moving {
        parts.push(phase_word(now.phase).to_owned());
    }
    if now.bytes_total > 0 {
        parts.push(format!("{}/{}", output::bytes(now.bytes_done), output::bytes(now.bytes_total)));
    }
    if now.phase == Phase::Moving {
        parts.push(format!("{}/s", output::bytes(rate.per_second())));
        if let Some(left) = rate.left(now) {
            parts.push(format!("{} left", clock(left)));
        }
    }
    if now.files_total > 1 {
        parts.push(format!("{}/{} files", now.files_done, now.files_total));
    }
    let mut line = String::new();
    for part in parts {
        let sep = if line.is_empty() { "" } else { "  " };
        if line.chars().count() + sep.len() + part.chars().count() >= columns {
            break;
        }
        line.push_str(sep);
        line.push_str(&part);
    }
    let room = columns.saturating_sub(line.chars().count() + 3);
    if name.chars().count() <= room { format!("{name}  {line}") } else { line }
}

fn clock(left: Duration) -> String {
    let seconds = left.as_secs();
    match seconds {
        0..=3599 => format!("{}:{:02}", seconds / 60, seconds % 60),
        _ => format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60),
    }
}

/// The rate of the last few seconds: one over all the time says nothing of a link that has slowed
/// down.
#[derive(Default)]
struct Rate {
    samples: VecDeque<(Instant, u64)>,
}

impl Rate {
    fn add(&mut self, at: Instant, bytes: u64) {
        // What was counted can be taken back: a file that starts again.
        if self.samples.back().is_some_and(|(_, before)| *before > bytes) {
            self.samples.clear();
        }
        self.samples.push_back((at, bytes));
        while self.samples.len() > 2 && at - self.samples[0].0 > WINDOW {
            self.samples.pop_front();
        }
    }

    fn per_second(&self) -> u64 {
        let (Some(first), Some(last)) = (self.samples.front(), self.samples.back()) else {
            return 0;
        };
        let seconds = (last.0 - first.0).as_secs_f64();
        if seconds < 0.05 { 0 } else { ((last.1 - first.1) as f64 / seconds) as u64 }
    }

    fn left(&self, now: &ProgressNow) -> Option<Duration> {
        let rate = self.per_second();
        let left = now.bytes_total.checked_sub(now.bytes_done)?;
        let seconds = left.checked_div(rate)?;
        (seconds < LEFT_MAX).then(|| Duration::from_secs(seconds))
    }
}

/// How far back the rate looks.
const WINDOW: Duration = Duration::from_secs(5);
/// Beyond this many seconds, nobody knows.
const LEFT_MAX: u64 = 100 * 3600;

#[cfg(test)]
mod tests {
    use super::*;

    fn moving() -> (ProgressNow, Rate) {
        let now = ProgressNow {
            files_total: 300,
            files_done: 12,
            bytes_total: 4 << 30,
            bytes_done: 1 << 30,
            phase: Phase::Moving,
            ..ProgressNow::default()
        };
        let (mut rate, start) = (Rate::default(), Instant::now());
        rate.add(start, 0);
        rate.add(start + Duration::from_secs(1), 100 << 20);
        (now, rate)
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let (now, rate) = moving();
        let whole = " 25%  1.00 GiB/4.00 GiB  100.00 MiB/s  0:30 left  12/300 files";
        assert_eq!(text("box:tree", &now, &rate, 120), format!("box:tree  {whole}"));
        assert_eq!(text("box:tree", &now, &rate, 70), whole);
        assert_eq!(text("box:tree", &now, &rate, 26), " 25%  1.00 GiB/4.00 GiB");
        for columns in 10..100 {
            assert!(text("box:tree", &now, &rate, columns).chars().count() < columns);
        }
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        assert_eq!(rate.per_second(), 0);
        for second in 0..20 {
            let bytes = if second < 10 { second * 1_000 } else { 9_000 + (second - 9) * 10 };
            rate.add(start + Duration::from_secs(second), bytes);
        }
        assert_eq!(rate.per_second(), 10);
        rate.add(start + Duration::from_secs(20), 5);
        assert_eq!(rate.per_second(), 0, "it starts again");
    }

    #[test]
    fn what_is_going_on_is_said() {
        let scanning = ProgressNow { files_total: 5, ..ProgressNow::default() };
        let line = text("a", &scanning, &Rate::default(), 80);
        assert_eq!(line, "a  scanning  0/5 files");
    }
}
