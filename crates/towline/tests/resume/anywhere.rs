//! A small exchange, cut after each of its bytes.

use std::fs;
use std::thread;
use std::time::Duration;

use tow_testkit::{Cut, Direction, How, Pair};

use super::{TOW, is_thorough};

/// Counts how often it is run, and gives back what it reads.
const EXCHANGE: &str = "echo run >>runs; cat; echo error >&2; exit 7";

#[test]
fn a_program_is_run_once_wherever_the_way_up_is_cut() {
    cut_anywhere(Direction::Up);
}

#[test]
fn a_program_is_run_once_wherever_the_way_down_is_cut() {
    cut_anywhere(Direction::Down);
}

/// After every so many bytes, up to more than there are.
fn cut_anywhere(direction: Direction) {
    let pair = Pair::new(TOW);
    let before = pair.proxy.carried(direction);
    exchange(&pair, 0);
    let total = pair.proxy.carried(direction) - before;
    assert!(total > 2_000, "{total} bytes {direction:?}");
    drop(pair);
    let (step, workers) = if is_thorough() { (1, 4) } else { (total / PLACES + 1, 1) };
    let places: Vec<u64> = (0..total + MARGIN).step_by(step as usize).collect();
    thread::scope(|scope| {
        for part in places.chunks(places.len().div_ceil(workers)) {
            scope.spawn(move || cut_at(direction, part, total));
        }
    });
}

fn cut_at(direction: Direction, places: &[u64], total: u64) {
    // A proxy keeps what it has carried: a new pair now and then.
    for places in places.chunks(500) {
        let pair = Pair::new(TOW);
        for (count, place) in places.iter().enumerate() {
            let how = if place % 2 == 0 { How::Reset } else { How::Fin };
            pair.proxy.cut(Cut { direction, after: *place, how });
            let connections = pair.proxy.connections();
            exchange(&pair, count);
            // Up to its last bytes, what was cut has to be made again.
            assert!(*place > total - MARGIN || pair.proxy.connections() > connections + 1);
        }
    }
}

#[track_caller]
fn exchange(pair: &Pair, runs_before: usize) {
    let done = pair.run([EXCHANGE]).stdin("what goes in\n").run().expect(7);
    assert_eq!((done.out().as_str(), done.err().as_str()), ("what goes in\n", "error\n"));
    let runs = fs::read_to_string(pair.host.file("runs")).unwrap().lines().count();
    assert_eq!(runs, runs_before + 1, "{done}");
    assert!(done.took < LATE, "{done}");
}

/// Cuts in each direction where there is little time.
const PLACES: u64 = 75;
/// Bytes by which exchanges differ, and what their ends take: nobody waits for the farewell of TLS.
const MARGIN: u64 = 100;
/// A cut costs a new connection and no more; a lease or a heartbeat that has to run out takes 30 s.
const LATE: Duration = Duration::from_secs(25);
