//! The classic programs as processes, ours and the Python ones, and what tests say about them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tow_testkit::{TempDir, until};

/// An address of each kind; the socket of the last one is in `dir`.
pub(crate) fn addresses(dir: &TempDir) -> [String; 3] {
    let unix = format!("unix:{}", dir.join("socket").display());
    ["127.0.0.1:0".to_owned(), "[::1]:0".to_owned(), unix]
}

/// A server that runs until the end of the test.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) address: String,
    pub(crate) status: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// One of our servers; it says on stderr where it listens, and everything else.
    pub(crate) fn tow(args: &[&str]) -> Self {
        let mut child = tow(args).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let status = Arc::new(Mutex::new(Vec::new()));
        let address = loop {
            let line = lines.next().expect("a server says where it listens");
            match line.strip_prefix("listening on ") {
                Some(address) => break address.to_owned(),
                None => status.lock().unwrap().push(line),
            }
        };
        let kept = Arc::clone(&status);
        thread::spawn(move || lines.for_each(|line| kept.lock().unwrap().push(line)));
        Self { child, address, status }
    }

    pub(crate) fn commands(address: &str) -> Self {
        Self::tow(&["cmd-server", "--listen", address])
    }

    pub(crate) fn file(address: &str, file: &Path) -> Self {
        Self::tow(&["file-server", "--listen", address, file.to_str().unwrap()])
    }

    /// One of the Python servers; its first line of stdout is its address.
    pub(crate) fn python(script: &str, args: &[&str]) -> Self {
        let mut child = python(script, args).stdout(Stdio::piped()).spawn().unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Self { child, address: address.trim().to_owned(), status: Arc::default() }
    }

    pub(crate) fn wait_for_status(&self, part: &str) {
        until(part, || self.status.lock().unwrap().iter().any(|line| line.contains(part)));
    }

    pub(crate) fn interrupt(&self) {
        interrupt(&self.child);
    }

    pub(crate) fn tcp(&self) -> TcpStream {
        TcpStream::connect(&self.address).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn tow(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tow"));
    command.arg("classic").args(args).stdin(Stdio::null());
    command
}

pub(crate) fn python(script: &str, args: &[&str]) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/classic").join(script);
    let mut command = Command::new("python3");
    command.arg("-B").arg(script).args(args).stdin(Stdio::null());
    command
}

pub(crate) fn interrupt(child: &Child) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
}

/// Runs a client with `input` on its stdin.
pub(crate) fn with_input(mut command: Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writing = thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    // A client that leaves early does not read all of it.
    let _ = writing.join().unwrap();
    output
}

/// What a client wrote to stdout; it must have succeeded, and silently.
pub(crate) fn stdout(output: Output) -> Vec<u8> {
    let stderr = text(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", output.status);
    assert_eq!(stderr, "");
    output.stdout
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub(crate) fn ask(address: &str, input: &[u8]) -> Vec<u8> {
    stdout(with_input(tow(&["cmd", address]), input))
}

pub(crate) fn get(address: &str, args: &[&str]) -> Output {
    tow(&[&["get", address], args].concat()).output().unwrap()
}

/// Asserts exit code 1 and an error line with `part` in it.
pub(crate) fn assert_fails(output: &Output, part: &str) {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.starts_with("tow: error: ") && stderr.contains(part), "{stderr}");
}

pub(crate) fn block(payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as i64).to_le_bytes(), payload].concat()
}

pub(crate) fn read_block(stream: &mut TcpStream) -> Vec<u8> {
    tow_proto::classic::recv_data(stream, 1 << 30).unwrap()
}

/// Waits for the server to close the connection.
pub(crate) fn assert_closed(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    match stream.read(&mut [0]) {
        Ok(0) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        other => panic!("the connection was not closed: {other:?}"),
    }
}
