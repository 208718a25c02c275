//! The door for browsers and HTTP programs from outside (docs/HTTP.md): files, programs, sessions, and
//! what is refused. Whatever has to be the same for a node's own door and for that of `tow open` is
//! asked of both.

#![allow(clippy::unwrap_used, reason = "what a test can't do without has failed it")]

mod http;

mod web {
    mod content;
    mod guide;
    mod limits;
    mod paths;
    mod programs;
    mod rules;
    mod writing;
}

use std::os::unix::ffi::OsStrExt as _;

use http::{Answer, Visitor};
use serde_json::Value;
use tow_testkit::{Machine, Node, Running};

const TOW: &str = env!("CARGO_BIN_EXE_tow");

/// A machine, and a way to it over HTTP.
struct Door {
    me: Visitor,
    /// `tow open`, where that is the way.
    _tunnel: Option<(Running, Machine)>,
    node: Node,
    host: Machine,
}

impl Door {
    /// The node's own.
    fn here(invite: &[&str]) -> Self {
        let host = Machine::new(TOW);
        let node = host.serve(&[]);
        let me = Visitor::sign_in(&host, &node, invite);
        Self { me, _tunnel: None, node, host }
    }

    /// That of `tow open` on another machine.
    fn there(invite: &[&str]) -> Self {
        let host = Machine::new(TOW);
        let node = host.serve(&[]);
        let client = Machine::new(TOW);
        let address = node.address().to_string();
        let _ = client.tow(["join", &address, &host.code(invite), "--name", "box"]).run().ok();
        let tunnel = client.tow(["open", "box", "--json"]).start();
        let ready: Value = serde_json::from_str(&tunnel.line(0)).unwrap();
        let me = Visitor::open(ready["link"].as_str().unwrap());
        Self { me, _tunnel: Some((tunnel, client)), node, host }
    }

    fn both(invite: &[&str]) -> [Self; 2] {
        [Self::here(invite), Self::there(invite)]
    }

    /// The URL of a file in the host's working directory, where the grant has no root.
    fn url(&self, name: &str) -> String {
        format!("/api/v1/files{}", encoded(self.host.file(name).as_os_str().as_bytes()))
    }

    /// The same as a path of the API.
    fn path(&self, name: &str) -> String {
        self.host.file(name).to_str().unwrap().to_owned()
    }

    fn get(&self, name: &str, fields: &[(&str, &str)]) -> Answer {
        self.me.ask("GET", &self.url(name), fields, b"")
    }

    fn put(&self, name: &str, fields: &[(&str, &str)], body: &[u8]) -> Answer {
        self.me.ask("PUT", &self.url(name), fields, body)
    }

    fn post(&self, what: &str, body: &Value) -> Answer {
        self.me.ask("POST", &format!("/api/v1/{what}"), &[], body.to_string().as_bytes())
    }
}

fn encoded(bytes: &[u8]) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(byte);
    let one = |byte: &u8| match is_plain(byte) {
        true => char::from(*byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    bytes.iter().map(one).collect()
}

fn json(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_default()
}
