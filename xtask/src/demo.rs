//! `cargo x demo`: a machine and a laptop, both on this computer, and what one does with the other.
//!
//! Nothing outside of its own directory is touched, and nothing is left behind.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, BufWriter, IsTerminal as _, Write as _, stderr};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use tow_testkit::{Cut, Direction, How, Proxy};

/// Invites, joins, runs, fetches over a connection that is cut, verifies and looks at the record.
pub(crate) fn demo() -> Result<()> {
    eprintln!("Building tow (the first time, a few minutes) …");
    super::cargo(&["build", "--locked", "--package", "towline"])?;
    let stage = Stage::new()?;
    say(
        "Two homes on this computer stand for two machines: `machine` is to be reached, `laptop` is where you sit.",
    );

    say("1. Make the machine reachable. Everything goes through one encrypted port.");
    let node = Node::start(&stage)?;
    // What lies between them, so that it can be cut.
    let proxy = Proxy::to(node.address.parse()?);
    let address = proxy.address().to_string();

    say("2. Nobody may come in yet. On the machine, make a code for one new device, good once …");
    let invitation = stage.output("machine", &["invite", "--json"])?;
    let code = text_after(&invitation, "\"code\":\"").context("no code in the invitation")?;
    say(
        "… and type it on the laptop. Each learns the other's key; a wrong code teaches nobody anything.",
    );
    stage.tow("laptop", &["join", &address, &code, "--name", "box"], 0)?;

    say("3. Run a program there: stdout, stderr and the exit code come back apart.");
    let line = "echo this went to stdout; echo this went to stderr >&2; exit 7";
    stage.tow("laptop", &["run", "box", "--", "sh", "-c", line], 7)?;

    say(&format!(
        "4. Fetch a file of {} MiB. On the way the connection is cut, once.",
        BIG_LEN >> 20
    ));
    let (there, here) = (stage.path("big.bin"), stage.path("fetched"));
    write_noise(&there)?;
    fs::create_dir(&here)?;
    proxy.cut(Cut { direction: Direction::Down, after: CUT_AFTER, how: How::Reset });
    let before = proxy.connections();
    let remote = format!("box:{}", there.display());
    stage.watched("laptop", &["get", &remote, &here.to_string_lossy()])?;
    let connections = proxy.connections() - before;
    ensure!(connections == 2, "the connection was not cut and made again: {connections}");
    let carried = proxy.carried(Direction::Down) >> 20;
    say(&format!(
        "The connection was cut after {} MiB; tow connected again by itself and went on where it was: {carried} MiB travelled altogether, not {}.",
        CUT_AFTER >> 20,
        (CUT_AFTER as usize + BIG_LEN) >> 20,
    ));

    say(
        "5. tow has verified the file by its BLAKE3 hash. Let us not believe it, and compare both.",
    );
    ensure!(is_same(&there, &here.join("big.bin"))?, "the copy is not the original");
    say("   Every byte is the same.");

    say("6. The machine remembers who did what.");
    stage.tow("machine", &["audit"], 0)?;
    say("That was all. What was started is stopped again, what was made is removed.");
    Ok(())
}

fn say(text: &str) {
    eprintln!("\n{text}\n");
}

/// A directory with both homes; gone when dropped.
pub(crate) struct Stage {
    dir: PathBuf,
    tow: PathBuf,
}

impl Stage {
    pub(crate) fn new() -> Result<Self> {
        let this = std::env::current_exe()?;
        Self::of(this.parent().context("a directory of programs")?.join("tow"))
    }

    /// The same with `tow` as it ships.
    pub(crate) fn of_release() -> Result<Self> {
        let this = std::env::current_exe()?;
        let target = this.ancestors().nth(2).context("a target directory")?;
        Self::of(target.join("release/tow"))
    }

    fn of(tow: PathBuf) -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("tow-demo-{}", std::process::id()));
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&dir)
            .with_context(|| format!("{}", dir.display()))?;
        Ok(Self { dir, tow })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The program.
    pub(crate) fn tow_path(&self) -> PathBuf {
        self.tow.clone()
    }

    /// `tow` with one of the homes.
    fn command(&self, home: &str, args: &[&str]) -> Command {
        self.prepare(home, args, Command::new(&self.tow), args)
    }

    fn prepare(
        &self,
        home: &str,
        args: &[&str],
        mut command: Command,
        passed: &[impl AsRef<OsStr>],
    ) -> Command {
        eprintln!("{home}$ tow {}", shown(args));
        command.args(passed).env("TOWLINE_HOME", self.path(home)).stdin(Stdio::null());
        // Whatever start-up files the account's shell has, they are not what is tried here.
        command.env("HOME", &self.dir);
        command
    }

    /// Runs a command that is to end with the exit code `expected`.
    fn tow(&self, home: &str, args: &[&str], expected: i32) -> Result<()> {
        finish(self.command(home, args), expected)
    }

    /// Runs a command with a terminal, so that its progress can be seen in a log as well.
    fn watched(&self, home: &str, args: &[&str]) -> Result<()> {
        if stderr().is_terminal() {
            return self.tow(home, args, 0);
        }
        let line = [self.tow.to_string_lossy().as_ref()]
            .iter()
            .chain(args)
            .map(|word| format!("'{word}'"))
            .collect::<Vec<_>>()
            .join(" ");
        let passed = ["-qec", &format!("stty cols 100 rows 30; {line}"), "/dev/null"];
        let command = self.prepare(home, args, Command::new("script"), &passed);
        finish(command, 0).context("`script` gives it a terminal (Debian: bsdutils)")
    }

    pub(crate) fn output(&self, home: &str, args: &[&str]) -> Result<String> {
        let output = self.command(home, args).stderr(Stdio::inherit()).output()?;
        let text = String::from_utf8(output.stdout)?;
        eprint!("{text}");
        Ok(text)
    }
}

fn finish(mut command: Command, expected: i32) -> Result<()> {
    let status = command.status()?;
    if status.code() != Some(expected) {
        bail!("{status}, not exit status {expected}");
    }
    eprintln!("[exit code {expected}]");
    Ok(())
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A node with the home `machine`.
pub(crate) struct Node {
    pub(crate) address: String,
    process: Child,
}

impl Node {
    pub(crate) fn start(stage: &Stage) -> Result<Self> {
        let args = ["serve", "--listen", "127.0.0.1:0", "--json"];
        let mut command = stage.command("machine", &args);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let stdout = process.stdout.take().context("stdout is a pipe")?;
        let mut node = Self { address: String::new(), process };
        let mut ready = String::new();
        BufReader::new(stdout).read_line(&mut ready)?;
        eprint!("{ready}");
        node.address = text_after(&ready, "tcp://").context("the node did not start")?;
        Ok(node)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What stands between `start` and the next quotation mark.
pub(crate) fn text_after(text: &str, start: &str) -> Option<String> {
    text.split_once(start)?.1.split('"').next().map(str::to_owned)
}

fn shown(args: &[&str]) -> String {
    let quoted =
        |arg: &&str| if arg.contains(' ') { format!("'{arg}'") } else { (*arg).to_owned() };
    args.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// Bytes that do not repeat: nothing compresses them or stores them as a hole.
fn write_noise(path: &Path) -> Result<()> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut file = BufWriter::new(File::create(path)?);
    for _ in 0..BIG_LEN / 8 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        file.write_all(&state.to_le_bytes())?;
    }
    Ok(file.flush()?)
}

/// Compares portion by portion, without trusting anything of tow's.
fn is_same(one: &Path, other: &Path) -> Result<bool> {
    if fs::metadata(one)?.len() != fs::metadata(other)?.len() {
        return Ok(false);
    }
    let (mut one, mut other) =
        (BufReader::new(File::open(one)?), BufReader::new(File::open(other)?));
    loop {
        let (a, b) = (one.fill_buf()?, other.fill_buf()?);
        let len = a.len().min(b.len());
        if a[..len] != b[..len] {
            return Ok(false);
        }
        if len == 0 {
            return Ok(true);
        }
        one.consume(len);
        other.consume(len);
    }
}

const BIG_LEN: usize = 384 << 20;
const CUT_AFTER: u64 = 150 << 20;
