//! The command line. Help texts are what a person reads first: short, and in their words.

mod files;
mod session;
mod transfer;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

pub(crate) use self::files::{CatArgs, MkdirArgs, MvArgs, RmArgs, StatArgs};
pub(crate) use self::session::{
    AttachArgs, KillArgs, LogsArgs, RunArgs, SessionsAction, SessionsArgs, ShellArgs, WaitArgs,
};
pub(crate) use self::transfer::{GetArgs, PutArgs, SyncArgs};
use crate::cmd::classic::ClassicArgs;

/// Run commands and move files on machines you own, over one encrypted port.
#[derive(Debug, Parser)]
#[command(
    name = "tow",
    version,
    arg_required_else_help = true,
    after_help = "On the machine to be reached:   tow serve\n\
                  On the one you sit at:          tow join HOST CODE\n\
                  Then:                           tow run HOST -- uname -a\n\
                  \x20                               tow shell HOST\n\
                  \x20                               tow get HOST:file ."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Say less: no progress, no summary
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Say more; twice for the details
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make this machine reachable
    Serve(ServeArgs),
    /// Hold the sessions of a node; `tow serve` starts it
    #[command(hide = true)]
    Keeper(KeeperArgs),
    /// Make a way in for one new device (on the machine itself)
    Invite(InviteArgs),
    /// Give my key to a machine that invited me, and remember its key
    Join(JoinArgs),
    /// Who may come in here
    Keys(KeysArgs),
    /// Which machines I know
    Hosts(HostsArgs),
    /// Run a program on a machine
    Run(RunArgs),
    /// A terminal on a machine, which survives the connection
    Shell(ShellArgs),
    /// Go on with a session, from any device
    Attach(AttachArgs),
    /// Which sessions are there
    Sessions(SessionsArgs),
    /// What a session has written
    Logs(LogsArgs),
    /// Wait for the end of a session, and take its exit code
    Wait(WaitArgs),
    /// Send a signal to all of a session
    Kill(KillArgs),
    /// List files on a machine
    Ls(LsArgs),
    /// What is known of files on a machine
    Stat(StatArgs),
    /// Write the content of files on a machine to stdout
    Cat(CatArgs),
    /// Make directories on a machine
    Mkdir(MkdirArgs),
    /// Move and rename files on one machine
    Mv(MvArgs),
    /// Remove files and directories on a machine
    Rm(RmArgs),
    /// Copy files and directories from a machine
    Get(GetArgs),
    /// Copy files and directories to a machine
    Put(PutArgs),
    /// Make the content of one place equal to that of another
    Sync(SyncArgs),
    /// A link that opens one directory or one session in a browser, and nothing else
    Share(ShareArgs),
    /// The page of a machine in a browser, through a port of this one
    Open(OpenArgs),
    /// Who did what on a machine, from where, with what outcome
    Audit(AuditArgs),
    /// What is wrong with my set-up, and how to mend it
    Doctor(DoctorArgs),
    /// The socket text's own programs: plain TCP, for learning and old peers
    Classic(ClassicArgs),
    /// Shell completions, on stdout
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Parser)]
pub(crate) struct ServeArgs {
    /// Where to listen: ADDR:PORT, [V6]:PORT, :PORT or unix:/PATH; may be given several times
    #[arg(long, value_name = "ADDR", default_value = "[::]:8690")]
    pub(crate) listen: Vec<String>,
    /// Default root of new grants
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// Connections that the kernel keeps waiting for us
    #[arg(long, value_name = "N", default_value_t = 4096)]
    pub(crate) backlog: u32,
    /// No door for browsers and HTTP
    #[arg(long, conflicts_with_all = ["cert", "key", "web_name"])]
    pub(crate) no_web: bool,
    /// Certificate chain for browsers, in PEM; a self-signed one where there is none
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) cert: Option<PathBuf>,
    /// The certificate's private key, in PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
    /// A name that browsers may call this machine by; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) web_name: Vec<String>,
    /// Print one JSON line once ready
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct ShareArgs {
    #[command(subcommand)]
    pub(crate) action: Option<ShareAction>,
    /// HOST:PATH of a directory; or HOST, and then the session
    #[arg(value_name = "HOST:PATH|HOST", required = true)]
    pub(crate) what: Option<OsString>,
    /// The session, or the start of its id
    #[arg(value_name = "ID")]
    pub(crate) session: Option<String>,
    /// How long the link is good for
    #[arg(long = "for", value_name = "TIME", value_parser = duration, default_value = "1d")]
    pub(crate) valid: Duration,
    /// What may be done [default: read, or watch]
    #[arg(long, value_delimiter = ',', value_name = "RIGHTS")]
    pub(crate) may: Vec<MayShare>,
    /// Print JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ShareAction {
    /// List the links that there are
    Ls {
        /// The machine
        host: String,
    },
    /// End links, and whoever uses them
    Rm {
        /// The machine
        host: String,
        /// The links, by the starts of their ids
        #[arg(required = true, value_name = "ID")]
        shares: Vec<String>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum MayShare {
    /// See and download what is in a directory
    Read,
    /// Upload into a directory; without read, nothing in it is seen
    Write,
    /// Watch a session
    Watch,
    /// Watch a session and type into it
    Type,
}

#[derive(Debug, Parser)]
pub(crate) struct OpenArgs {
    /// The machine
    #[arg(value_name = "HOST")]
    pub(crate) host: String,
    /// Local port; the system chooses where there is none
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub(crate) port: u16,
    /// Print the link and start no browser
    #[arg(long)]
    pub(crate) no_browser: bool,
    /// Print one JSON line once ready
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Parser)]
pub(crate) struct KeeperArgs {
    /// Where sessions leave their records
    #[arg(long, value_name = "DIR")]
    pub(crate) store: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Right {
    /// Run programs
    Run,
    /// List and read files
    Read,
    /// Write, rename and delete files
    Write,
    /// Forward connections
    Forward,
    /// Manage keys and everybody's sessions
    Admin,
    /// Watch sessions
    Watch,
}

#[derive(Debug, Parser)]
pub(crate) struct InviteArgs {
    /// What the new device may do [default: everything]
    #[arg(long, value_delimiter = ',', value_name = "RIGHTS")]
    pub(crate) may: Vec<Right>,
    /// The directory that its files are confined to
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// What to call the device
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// How long the invitation is good for [default: 10m]; with --token, how long the password is
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub(crate) valid: Option<Duration>,
    /// An app password for HTTP programs instead, good at once
    #[arg(long)]
    pub(crate) token: bool,
    /// End the grant itself after this time [default: never]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) expires: Option<Duration>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Parser)]
pub(crate) struct JoinArgs {
    /// HOST[:PORT], or the whole ticket
    pub(crate) target: String,
    /// The code; asked for, or read from stdin, when it is not given
    pub(crate) code: Option<String>,
    /// What I call the machine
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Parser)]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    pub(crate) action: Option<KeysAction>,
    /// Print JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysAction {
    /// List them
    Ls,
    /// Remove one, by its name or the start of its fingerprint; its links are cut at once
    Rm {
        /// Name or start of the fingerprint
        key: String,
    },
}

#[derive(Debug, Parser)]
pub(crate) struct HostsArgs {
    #[command(subcommand)]
    pub(crate) action: Option<HostsAction>,
    /// Print JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum HostsAction {
    /// List them
    Ls,
    /// Forget one
    Rm {
        /// Its name
        host: String,
    },
    /// Call one by another name
    Rename {
        /// The name it has
        host: String,
        /// The name it gets
        name: String,
    },
}

#[derive(Debug, Parser)]
pub(crate) struct LsArgs {
    /// HOST:PATH
    #[arg(required = true, value_name = "HOST:PATH")]
    pub(crate) paths: Vec<OsString>,
    /// Mode, owner, size and time of each
    #[arg(short)]
    pub(crate) long: bool,
    /// Names that start with a dot, too
    #[arg(short)]
    pub(crate) all: bool,
    /// Directories themselves, not what is in them
    #[arg(short)]
    pub(crate) directory: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Parser)]
pub(crate) struct AuditArgs {
    /// The machine
    #[arg(default_value = ".")]
    pub(crate) host: String,
    /// Go on with what comes
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Print the records as they are
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Parser)]
pub(crate) struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Whether `word` is the name of a command.
pub(crate) fn is_command(word: &OsStr) -> bool {
    <Args as clap::CommandFactory>::command()
        .get_subcommands()
        .any(|command| word == command.get_name())
}

/// The first paragraph of a message of clap's, without its `error:`, as one line.
pub(crate) fn in_one_line(text: &str) -> String {
    let paragraph = text.trim_start_matches("error: ").split("\n\n").next().unwrap_or_default();
    paragraph.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `90`, `90s`, `10m`, `2h`, `1d`, `500ms`.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| "expected a time such as 90s, 10m or 1d")?;
    let millis = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err("expected a time such as 90s, 10m or 1d".into()),
    };
    let millis = number.checked_mul(millis).filter(|millis| *millis <= DURATION_MS_MAX);
    millis.map(Duration::from_millis).ok_or_else(|| "at most ten years".into())
}

const DURATION_MS_MAX: u64 = 10 * 366 * 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str) -> Args {
        Args::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn options_of_run_end_at_the_first_word_after_the_host() {
        let Command::Run(run) = check("tow run box --cwd /tmp ls -l --json").command else {
            panic!()
        };
        assert_eq!((run.argv.len(), run.json), (3, false));
        assert_eq!(run.cwd.as_deref(), Some("/tmp".as_ref()));
        let Command::Run(run) = check("tow run --json box -- -x -- y").command else { panic!() };
        assert_eq!((run.argv, run.json), (vec!["-x".into(), "--".into(), "y".into()], true));
    }

    #[test]
    fn the_first_word_of_sessions_is_a_machine_unless_it_is_an_action() {
        let sessions = |line: &str| match check(line).command {
            Command::Sessions(args) => (args.action, args.host, args.json),
            command => panic!("{command:?}"),
        };
        let (action, host, json) = sessions("tow sessions box --json");
        assert!(action.is_none() && json);
        assert_eq!(host.as_deref(), Some("box"));
        let (action, ..) = sessions("tow sessions ls box");
        assert!(matches!(action, Some(SessionsAction::Ls { host }) if host == "box"));
        let (action, _, json) = sessions("tow sessions --json rm box 0123 4567");
        let Some(SessionsAction::Rm { host, sessions }) = action else { panic!() };
        assert_eq!(
            (host.as_str(), sessions, json),
            ("box", vec!["0123".into(), "4567".into()], true)
        );
        assert!(Args::try_parse_from(["tow", "sessions"]).is_err());
    }

    #[test]
    fn a_time_has_a_unit_and_a_limit() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        for bad in ["", "s", "5w", "-1s", "1.5h", "99999999999999999999", "4000d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_complaint_of_claps_is_one_line() {
        let error = Args::try_parse_from(["tow", "run"]).map(|_| ()).unwrap_err();
        assert_eq!(
            in_one_line(&error.render().to_string()),
            "the following required arguments were not provided: <HOST> <PROGRAM>..."
        );
    }

    #[test]
    fn the_definition_is_consistent() {
        <Args as clap::CommandFactory>::command().debug_assert();
    }
}
