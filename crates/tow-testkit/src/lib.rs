//! Test-only: throw-away machines, the `tow` command with its output captured, a proxy that cuts.
//!
//! Everything here listens on loopback at ports that the kernel chooses, lives in a temporary
//! directory of its own, and ends with the test. It panics where a test should fail, and says what
//! the processes printed.

mod command;
mod machine;
mod proxy;
mod relay;
mod socket;
mod temp;
mod terminal;
mod wait;

pub use command::{Done, Running, Tow};
pub use machine::{Machine, Node, Pair};
pub use proxy::{Cut, Direction, How, Proxy};
pub use relay::Relay;
pub use rustix::process::Signal;
pub use socket::{closed, connect_from};
pub use temp::{Mount, TempDir, files_beneath, mode_of, names_in, noise};
pub use terminal::Terminal;
pub use wait::{is_running, until, until_some};
