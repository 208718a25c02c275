//! Logins of a device that the node knows, alone and while 10,000 connections from thousands of
//! addresses besiege the port: silent, with half a ClientHello, with a byte every two seconds.

pub(crate) mod attack;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tow_node::ask::{AskError, Client, Target};

use self::attack::{Attack, Mode};
use crate::memory;
use crate::node::{self, Node};
use crate::stats::{Times, millis};
use crate::table::{Table, verdict};

pub(crate) fn measure(tow: &Path, dir: &Path) -> Result<()> {
    let mut table = Table::new(&[
        "",
        "logins ok",
        "p50 ms",
        "p90",
        "p99",
        "max",
        "peak MiB",
        "half-open",
        "accepted/s",
        "accept errors",
    ]);
    let mut results = Vec::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for descriptors in [None, Some(FEW_DESCRIPTORS)] {
        for mode in [None, Some(Mode::Silent), Some(Mode::Half), Some(Mode::Drip)] {
            let name = name(mode, descriptors);
            let node = Node::start(tow, &dir.join(results.len().to_string()), descriptors)?;
            let result = runtime.block_on(besiege(&node, mode))?;
            table.row(result.row(&name));
            results.push((name, result));
        }
    }
    println!(
        "siege: {} attackers from {} addresses, {LOGINS} logins\n\n{table}",
        attack::ATTACKERS,
        attack::SOURCES
    );
    for (name, result) in &results {
        result.judge(name);
    }
    Ok(())
}

fn name(mode: Option<Mode>, descriptors: Option<u32>) -> String {
    let mode = match mode {
        None => "alone",
        Some(Mode::Silent) => "silent",
        Some(Mode::Half) => "half a ClientHello",
        Some(Mode::Drip) => "a byte every 2 s",
    };
    match descriptors {
        None => mode.to_owned(),
        Some(count) => format!("{mode}, {count} descriptors"),
    }
}

/// What the logins saw, and what it cost the node.
struct Outcome {
    logins: Times,
    peak_kib: u64,
    /// Connections of attackers that the node held at the end.
    half_open: u64,
    accepted_per_sec: f64,
    accept_errors: usize,
}

impl Outcome {
    fn row(&self, name: &str) -> [String; 10] {
        let [p50, p90, p99] = [50, 90, 99].map(|percent| millis(self.logins.percentile(percent)));
        [
            name.to_owned(),
            self.logins.count().to_string(),
            p50,
            p90,
            p99,
            millis(self.logins.max()),
            format!("{:.1}", self.peak_kib as f64 / 1024.0),
            self.half_open.to_string(),
            format!("{:.0}", self.accepted_per_sec),
            self.accept_errors.to_string(),
        ]
    }

    fn judge(&self, name: &str) {
        let (ok, p99) = (self.logins.count(), self.logins.percentile(99));
        let mib = self.peak_kib as f64 / 1024.0;
        verdict(ok == LOGINS, format!("siege, {name}: {ok} of {LOGINS} logins"));
        let aim = format!("siege, {name}: p99 {} ms, aim {} ms", millis(p99), P99_AIM.as_millis());
        verdict(p99 <= P99_AIM, aim);
        verdict(
            mib <= PEAK_AIM_MIB,
            format!("siege, {name}: {mib:.1} MiB, aim {PEAK_AIM_MIB} MiB"),
        );
    }
}

async fn besiege(node: &Node, mode: Option<Mode>) -> Result<Outcome> {
    let (client, target) = node.client()?;
    node::status(&client, &target).await?;
    let attack = match mode {
        Some(mode) => Some(Attack::start(node.address(), mode)?),
        None => None,
    };
    let before = node::status(&client, &target).await?.links;
    let started = Instant::now();
    let logins = logins(&client, &target).await?;
    let took = started.elapsed();
    let counts = node::status(&client, &target).await?.links;
    drop(attack);
    Ok(Outcome {
        logins: Times::new(logins),
        peak_kib: memory::peak(node.pid())?,
        accepted_per_sec: (counts.accepted - before.accepted) as f64 / took.as_secs_f64(),
        half_open: counts.half_open,
        accept_errors: node.accept_errors()?,
    })
}

/// The times of those that succeeded.
async fn logins(client: &Client, target: &Target) -> Result<Vec<Duration>> {
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut times = Vec::with_capacity(LOGINS);
    for turn in 0..LOGINS {
        pace.tick().await;
        match timeout(LOGIN_MAX, login(client, target)).await {
            Ok(Ok(time)) => times.push(time),
            Ok(Err(error)) => eprintln!("login {turn}: {error}"),
            Err(_) => eprintln!("login {turn}: nothing after {} s", LOGIN_MAX.as_secs()),
        }
    }
    ensure!(!times.is_empty(), "nobody could log in");
    Ok(times)
}

async fn login(client: &Client, target: &Target) -> Result<Duration, AskError> {
    let started = Instant::now();
    let mut connection = client.connect(target).await?;
    connection.welcome().await?;
    let time = started.elapsed();
    tokio::spawn(connection.close());
    Ok(time)
}

const LOGINS: usize = 200;
/// From the start of one login to that of the next.
const PACE: Duration = Duration::from_millis(100);
/// Longer than anybody waits.
const LOGIN_MAX: Duration = Duration::from_secs(10);
const FEW_DESCRIPTORS: u32 = 4096;
const P99_AIM: Duration = Duration::from_millis(300);
const PEAK_AIM_MIB: f64 = 64.0;
