//! Coming back to a terminal that has shown 10 MB: from nothing to its whole first screen, by the
//! library and by `tow attach` on a terminal.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use tokio::time::sleep;
use tow_node::ask::session::{Attaching, Output, Patience, Remote, request_id};
use tow_node::ask::sessions::sessions;
use tow_node::ask::{Client, Target};
use tow_proto::message::{Program, Request, RunReply, View};

use super::detached;
use crate::node::{self, Node};
use crate::stats::{Times, millis};
use crate::table::{Table, verdict};
use crate::terminal::{Terminal, WINDOW};

pub(super) fn measure(tow: &Path, dir: &Path) -> Result<()> {
    let node = Node::start(tow, &dir.join("tow"), None)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (client, target) = node.client()?;
    let session = runtime.block_on(session(&client, &target, dir))?;
    let (mut of_library, mut of_command, mut len) = (Vec::new(), Vec::new(), 0);
    for _ in 0..ROUNDS {
        let (time, screen_len) = runtime.block_on(attach(&client, &target, &session.id))?;
        len = screen_len;
        of_library.push(time);
        of_command.push(command(&node, &session.id)?);
    }
    println!(
        "session, attach: a terminal after {:.1} MB of coloured lines, a screen of {:.1} KiB; ms\n",
        session.stdout as f64 / 1e6,
        len as f64 / 1024.0
    );
    let of_library = Times::new(of_library);
    let mut table = Table::new(&["", "times", "p50", "p90", "max"]);
    for (name, times) in [
        ("connection to first screen", &of_library),
        ("tow attach, whole process", &Times::new(of_command)),
    ] {
        let [p50, p90, max] = [50, 90, 100].map(|percent| millis(times.percentile(percent)));
        table.row([name.to_owned(), times.count().to_string(), p50, p90, max]);
    }
    println!("{table}");
    let (time, aim) = (of_library.percentile(90), SCREEN_AIM.as_millis());
    let what = format!("session, attach: p90 of a screen {} ms, aim {aim} ms", millis(time));
    verdict(time <= SCREEN_AIM, what);
    Ok(())
}

struct Shown {
    id: String,
    /// Bytes that it has shown.
    stdout: u64,
}

/// A session on a terminal that has shown much and waits now.
async fn session(client: &Client, target: &Target, dir: &Path) -> Result<Shown> {
    let Some(id) = request_id() else { bail!("the system has no randomness") };
    let mark = dir.join("shown");
    let line = format!("{LINES}; : > {}; exec sleep 1000", mark.display());
    let run = detached(id, Program::Shell(line.into_bytes().into()), Some(WINDOW));
    let mut connection = client.connect(target).await?;
    let reply: RunReply = connection.ask(&Request::Run(Box::new(run))).await?;
    let started = Instant::now();
    while !fs::exists(&mark)? {
        ensure!(started.elapsed() < SHOWN_MAX, "the lines are not shown");
        sleep(Duration::from_millis(20)).await;
    }
    // The last of it may still be on its way into the keeper.
    let mut stdout = 0;
    loop {
        sleep(Duration::from_millis(200)).await;
        let all = sessions(&mut connection).await?;
        let now = all.iter().find(|info| info.id == reply.session).map_or(0, |info| info.stdout);
        if now == stdout && now > 0 {
            break;
        }
        stdout = now;
    }
    connection.close().await;
    ensure!(stdout >= SHOWN_LEN_MIN, "only {stdout} bytes were shown");
    Ok(Shown { id: reply.session, stdout })
}

/// Time to the first screen, and its length.
async fn attach(client: &Client, target: &Target, session: &str) -> Result<(Duration, usize)> {
    let attaching = Attaching {
        session: session.to_owned(),
        view: View::Type,
        window: Some(WINDOW),
        stdout_from: None,
        stderr_from: None,
    };
    let patience = Patience { give_up_after: Some(Duration::ZERO) };
    let started = Instant::now();
    let mut remote = Box::pin(Remote::attach(client, target, attaching, patience)).await?;
    loop {
        if let Output::Screen { bytes, .. } = remote.next().await? {
            let time = started.elapsed();
            ensure!(bytes.windows(LAST.len()).any(|window| window == LAST), "not that screen");
            remote.leave().await;
            return Ok((time, bytes.len()));
        }
    }
}

/// Time from the start of the command to the last line on the terminal.
fn command(node: &Node, session: &str) -> Result<Duration> {
    let mut command = node.command();
    command.args(["attach", node::NAME, session]);
    let started = Instant::now();
    let mut terminal = Terminal::start(&command)?;
    terminal.wait_for(LAST)?;
    Ok(started.elapsed())
}

/// Lines in eight colours; what ends in 8 or 9 has none.
const LINES: &str =
    r"seq 1 320000 | sed 's/.*\([0-7]\)$/\x1b[3\1m& a line of a long build\x1b[0m/'";
/// What stands in the last of them.
const LAST: &[u8] = b"320000 a line";
const SHOWN_LEN_MIN: u64 = 10_000_000;
const SHOWN_MAX: Duration = Duration::from_secs(60);
const ROUNDS: usize = 20;
const SCREEN_AIM: Duration = Duration::from_millis(50);
