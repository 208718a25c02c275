//! What is to be run, checked and turned into what the kernel takes. All that needs memory is done
//! here, before the fork.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use tow_proto::byte_string::ByteString;
use tow_proto::message::{Lease, Program, Window};
use tow_proto::refusal::{Code, Refusal};

use super::locale::{self, Installed};
use super::login::Variables;
use super::screen::Size;
use super::{ID_VARIABLE, Limits, SessionId};

/// What to run, and for whom.
#[derive(Clone, Debug)]
pub struct Spec {
    /// A program and its arguments, or one line for the shell.
    pub program: Program,
    /// Where it starts; `home` where there is none. A relative path starts at `home`.
    pub cwd: Option<PathBuf>,
    /// The account's home directory.
    pub home: PathBuf,
    /// The account's name.
    pub user: String,
    /// The account's shell.
    pub shell: PathBuf,
    /// Where programs are looked for, unless the login or `env` says otherwise.
    pub path: OsString,
    /// The node's own `LANG`.
    pub lang: Option<OsString>,
    /// Variables that are set on top of the login's and the account's.
    pub env: Vec<(OsString, OsString)>,
    /// The client's locale, such as `de_DE.UTF-8`, or nothing: taken where it is installed.
    pub locale: String,
    /// What stdin, stdout and stderr are.
    pub stdio: Stdio,
    /// After this it is ended.
    pub timeout: Option<Duration>,
    /// How long it outlives its last viewer.
    pub lease: Lease,
}

/// What a program's stdin is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdin {
    /// A pipe that viewers write to.
    Open,
    /// `/dev/null`.
    Null,
}

/// A checked [`Spec`], as the kernel takes it.
pub(super) struct Plan {
    /// Whose it is.
    pub(super) id: SessionId,
    /// Where the program may be, in the order in which that is tried.
    pub(super) candidates: Vec<CString>,
    /// Its arguments, with its name.
    pub(super) argv: Vec<CString>,
    /// `NAME=value`, all there will be.
    pub(super) env: Vec<CString>,
    /// An open directory that may be entered.
    pub(super) cwd: OwnedFd,
    /// What it reads and writes.
    pub(super) stdio: Stdio,
}

/// What a program's stdin, stdout and stderr are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdio {
    /// A pipe each, or nothing for stdin.
    Pipes(Stdin),
    /// One terminal of this size, which is also its controlling terminal.
    Terminal(Window),
}

impl Plan {
    /// Checks `spec`, for which a login has these variables. Opens its working directory, so it may
    /// wait for a disk.
    ///
    /// # Errors
    /// `BadArgument`, `TooLong` or `NoWorkingDirectory`.
    pub(super) fn new(
        spec: &Spec,
        id: &SessionId,
        limits: &Limits,
        login: &Variables,
    ) -> Result<Self, Refusal> {
        let (program, argv) = command(spec)?;
        let variables = variables(spec, id, login)?;
        let env = variables.iter().map(|(name, value)| definition(name, value));
        let env = env.collect::<Result<Vec<_>, _>>()?;
        if asked_len(&argv, &variables, login) > limits.arguments_len_max {
            return Err(Refusal::new(Code::TooLong).with_count(limits.arguments_len_max as u64));
        }
        let path = variables.get(OsStr::new("PATH")).map_or(OsStr::new(""), OsString::as_os_str);
        let candidates = candidates(&program, path)?;
        let stdio = match spec.stdio {
            Stdio::Pipes(stdin) => Stdio::Pipes(stdin),
            Stdio::Terminal(window) => {
                let Size { rows, cols } = Size::sane(window.rows, window.cols, None);
                Stdio::Terminal(Window { rows, cols, ..window })
            }
        };
        Ok(Self { id: id.clone(), candidates, argv, env, cwd: cwd(spec)?, stdio })
    }
}

/// What a refusal to run `spec` is about.
pub(super) fn subject(spec: &Spec) -> ByteString {
    match &spec.program {
        Program::Argv(words) => words.first().cloned().unwrap_or_default(),
        Program::Shell(_) | Program::Login => spec.shell.as_os_str().as_bytes().into(),
    }
}

/// What is to be executed, and its arguments with the name it is given.
fn command(spec: &Spec) -> Result<(CString, Vec<CString>), Refusal> {
    let shell = spec.shell.as_os_str().as_bytes();
    let words: Vec<&[u8]> = match &spec.program {
        Program::Argv(words) => words.iter().map(ByteString::as_bytes).collect(),
        Program::Shell(line) => vec![shell, b"-c", line.as_bytes()],
        Program::Login => {
            return Ok((c_string(shell)?, vec![c_string(&login_name(shell))?]));
        }
    };
    let words = words.into_iter().map(c_string).collect::<Result<Vec<_>, _>>()?;
    match words.first() {
        Some(program) if !program.is_empty() => Ok((program.clone(), words)),
        _ => Err(Code::BadArgument.into()),
    }
}

/// What a shell is called by whoever logs somebody in (login(1)).
pub(super) fn login_name(shell: &[u8]) -> Vec<u8> {
    let name = shell.rsplit(|byte| *byte == b'/').next().unwrap_or(shell);
    [b"-", name].concat()
}

/// The login's variables, then the account's, then the spec's, then ours: later ones replace earlier
/// ones.
fn variables(spec: &Spec, id: &SessionId, login: &Variables) -> Result<Variables, Refusal> {
    let mut variables = Variables::from([("PATH".into(), spec.path.clone())]);
    variables.extend(login.clone());
    variables.extend([
        ("USER".into(), spec.user.clone().into()),
        ("LOGNAME".into(), spec.user.clone().into()),
        ("HOME".into(), spec.home.clone().into()),
        ("SHELL".into(), spec.shell.clone().into()),
    ]);
    let own = variables.remove(OsStr::new("LANG")).or_else(|| spec.lang.clone());
    let locale = locale::choose(&spec.locale, own.as_deref(), Installed::read());
    variables.extend(locale.map(|locale| ("LANG".into(), locale.into())));
    if matches!(spec.stdio, Stdio::Terminal(_)) {
        variables.insert("TERM".into(), USUAL_TERMINAL.into());
    }
    for (name, value) in &spec.env {
        if is_refused(name.as_bytes()) {
            return Err(Refusal::about(Code::BadArgument, name.as_bytes()));
        }
        variables.insert(name.clone(), value.clone());
    }
    variables.insert(ID_VARIABLE.into(), id.as_str().into());
    Ok(variables)
}

/// Bytes of arguments and variables without those that the login has, each with the NUL that ends
/// it.
fn asked_len(argv: &[CString], variables: &Variables, login: &Variables) -> usize {
    let words = argv.iter().map(|word| word.count_bytes() + 1);
    let asked = variables.iter().filter(|(name, value)| login.get(*name) != Some(*value));
    words.chain(asked.map(|(name, value)| name.len() + value.len() + 2)).sum()
}

/// Names that can't be, and those that make a program run code of the variable's choosing before
/// its own.
pub(super) fn is_refused(name: &[u8]) -> bool {
    name.is_empty()
        || name.contains(&b'=')
        || name.starts_with(b"LD_")
        || matches!(name, b"BASH_ENV" | b"ENV")
}

pub(super) fn definition(name: &OsStr, value: &OsStr) -> Result<CString, Refusal> {
    let definition = [name.as_bytes(), b"=", value.as_bytes()].concat();
    CString::new(definition).map_err(|_| Refusal::about(Code::BadArgument, name.as_bytes()))
}

pub(super) fn c_string(bytes: &[u8]) -> Result<CString, Refusal> {
    CString::new(bytes).map_err(|_| Refusal::about(Code::BadArgument, bytes))
}

/// A name with a slash is a path; any other is looked for in every directory of PATH, an empty one
/// being the working directory (POSIX, Base Definitions 8.3). What is longer than the kernel takes
/// is not there: a long name in many directories would be a long list.
fn candidates(program: &CString, path: &OsStr) -> Result<Vec<CString>, Refusal> {
    if program.as_bytes().contains(&b'/') {
        return Ok(vec![program.clone()]);
    }
    let len = program.as_bytes().len();
    let can_be = |dir: &&[u8]| len <= NAME_LEN_MAX && dir.len() + 1 + len < PATH_LEN_MAX;
    let dirs = path.as_bytes().split(|byte| *byte == b':').filter(can_be);
    dirs.map(|dir| {
        let dir = if dir.is_empty() { &b"."[..] } else { dir };
        let candidate =
            Path::new(OsStr::from_bytes(dir)).join(OsStr::from_bytes(program.as_bytes()));
        c_string(&candidate.into_os_string().into_vec())
    })
    .collect()
}

fn cwd(spec: &Spec) -> Result<OwnedFd, Refusal> {
    let cwd = spec.cwd.as_ref().map_or_else(|| spec.home.clone(), |cwd| spec.home.join(cwd));
    open_directory(&cwd).map_err(|error| {
        let code = if is_shortage(&error) { Code::Busy } else { Code::NoWorkingDirectory };
        Refusal::about(code, cwd.as_os_str().as_bytes())
    })
}

/// Where a program is to start. Opening `DIR/.` needs the right to enter DIR, which is all that is
/// needed later: any refusal comes now, and is not mistaken for one of the program.
///
/// # Errors
/// The kernel's.
pub(super) fn open_directory(dir: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(dir.join("."), flags, Mode::empty())?)
}

/// Whether something has run out that may be there again later.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let shortages = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN];
    shortages.iter().any(|shortage| error.raw_os_error() == Some(shortage.raw_os_error()))
}

/// Length of a file's name in bytes (limits.h, `NAME_MAX`).
const NAME_LEN_MAX: usize = 255;
/// Length of a path in bytes, with the NUL that ends it (limits.h, `PATH_MAX`).
const PATH_LEN_MAX: usize = 4096;
/// The terminal that most programs know best, where the client does not name its own.
const USUAL_TERMINAL: &str = "xterm-256color";
