//! `cargo x demo`: two throw-away homes on this machine, and what one does with the other.
//!
//! Nothing outside of its own directory is touched, and nothing is left behind.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// Invites, joins, runs, puts, cuts, puts again and looks at the record.
pub(crate) fn demo() -> Result<()> {
    super::cargo(&["build", "--locked", "--package", "towline"])?;
    let stage = Stage::new()?;
    eprintln!("\nOne home is the machine, the other the laptop. The machine is made reachable:\n");
    let node = Node::start(&stage)?;

    let invitation = stage.output("machine", &["invite", "--json"])?;
    let code = text_after(&invitation, "\"code\":\"").context("no code in the invitation")?;
    stage.tow("laptop", &["join", &node.address, &code, "--name", "box"], 0)?;

    stage.tow("laptop", &["run", "box", "--", "uname", "-sm"], 0)?;
    stage.tow("laptop", &["run", "box", "--", "sh -c 'echo to stderr >&2; exit 3'"], 3)?;

    let (here, there) = (stage.path("big"), stage.path("copy"));
    fs::write(&here, noise(BIG_LEN)).context("a large file")?;
    let there = format!("box:{}", there.display());
    let put = ["put", &here.to_string_lossy(), &there];
    stage.cut("laptop", &put)?;
    stage.tow("laptop", &put, 0)?;
    if fs::read(&here)? != fs::read(stage.path("copy"))? {
        bail!("the copy is not the original");
    }
    eprintln!("The copy is the original.\n");
    stage.tow("laptop", &["audit", "box"], 0)?;
    Ok(())
}

/// A directory with both homes; gone when dropped.
struct Stage {
    dir: PathBuf,
    tow: PathBuf,
}

impl Stage {
    fn new() -> Result<Self> {
        let target = std::env::current_exe()?;
        let tow = target.parent().context("a directory of programs")?.join("tow");
        let dir = std::env::temp_dir().join(format!("tow-demo-{}", std::process::id()));
        fs::create_dir(&dir).with_context(|| format!("{}", dir.display()))?;
        Ok(Self { dir, tow })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// `tow` with one of the homes.
    fn command(&self, home: &str, args: &[&str]) -> Command {
        eprintln!("{home}$ tow {}", shown(args));
        let mut command = Command::new(&self.tow);
        command.args(args).env("TOWLINE_HOME", self.path(home)).stdin(Stdio::null());
        command
    }

    /// Runs a command that is to end with the exit code `expected`.
    fn tow(&self, home: &str, args: &[&str], expected: i32) -> Result<()> {
        let status = self.command(home, args).status()?;
        if status.code() != Some(expected) {
            bail!("{status}, not exit status {expected}");
        }
        eprintln!("[{expected}]\n");
        Ok(())
    }

    fn output(&self, home: &str, args: &[&str]) -> Result<String> {
        let output = self.command(home, args).stderr(Stdio::inherit()).output()?;
        let text = String::from_utf8(output.stdout)?;
        eprintln!("{text}");
        Ok(text)
    }

    /// Starts a `put` and kills it as soon as something of it has arrived.
    fn cut(&self, home: &str, args: &[&str]) -> Result<()> {
        let mut child = Killed(self.command(home, args).spawn()?);
        let deadline = Instant::now() + WAIT_MAX;
        while !has_partial(&self.dir) && Instant::now() < deadline {
            sleep(Duration::from_millis(1));
        }
        child.0.kill()?;
        eprintln!("[killed in the middle]\n");
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A node with the home `machine`.
struct Node {
    address: String,
    _process: Killed,
}

impl Node {
    fn start(stage: &Stage) -> Result<Self> {
        let args = ["serve", "--listen", "127.0.0.1:0", "--json"];
        let mut command = stage.command("machine", &args);
        let mut process = Killed(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?);
        let stdout = process.0.stdout.take().context("stdout is a pipe")?;
        let mut ready = String::new();
        BufReader::new(stdout).read_line(&mut ready)?;
        eprintln!("{ready}");
        let address = text_after(&ready, "tcp://").context("the node did not start")?;
        Ok(Self { address, _process: process })
    }
}

/// A process that ends with its owner.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn has_partial(dir: &Path) -> bool {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name()).any(|name| {
        let name = name.to_string_lossy();
        name.starts_with(".copy.") && name.ends_with(".tow-part")
    })
}

/// What stands between `start` and the next quotation mark.
fn text_after(text: &str, start: &str) -> Option<String> {
    text.split_once(start)?.1.split('"').next().map(str::to_owned)
}

fn shown(args: &[&str]) -> String {
    let quoted =
        |arg: &&str| if arg.contains(' ') { format!("\"{arg}\"") } else { (*arg).to_owned() };
    args.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// Bytes that do not repeat: no file system stores them as a hole.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

const BIG_LEN: usize = 128 << 20;
const WAIT_MAX: Duration = Duration::from_secs(20);
