//! One file per command.

pub(crate) mod audit;
pub(crate) mod classic;
pub(crate) mod completions;
pub(crate) mod doctor;
pub(crate) mod get;
pub(crate) mod hosts;
pub(crate) mod invite;
pub(crate) mod join;
pub(crate) mod keys;
pub(crate) mod ls;
pub(crate) mod put;
pub(crate) mod run;
pub(crate) mod serve;
mod transfer;
