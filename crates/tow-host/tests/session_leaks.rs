//! Nothing is left behind: no zombie, no descriptor, no task. In a binary of its own, because it
//! counts what belongs to the whole process; one test at a time, for the same reason.

mod session_support;

use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use session_support::*;
use tokio::runtime::{Builder, Runtime};

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

#[test]
fn two_hundred_quick_runs_leave_no_zombie_and_no_descriptor_behind() {
    alone().runtime.block_on(async {
        let sessions = sessions();
        run(&sessions, sh("true")).await;
        let before = descriptors();
        let tasks_before = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        for number in 0..50 {
            let four = [0, 1, 2, 3].map(|_| {
                let sessions = sessions.clone();
                tokio::spawn(async move {
                    run(&sessions, sh("echo out; echo err >&2; (true &); exit 3")).await
                })
            });
            for run in four {
                let seen = run.await.unwrap();
                assert_eq!(
                    (&seen.stdout[..], code(&seen.exit)),
                    (&b"out\n"[..], 3),
                    "run {number}"
                );
            }
        }
        until("nothing runs", || async { sessions.running() == 0 }).await;
        until("no zombie is left", || async { zombies() == 0 }).await;
        until("every descriptor is closed", || async { descriptors() <= before }).await;
        until("every task has ended", || async {
            tokio::runtime::Handle::current().metrics().num_alive_tasks() <= tasks_before
        })
        .await;
    });
}

#[test]
fn programs_that_cannot_be_started_leave_nothing_either() {
    alone().runtime.block_on(async {
        let sessions = sessions();
        let try_once = async |number: usize| {
            let spec = argv(&["/no/such/program"]);
            assert!(sessions.start("owner", &number.to_string(), spec).await.is_err());
        };
        try_once(0).await;
        let before = descriptors();
        for number in 1..50 {
            try_once(number).await;
        }
        until("no zombie is left", || async { zombies() == 0 }).await;
        until("every descriptor is closed", || async { descriptors() <= before }).await;
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
