//! The environment of a login: what the account's shell has when its start-up files are done. It is
//! asked for once and kept, so that programs have what a login would give them and nobody waits for
//! start-up files (docs/decisions/0009-login-environment.md).
//!
//! What these files do is done in a session of its own, without input, within a time; whatever is
//! left of it is then killed. A mark that they can't know tells what they print from the answer.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{coop::consume_budget, spawn_blocking};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tow_proto::message::Program;

use super::cgroup::Cgroups;
use super::ends::Source;
use super::spawn::{self, SpawnedStdio};
use super::spec::{self, Plan};
use super::tree::Tree;
use super::{ID_VARIABLE, Limits, SessionId, Spec, Stdin, Stdio};

/// Whose environment it is, and what it is made from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Login {
    /// The account's name.
    pub user: String,
    /// Its home directory.
    pub home: PathBuf,
    /// Its shell.
    pub shell: PathBuf,
    /// The PATH that the start-up files begin with.
    pub path: OsString,
}

impl From<&Spec> for Login {
    fn from(spec: &Spec) -> Self {
        Self {
            user: spec.user.clone(),
            home: spec.home.clone(),
            shell: spec.shell.clone(),
            path: spec.path.clone(),
        }
    }
}

/// Variables by name.
pub(super) type Variables = BTreeMap<OsString, OsString>;

/// The environments that are known, or being asked for.
pub(super) struct Logins {
    known: Mutex<HashMap<Login, Known>>,
    asking: Asking,
    /// Where the asking goes on when nobody waits for it.
    tasks: TaskTracker,
    /// From this age on they are asked for again.
    age_max: Duration,
}

/// One environment.
struct Known {
    /// Nothing before the first answer; then the last one, which has no variables if it failed.
    variables: watch::Receiver<Option<Arc<Variables>>>,
    asked_at: Instant,
}

/// How a shell is asked.
#[derive(Clone)]
struct Asking {
    cgroups: Option<Cgroups>,
    time_max: Duration,
    stop: CancellationToken,
}

impl Logins {
    /// Knows none yet.
    pub(super) fn new(limits: &Limits, cgroups: Option<Cgroups>, tasks: TaskTracker) -> Self {
        let stop = CancellationToken::new();
        Self {
            known: Mutex::default(),
            asking: Asking { cgroups, time_max: limits.login_time, stop },
            tasks,
            age_max: limits.login_age,
        }
    }

    /// What a program starts with: at once where it is known, even if it is old by now. Nothing
    /// where it can't be known, or not in time, and for a shell that runs its start-up files itself.
    pub(super) async fn of(&self, spec: &Spec) -> Arc<Variables> {
        if matches!(spec.program, Program::Login) {
            return Arc::default();
        }
        let mut known = self.know(spec.into());
        let first = timeout(self.asking.time_max, known.wait_for(Option::is_some)).await;
        first.ok().and_then(Result::ok).and_then(|known| known.clone()).unwrap_or_default()
    }

    /// Asks, where nothing is known or what is known is old. Within a runtime.
    pub(super) fn know(&self, login: Login) -> watch::Receiver<Option<Arc<Variables>>> {
        if self.asking.time_max.is_zero() {
            return watch::channel(Some(Arc::default())).1;
        }
        let mut known = self.lock();
        let last = match known.get(&login) {
            Some(known) if known.asked_at.elapsed() < self.age_max => {
                return known.variables.clone();
            }
            Some(known) => known.variables.borrow().clone(),
            None => None,
        };
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        let (answer, variables) = watch::channel(last);
        known.insert(
            login.clone(),
            Known { variables: variables.clone(), asked_at: Instant::now() },
        );
        drop(known);
        let asking = self.asking.clone();
        self.tasks.spawn(async move {
            let captured = asking.capture(&login).await.map(Arc::new);
            if captured.is_none() {
                tracing::warn!(shell = %login.shell.display(), "the login's environment is unknown");
            }
            // After a failure, what was known before is better than nothing.
            answer.send_modify(|last| *last = captured.or(last.take()).or_else(|| Some(Arc::default())));
        });
        variables
    }

    /// Asks nobody any more, and ends what is under way.
    pub(super) fn stop(&self) {
        self.asking.stop.cancel();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Login, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asking {
    /// Runs the account's shell as a login does, and takes what its programs would have. `None`
    /// where that is no shell, or where its start-up files fail, last too long or print too much.
    async fn capture(&self, login: &Login) -> Option<Variables> {
        let mark = format!("\0{}\0", SessionId::random().ok()?);
        let id = SessionId::random().ok()?;
        let (login, cgroups) = (login.clone(), self.cgroups.clone());
        let (of_plan, line) = (id.clone(), line(mark.trim_matches('\0')));
        let start = move || spawn::spawn(plan(&login, of_plan, &line)?, cgroups.as_ref()).ok();
        let spawned = spawn_blocking(start).await.ok()??;
        let tree = Tree::new(id, spawned.leader.pid(), spawned.cgroup, &spawned.stdio);
        let output = self.output(spawned.stdio, mark.as_bytes()).await;
        tree.kill_rest().await;
        spawned.leader.reap();
        between(&output, mark.as_bytes()).map(taken)
    }

    /// What comes on stdout until the answer is whole, or until it can't be.
    async fn output(&self, stdio: SpawnedStdio, mark: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        let SpawnedStdio::Pipes { outputs: [stdout, stderr], .. } = stdio else { return output };
        let (Ok(stdout), Ok(stderr)) = (Source::pipe(stdout), Source::pipe(stderr)) else {
            return output;
        };
        tokio::select! {
            () = collect(&stdout, mark, &mut output) => {}
            () = discard(&stderr) => {}
            () = sleep(self.time_max) => {}
            () = self.stop.cancelled() => {}
        }
        output
    }
}

/// The shell, by the name that makes it a login shell.
fn plan(login: &Login, id: SessionId, line: &str) -> Option<Plan> {
    let shell = login.shell.as_os_str().as_bytes();
    let argv = [&spec::login_name(shell)[..], b"-c", line.as_bytes()];
    let env: [(&str, &OsStr); 6] = [
        ("HOME", login.home.as_os_str()),
        ("USER", login.user.as_ref()),
        ("LOGNAME", login.user.as_ref()),
        ("SHELL", login.shell.as_os_str()),
        ("PATH", &login.path),
        // By which its processes are found, wherever they go.
        (ID_VARIABLE, id.as_str().as_ref()),
    ];
    let env = env.into_iter().map(|(name, value)| spec::definition(name.as_ref(), value));
    Some(Plan {
        candidates: vec![spec::c_string(shell).ok()?],
        argv: argv.into_iter().map(spec::c_string).collect::<Result<_, _>>().ok()?,
        env: env.collect::<Result<_, _>>().ok()?,
        cwd: spec::open_directory(&login.home).ok()?,
        stdio: Stdio::Pipes(Stdin::Null),
        id,
    })
}

/// One command that all shells understand, whatever they make of variables, quotes and functions:
/// the rest is for sh. An env that has no -0 says nothing on stdout.
fn line(mark: &str) -> String {
    let mark = format!(r#"printf "\000%s\000" {mark}"#);
    format!("/bin/sh -c '{mark}; /usr/bin/env -0 || cat /proc/self/environ; {mark}'")
}

async fn collect(stdout: &Source, mark: &[u8], output: &mut Vec<u8>) {
    let mut buffer = vec![0; READ_LEN];
    while output.len() < OUTPUT_LEN_MAX {
        match read(stdout, &mut buffer).await {
            [] => return,
            bytes => output.extend_from_slice(bytes),
        }
        if output.ends_with(mark) && between(output, mark).is_some() {
            return;
        }
    }
}

/// Takes what nobody wants, so that whoever writes it is not hindered. Never ends.
async fn discard(stderr: &Source) {
    let mut buffer = vec![0; READ_LEN];
    while !read(stderr, &mut buffer).await.is_empty() {}
    std::future::pending::<()>().await;
}

/// What comes next; empty at the end.
async fn read<'a>(source: &Source, buffer: &'a mut [u8]) -> &'a [u8] {
    loop {
        // Others have their turn, however fast it comes.
        consume_budget().await;
        source.readable().await;
        match source.try_read(buffer) {
            Ok(len) => return &buffer[..len],
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return &[],
        }
    }
}

/// What is between the first two marks, if both have come.
fn between<'a>(output: &'a [u8], mark: &[u8]) -> Option<&'a [u8]> {
    let find = |bytes: &[u8]| bytes.windows(mark.len()).position(|window| window == mark);
    let answer = &output[find(output)? + mark.len()..];
    Some(&answer[..find(answer)?])
}

/// What programs get of an environment: each definition ends with a NUL.
fn taken(environment: &[u8]) -> Variables {
    let definitions = environment.split(|byte| *byte == 0).filter_map(|definition| {
        let (name, value) = definition.split_at(definition.iter().position(|b| *b == b'=')?);
        Some((name, &value[1..]))
    });
    let mut definitions: Vec<_> =
        definitions.filter(|(name, value)| is_taken(name, value)).collect();
    // Where there is not room for all, there is for this one.
    definitions.sort_by_key(|(name, _)| *name != b"PATH");
    let mut variables = Variables::new();
    let mut len = 0;
    for (name, value) in definitions {
        let with_it = len + name.len() + value.len() + 2;
        if variables.len() < COUNT_MAX && with_it <= LEN_MAX {
            len = with_it;
            variables.insert(OsStr::from_bytes(name).into(), OsStr::from_bytes(value).into());
        }
    }
    variables
}

/// Not what belongs to that one shell or to whoever is connected, nor what a client may not set
/// either.
fn is_taken(name: &[u8], value: &[u8]) -> bool {
    let is_private = match name {
        b"USER" | b"LOGNAME" | b"HOME" | b"SHELL" | b"PWD" | b"OLDPWD" | b"SHLVL" | b"_"
        | b"TERM" => true,
        b"PATH" => value.is_empty(),
        _ => [&b"TOWLINE_"[..], b"SSH_", b"BASH_FUNC_"].iter().any(|start| name.starts_with(start)),
    };
    !is_private && !spec::is_refused(name)
}

/// Environments that are known at once: a node has one account. More than so many start anew.
const KNOWN_MAX: usize = 16;
/// Variables that are taken.
const COUNT_MAX: usize = 256;
/// Their bytes, with `=` and the NUL that ends each.
const LEN_MAX: usize = 64 << 10;
/// Bytes of stdout that are read, with whatever start-up files print.
const OUTPUT_LEN_MAX: usize = 256 << 10;
/// Most bytes read at once.
const READ_LEN: usize = 8 << 10;

#[cfg(test)]
#[path = "login_tests.rs"]
mod tests;
