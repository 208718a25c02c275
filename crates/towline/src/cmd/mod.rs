//! One file per command.

pub(crate) mod attach;
pub(crate) mod audit;
pub(crate) mod classic;
pub(crate) mod completions;
pub(crate) mod doctor;
mod exit;
pub(crate) mod get;
pub(crate) mod hosts;
pub(crate) mod invite;
pub(crate) mod join;
pub(crate) mod keeper;
pub(crate) mod keys;
pub(crate) mod kill;
pub(crate) mod logs;
pub(crate) mod ls;
pub(crate) mod put;
pub(crate) mod run;
pub(crate) mod serve;
mod session;
pub(crate) mod sessions;
pub(crate) mod shell;
mod transfer;
pub(crate) mod wait;
