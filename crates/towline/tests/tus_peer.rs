//! Resumable uploads by a client of tus that is not ours: tus-js-client in Node, killed in the middle
//! again and again, with a node that is killed too. What it needs stands in `web/node_modules`.
//!
//! The places of the kills follow from a seed, which is printed; `TOW_SEED` repeats a run.

#![allow(clippy::unwrap_used, reason = "what a test can't do without has failed it")]
#![allow(clippy::print_stderr, reason = "a run that failed is repeated by its seed")]

mod http;

use std::fs;
use std::path::Path;
use std::time::UNIX_EPOCH;

use http::Visitor;
use tow_testkit::{
    Cut, Direction, Done, How, Machine, Node, Proxy, Running, Tow, names_in, noise, until,
};

const TOW: &str = env!("CARGO_BIN_EXE_tow");
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/tus.mjs");
const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/node_modules/tus-js-client");
const LEN: u64 = 24 << 20;
const CHUNK_LEN: u64 = 1 << 20;
/// So often the client is killed.
const KILLS: u64 = 5;
/// More than the heads of the requests between two kills.
const HEADS_LEN: u64 = 16 << 10;
const NAME: &str = "größer als alles.bin";
const ONE: (&str, &str) = ("Tus-Resumable", "1.0.0");

/// A node, and a client that uploads a file to it through a proxy.
struct Stage {
    /// `None` while it is down.
    node: Option<Node>,
    proxy: Proxy,
    client: Machine,
    host: Machine,
    password: String,
}

impl Stage {
    fn new(content: &[u8]) -> Self {
        assert!(Path::new(CLIENT).is_dir(), "tus-js-client is missing: npm ci in web/");
        let (host, client) = (Machine::new(TOW), Machine::new(TOW));
        let node = host.serve(&[]);
        let args = ["invite", "--token", "--json", "--may", "read,write", "--name", "tus"];
        let invited = host.tow(args).arg("--root").arg(host.work()).run().ok().last_json();
        let password = invited["token"].as_str().unwrap().to_owned();
        let _ = client.write("source", content);
        Self { proxy: Proxy::to(node.address()), node: Some(node), client, host, password }
    }

    fn script(&self) -> Tow {
        let script = self.client.sh("exec node \"$SCRIPT\"").env("SCRIPT", SCRIPT);
        script
            .env("TUS_ENDPOINT", format!("http://{}/tus/", self.proxy.address()))
            .env("TUS_PASSWORD", &self.password)
            .env("TUS_FILE", self.client.file("source"))
            .env("TUS_PATH", format!("/{NAME}"))
            .env("TUS_STORE", self.client.file("store.json"))
            .env("TUS_CHUNK_LEN", CHUNK_LEN.to_string())
    }

    /// Starts the script, and stops what it sends when `after` bytes of the rest are on their way
    /// and the node has them.
    fn stopped_after(&self, there: u64, after: u64) -> Running {
        self.proxy.cut(Cut { direction: Direction::Up, after, how: How::Stall });
        let mut running = self.script().start();
        until("the bytes are there", || {
            assert!(!running.has_ended(), "{}", String::from_utf8_lossy(&running.stderr()));
            self.partial_len() >= there + after - HEADS_LEN
        });
        running
    }

    /// The length of the only file on the machine, which does not have its name yet.
    fn partial_len(&self) -> u64 {
        let names = names_in(&self.host.work());
        assert!(names.len() <= 1 && !names.iter().any(|name| name == NAME), "{names:?}");
        names.first().map_or(0, |name| fs::metadata(self.host.file(name)).unwrap().len())
    }

    fn kill_node(&mut self) {
        self.node.take().unwrap().kill();
    }

    fn serve_again(&mut self) {
        let node = self.host.serve(&[]);
        self.proxy.point_to(node.address());
        self.node = Some(node);
    }

    /// Ends the connections that were stopped.
    fn cut(&self, how: How) {
        self.proxy.cut_now(how);
        self.proxy.release();
    }

    /// Where the upload stands, once nobody writes it any more.
    fn offset(&self, at: &str) -> u64 {
        let visitor = Visitor::with(self.node.as_ref().unwrap(), &self.password);
        let content = ("Content-Type", "application/offset+octet-stream");
        let mut offset = String::new();
        until("the request that was cut is over", || {
            let head = visitor.ask("HEAD", at, &[ONE], b"").expect(200);
            head.field("upload-offset").unwrap().clone_into(&mut offset);
            let fields = [ONE, content, ("Upload-Offset", &offset)];
            visitor.ask("PATCH", at, &fields, b"").status == 204
        });
        offset.parse().unwrap()
    }
}

fn lines(done: &Done) -> Vec<String> {
    done.out().lines().map(str::to_owned).collect()
}

fn seed() -> u64 {
    let given = std::env::var("TOW_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| UNIX_EPOCH.elapsed().unwrap().as_secs());
    eprintln!("TOW_SEED={seed}");
    seed
}

#[test]
fn tus_js_client_goes_on_after_every_kill() {
    let seed = seed();
    let dice = noise(8 * (KILLS as usize + 2), seed);
    let mut dice = dice.chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap()));
    let mut roll = |below: u64| dice.next().unwrap() % below;
    let content = noise(LEN as usize, seed);
    let mut stage = Stage::new(&content);
    let round_of_node = roll(KILLS);
    let (mut there, mut at) = (0, String::new());
    for round in 0..KILLS {
        let after = (64 << 10) + roll((LEN - there) / (KILLS + 1 - round));
        let running = stage.stopped_after(there, after);
        let kept = stage.partial_len();
        if round == 0 {
            assert_eq!(running.line(0), "POST 201 0");
            running.line(1).strip_prefix("at ").unwrap().clone_into(&mut at);
        } else {
            assert_eq!(running.line(0), format!("HEAD 200 {there}"));
        }
        if round == round_of_node {
            stage.kill_node();
        }
        running.kill();
        stage.cut(if after % 2 == 0 { How::Reset } else { How::Fin });
        if round == round_of_node {
            stage.serve_again();
        }
        let offset = stage.offset(&at);
        eprintln!("{there} + {after}: {kept} kept, {offset} there");
        assert!((kept..LEN).contains(&offset), "{kept} was there, {offset} is");
        there = offset;
    }
    // It outlives the node and a cut after that, and goes on by itself.
    let running = stage.stopped_after(there, (64 << 10) + roll((LEN - there) / 2));
    stage.kill_node();
    stage.proxy.cut(Cut { direction: Direction::Up, after: 700 << 10, how: How::Fin });
    stage.serve_again();
    stage.cut(How::Reset);
    let said = lines(&running.wait().ok());
    assert_eq!((&said[0], said.last().unwrap()), (&format!("HEAD 200 {there}"), &"done".into()));
    assert!(said.iter().filter(|line| line.starts_with("HEAD 200")).count() >= 3, "{said:?}");
    assert!(!said.iter().any(|line| line.starts_with("POST")), "{said:?}");
    assert!(fs::read(stage.host.file(NAME)).unwrap() == content, "other bytes than were sent");
    assert_eq!(names_in(&stage.host.work()), [NAME]);
    // Who is told to upload it once more learns that it is there.
    let said = lines(&stage.script().run().ok());
    assert_eq!(said, [format!("HEAD 200 {LEN}"), format!("at {at}"), "done".to_owned()]);
}
