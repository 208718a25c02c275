//! Who may ask for what, and both ends of every verb.

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
