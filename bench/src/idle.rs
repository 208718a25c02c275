//! Memory that an idle proved connection costs the node: many are opened, welcomed, and left alone.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::sleep;

use crate::memory::Memory;
use crate::node::{self, Node};
use crate::table::{Table, verdict};

pub(crate) fn measure(tow: &Path, dir: &Path) -> Result<()> {
    let node = Node::start(tow, &dir.join("tow"), None)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (none, all) = runtime.block_on(open(&node))?;
    let of_one = |before: u64, after: u64| after.saturating_sub(before) as f64 / COUNT as f64;
    println!("idle: {COUNT} proved connections without a request; KiB of the node's process\n");
    let mut table = Table::new(&["", "without", "with", "each"]);
    for (name, before, after) in [("PSS", none.pss, all.pss), ("RSS", none.rss, all.rss)] {
        let each = format!("{:.1}", of_one(before, after));
        table.row([name.to_owned(), before.to_string(), after.to_string(), each]);
    }
    println!("{table}");
    let each = of_one(none.pss, all.pss);
    verdict(
        each < AIM_KIB,
        format!("idle: {each:.1} KiB per connection, aim: below {AIM_KIB} KiB"),
    );
    Ok(())
}

/// The node's memory without connections and with all of them.
async fn open(node: &Node) -> Result<(Memory, Memory)> {
    let (client, target) = node.client()?;
    // What the first connections make the node set up is not the price of one more.
    for _ in 0..WARM_UP {
        node::status(&client, &target).await?;
    }
    sleep(SETTLE).await;
    let none = Memory::of(node.pid())?;
    let mut connections = Vec::with_capacity(COUNT);
    for _ in 0..COUNT {
        let mut connection = client.connect(&target).await?;
        connection.welcome().await?;
        connections.push(connection);
    }
    sleep(SETTLE).await;
    let all = Memory::of(node.pid())?;
    let status = node::status(&client, &target).await?;
    ensure!(status.links.open > COUNT as u64, "only {} are open", status.links.open);
    Ok((none, all))
}

const COUNT: usize = 1_000;
const AIM_KIB: f64 = 64.0;
const WARM_UP: usize = 20;
/// For the node to come to rest.
const SETTLE: Duration = Duration::from_secs(1);
