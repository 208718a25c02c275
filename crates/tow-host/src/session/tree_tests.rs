//! No process of a session gets away, and none of another's is taken for one.

use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::Command;

use rustix::process::kill_process;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::unix::pipe;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::super::reap::Leader;
use super::super::spawn::tests::{DEADLINE, PIPES, TERMINAL, cgroups, plan};
use super::super::spawn::{Spawned, spawn};
use super::super::spec::Stdio;
use super::super::{Containment, Stdin};
use super::*;

const BOTH: [Containment; 2] = [Containment::Cgroup, Containment::ProcessTree];

/// A session of a shell, whose orphans come to us.
struct Running {
    tree: Tree,
    leader: Leader,
    stdio: SpawnedStdio,
    _reaper: DropGuard,
}

impl Running {
    fn start(line: &str, stdio: Stdio, containment: Containment) -> Self {
        let stop = CancellationToken::new();
        tokio::spawn(reap::reap_orphans(reap::become_subreaper().unwrap(), stop.clone()));
        let plan = plan(&["/bin/sh", "-c", line], stdio);
        let id = plan.id.clone();
        let Spawned { leader, stdio, cgroup } = spawn(plan, cgroups(containment).as_ref()).unwrap();
        let tree = Tree::new(id, leader.pid(), cgroup, &stdio);
        Self { tree, leader, stdio, _reaper: stop.drop_guard() }
    }

    /// The words of the first line that it writes to a pipe, and the pipe.
    async fn numbers(&mut self) -> (Vec<Pid>, Lines) {
        let SpawnedStdio::Pipes { outputs: [stdout, _], .. } = &mut self.stdio else {
            panic!("not on pipes");
        };
        let stdout: OwnedFd = stdout.try_clone().unwrap();
        let mut lines = BufReader::new(pipe::Receiver::from_owned_fd(stdout).unwrap()).lines();
        let line = timeout(DEADLINE, lines.next_line()).await.expect("a line").unwrap().unwrap();
        let numbers = line.split(' ').map(|word| Pid::from_raw(word.parse().unwrap()).unwrap());
        (numbers.collect(), lines)
    }

    async fn exit(&self) {
        timeout(DEADLINE, self.leader.exited()).await.expect("an exit");
    }

    /// As a session that ended by itself is left.
    async fn leave(self) -> (Tree, Vec<Pid>) {
        self.exit().await;
        let (rest, _) = self.tree.note_rest().await;
        self.leader.reap();
        (self.tree, rest)
    }
}

type Lines = tokio::io::Lines<BufReader<pipe::Receiver>>;

fn is_alive(pid: Pid) -> bool {
    Facts::of(pid).is_some_and(|facts| !facts.is_zombie)
}

/// KILL comes soon, and then there is time for it, on the slowest machine too.
fn limits() -> Limits {
    let removal = Duration::from_millis(50);
    Limits { removal, escalation: DEADLINE, ..Limits::default() }
}

fn sorted(mut pids: Vec<Pid>) -> Vec<i32> {
    pids.sort_by_key(|pid| pid.as_raw_pid());
    pids.into_iter().map(Pid::as_raw_pid).collect()
}

/// Forked twice, in a session of its own, with nothing in its environment, hearing neither HUP nor
/// TERM. The first line is its number.
fn escaped(then: &str) -> String {
    format!("(setsid env -i /bin/sh -c 'trap \"\" HUP TERM; echo $$; {then}' &)")
}

#[tokio::test]
async fn what_escaped_with_nothing_in_hand_is_in_the_control_group_all_the_same() {
    if cgroups(Containment::Cgroup).is_none() {
        return;
    }
    let line = escaped("exec sleep 60 </dev/null >/dev/null 2>&1") + "; exec sleep 60";
    let mut running = Running::start(&line, PIPES, Containment::Cgroup);
    let (escaped, _lines) = running.numbers().await;
    let mut wanted = escaped.clone();
    wanted.push(running.leader.pid());
    assert_eq!(sorted(running.tree.alive().await), sorted(wanted));
    running.tree.clone().end(Order::Removed, limits()).await;
    assert!(!is_alive(escaped[0]) && running.tree.alive().await.is_empty());
    running.exit().await;
    running.leader.reap();
}

#[tokio::test]
async fn what_escaped_with_a_pipe_in_hand_is_found_without_a_control_group_too() {
    for containment in BOTH {
        for keeps in ["</dev/null 2>/dev/null", "</dev/null >/dev/null"] {
            let line = escaped(&format!("exec sleep 60 {keeps}")) + "; exec sleep 60";
            let mut running = Running::start(&line, PIPES, containment);
            let (escaped, _lines) = running.numbers().await;
            running.tree.clone().end(Order::Removed, limits()).await;
            assert!(!is_alive(escaped[0]), "{containment:?} {keeps}");
            running.leader.reap();
        }
    }
}

#[tokio::test]
async fn what_escaped_with_the_terminal_in_hand_is_found_without_a_control_group_too() {
    let line = escaped("exec sleep 60") + "; exec sleep 60";
    for containment in BOTH {
        let running = Running::start(&line, TERMINAL, containment);
        let deadline = Instant::now() + DEADLINE;
        let leader = running.leader.pid();
        let is_there = |pids: &Vec<Pid>| {
            let lost = pids.iter().find(|pid| {
                Facts::of(**pid)
                    .is_some_and(|facts| facts.parent == getpid().as_raw_pid() && **pid != leader)
            });
            lost.copied()
        };
        let escaped = loop {
            if let Some(escaped) = is_there(&running.tree.alive().await) {
                break escaped;
            }
            assert!(Instant::now() < deadline, "{containment:?}");
            tokio::task::yield_now().await;
        };
        running.tree.clone().end(Order::Removed, limits()).await;
        assert!(!is_alive(escaped), "{containment:?}");
        running.leader.reap();
    }
}

#[tokio::test]
async fn what_kept_its_environment_is_found_with_nothing_else_in_hand() {
    let line =
        "(setsid sh -c 'echo $$; exec sleep 60 </dev/null >/dev/null 2>&1' &); exec sleep 60";
    for containment in BOTH {
        let mut running = Running::start(line, PIPES, containment);
        let (escaped, _lines) = running.numbers().await;
        running.tree.clone().end(Order::Stopping, limits()).await;
        assert!(!is_alive(escaped[0]), "{containment:?}");
        running.leader.reap();
    }
}

#[tokio::test]
async fn what_never_stops_forking_is_killed() {
    let line = "fork() { while :; do (setsid sleep 0.1 &); sleep 0.001; done; }; \
        trap '' HUP TERM; fork & fork & echo $$; fork";
    for containment in BOTH {
        let mut running = Running::start(line, PIPES, containment);
        let _ = running.numbers().await;
        running.tree.clone().end(Order::Removed, limits()).await;
        assert_eq!(running.tree.alive().await, [], "{containment:?}");
        running.leader.reap();
    }
}

#[tokio::test]
async fn what_outlives_its_leader_is_remembered_and_killed_later() {
    let line = "sh -c 'sleep 60 </dev/null >/dev/null 2>&1 & echo $$ $!; \
        exec sleep 60 </dev/null >/dev/null 2>&1' &";
    for containment in BOTH {
        let mut running = Running::start(line, PIPES, containment);
        let (outliving, _lines) = running.numbers().await;
        let (tree, rest) = running.leave().await;
        assert_eq!(sorted(rest), sorted(outliving.clone()), "{containment:?}");
        assert_eq!(sorted(tree.alive().await), sorted(outliving.clone()));
        tree.kill_rest().await;
        assert!(!outliving.iter().any(|pid| is_alive(*pid)), "{containment:?}");
        tree.kill_rest().await;
    }
}

#[tokio::test]
async fn a_session_that_is_dropped_leaves_nothing_in_its_control_group() {
    if cgroups(Containment::Cgroup).is_none() {
        return;
    }
    let line = escaped("exec sleep 60 </dev/null >/dev/null 2>&1") + "; exec sleep 60";
    let mut running = Running::start(&line, PIPES, Containment::Cgroup);
    let (escaped, _lines) = running.numbers().await;
    drop(running);
    let deadline = Instant::now() + DEADLINE;
    while is_alive(escaped[0]) {
        assert!(Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn it_is_told_when_nothing_is_left_of_the_rest() {
    for containment in BOTH {
        let line = "sleep 60 </dev/null >/dev/null 2>&1 & echo $!";
        let mut running = Running::start(line, PIPES, containment);
        let (outliving, _lines) = running.numbers().await;
        let (tree, _) = running.leave().await;
        let gone = tokio::spawn(tree.rest_is_gone());
        assert!(tree.alive().await == outliving && !gone.is_finished(), "{containment:?}");
        kill_process(outliving[0], Signal::KILL).unwrap();
        timeout(DEADLINE, gone).await.expect("it is told").unwrap();
        assert_eq!(tree.alive().await, []);
    }
}

#[tokio::test]
async fn what_the_rest_starts_later_is_of_the_rest() {
    let line =
        "exec 3<&0; sh -c 'echo $$; read line; (env -i sleep 60 & echo $!); exec sleep 60' <&3 &";
    for containment in BOTH {
        let mut running = Running::start(line, Stdio::Pipes(Stdin::Open), containment);
        let (_, mut lines) = running.numbers().await;
        let SpawnedStdio::Pipes { stdin: Some(stdin), .. } = &running.stdio else { panic!() };
        let stdin = stdin.try_clone().unwrap();
        let (tree, rest) = running.leave().await;
        assert_eq!(rest.len(), 1, "{containment:?}");
        rustix::io::write(&stdin, b"go\n").unwrap();
        let line = timeout(DEADLINE, lines.next_line()).await.expect("a line").unwrap().unwrap();
        let later = Pid::from_raw(line.parse().unwrap()).unwrap();
        tree.kill_rest().await;
        // Without a control group it is known by its parent, if that still lives.
        assert!(!is_alive(rest[0]));
        if is_alive(later) {
            assert_eq!(containment, Containment::ProcessTree);
            kill_process(later, Signal::KILL).unwrap();
        }
    }
}

#[tokio::test]
async fn a_tree_whose_leader_was_reaped_has_nothing_to_do_with_its_number() {
    for containment in BOTH {
        let (tree, rest) = Running::start("exit", PIPES, containment).leave().await;
        assert_eq!(rest, []);
        assert_eq!(tree.0.signal_group(Signal::CONT), None);
        assert_eq!(tree.signal_tree(Signal::KILL).await, 0);
        assert!(tree.alive().await.is_empty());
    }
}

#[tokio::test]
async fn every_process_of_a_tree_hears_a_signal_once() {
    let child = "sh -c 'trap \"echo heard\" USR1; echo $$ >&2; while :; do :; done'";
    // One in the leader's group and one in its own session; the echo is the last to be ready.
    let line = format!(
        "trap 'echo heard' USR1; {{ {child} & setsid {child} & }} 2>&1 | \
         {{ trap '' USR1; read a; read b; echo $a $b; exec cat; }} & while :; do :; done"
    );
    for containment in BOTH {
        let mut running = Running::start(&line, PIPES, containment);
        let (_, mut lines) = running.numbers().await;
        running.tree.signal_tree(Signal::USR1).await;
        for _ in 0..3 {
            let line = timeout(DEADLINE, lines.next_line()).await.expect("a line").unwrap();
            assert_eq!(line.as_deref(), Some("heard"), "{containment:?}");
        }
        let more = timeout(Duration::from_millis(100), lines.next_line()).await;
        assert!(more.is_err(), "{containment:?}: {more:?}");
        running.tree.clone().end(Order::Removed, limits()).await;
        running.leader.reap();
    }
}

#[test]
fn a_signal_reaches_what_left_the_group_since_it_was_seen() {
    for came_in in [false, true] {
        let mut child = Command::new("sleep").arg("60").process_group(0).spawn().unwrap();
        let pid = Pid::from_child(&child);
        let now = Facts::of(pid).unwrap();
        let another = Facts { started: now.started + 1, ..now };
        signal_unless_in(Some(now.group), pid, now, Signal::TERM);
        signal_unless_in(None, pid, another, Signal::TERM);
        let before = Facts { group: now.group + 1, ..now };
        let group = if came_in { now.group } else { before.group };
        signal_unless_in(Some(group), pid, before, Signal::KILL);
        let killed = child.wait().unwrap().signal();
        assert_eq!(killed, Some(Signal::KILL.as_raw()), "came in: {came_in}");
    }
}

#[tokio::test]
async fn the_processes_of_another_session_are_left_alone() {
    for containment in BOTH {
        let line = escaped("exec sleep 60") + "; exec sleep 60";
        let mut one = Running::start(&line, PIPES, containment);
        let mut other = Running::start(&line, PIPES, containment);
        let (ones, _) = one.numbers().await;
        let (others, _) = other.numbers().await;
        one.tree.clone().end(Order::Removed, limits()).await;
        assert!(!is_alive(ones[0]) && is_alive(others[0]) && is_alive(other.leader.pid()));
        other.tree.clone().end(Order::Removed, limits()).await;
        assert!(!is_alive(others[0]));
        one.leader.reap();
        other.leader.reap();
    }
}

#[test]
fn a_process_name_with_spaces_and_parentheses_is_no_field() {
    let stat = b"42 (a) R 1 (b) c) S 7 8 9 34816 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 1234 99 1";
    let facts = Facts { is_zombie: false, parent: 7, group: 8, session: 9, started: 1234 };
    assert_eq!(Facts::parse(stat), Some(facts));
    assert_eq!(Facts::parse(b"42 (x) S 7"), None);
    assert_eq!(Facts::parse(b""), None);
}

#[test]
fn the_facts_of_a_process_are_those_that_it_was_started_with() {
    // Of a child, not of our own: in a container our session may be led from outside.
    let mut child = Command::new("sleep").arg("60").process_group(0).spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    let facts = Facts::of(Pid::from_raw(pid).unwrap()).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(facts.parent, getpid().as_raw_pid());
    assert_eq!(facts.group, pid);
    assert_eq!(facts.session, Facts::of(getpid()).unwrap().session);
    assert!(facts.started > 0);
}
