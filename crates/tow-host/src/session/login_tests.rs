//! What a login's environment is, whatever its start-up files do.

use std::path::Path;
use std::time::Instant as Clock;

use tow_testkit::{TempDir, is_running};

use super::super::Containment;
use super::super::spawn::tests::{DEADLINE, cgroups};
use super::*;

/// A home with this start-up file.
fn home(name: &str, content: &str) -> TempDir {
    let home = TempDir::new();
    let file = home.join(name);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, content).unwrap();
    home
}

fn login(shell: &str, home: &Path) -> Login {
    Login {
        user: "tester".to_owned(),
        home: home.to_owned(),
        shell: shell.into(),
        path: "/usr/local/bin:/usr/bin:/bin".into(),
    }
}

fn asking(time_max: Duration) -> Asking {
    let cgroups = cgroups(Containment::Cgroup);
    Asking { cgroups, time_max, stop: CancellationToken::new() }
}

async fn captured(shell: &str, home: &TempDir) -> Option<Variables> {
    asking(DEADLINE).capture(&login(shell, home.path())).await
}

/// The value of a variable; nothing where there is none.
fn value<'a>(variables: &'a Variables, name: &str) -> &'a str {
    variables.get(OsStr::new(name)).map_or("", |value| value.to_str().unwrap())
}

fn as_bytes(variables: &Variables) -> Vec<(&[u8], &[u8])> {
    variables.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect()
}

#[tokio::test]
async fn each_shell_tells_what_its_own_start_up_files_export() {
    let posix = "PATH=\"$HOME/bin:$PATH\"; export PATH ODD=\"two  words\n=three\"; unexported=1\n";
    let fish =
        "set -gx PATH $HOME/bin $PATH\nset -gx ODD \"two  words\n=three\"\nset -g unexported 1\n";
    let mut asked = 0;
    for (shell, file, content) in [
        ("/bin/sh", ".profile", posix),
        ("/bin/dash", ".profile", posix),
        ("/bin/bash", ".profile", posix),
        ("/bin/bash", ".bash_profile", posix),
        ("/bin/zsh", ".zprofile", posix),
        ("/bin/zsh", ".zshenv", posix),
        ("/usr/bin/fish", ".config/fish/config.fish", fish),
    ] {
        if !Path::new(shell).exists() {
            continue;
        }
        asked += 1;
        let home = home(file, content);
        let variables = captured(shell, &home).await.unwrap_or_else(|| panic!("{shell} {file}"));
        let bin = format!("{}/bin:", home.path().display());
        assert!(value(&variables, "PATH").starts_with(&bin), "{shell} {file}: {variables:?}");
        assert_eq!(value(&variables, "ODD"), "two  words\n=three", "{shell} {file}");
        for private in ["HOME", "USER", "SHELL", "PWD", "SHLVL", "_", "unexported", ID_VARIABLE] {
            assert_eq!(value(&variables, private), "", "{shell} {file}: {private}");
        }
    }
    assert!(asked > 0);
}

#[tokio::test]
async fn it_is_a_login_without_input_terminal_or_anything_of_ours() {
    let line = "export SEEN=\"$0 $USER $LOGNAME $SHELL $PWD $(readlink /proc/self/fd/0) \
                $(tty) $PPID\"; export NAMES=\"$(env | cut -d= -f1 | sort | tr '\\n' ' ')\"";
    let home = home(".profile", line);
    let variables = captured("/bin/sh", &home).await.unwrap();
    let expected = format!(
        "-sh tester tester /bin/sh {} /dev/null not a tty {}",
        home.path().canonicalize().unwrap().display(),
        std::process::id()
    );
    assert_eq!(value(&variables, "SEEN"), expected);
    let known = ["HOME", "LOGNAME", "PATH", "PWD", "SEEN", "SHELL", "TOWLINE_SESSION", "USER"];
    for name in known {
        assert!(value(&variables, "NAMES").contains(name), "{name}: {variables:?}");
    }
    // Cargo gives it to every test.
    assert!(!value(&variables, "NAMES").contains("CARGO"), "{variables:?}");
}

#[tokio::test]
async fn whatever_start_up_files_print_the_answer_is_found() {
    let noise = "cat /proc/self/environ; env; set; echo 'PATH=/wrong'; printf '\\000A=B\\000';\
                 head -c 100000 /dev/urandom; seq 30000 >&2; echo done >&2; export FOUND=yes\n";
    let variables = captured("/bin/sh", &home(".profile", noise)).await.unwrap();
    assert_eq!((value(&variables, "FOUND"), value(&variables, "A")), ("yes", ""));
    assert!(!value(&variables, "PATH").contains("wrong"));
}

#[tokio::test]
async fn what_start_up_files_leave_running_delays_nothing_and_is_ended() {
    let left = "sleep 1000 & echo $! >one; setsid sleep 1000 & echo $! >two; export FOUND=yes\n";
    for containment in [Containment::Cgroup, Containment::ProcessTree] {
        let home = home(".profile", left);
        let asking = Asking { cgroups: cgroups(containment), ..asking(DEADLINE) };
        let before = Clock::now();
        let variables = asking.capture(&login("/bin/sh", home.path())).await.unwrap();
        assert_eq!(value(&variables, "FOUND"), "yes", "{containment:?}");
        assert!(before.elapsed() < DEADLINE, "it waited until its time was over");
        for file in ["one", "two"] {
            until_gone(pid_in(&home, file)).await;
        }
    }
}

#[tokio::test]
async fn start_up_files_that_last_too_long_or_never_stop_printing_are_ended() {
    // The last one is ended by how much it is, however long it may last.
    for endless in ["sleep 1000", "trap '' HUP TERM; sleep 1000", "yes >&2", "yes"] {
        let home = home(".profile", &format!("echo $$ >new; mv new pid; {endless}\n"));
        let (asking, login) = (asking(DEADLINE * 10), login("/bin/sh", home.path()));
        let time_passes = async {
            while !home.join("pid").exists() {
                sleep(Duration::from_millis(5)).await;
            }
            if endless != "yes" {
                tokio::time::pause();
                tokio::time::advance(DEADLINE * 10).await;
                tokio::time::resume();
            }
        };
        let before = Clock::now();
        let (none, ()) = tokio::join!(asking.capture(&login), time_passes);
        assert!(none.is_none(), "{endless}: {none:?}");
        assert!(before.elapsed() < DEADLINE, "{endless}");
        until_gone(pid_in(&home, "pid")).await;
    }
}

#[tokio::test]
async fn what_is_no_shell_or_does_not_come_so_far_tells_nothing() {
    for content in ["exit 0", "exit 3", "kill -9 $$", "(", "exec true"] {
        let none = captured("/bin/sh", &home(".profile", content)).await;
        assert!(none.is_none(), "{content}: {none:?}");
    }
    let home = home(".profile", "");
    for shell in ["/bin/false", "/bin/true", "/usr/sbin/nologin", "/nonexistent", "/tmp", ""] {
        let none = captured(shell, &home).await;
        assert!(none.is_none(), "{shell}: {none:?}");
    }
    let nowhere = login("/bin/sh", Path::new("/nonexistent"));
    assert!(asking(DEADLINE).capture(&nowhere).await.is_none());
}

#[tokio::test]
async fn a_stop_ends_it_at_once() {
    let home = home(".profile", "sleep 1000\n");
    let asking = asking(DEADLINE * 10);
    asking.stop.cancel();
    let login = login("/bin/sh", home.path());
    assert_eq!(timeout(DEADLINE, asking.capture(&login)).await, Ok(None));
}

#[test]
fn what_belongs_to_one_shell_or_to_whoever_is_connected_is_not_taken() {
    let environment = b"A=1\0USER=x\0LOGNAME=x\0HOME=x\0SHELL=x\0PWD=x\0OLDPWD=x\0SHLVL=1\0_=x\0\
        TERM=x\0PATH=\0TOWLINE_HOME=x\0SSH_AUTH_SOCK=x\0BASH_FUNC_f%%=() { :; }\0LD_PRELOAD=x\0\
        BASH_ENV=x\0ENV=x\0=x\0no definition\0EMPTY=\0ODD=\xff=\n\0TERMINFO=y\0LANG=C\0";
    let expected: [(&[u8], &[u8]); 5] =
        [(b"A", b"1"), (b"EMPTY", b""), (b"LANG", b"C"), (b"ODD", b"\xff=\n"), (b"TERMINFO", b"y")];
    assert_eq!(as_bytes(&taken(environment)), expected);
    assert!(taken(b"").is_empty());
}

#[test]
fn too_much_is_cut_but_path_is_there() {
    let mut many: Vec<u8> = (0..1000).flat_map(|n| format!("V{n}=x\0").into_bytes()).collect();
    many.extend(b"PATH=/bin\0");
    let variables = taken(&many);
    assert_eq!((variables.len(), value(&variables, "PATH")), (COUNT_MAX, "/bin"));
    let long = [b"LONG=", &vec![b'x'; LEN_MAX][..], b"\0SHORT=y\0PATH=/bin\0"].concat();
    let names: Vec<_> = taken(&long).into_keys().collect();
    assert_eq!(names, ["PATH", "SHORT"]);
    let exact = [b"V=", &vec![b'x'; LEN_MAX - 3][..], b"\0"].concat();
    assert_eq!(taken(&exact).len(), 1);
}

#[test]
fn an_answer_is_whole_or_none() {
    let between = |output: &[u8]| between(output, b"\0mark\0").map(<[u8]>::to_vec);
    assert_eq!(between(b"noise\0mark\0A=1\0\0mark\0more"), Some(b"A=1\0".to_vec()));
    assert_eq!(between(b"\0mark\0\0mark\0"), Some(Vec::new()));
    for torn in [&b""[..], b"A=1\0", b"\0mark\0A=1\0", b"\0mark\0A=1\0\0mark", b"mark\0mark\0"] {
        assert_eq!(between(torn), None, "{torn:?}");
    }
}

fn pid_in(home: &TempDir, file: &str) -> u32 {
    std::fs::read_to_string(home.join(file)).unwrap().trim().parse().unwrap()
}

async fn until_gone(pid: u32) {
    let deadline = Clock::now() + DEADLINE;
    while is_running(pid) {
        assert!(Clock::now() < deadline, "{pid} runs on");
        sleep(Duration::from_millis(5)).await;
    }
}
