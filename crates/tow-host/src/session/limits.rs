//! Every bound on sessions, in one place.

use std::time::Duration;

use super::log::LogLimits;

/// How much, how many and how long. The defaults are what a node uses; tests shorten them.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long a session with [`tow_proto::message::Lease::Attached`] outlives its last viewer,
    /// and how long any session that may be left waits for its first.
    pub lease: Duration,
    /// What holds a session's processes together.
    pub containment: Containment,
    /// Time between HUP, TERM and KILL when a session is ended.
    pub escalation: Duration,
    /// Time that the programs of a removed key have between TERM and KILL.
    pub removal: Duration,
    /// How long the outputs must be silent, after the program has exited, before a child that still
    /// holds them is left.
    pub quiet: Duration,
    /// The longest that such a child's output is waited for after the exit.
    pub quiet_max: Duration,
    /// How much of each output stream is kept. A log that is full stops the program's writing, as a
    /// full pipe does, while the viewer that sets the pace is there or expected.
    pub log: LogLimits,
    /// Bytes of stdin that may be under way.
    pub stdin_window: usize,
    /// How long the account's shell may take to say what a login's environment is; a first start
    /// waits as long at most. Zero: it is not asked, and programs get what the node was started
    /// with.
    pub login_time: Duration,
    /// From which age on it is asked again, while what it said last is used.
    pub login_age: Duration,
    /// Bytes of arguments and environment together, each with the NUL that ends it. What comes from
    /// the login does not count: how much there is of that is not the client's doing.
    pub arguments_len_max: usize,
    /// Sessions of one owner that run at once.
    pub running_max: usize,
    /// Records of finished sessions that are kept.
    pub finished_max: usize,
    /// How long those are kept.
    pub finished_age_max: Duration,
    /// Bytes of output that all finished sessions keep together.
    pub finished_output_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            containment: Containment::Cgroup,
            escalation: Duration::from_secs(5),
            removal: Duration::from_millis(500),
            quiet: Duration::from_millis(100),
            quiet_max: Duration::from_secs(2),
            log: LogLimits::default(),
            stdin_window: 1 << 20,
            login_time: Duration::from_secs(3),
            login_age: Duration::from_secs(10 * 60),
            arguments_len_max: 128 << 10,
            running_max: 256,
            finished_max: 1_000,
            finished_age_max: Duration::from_secs(7 * 86_400),
            finished_output_max: 64 << 20,
        }
    }
}

/// How the processes of a session are found, wherever they went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Containment {
    /// By a control group of their own, which no process leaves; where none can be made, as
    /// [`Self::ProcessTree`].
    Cgroup,
    /// By what `/proc` tells about them: enough for all that do not take pains to hide.
    ProcessTree,
}

/// Length in characters of the request id that a client chooses (PROTOCOL 7.1).
pub(super) const REQUEST_ID_LEN_MAX: usize = 64;
/// Signals that wait for the keeper to send them.
pub(super) const SIGNALS_WAITING_MAX: usize = 16;
