//! Who may ask for what, and both ends of every verb.
//!
//! As a library, this crate's asking side does what the command does: [`ask::Client`] connects to a
//! machine that [`hosts::Hosts`] knows, [`ask::get::get`] and [`ask::put::put`] copy files and trees
//! with the [`transfer::Options`] of `tow get`, `put` and `sync`, tell every change to a
//! [`transfer::Watch`] and count in a [`transfer::Progress`]. `examples/fetch.rs` does it in thirty
//! lines.

pub mod ask;
pub mod audit;
mod base32;
pub mod clock;
pub mod grant;
pub mod hosts;
pub mod identity;
pub mod invite;
pub mod keeper;
pub mod keys;
pub mod names;
pub mod pake;
pub mod serve;
pub mod state;
#[cfg(test)]
mod test_dir;
pub mod ticket;
pub mod transfer;
pub mod visitor;
