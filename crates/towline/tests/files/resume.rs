//! Transfers that are interrupted, by whatever, go on where they stopped.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use tow_testkit::{
    Cut, Direction, How, Machine, Pair, Running, Signal, mode_of, names_in, noise, until,
};

use super::pair;

const LEN: usize = 8 << 20;
/// Where interrupted transfers stop: after some whole pieces, within the next.
const STOP: u64 = 5 << 20;

/// `tow get box:file` or `tow put file box:`, and the directory in which it lands.
#[derive(Clone, Copy, Debug)]
enum Verb {
    Get,
    Put,
}

impl Verb {
    const BOTH: [Self; 2] = [Self::Get, Self::Put];

    fn args(self) -> [&'static str; 4] {
        match self {
            Self::Get => ["get", "--json", "box:file", "file"],
            Self::Put => ["put", "--json", "file", "box:file"],
        }
    }

    fn direction(self) -> Direction {
        match self {
            Self::Get => Direction::Down,
            Self::Put => Direction::Up,
        }
    }

    fn source(self, pair: &Pair) -> &Machine {
        match self {
            Self::Get => &pair.host,
            Self::Put => &pair.client,
        }
    }

    fn destination(self, pair: &Pair) -> &Machine {
        match self {
            Self::Get => &pair.client,
            Self::Put => &pair.host,
        }
    }

    fn landed(self, pair: &Pair) -> Vec<u8> {
        fs::read(self.destination(pair).file("file")).unwrap_or_default()
    }

    /// Starts the transfer; it gets no further than [`STOP`].
    fn start_and_stop(self, pair: &Pair) -> Running {
        pair.proxy.cut(Cut { direction: self.direction(), after: STOP, how: How::Silence });
        let running = pair.client.tow(self.args()).start();
        let dir = self.destination(pair).work();
        until("most of it has arrived", || {
            partial(&dir).is_some_and(|path| len_of(&path) > STOP - (1 << 20))
        });
        running
    }
}

fn partial(dir: &Path) -> Option<PathBuf> {
    let mut names = names_in(dir).into_iter();
    let name = names.find(|name| name.to_string_lossy().ends_with(".tow-part"))?;
    Some(dir.join(name))
}

fn len_of(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// Runs the same command again; it is done, has used what was there, and leaves nothing behind.
#[track_caller]
fn finish(verb: Verb, pair: &Pair, content: &[u8]) -> u64 {
    let done = pair.client.tow(verb.args()).run().ok();
    assert!(verb.landed(pair) == content, "{verb:?}: {done}");
    assert_eq!(partial(&verb.destination(pair).work()), None);
    done.last_json()["reused"].as_u64().expect("a number")
}

#[test]
fn a_transfer_connects_again_by_itself_and_goes_on() {
    for verb in Verb::BOTH {
        let pair = pair();
        let content = noise(LEN, 1);
        let _ = verb.source(&pair).write("file", &content);
        let direction = verb.direction();
        let before = (pair.proxy.connections(), pair.proxy.carried(direction));
        // Before anything has moved, in the middle twice, and within the handshake.
        for (after, how) in
            [(10_000, How::Reset), (3 << 20, How::Reset), (2 << 20, How::Fin), (1_500, How::Reset)]
        {
            pair.proxy.cut(Cut { direction, after, how });
        }
        let done = pair.client.tow(verb.args()).run().ok();
        assert!(verb.landed(&pair) == content, "{verb:?}: {done}");
        assert_eq!(pair.proxy.connections() - before.0, 5, "{verb:?}: {done}");
        assert!(done.err().lines().all(|line| line.ends_with("connecting again")), "{done}");
        let done = done.last_json();
        assert!(done["reused"].as_u64() > Some(1 << 20), "{done}");
        // What was there was not sent again, but for what was under way at each cut.
        let carried = pair.proxy.carried(direction) - before.1;
        assert!(carried < (LEN as u64) * 3 / 2, "{verb:?}: {carried} bytes");
    }
}

#[test]
fn a_tree_goes_on_too() {
    for verb in Verb::BOTH {
        let pair = pair();
        let from = verb.source(&pair);
        for number in 0..40u32 {
            let _ = from.write(format!("tree/{number}"), noise(100_000, number.into()));
        }
        // A reset would lose what is under way.
        for after in [1 << 20, 1 << 20, 700_000] {
            pair.proxy.cut(Cut { direction: verb.direction(), after, how: How::Fin });
        }
        let args = match verb {
            Verb::Get => ["get", "--json", "box:tree", "in"],
            Verb::Put => ["put", "--json", "tree", "box:in"],
        };
        let done = pair.client.tow(args).run().ok();
        let landed = verb.destination(&pair).file("in/tree");
        for number in 0..40u32 {
            let path = landed.join(number.to_string());
            assert!(fs::read(path).unwrap() == noise(100_000, number.into()), "{done}");
        }
        assert_eq!(names_in(&landed).len(), 40, "{verb:?}: {:?} {done}", names_in(&landed));
        assert!(done.last_json()["same"].as_u64() > Some(10), "{done}");
    }
}

#[test]
fn a_client_that_is_killed_goes_on_when_it_is_run_again() {
    for verb in Verb::BOTH {
        let pair = pair();
        let content = noise(LEN, 2);
        let _ = verb.source(&pair).write("file", &content);
        verb.start_and_stop(&pair).kill();
        assert!(!verb.destination(&pair).file("file").exists());
        let reused = finish(verb, &pair, &content);
        assert!(reused > 1 << 20, "{verb:?}: {reused} bytes");
    }
}

#[test]
fn read_only_directories_are_so_again_after_a_kill() {
    for verb in Verb::BOTH {
        let mut pair = pair();
        let tops = [verb.source(&pair).file("top"), verb.destination(&pair).file("top")];
        for (top, content) in tops.iter().zip([noise(LEN, 20), noise(100, 21)]) {
            fs::create_dir_all(top.join("sealed")).unwrap();
            fs::write(top.join("sealed/large"), content).unwrap();
            set_modes(top, 0o555);
        }
        let args = match verb {
            Verb::Get => ["get", "box:top", "."],
            Verb::Put => ["put", "top", "box:"],
        };
        pair.proxy.cut(Cut { direction: verb.direction(), after: STOP, how: How::Silence });
        let running = pair.client.tow(args).start();
        until("it is being filled", || partial(&tops[1].join("sealed")).is_some());
        let other = Machine::new(env!("CARGO_BIN_EXE_tow"));
        std::mem::replace(&mut pair.node, other.serve(&[])).kill();
        running.kill();
        pair.serve_again();
        let done = pair.client.tow(args).run().ok();
        let modes = [&tops[1], &tops[1].join("sealed")].map(|dir| mode_of(dir));
        assert_eq!(modes, [0o555, 0o555], "{verb:?}: {done}");
        for top in &tops {
            // Temporary directories are to be removed.
            set_modes(top, 0o755);
        }
    }
}

/// Of `top`, and of what is sealed in it.
fn set_modes(top: &Path, mode: u32) {
    for path in [top.to_owned(), top.join("sealed")] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
}

#[test]
fn ctrl_c_leaves_what_has_arrived_for_the_next_time() {
    for verb in Verb::BOTH {
        let pair = pair();
        let content = noise(LEN, 3);
        let _ = verb.source(&pair).write("file", &content);
        let running = verb.start_and_stop(&pair);
        running.signal(Signal::INT);
        let _ = running.wait().fails_with_hint(130, &["interrupted"], "again");
        let reused = finish(verb, &pair, &content);
        assert!(reused > 1 << 20, "{verb:?}: {reused} bytes");
    }
}

#[test]
fn ctrl_c_puts_what_is_complete_in_its_place() {
    let pair = pair();
    for number in 0..20u64 {
        let _ = pair.host.write(format!("tree/a{number}"), noise(1_000, number));
    }
    let _ = pair.host.write("tree/large", noise(LEN, 30));
    let tree = pair.client.file("tree");
    fs::create_dir_all(tree.join("sealed")).unwrap();
    let _ = pair.host.write("tree/sealed/b", "new");
    for dir in [tree.join("sealed"), pair.host.file("tree/sealed")] {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o555)).unwrap();
    }
    let cut = Cut { direction: Direction::Down, after: STOP, how: How::Silence };
    pair.proxy.cut(cut);
    let running = pair.client.tow(["get", "box:tree"]).start();
    until("most of it has arrived", || partials(&tree).iter().any(|part| len_of(part) > 3 << 20));
    running.signal(Signal::INT);
    let done = running.wait().expect(130);
    for number in 0..20u64 {
        let content = fs::read(tree.join(format!("a{number}"))).unwrap_or_default();
        assert!(content == noise(1_000, number), "{done}");
    }
    assert_eq!(mode_of(&tree.join("sealed")), 0o555, "{done}");
    assert_eq!(partials(&tree).len(), 1, "{:?} {done}", names_in(&tree));
}

fn partials(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.to_string_lossy().ends_with(".tow-part")).collect()
}

#[test]
fn a_client_waits_for_a_node_that_is_killed_and_started_again() {
    for verb in Verb::BOTH {
        let mut pair = pair();
        let content = noise(LEN, 4);
        let _ = verb.source(&pair).write("file", &content);
        let running = verb.start_and_stop(&pair);
        let other = Machine::new(env!("CARGO_BIN_EXE_tow"));
        std::mem::replace(&mut pair.node, other.serve(&[])).kill();
        pair.proxy.cut_now(How::Reset);
        until("it tries again", || running.stderr().ends_with(b"connecting again\n"));
        pair.serve_again();
        let done = running.wait().ok();
        assert!(verb.landed(&pair) == content, "{verb:?}: {done}");
        assert!(done.last_json()["reused"].as_u64() > Some(1 << 20), "{done}");
    }
}

#[test]
fn both_may_be_killed() {
    for verb in Verb::BOTH {
        let mut pair = pair();
        let content = noise(LEN, 5);
        let _ = verb.source(&pair).write("file", &content);
        let running = verb.start_and_stop(&pair);
        let other = Machine::new(env!("CARGO_BIN_EXE_tow"));
        std::mem::replace(&mut pair.node, other.serve(&[])).kill();
        running.kill();
        pair.serve_again();
        let reused = finish(verb, &pair, &content);
        assert!(reused > 1 << 20, "{verb:?}: {reused} bytes");
    }
}

#[test]
fn the_old_file_stays_until_the_new_one_is_whole() {
    for verb in Verb::BOTH {
        let pair = pair();
        let content = noise(LEN, 6);
        let _ = verb.source(&pair).write("file", &content);
        let _ = verb.destination(&pair).write("file", "the old content");
        verb.start_and_stop(&pair).kill();
        assert_eq!(verb.landed(&pair), b"the old content");
        let _ = finish(verb, &pair, &content);
    }
}

#[test]
fn a_corrupted_partial_costs_time_and_nothing_else() {
    for verb in Verb::BOTH {
        for damage in [Damage::FirstByte, Damage::LaterByte, Damage::TooLong, Damage::Empty] {
            let pair = pair();
            let content = noise(LEN, 7);
            let _ = verb.source(&pair).write("file", &content);
            verb.start_and_stop(&pair).kill();
            let path = partial(&verb.destination(&pair).work()).unwrap();
            damage.inflict(&path);
            let reused = finish(verb, &pair, &content);
            // Only the piece that is damaged is sent again, and what is too much is cut off.
            let expected = if matches!(damage, Damage::Empty) { 0 } else { 3 << 20 };
            assert!((expected..=LEN as u64).contains(&reused), "{verb:?} {damage:?}: {reused}");
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Damage {
    FirstByte,
    LaterByte,
    TooLong,
    Empty,
}

impl Damage {
    fn inflict(self, path: &Path) {
        let mut bytes = fs::read(path).unwrap();
        match self {
            Self::FirstByte => bytes[0] ^= 1,
            Self::LaterByte => bytes[4 << 20] ^= 0x80,
            Self::TooLong => bytes.extend_from_slice(&[0; LEN]),
            Self::Empty => bytes.clear(),
        }
        fs::write(path, bytes).unwrap();
    }
}

#[test]
fn what_was_put_in_the_place_of_a_partial_is_not_touched() {
    for verb in Verb::BOTH {
        let pair = pair();
        let content = noise(LEN, 8);
        let _ = verb.source(&pair).write("file", &content);
        let victim = verb.destination(&pair).write("victim", "precious");
        verb.start_and_stop(&pair).kill();
        let path = partial(&verb.destination(&pair).work()).unwrap();
        fs::remove_file(&path).unwrap();
        symlink(&victim, &path).unwrap();
        assert_eq!(finish(verb, &pair, &content), 0);
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
    }
}

#[test]
fn a_source_that_has_changed_meanwhile_arrives_as_it_is_now() {
    for verb in Verb::BOTH {
        let pair = pair();
        let _ = verb.source(&pair).write("file", noise(LEN, 9));
        verb.start_and_stop(&pair).kill();
        let mut content = noise(LEN / 2, 9);
        content.extend_from_slice(&noise(100_000, 10));
        let _ = verb.source(&pair).write("file", &content);
        let _ = finish(verb, &pair, &content);
    }
}

#[test]
fn a_transfer_to_a_machine_that_is_not_there_does_not_wait_for_it() {
    let Pair { node, proxy: _proxy, host: _host, client } = pair();
    let _ = node.stop();
    let done = client.tow(["get", "--json", "box:file"]).run();
    assert!(done.took < std::time::Duration::from_secs(10), "{done}");
    assert!(done.fails(1, &["box"]).stdout.is_empty());
}
