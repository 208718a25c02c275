//! Nothing is left behind: no zombie, no descriptor, no terminal, no control group, no task. In a binary of its own, because it
//! counts what belongs to the whole process; one test at a time, for the same reason.

mod session_support;

use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use session_support::*;
use tokio::runtime::{Builder, Runtime};
use tow_host::session::{Containment, Sessions, Spec, Stdio};
use tow_proto::message::Window;

/// A runtime, which has descriptors too, made when no other test has one.
struct Alone {
    runtime: Runtime,
    _turn: MutexGuard<'static, ()>,
}

fn alone() -> Alone {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    Alone { runtime: runtime.expect("a runtime"), _turn: turn }
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc").count()
}

fn zombies() -> usize {
    let own = std::process::id().to_string();
    let stats = std::fs::read_dir("/proc").expect("/proc").flatten().filter_map(|entry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let fields = stat.rsplit_once(") ")?.1.to_owned();
        let mut fields = fields.split(' ');
        Some((fields.next()?.to_owned(), fields.next()?.to_owned()))
    });
    stats.filter(|(state, parent)| state == "Z" && *parent == own).count()
}

/// Masters of terminals that we hold: without one, a terminal is gone with its last process.
fn terminals() -> usize {
    let links = std::fs::read_dir("/proc/self/fd").expect("/proc").flatten();
    let targets = links.filter_map(|link| std::fs::read_link(link.path()).ok());
    targets.filter(|target| target.ends_with("ptmx")).count()
}

/// Control groups of sessions that we have made.
fn control_groups() -> usize {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("/proc");
    let membership = std::fs::read_to_string("/proc/self/cgroup").expect("/proc");
    let own = membership.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let start = format!("towline-{}-", std::process::id());
    let mounted = mounts.lines().filter(|line| line.contains(" - cgroup2 "));
    let entries = mounted.flat_map(|line| {
        let point = line.split(' ').nth(4).unwrap_or_default();
        std::fs::read_dir(std::path::Path::new(point).join(own)).into_iter().flatten().flatten()
    });
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&start)).count()
}

/// Four at a time, every other one on a terminal, each with an orphan.
async fn many_quick_runs(sessions: &Sessions, fours: usize) {
    let window = Window { rows: 24, cols: 80, ..Window::default() };
    for number in 0..fours {
        let four = [0, 1, 2, 3].map(|_| {
            let sessions = sessions.clone();
            let mut spec = sh("echo out; (true &); exit 3");
            if number % 2 == 0 {
                spec.stdio = Stdio::Terminal(window);
            }
            tokio::spawn(async move { see(&mut look(&start(&sessions, spec).await)).await })
        });
        for run in four {
            let seen = run.await.expect("a run");
            assert!(seen.stdout.starts_with(b"out"), "run {number}");
            assert_eq!(code(&seen.exit), 3, "run {number}");
        }
    }
}

fn check_many_quick_runs(containment: Containment) {
    alone().runtime.block_on(async {
        let sessions = sessions_with(|limits| limits.containment = containment);
        many_quick_runs(&sessions, 2).await;
        until("nothing runs", || async { sessions.running() == 0 }).await;
        until("no terminal is left", || async { terminals() == 0 }).await;
        let (before, groups_before) = (descriptors(), control_groups());
        let tasks_before = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        many_quick_runs(&sessions, 250).await;
        until("nothing runs", || async { sessions.running() == 0 }).await;
        until("no zombie is left", || async { zombies() == 0 }).await;
        until("no terminal is left", || async { terminals() == 0 }).await;
        until("every descriptor is closed", || async { descriptors() <= before }).await;
        until("no control group is left", || async { control_groups() <= groups_before }).await;
        until("every task has ended", || async {
            tokio::runtime::Handle::current().metrics().num_alive_tasks() <= tasks_before
        })
        .await;
    });
}

#[test]
fn a_thousand_quick_runs_in_control_groups_leave_nothing_behind() {
    check_many_quick_runs(Containment::Cgroup);
}

#[test]
fn a_thousand_quick_runs_without_control_groups_leave_nothing_behind() {
    check_many_quick_runs(Containment::ProcessTree);
}

#[test]
fn programs_that_cannot_be_started_leave_nothing_either() {
    alone().runtime.block_on(async {
        let sessions = sessions();
        let try_once = async |number: usize| {
            let mut spec = argv(&["/no/such/program"]);
            if number % 2 == 1 {
                spec.stdio = Stdio::Terminal(Window { rows: 24, cols: 80, ..Window::default() });
            }
            assert!(sessions.start("owner", &number.to_string(), spec).await.is_err());
        };
        try_once(0).await;
        let (before, groups_before) = (descriptors(), control_groups());
        for number in 1..50 {
            try_once(number).await;
        }
        until("no zombie is left", || async { zombies() == 0 }).await;
        until("every descriptor is closed", || async { descriptors() <= before }).await;
        assert_eq!((terminals(), control_groups()), (0, groups_before));
    });
}

#[test]
fn start_up_files_that_leave_programs_running_leave_nothing_behind() {
    alone().runtime.block_on(async {
        let home = Dir::new();
        home.file(".profile", b"sleep 1000 & setsid sleep 1000 & (sleep 1000 &)\n", 0o600);
        let sessions = sessions_with(|limits| {
            limits.login_time = DEADLINE;
            limits.login_age = Duration::ZERO;
        });
        let with_it = || Spec { home: home.path().into(), ..sh("true") };
        let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
        let tasks_at_rest = tasks();
        run(&sessions, with_it()).await;
        until("the first answer is there", || async { tasks() <= tasks_at_rest }).await;
        let (before, groups_before) = (descriptors(), control_groups());
        for _ in 0..20 {
            run(&sessions, with_it()).await;
        }
        until("every task has ended", || async { tasks() <= tasks_at_rest }).await;
        until("no zombie is left", || async { zombies() == 0 }).await;
        until("every descriptor is closed", || async { descriptors() <= before }).await;
        until("no control group is left", || async { control_groups() <= groups_before }).await;
    });
}

#[test]
fn an_orphan_of_a_session_is_reaped_by_us() {
    alone().runtime.block_on(async {
        let sessions = sessions();
        let line_to_run = "(setsid sh -c 'echo $$; exec >&- 2>&-; sleep 0.2' &)";
        let seen = run(&sessions, sh(line_to_run)).await;
        let orphan = String::from_utf8(seen.stdout).unwrap().trim().to_owned();
        until("it comes to us", || async {
            let stat = std::fs::read_to_string(format!("/proc/{orphan}/stat")).unwrap_or_default();
            let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1));
            parent.is_none_or(|parent| parent == std::process::id().to_string())
        })
        .await;
        until_gone(&orphan).await;
    });
}

#[test]
fn children_that_others_started_are_left_to_them() {
    alone().runtime.block_on(async {
        let sessions = sessions();
        let mut children: Vec<_> = (0..20)
            .map(|code| {
                Command::new("/bin/sh").arg("-c").arg(format!("exit {code}")).spawn().unwrap()
            })
            .collect();
        // Exits of ours make the reaper look around while those are zombies.
        for _ in 0..10 {
            run(&sessions, sh("(true &)")).await;
        }
        for (code, child) in children.iter_mut().enumerate() {
            assert_eq!(child.wait().unwrap().code(), Some(i32::try_from(code).unwrap()));
        }
    });
}

#[test]
fn a_runtime_that_is_dropped_leaves_no_program_running() {
    let Alone { runtime, _turn } = alone();
    let pid = runtime.block_on(async {
        let session = start(&sessions(), sh("echo $$; sleep 60; true")).await;
        line(&mut look(&session)).await
    });
    drop(runtime);
    let deadline = std::time::Instant::now() + DEADLINE;
    while state_of(&pid).is_some_and(|state| state != 'Z') {
        assert!(std::time::Instant::now() < deadline);
        std::thread::yield_now();
    }
}
