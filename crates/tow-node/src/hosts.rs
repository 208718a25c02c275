//! The machines that this one knows: a name, the key that the machine must have, and where it was
//! reached.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::clock;
use crate::identity::PublicKey;
use crate::names::{printable_name, unique_name};
use crate::state::{self, StateError, line_of};

/// A known machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// The key that it must have.
    pub key: PublicKey,
    /// Where it was reached, best first.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// When it was joined.
    #[serde(with = "clock::rfc3339")]
    pub added: SystemTime,
    /// What a later version may have written.
    #[serde(flatten)]
    other: toml::Table,
}

/// All known machines, by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Hosts {
    #[serde(default, rename = "host")]
    by_name: BTreeMap<String, Host>,
    #[serde(flatten)]
    other: toml::Table,
}

/// Why known machines can't be read or changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HostsError {
    /// The file can't be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The file is not text.
    #[error("{}: not UTF-8 text", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// The file is not of the right form. It is never replaced: it says which keys to trust.
    #[error("{}:{line}: {message}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What was expected.
        message: Box<str>,
    },
    /// No machine has this name.
    #[error("no known machine has this name")]
    NotFound,
    /// Another machine has the name.
    #[error("another machine has this name")]
    NameTaken,
    /// A name that would be read as something else on the command line.
    #[error(
        "a machine's name has no '/', ':', '@' or white space, and does not start with '-' or '.'"
    )]
    BadName,
    /// There is no room for another machine.
    #[error("there are {max} known machines already")]
    TooMany {
        /// How many there may be.
        max: usize,
    },
}

impl Host {
    /// A machine that was just joined.
    pub fn new(key: PublicKey, addresses: Vec<String>, added: SystemTime) -> Self {
        Self { key, addresses, added, other: toml::Table::new() }
    }
}

impl Hosts {
    /// The machines in `path`; none where there is no file yet.
    ///
    /// # Errors
    /// The file is malformed, open to others or can't be read.
    pub fn load(path: &Path) -> Result<Self, HostsError> {
        let bytes = match state::read_private(path, FILE_LEN_MAX) {
            Err(error) if error.is_not_found() => return Ok(Self::default()),
            read => read?,
        };
        let text =
            String::from_utf8(bytes).map_err(|_| HostsError::NotText { path: path.to_owned() })?;
        toml::from_str(&text).map_err(|error| HostsError::Malformed {
            path: path.to_owned(),
            line: line_of(&text, error.span()),
            message: error.message().into(),
        })
    }

    /// Reads `path`, changes what is in it and stores it, one process at a time. Nothing is stored
    /// when `change` fails.
    ///
    /// # Errors
    /// What `change` or [`Self::load`] says, or it can't be stored.
    pub fn change<T>(
        path: &Path,
        change: impl FnOnce(&mut Self) -> Result<T, HostsError>,
    ) -> Result<T, HostsError> {
        let lock_path = path.with_extension("lock");
        let lock = state::open_private(&lock_path, OpenOptions::new().append(true).create(true))?;
        flock(&lock, FlockOperation::LockExclusive)
            .map_err(|error| StateError::io(&lock_path)(error.into()))?;
        let mut hosts = Self::load(path)?;
        let changed = change(&mut hosts)?;
        let text = toml::to_string(&hosts).expect("a table of tables of texts is TOML");
        state::write_private(path, text.as_bytes())?;
        Ok(changed)
    }

    /// The machine of this name.
    pub fn find(&self, name: &str) -> Option<&Host> {
        self.by_name.get(name)
    }

    /// The machine that was reached at this address, and its name; of several the one that joined
    /// last, since a machine that was set up anew has a new key.
    pub fn find_address(&self, address: &str) -> Option<(&str, &Host)> {
        self.iter()
            .filter(|(_, host)| host.addresses.iter().any(|known| known == address))
            .max_by_key(|(_, host)| host.added)
    }

    /// The machine that has this key, and its name.
    pub fn find_key(&self, key: &PublicKey) -> Option<(&str, &Host)> {
        self.iter().find(|(_, host)| host.key == *key)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Host)> {
        self.by_name.iter().map(|(name, host)| (name.as_str(), host))
    }

    /// Remembers a machine, and gives the name that it got: `name` as far as it can be one, with a
    /// suffix where a machine with another key has it. A machine whose key is known already keeps what
    /// else is known of it: its new addresses come first.
    ///
    /// # Errors
    /// There are too many.
    pub fn add(&mut self, name: &str, mut host: Host) -> Result<String, HostsError> {
        let known = self.find_key(&host.key).map(|(name, _)| name.to_owned());
        if let Some(known) = known.and_then(|name| self.by_name.remove(&name)) {
            let older = known.addresses.into_iter();
            let older: Vec<_> = older.filter(|one| !host.addresses.contains(one)).collect();
            host.addresses.extend(older);
            host.other = known.other;
        }
        if self.by_name.len() >= HOSTS_MAX {
            return Err(HostsError::TooMany { max: HOSTS_MAX });
        }
        host.addresses.truncate(ADDRESSES_MAX);
        let name = unique_name(&usable_name(name), |name| self.by_name.contains_key(name));
        self.by_name.insert(name.clone(), host);
        Ok(name)
    }

    /// Calls a machine something else.
    ///
    /// # Errors
    /// There is no `from`, `to` is taken, or `to` can't be a name.
    pub fn rename(&mut self, from: &str, to: &str) -> Result<(), HostsError> {
        if usable_name(to) != to {
            return Err(HostsError::BadName);
        }
        if from != to && self.by_name.contains_key(to) {
            return Err(HostsError::NameTaken);
        }
        let host = self.by_name.remove(from).ok_or(HostsError::NotFound)?;
        self.by_name.insert(to.to_owned(), host);
        Ok(())
    }

    /// Forgets a machine.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn remove(&mut self, name: &str) -> Result<Host, HostsError> {
        self.by_name.remove(name).ok_or(HostsError::NotFound)
    }
}

/// `name` as one word that is not mistaken for an address, a path or an option.
fn usable_name(name: &str) -> String {
    let word = printable_name(name).replace(
        |char: char| char.is_whitespace() || matches!(char, '/' | ':' | '@' | '[' | ']'),
        "-",
    );
    let word = word.trim_matches(['-', '.']);
    if word.is_empty() { NAMELESS.to_owned() } else { word.to_owned() }
}

/// Most machines that are known.
pub const HOSTS_MAX: usize = 10_000;
/// Most addresses that are kept of one machine.
pub const ADDRESSES_MAX: usize = 16;
const FILE_LEN_MAX: u64 = 16 << 20;
const NAMELESS: &str = "machine";

#[cfg(test)]
#[path = "hosts_tests.rs"]
mod tests;
