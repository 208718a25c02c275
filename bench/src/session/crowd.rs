//! Many sessions at once, started by one client: how long until all are there, what each costs the
//! keeper, and what is left of them once they were killed.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::sleep;
use tow_node::ask::session::request_id;
use tow_node::ask::sessions::{kill, sessions};
use tow_node::ask::{Client, Connection, Target};
use tow_proto::message::{Program, Request, RunReply, Window};

use super::detached;
use super::left::Holdings;
use crate::memory::Memory;
use crate::node::Node;
use crate::table::{Table, verdict};
use crate::terminal::WINDOW;

pub(super) fn measure(tow: &Path, dir: &Path) -> Result<()> {
    let mut crowds = Vec::new();
    for (name, count, terminal) in CROWDS {
        let node = Node::start(tow, &dir.join(name), None)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let crowd = LocalSet::new().block_on(&runtime, crowd(&node, count, terminal))?;
        crowds.push((name, count, crowd));
    }
    println!(
        "session, crowd: `{} {}`, started over {WORKERS} connections; memory of the keeper in KiB\n",
        SLEEP[0], SLEEP[1]
    );
    println!("{}", cost(&crowds));
    println!("{}", leftovers(&crowds));
    for (name, count, crowd) in &crowds {
        crowd.judge(name, *count);
    }
    Ok(())
}

struct Crowd {
    started_in: Duration,
    killed_in: Duration,
    /// Of the keeper: without sessions, with all, after their end.
    memory: [Memory; 3],
    /// What the node's process grew by.
    node_kib: u64,
    with: Holdings,
    left: Holdings,
}

async fn crowd(node: &Node, count: usize, terminal: Option<Window>) -> Result<Crowd> {
    let (client, target) = node.client()?;
    let keeper = node.keeper_pid()?;
    // What the first sessions make the keeper set up is not the price of one more.
    let first = start(&client, &target, WARM_UP, terminal).await?;
    end(&client, &target, first).await?;
    let nothing = Holdings { processes: 0, descriptors: usize::MAX, terminals: 0, cgroups: 0 };
    settled(keeper, nothing).await?;
    let (held, empty) = (Holdings::of(keeper)?, Memory::of(keeper)?);
    let node_before = Memory::of(node.pid())?;

    let started = Instant::now();
    let ids = start(&client, &target, count, terminal).await?;
    let started_in = started.elapsed();
    sleep(SETTLE).await;
    let (with, full) = (Holdings::of(keeper)?.beyond(held), Memory::of(keeper)?);
    let node_kib = Memory::of(node.pid())?.rss.saturating_sub(node_before.rss);
    let running = running(&client, &target).await?;
    ensure!(running == count, "{running} of {count} sessions run");

    let started = Instant::now();
    end(&client, &target, ids).await?;
    let killed_in = started.elapsed();
    let left = settled(keeper, held).await?;
    let memory = [empty, full, Memory::of(keeper)?];
    Ok(Crowd { started_in, killed_in, memory, node_kib, with, left })
}

impl Crowd {
    fn each(&self, count: usize, of: fn(&Memory) -> u64) -> f64 {
        let [empty, full, _] = &self.memory;
        of(full).saturating_sub(of(empty)) as f64 / count as f64
    }

    fn judge(&self, name: &str, count: usize) {
        let (took, aim) = (self.started_in.as_secs_f64(), START_AIM.as_secs());
        let what = format!("session, crowd: {count} {name} in {took:.2} s, aim: below {aim} s");
        verdict(self.started_in < START_AIM, what);
        let each = self.each(count, |memory| memory.rss);
        let what = format!("session, crowd: {each:.1} KiB for each of {count} {name}");
        verdict(each < AIM_KIB, format!("{what}, aim: below {AIM_KIB} KiB"));
        let what = format!("session, crowd: of {count} {name} is left {}", self.left);
        verdict(self.left.is_nothing(), format!("{what}, aim: nothing"));
    }
}

fn cost(crowds: &[(&str, usize, Crowd)]) -> Table {
    let header = ["", "sessions", "started in s", "killed in s", "RSS without", "with"];
    let header = [&header[..], &["after", "RSS each", "PSS each", "node RSS +"]].concat();
    let mut table = Table::new(&header);
    for (name, count, crowd) in crowds {
        let [empty, full, after] = &crowd.memory;
        table.row([
            (*name).to_owned(),
            count.to_string(),
            format!("{:.2}", crowd.started_in.as_secs_f64()),
            format!("{:.2}", crowd.killed_in.as_secs_f64()),
            empty.rss.to_string(),
            full.rss.to_string(),
            after.rss.to_string(),
            format!("{:.1}", crowd.each(*count, |memory| memory.rss)),
            format!("{:.1}", crowd.each(*count, |memory| memory.pss)),
            crowd.node_kib.to_string(),
        ]);
    }
    table
}

fn leftovers(crowds: &[(&str, usize, Crowd)]) -> Table {
    let mut table = Table::new(&["", "processes", "descriptors", "terminals", "cgroups"]);
    for (name, _, crowd) in crowds {
        for (when, held) in [("with all", crowd.with), ("after", crowd.left)] {
            let counts = [held.processes, held.descriptors, held.terminals, held.cgroups];
            let [processes, descriptors, terminals, cgroups] =
                counts.map(|count| count.to_string());
            table.row([format!("{name}, {when}"), processes, descriptors, terminals, cgroups]);
        }
    }
    table
}

/// Starts so many, several at a time, and gives their ids.
async fn start(
    client: &Client,
    target: &Target,
    count: usize,
    terminal: Option<Window>,
) -> Result<Vec<String>> {
    let left = Rc::new(Cell::new(count));
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let (mut connection, left) = (client.connect(target).await?, Rc::clone(&left));
        workers.spawn_local(async move {
            let mut ids = Vec::new();
            while let Some(others) = left.get().checked_sub(1) {
                left.set(others);
                ids.push(start_one(&mut connection, terminal).await?);
            }
            connection.close().await;
            Ok::<_, anyhow::Error>(ids)
        });
    }
    let mut ids = Vec::with_capacity(count);
    while let Some(worker) = workers.join_next().await {
        ids.extend(worker??);
    }
    Ok(ids)
}

async fn start_one(connection: &mut Connection, terminal: Option<Window>) -> Result<String> {
    let Some(id) = request_id() else { bail!("the system has no randomness") };
    let program = Program::Argv(SLEEP.map(Into::into).to_vec());
    let run = detached(id, program, terminal);
    let reply: RunReply = connection.ask(&Request::Run(Box::new(run))).await?;
    Ok(reply.session)
}

/// Kills them, several at a time.
async fn end(client: &Client, target: &Target, ids: Vec<String>) -> Result<()> {
    let mut workers = JoinSet::new();
    for ids in ids.chunks(ids.len().div_ceil(WORKERS)) {
        let (mut connection, ids) = (client.connect(target).await?, ids.to_vec());
        workers.spawn_local(async move {
            for id in ids {
                let processes = kill(&mut connection, &id, "KILL").await?;
                ensure!(processes == 1, "{processes} processes in {id}");
            }
            connection.close().await;
            Ok(())
        });
    }
    while let Some(worker) = workers.join_next().await {
        worker??;
    }
    Ok(())
}

async fn running(client: &Client, target: &Target) -> Result<usize> {
    let mut connection = client.connect(target).await?;
    let all = sessions(&mut connection).await?;
    connection.close().await;
    Ok(all.iter().filter(|session| session.exit.is_none()).count())
}

/// Waits until the keeper has no more than before, or for long enough; gives what it has more.
async fn settled(keeper: u32, before: Holdings) -> Result<Holdings> {
    let started = Instant::now();
    loop {
        let left = Holdings::of(keeper)?.beyond(before);
        if left.is_nothing() || started.elapsed() > SETTLE_MAX {
            return Ok(left);
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// What is started, how many of them, on what.
const CROWDS: [(&str, usize, Option<Window>); 2] =
    [("sessions on pipes", 1_000, None), ("sessions on terminals", 200, Some(WINDOW))];
const SLEEP: [&str; 2] = ["sleep", "1000"];
/// Connections that ask at once.
const WORKERS: usize = 8;
const WARM_UP: usize = 50;
const START_AIM: Duration = Duration::from_secs(5);
const AIM_KIB: f64 = 64.0;
/// For the keeper to come to rest.
const SETTLE: Duration = Duration::from_secs(1);
/// Longest wait for what was killed to be gone.
const SETTLE_MAX: Duration = Duration::from_secs(20);
