//! What is in a directory, as either end finds it and as it is compared.

use super::options::Options;
use super::record::put_entry;
use crate::content::Hash;
use crate::message::Mtime;

/// Permission bits, time and, where they are asked for, owners of an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Permission bits, at most 0o7777.
    pub mode: u32,
    /// Modification time.
    pub mtime: Mtime,
    /// With [`super::Options::archive`] alone.
    pub owner: Option<Box<Owner>>,
}

/// Whose something is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// Number of the user.
    pub uid: u32,
    /// Number of the group.
    pub gid: u32,
    /// Name of the user where there is one, else empty. It decides where the receiver knows it.
    pub user: Vec<u8>,
    /// Name of the group, likewise.
    pub group: Vec<u8>,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A regular file.
    File {
        /// Length in bytes.
        size: u64,
        /// Hash of its content, with [`super::Options::checksum`] alone.
        hash: Option<Box<Hash>>,
    },
    /// A directory.
    Dir,
    /// A symbolic link.
    Link {
        /// Its content, opaque.
        target: Box<[u8]>,
    },
    /// Neither of these.
    Special(Device),
    /// Only at a receiver: the partial file of an earlier attempt. The entry has the name that the
    /// file will get.
    Part {
        /// How many bytes it has.
        len: u64,
    },
}

/// Something that is neither file, directory nor link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// A named pipe.
    Pipe,
    /// A socket's name.
    Socket,
    /// A character device, by its major and minor number.
    Character(u32, u32),
    /// A block device, by its major and minor number.
    Block(u32, u32),
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// One component of a path.
    pub name: Box<[u8]>,
    /// What it is.
    pub what: What,
    /// What is known of it.
    pub meta: Meta,
}

/// What is in one directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The directory, relative to the top; the top is empty.
    pub path: Vec<u8>,
    /// Sorted by the bytes of the names. A name may be there twice, as what it is and as
    /// [`What::Part`], in this order.
    pub entries: Vec<Entry>,
    /// Everything that is there was read. If not, nothing may be concluded from what is missing.
    pub is_complete: bool,
}

/// The digest of a directory's entries; zeros say nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest(pub [u8; 16]);

/// Which fields the options of a transfer add to its packs (PROTOCOL 7.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// With [`Options::archive`]: who owns it.
    pub owners: bool,
    /// With [`Options::checksum`]: hashes of files in listings.
    pub hashes: bool,
}

impl From<&Options> for Columns {
    fn from(options: &Options) -> Self {
        Self { owners: options.archive, hashes: options.checksum }
    }
}

impl Listing {
    /// The digest of the entries (PROTOCOL 7.3): zeros where the directory was not read completely
    /// or holds a partial file.
    pub fn digest(&self, columns: Columns) -> Digest {
        let is_part = |entry: &Entry| matches!(entry.what, What::Part { .. });
        if !self.is_complete || self.entries.iter().any(is_part) {
            return Digest::default();
        }
        let mut hasher = blake3::Hasher::new_derive_key(DIGEST_CONTEXT);
        let mut encoded = Vec::with_capacity(HASHED_AT_ONCE + (8 << 10));
        for entry in &self.entries {
            put_entry(entry, columns, &mut encoded);
            if encoded.len() >= HASHED_AT_ONCE {
                hasher.update(&encoded);
                encoded.clear();
            }
        }
        hasher.update(&encoded);
        let mut digest = Digest::default();
        hasher.finalize_xof().fill(&mut digest.0);
        digest
    }
}

const DIGEST_CONTEXT: &str = "towline 2026 directory digest";
const HASHED_AT_ONCE: usize = 32 << 10;
