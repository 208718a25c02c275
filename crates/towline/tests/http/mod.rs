//! A plain HTTP client that can stop in the middle, and a node's door with somebody signed in.

#![allow(dead_code, reason = "not every test needs all of it")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};
use tow_testkit::{Machine, Node};

/// Somebody who is signed in at a node.
pub(crate) struct Visitor {
    pub(crate) address: SocketAddr,
    bearer: String,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether all of the body has come.
    pub(crate) is_whole: bool,
}

impl Visitor {
    /// Signs in at `node` with an invitation that `host` makes with these arguments.
    pub(crate) fn sign_in(host: &Machine, node: &Node, invite: &[&str]) -> Self {
        let invited = host.tow(["invite", "--json"]).args(invite).run().ok().last_json();
        let ticket = invited["ticket"].as_str().unwrap().to_owned();
        let secret = ticket.rsplit('.').next().unwrap();
        let body = json!({"secret": secret, "name": "test"}).to_string();
        let stranger = Self { address: node.address(), bearer: String::new() };
        let answer = stranger.ask("POST", "/api/v1/signin", &[], body.as_bytes());
        assert_eq!(answer.status, 200, "{answer:?}");
        let cookie = answer.field("set-cookie").unwrap().to_owned();
        let secret = cookie.split(['=', ';']).nth(1).unwrap().to_owned();
        Self { bearer: secret, ..stranger }
    }

    /// Takes up the link of `tow open`: `http://ADDRESS/#towo1.SECRET`.
    pub(crate) fn open(link: &str) -> Self {
        let (address, secret) =
            link.strip_prefix("http://").unwrap().split_once("/#towo1.").unwrap();
        let body = json!({"secret": secret, "name": "test"}).to_string();
        let stranger = Self { address: address.parse().unwrap(), bearer: String::new() };
        let answer = stranger.ask("POST", "/api/v1/signin", &[], body.as_bytes()).expect(200);
        let cookie = answer.field("set-cookie").unwrap().to_owned();
        let secret = cookie.split(['=', ';']).nth(1).unwrap().to_owned();
        Self { bearer: secret, ..stranger }
    }

    /// Whoever holds this secret: an app password, or that of a share.
    pub(crate) fn with(node: &Node, secret: &str) -> Self {
        Self { address: node.address(), bearer: secret.to_owned() }
    }

    /// Somebody whom nobody knows.
    pub(crate) fn stranger(node: &Node) -> Self {
        Self { address: node.address(), bearer: String::new() }
    }

    /// The secret, as a password.
    pub(crate) fn password(&self) -> &str {
        &self.bearer
    }

    /// The same visitor at a node that was started anew.
    pub(crate) fn at(&self, node: &Node) -> Self {
        Self { address: node.address(), bearer: self.bearer.clone() }
    }

    pub(crate) fn ask(
        &self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let len = body.len().to_string();
        let mut all = fields.to_vec();
        if !body.is_empty() || matches!(method, "POST" | "PUT" | "PATCH") {
            all.push(("Content-Length", &len));
        }
        let mut stream = self.begin(method, path, &all);
        // What is refused may not be read to its end.
        let _ = stream.write_all(body);
        read(stream, method)
    }

    /// A connection on which the head was sent.
    pub(crate) fn begin(&self, method: &str, path: &str, fields: &[(&str, &str)]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.address);
        head += "Connection: close\r\n";
        if !self.bearer.is_empty() {
            head += &format!("Authorization: Bearer {}\r\n", self.bearer);
        }
        for (name, value) in fields {
            head += &format!("{name}: {value}\r\n");
        }
        stream.write_all((head + "\r\n").as_bytes()).unwrap();
        stream
    }

    /// The secret, as curl takes it.
    pub(crate) fn bearer(&self) -> String {
        format!("Authorization: Bearer {}", self.bearer)
    }
}

/// Ends a connection in the middle, as a cut does.
pub(crate) fn cut(stream: TcpStream) {
    let _ = stream.shutdown(Shutdown::Both);
}

/// Reads an answer to its end, or to where it was cut.
pub(crate) fn read(stream: TcpStream, method: &str) -> Answer {
    let mut reader = BufReader::new(stream);
    let status = loop {
        let line = line(&mut reader);
        let status: u16 = line.split(' ').nth(1).unwrap_or("0").parse().unwrap_or(0);
        if status != 100 {
            break status;
        }
        let _ = self::line(&mut reader);
    };
    let mut fields = Vec::new();
    loop {
        let line = line(&mut reader);
        let Some((name, value)) = line.split_once(':') else { break };
        fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut answer = Answer { status, fields, body: Vec::new(), is_whole: true };
    if method == "HEAD" || matches!(status, 0 | 204 | 304) {
        return answer;
    }
    if answer.field("transfer-encoding").is_some() {
        answer.is_whole = read_chunks(&mut reader, &mut answer.body);
        return answer;
    }
    let len = answer.field("content-length").map(|len| len.parse::<usize>().unwrap());
    let _ = reader.read_to_end(&mut answer.body);
    answer.is_whole = len.is_none_or(|len| len == answer.body.len());
    answer
}

fn line(reader: &mut BufReader<TcpStream>) -> String {
    let mut line = Vec::new();
    let _ = reader.read_until(b'\n', &mut line);
    String::from_utf8_lossy(&line).trim_end().to_owned()
}

fn read_chunks(reader: &mut BufReader<TcpStream>, body: &mut Vec<u8>) -> bool {
    loop {
        let Ok(len) = usize::from_str_radix(&line(reader), 16) else { return false };
        let mut chunk = vec![0; len + 2];
        if reader.read_exact(&mut chunk).is_err() {
            return false;
        }
        if len == 0 {
            return true;
        }
        body.extend_from_slice(&chunk[..len]);
    }
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        let body = String::from_utf8_lossy(&self.body[..self.body.len().min(500)]);
        assert_eq!(self.status, status, "{:?} {body}", self.fields);
        self
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The name of the refusal.
    pub(crate) fn refusal(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body["error"]["name"].as_str().unwrap_or_default().to_owned()
    }
}
