//! The records of a pack (PROTOCOL 7.3): how each is written and read. Reading believes nothing.

use super::blocks::Signature;
use super::entry::{Columns, Device, Digest, Entry, Listing, Meta, Owner, What};
use super::pack::PackError;
use super::path::{NAME_LEN_MAX, TARGET_LEN_MAX, check_name, check_path};
use super::pieces::PieceHash;
use super::runs::Run;
use super::wire::{Fields, put_number, put_signed, put_string};
use crate::content::Hash;
use crate::message::Mtime;

/// One record of a pack (PROTOCOL 7.3). Paths are relative to the top of the transfer, names to the
/// directory that was last entered or made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// Receiver: this directory is there.
    Digest {
        /// The directory.
        path: &'a [u8],
        /// Of what is in it; zeros: ask.
        digest: Digest,
    },
    /// Receiver: what is in a directory.
    Listing {
        /// Its path and entries.
        listing: Listing,
        /// More entries of the same directory follow, in another record.
        more: bool,
    },
    /// Receiver: hashes of pieces of a partial file.
    Pieces {
        /// The file that it will be.
        path: &'a [u8],
        /// Index of the first piece.
        first: u64,
        /// Of it and those after it.
        hashes: Vec<PieceHash>,
    },
    /// Receiver: signatures of the blocks of a file.
    Blocks {
        /// The file.
        path: &'a [u8],
        /// More of them follow, in another record.
        more: bool,
        /// In the order of the file.
        signatures: Vec<Signature>,
    },
    /// What follows is in this directory, which is there.
    Enter {
        /// The directory.
        path: &'a [u8],
    },
    /// Make this directory if it is not there; what follows is in it.
    Dir {
        /// The directory.
        path: &'a [u8],
        /// What it gets.
        meta: Meta,
    },
    /// A whole small file.
    File {
        /// In the current directory.
        name: &'a [u8],
        /// What it gets.
        meta: Meta,
        /// All of it.
        content: &'a [u8],
    },
    /// A symbolic link.
    Link {
        /// In the current directory.
        name: &'a [u8],
        /// What it gets; its mode means nothing.
        meta: Meta,
        /// Its content, opaque.
        target: &'a [u8],
    },
    /// Another name of a file.
    Hard {
        /// In the current directory.
        name: &'a [u8],
        /// The file.
        path: &'a [u8],
    },
    /// Something special.
    Special {
        /// In the current directory.
        name: &'a [u8],
        /// What it gets.
        meta: Meta,
        /// What it is.
        device: Device,
    },
    /// The content is right, this is not.
    Meta {
        /// In the current directory.
        name: &'a [u8],
        /// What it gets.
        meta: Meta,
    },
    /// Remove this, and what is in it.
    Delete {
        /// In the current directory.
        name: &'a [u8],
    },
    /// So much of the current directory is as it should be.
    Same {
        /// Regular files.
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// The content of this file follows.
    Large {
        /// The file.
        path: &'a [u8],
        /// What it gets.
        meta: Meta,
        /// Its length in bytes.
        size: u64,
        /// What of it follows.
        how: How,
    },
    /// Runs of blocks of the old file.
    Copy {
        /// In the order of the new file.
        runs: Vec<Run>,
    },
}

/// What of the content of a large file follows (PROTOCOL 7.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// All of it.
    Whole,
    /// What the partial file lacks.
    Resume {
        /// How many bytes the partial file has.
        len: u64,
    },
    /// What the file that is there does not have.
    Blocks {
        /// Length of its blocks in bytes.
        len: u64,
    },
}

/// Appends a record.
pub(super) fn write(record: &Record<'_>, columns: Columns, out: &mut Vec<u8>) {
    match record {
        Record::Digest { path, digest } => {
            put_path(TAG_DIGEST, path, out);
            out.extend_from_slice(&digest.0);
        }
        Record::Listing { listing, more } => {
            put_listing(listing, &listing.entries, *more, columns, out);
        }
        Record::Pieces { path, first, hashes } => put_pieces(path, *first, hashes, out),
        Record::Blocks { path, more, signatures } => put_blocks(path, *more, signatures, out),
        Record::Enter { path } => put_path(TAG_ENTER, path, out),
        Record::Dir { path, meta } => put_named(TAG_DIR, path, meta, columns, out),
        Record::File { name, meta, content } => {
            put_file(name, meta, content.len(), columns, out);
            out.extend_from_slice(content);
        }
        Record::Link { name, meta, target } => {
            put_named(TAG_LINK, name, meta, columns, out);
            put_string(target, out);
        }
        Record::Hard { name, path } => {
            put_path(TAG_HARD, name, out);
            put_string(path, out);
        }
        Record::Special { name, meta, device } => {
            put_named(TAG_SPECIAL, name, meta, columns, out);
            put_device(*device, out);
        }
        Record::Meta { name, meta } => put_named(TAG_META, name, meta, columns, out),
        Record::Delete { name } => put_path(TAG_DELETE, name, out),
        Record::Same { files, bytes } => {
            out.push(TAG_SAME);
            put_number(*files, out);
            put_number(*bytes, out);
        }
        Record::Large { path, meta, size, how } => {
            put_named(TAG_LARGE, path, meta, columns, out);
            put_number(*size, out);
            let (how, len) = match *how {
                How::Whole => (0, 0),
                How::Resume { len } => (1, len),
                How::Blocks { len } => (2, len),
            };
            put_number(how, out);
            put_number(len, out);
        }
        Record::Copy { runs } => {
            out.push(TAG_COPY);
            put_number(runs.len() as u64, out);
            for run in runs {
                put_signed(run.skip, out);
                put_number(run.blocks, out);
            }
        }
    }
}

/// Appends a `listing` of some of the entries of a directory.
pub(super) fn put_listing(
    listing: &Listing,
    entries: &[Entry],
    more: bool,
    columns: Columns,
    out: &mut Vec<u8>,
) {
    put_path(TAG_LISTING, &listing.path, out);
    let incomplete = if listing.is_complete { 0 } else { FLAG_INCOMPLETE };
    put_number((u64::from(more) * FLAG_MORE) | incomplete, out);
    put_number(entries.len() as u64, out);
    entries.iter().for_each(|entry| put_entry(entry, columns, out));
}

/// Appends a `pieces`.
pub(super) fn put_pieces(path: &[u8], first: u64, hashes: &[PieceHash], out: &mut Vec<u8>) {
    put_path(TAG_PIECES, path, out);
    put_number(first, out);
    put_number(hashes.len() as u64, out);
    hashes.iter().for_each(|hash| out.extend_from_slice(&hash.0));
}

/// Appends a `blocks`.
pub(super) fn put_blocks(path: &[u8], more: bool, signatures: &[Signature], out: &mut Vec<u8>) {
    put_path(TAG_BLOCKS, path, out);
    put_number(u64::from(more) * FLAG_MORE, out);
    put_number(signatures.len() as u64, out);
    for signature in signatures {
        out.extend_from_slice(&signature.sum.to_le_bytes());
        out.extend_from_slice(&signature.hash.to_le_bytes());
    }
}

/// Appends a `file` but for its content of `len` bytes.
pub(super) fn put_file(name: &[u8], meta: &Meta, len: usize, columns: Columns, out: &mut Vec<u8>) {
    put_named(TAG_FILE, name, meta, columns, out);
    put_number(len as u64, out);
}

/// Appends an entry as it is in a `listing`.
pub(super) fn put_entry(entry: &Entry, columns: Columns, out: &mut Vec<u8>) {
    let kind = match entry.what {
        What::File { .. } => 0,
        What::Dir => 1,
        What::Link { .. } => 2,
        What::Special(_) => 3,
        What::Part { .. } => 4,
    };
    out.push(kind);
    put_string(&entry.name, out);
    put_meta(&entry.meta, columns, out);
    match &entry.what {
        What::File { size, hash } => {
            put_number(*size, out);
            if columns.hashes {
                out.extend_from_slice(hash.as_ref().map_or(&NO_HASH, |hash| &hash.0));
            }
        }
        What::Dir => {}
        What::Link { target } => put_string(target, out),
        What::Special(device) => put_device(*device, out),
        What::Part { len } => put_number(*len, out),
    }
}

/// Most bytes that [`put_entry`] appends.
pub(super) fn entry_len_max(entry: &Entry, columns: Columns) -> usize {
    let target = match &entry.what {
        What::Link { target } => target.len(),
        _ => 0,
    };
    let owner = entry.meta.owner.as_ref().map_or(0, |owner| owner.user.len() + owner.group.len());
    let numbers =
        if columns.owners { ENTRY_NUMBERS_MAX + OWNER_NUMBERS_MAX } else { ENTRY_NUMBERS_MAX };
    let hash = if columns.hashes { NO_HASH.len() } else { 0 };
    numbers + hash + entry.name.len() + target + owner
}

fn put_path(tag: u8, path: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    put_string(path, out);
}

fn put_named(tag: u8, name: &[u8], meta: &Meta, columns: Columns, out: &mut Vec<u8>) {
    put_path(tag, name, out);
    put_meta(meta, columns, out);
}

fn put_meta(meta: &Meta, columns: Columns, out: &mut Vec<u8>) {
    put_number(u64::from(meta.mode), out);
    put_signed(meta.mtime.0, out);
    put_number(u64::from(meta.mtime.1), out);
    if columns.owners {
        let nobody = Owner::default();
        let owner = meta.owner.as_deref().unwrap_or(&nobody);
        put_number(u64::from(owner.uid), out);
        put_number(u64::from(owner.gid), out);
        put_string(&owner.user, out);
        put_string(&owner.group, out);
    }
}

fn put_device(device: Device, out: &mut Vec<u8>) {
    let (kind, major, minor) = match device {
        Device::Pipe => (1, 0, 0),
        Device::Socket => (2, 0, 0),
        Device::Character(major, minor) => (3, major, minor),
        Device::Block(major, minor) => (4, major, minor),
    };
    [kind, major, minor].into_iter().for_each(|number| put_number(u64::from(number), out));
}

/// Reads one record; the content of a `file` is the last of its bytes.
pub(super) fn read<'a>(fields: &mut Fields<'a>, columns: Columns) -> Result<Record<'a>, PackError> {
    Ok(match fields.byte()? {
        TAG_DIGEST => Record::Digest { path: path(fields)?, digest: Digest(fields.array()?) },
        TAG_LISTING => listing(fields, columns)?,
        TAG_PIECES => pieces(fields)?,
        TAG_BLOCKS => blocks(fields)?,
        TAG_ENTER => Record::Enter { path: path(fields)? },
        TAG_DIR => Record::Dir { path: path(fields)?, meta: meta(fields, columns)? },
        TAG_FILE => Record::File {
            name: name(fields)?,
            meta: meta(fields, columns)?,
            content: fields.string()?,
        },
        TAG_LINK => Record::Link {
            name: name(fields)?,
            meta: meta(fields, columns)?,
            target: target(fields)?,
        },
        TAG_HARD => Record::Hard { name: name(fields)?, path: inner_path(fields)? },
        TAG_SPECIAL => Record::Special {
            name: name(fields)?,
            meta: meta(fields, columns)?,
            device: device(fields)?,
        },
        TAG_META => Record::Meta { name: name(fields)?, meta: meta(fields, columns)? },
        TAG_DELETE => Record::Delete { name: name(fields)? },
        TAG_SAME => Record::Same { files: fields.number()?, bytes: fields.number()? },
        TAG_LARGE => Record::Large {
            path: inner_path(fields)?,
            meta: meta(fields, columns)?,
            size: fields.number()?,
            how: how(fields)?,
        },
        TAG_COPY => copy(fields)?,
        _ => return Err(PackError::Malformed),
    })
}

fn listing<'a>(fields: &mut Fields<'a>, columns: Columns) -> Result<Record<'a>, PackError> {
    let path = path(fields)?.to_vec();
    let flags = flags(fields, FLAG_MORE | FLAG_INCOMPLETE)?;
    let count = fields.count(ENTRY_LEN_MIN)?;
    let mut entries: Vec<Entry> = Vec::with_capacity(count);
    for _ in 0..count {
        let entry = entry(fields, columns)?;
        if let Some(before) = entries.last() {
            let is_part = |entry: &Entry| matches!(entry.what, What::Part { .. });
            let is_second = before.name == entry.name && !is_part(before) && is_part(&entry);
            if before.name >= entry.name && !is_second {
                return Err(PackError::Malformed);
            }
        }
        entries.push(entry);
    }
    let is_complete = flags & FLAG_INCOMPLETE == 0;
    let listing = Listing { path, entries, is_complete };
    Ok(Record::Listing { listing, more: flags & FLAG_MORE != 0 })
}

fn entry(fields: &mut Fields<'_>, columns: Columns) -> Result<Entry, PackError> {
    let kind = fields.byte()?;
    let name = name(fields)?.into();
    let meta = meta(fields, columns)?;
    let what = match kind {
        0 => {
            let size = fields.number()?;
            let hash = if columns.hashes { Some(fields.array()?) } else { None };
            let hash = hash.filter(|hash| *hash != NO_HASH);
            What::File { size, hash: hash.map(|hash| Box::new(Hash(hash))) }
        }
        1 => What::Dir,
        2 => What::Link { target: target(fields)?.into() },
        3 => What::Special(device(fields)?),
        4 => What::Part { len: fields.number()? },
        _ => return Err(PackError::Malformed),
    };
    Ok(Entry { name, what, meta })
}

fn pieces<'a>(fields: &mut Fields<'a>) -> Result<Record<'a>, PackError> {
    let path = inner_path(fields)?;
    let first = fields.number()?;
    let count = fields.count(size_of::<PieceHash>())?;
    let hash = |_| fields.array().map(PieceHash);
    let hashes = (0..count).map(hash).collect::<Result<_, _>>()?;
    Ok(Record::Pieces { path, first, hashes })
}

fn blocks<'a>(fields: &mut Fields<'a>) -> Result<Record<'a>, PackError> {
    let path = inner_path(fields)?;
    let more = flags(fields, FLAG_MORE)? != 0;
    let count = fields.count(SIGNATURE_LEN)?;
    let mut signatures = Vec::with_capacity(count);
    for _ in 0..count {
        let sum = u32::from_le_bytes(fields.array()?);
        signatures.push(Signature { sum, hash: u64::from_le_bytes(fields.array()?) });
    }
    Ok(Record::Blocks { path, more, signatures })
}

fn copy<'a>(fields: &mut Fields<'a>) -> Result<Record<'a>, PackError> {
    let count = fields.count(RUN_LEN_MIN)?;
    let mut runs = Vec::with_capacity(count);
    for _ in 0..count {
        runs.push(Run { skip: fields.signed()?, blocks: fields.number()? });
    }
    Ok(Record::Copy { runs })
}

fn how(fields: &mut Fields<'_>) -> Result<How, PackError> {
    match (fields.number()?, fields.number()?) {
        (0, 0) => Ok(How::Whole),
        (1, len) => Ok(How::Resume { len }),
        (2, len) => Ok(How::Blocks { len }),
        _ => Err(PackError::Malformed),
    }
}

fn device(fields: &mut Fields<'_>) -> Result<Device, PackError> {
    match (fields.number()?, fields.small()?, fields.small()?) {
        (1, 0, 0) => Ok(Device::Pipe),
        (2, 0, 0) => Ok(Device::Socket),
        (3, major, minor) => Ok(Device::Character(major, minor)),
        (4, major, minor) => Ok(Device::Block(major, minor)),
        _ => Err(PackError::Malformed),
    }
}

fn meta(fields: &mut Fields<'_>, columns: Columns) -> Result<Meta, PackError> {
    let mode = fields.small()?;
    let mtime = Mtime(fields.signed()?, fields.small()?);
    if mode > MODE_MAX || mtime.1 > NANOSECONDS_MAX {
        return Err(PackError::Malformed);
    }
    let owner = if columns.owners { Some(Box::new(owner(fields)?)) } else { None };
    Ok(Meta { mode, mtime, owner })
}

fn owner(fields: &mut Fields<'_>) -> Result<Owner, PackError> {
    let (uid, gid) = (fields.small()?, fields.small()?);
    let (user, group) = (account(fields)?, account(fields)?);
    Ok(Owner { uid, gid, user, group })
}

/// The name of a user or of a group; it may be empty.
fn account(fields: &mut Fields<'_>) -> Result<Vec<u8>, PackError> {
    let name = fields.string()?;
    let is_name = name.len() <= NAME_LEN_MAX && !name.contains(&0);
    if is_name { Ok(name.to_vec()) } else { Err(PackError::Malformed) }
}

fn flags(fields: &mut Fields<'_>, known: u64) -> Result<u64, PackError> {
    let flags = fields.number()?;
    if flags & !known == 0 { Ok(flags) } else { Err(PackError::Malformed) }
}

fn name<'a>(fields: &mut Fields<'a>) -> Result<&'a [u8], PackError> {
    let name = fields.string()?;
    check_name(name).map_err(PackError::Path)?;
    Ok(name)
}

fn path<'a>(fields: &mut Fields<'a>) -> Result<&'a [u8], PackError> {
    let path = fields.string()?;
    check_path(path).map_err(PackError::Path)?;
    Ok(path)
}

/// A path that is not that of the top.
fn inner_path<'a>(fields: &mut Fields<'a>) -> Result<&'a [u8], PackError> {
    let path = path(fields)?;
    if path.is_empty() { Err(PackError::Path(crate::Code::BadName)) } else { Ok(path) }
}

fn target<'a>(fields: &mut Fields<'a>) -> Result<&'a [u8], PackError> {
    let target = fields.string()?;
    let is_target = (1..=TARGET_LEN_MAX).contains(&target.len()) && !target.contains(&0);
    if is_target { Ok(target) } else { Err(PackError::Malformed) }
}

const TAG_DIGEST: u8 = 1;
const TAG_LISTING: u8 = 2;
const TAG_PIECES: u8 = 3;
const TAG_BLOCKS: u8 = 4;
const TAG_ENTER: u8 = 16;
const TAG_DIR: u8 = 17;
const TAG_FILE: u8 = 18;
const TAG_LINK: u8 = 19;
const TAG_HARD: u8 = 20;
const TAG_SPECIAL: u8 = 21;
const TAG_META: u8 = 22;
const TAG_DELETE: u8 = 23;
const TAG_SAME: u8 = 24;
const TAG_LARGE: u8 = 25;
const TAG_COPY: u8 = 26;
const FLAG_MORE: u64 = 1;
const FLAG_INCOMPLETE: u64 = 2;
const MODE_MAX: u32 = 0o7777;
const NANOSECONDS_MAX: u32 = 999_999_999;
/// In the place of a hash that is not known.
const NO_HASH: [u8; 32] = [0; 32];
/// Of a directory with a name of one byte: kind, name, mode, seconds, nanoseconds.
const ENTRY_LEN_MIN: usize = 6;
/// Skip and blocks.
const RUN_LEN_MIN: usize = 2;
/// Bytes of a signature in a record.
pub(super) const SIGNATURE_LEN: usize = 12;
/// Kind, length of the name, mode, seconds, nanoseconds; a device's three numbers.
const ENTRY_NUMBERS_MAX: usize = 1 + 2 + 2 + 10 + 5 + 11;
/// Of user and group: number, length of the name.
const OWNER_NUMBERS_MAX: usize = 2 * (5 + 2);
/// Most bytes of a record with a list beside its path and the list.
pub(super) const LIST_NUMBERS_MAX: usize = 32;
