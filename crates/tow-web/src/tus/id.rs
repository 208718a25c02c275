//! The id of an upload, which says all that there is to know of it: a node that was started anew
//! goes on with what it never wrote down.
//!
//! It proves nothing and needs no proof: what it asks for is done under the grant of who shows it,
//! and the partial file is found by their key.

use std::time::{Duration, SystemTime};

use aws_lc_rs::{digest, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tow_node::clock::unix_secs;
use tow_proto::message::{Exists, Mtime, UploadId, Write};
use tow_proto::{ByteString, Code};

use super::metadata::{Metadata, PATH_LEN_MAX};
use crate::path::on_machine;

/// An upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Id {
    /// How long the whole will be, in bytes.
    pub(super) size: u64,
    /// When it was begun, in seconds since 1970.
    begun: u64,
    /// Always there, so that the finished file can be told from any other.
    mtime: Mtime,
    said: Metadata,
    nonce: [u8; NONCE_LEN],
}

impl Id {
    /// A new upload. Without a time of its own, the file gets the one at which it was begun.
    ///
    /// # Errors
    /// [`Code::Internal`]: there is no randomness.
    pub(super) fn new(size: u64, said: Metadata, now: SystemTime) -> Result<Self, Code> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| Code::Internal)?;
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let secs = i64::try_from(since.as_secs()).map_err(|_| Code::Internal)?;
        let mtime = said.mtime.unwrap_or(Mtime(secs, since.subsec_nanos()));
        Ok(Self { size, begun: unix_secs(now), mtime, said, nonce })
    }

    /// As text for a URL.
    pub(super) fn to_text(&self) -> String {
        let keeps = if self.said.exists == Exists::Keep { KEEPS } else { 0 };
        let parents = if self.said.parents { PARENTS } else { 0 };
        // None has all bits set: permissions have nine.
        let mode = self.said.mode.and_then(|mode| u16::try_from(mode).ok()).unwrap_or(NO_MODE);
        let mut bytes = vec![FORM, keeps | parents];
        bytes.extend(self.size.to_le_bytes());
        bytes.extend(self.begun.to_le_bytes());
        bytes.extend(self.mtime.0.to_le_bytes());
        bytes.extend(self.mtime.1.to_le_bytes());
        bytes.extend(mode.to_le_bytes());
        bytes.extend(self.nonce);
        bytes.extend(&self.said.path);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads what [`Self::to_text`] made; `None` of anything else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.len() > TEXT_LEN_MAX {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let mut rest = &bytes[..];
        let [form, flags] = *take::<2>(&mut rest)?;
        let size = u64::from_le_bytes(*take(&mut rest)?);
        let begun = u64::from_le_bytes(*take(&mut rest)?);
        let mtime =
            Mtime(i64::from_le_bytes(*take(&mut rest)?), u32::from_le_bytes(*take(&mut rest)?));
        let mode = u16::from_le_bytes(*take(&mut rest)?);
        let nonce = *take(&mut rest)?;
        let is_ours = form == FORM && flags & !(KEEPS | PARENTS) == 0 && size <= SIZE_MAX;
        if !is_ours || rest.is_empty() || rest.len() > PATH_LEN_MAX {
            return None;
        }
        let said = Metadata {
            path: rest.to_vec(),
            parents: flags & PARENTS != 0,
            mtime: Some(mtime),
            mode: (mode != NO_MODE).then_some(mode.into()),
            exists: if flags & KEEPS != 0 { Exists::Keep } else { Exists::Replace },
        };
        Some(Self { size, begun, mtime, said, nonce })
    }

    /// The machine's own path of the file.
    pub(super) fn path(&self, root: &ByteString) -> ByteString {
        on_machine(root, &self.said.path)
    }

    /// What the node calls it.
    pub(super) fn upload(&self) -> Result<UploadId, Code> {
        let hash = digest::digest(&digest::SHA256, self.to_text().as_bytes());
        UploadId::try_from(URL_SAFE_NO_PAD.encode(hash)).map_err(|_| Code::Internal)
    }

    /// A part of it, from offset `from` on.
    pub(super) fn part(&self, root: &ByteString, from: u64, last: Last) -> Result<Write, Code> {
        Ok(Write {
            path: self.path(root),
            from,
            last: last == Last::Yes,
            upload: Some(self.upload()?),
            size: Some(self.size),
            mode: self.said.mode,
            mtime: Some(self.mtime),
            parents: self.said.parents,
            exists: self.said.exists,
        })
    }

    /// When the finished file was changed.
    pub(super) fn mtime(&self) -> Mtime {
        self.mtime
    }

    /// When it was begun, in seconds since 1970.
    pub(super) fn begun(&self) -> u64 {
        self.begun
    }

    /// Whether nothing can be left of it, if nothing is there.
    pub(super) fn is_old(&self, now: SystemTime) -> bool {
        self.begun.saturating_add(KEPT_FOR.as_secs()) < unix_secs(now)
    }
}

/// Whether a part is the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Last {
    /// The file gets its name.
    Yes,
    /// More will come, or not.
    No,
}

fn take<'b, const LEN: usize>(bytes: &mut &'b [u8]) -> Option<&'b [u8; LEN]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(taken)
}

/// How long an upload is kept that nobody touches.
pub(super) const KEPT_FOR: Duration = tow_host::files::PARTIAL_KEPT_FOR;
/// The largest file that the kernel knows.
pub(super) const SIZE_MAX: u64 = i64::MAX as u64;
const FORM: u8 = 1;
const KEEPS: u8 = 1;
const PARENTS: u8 = 2;
const NO_MODE: u16 = u16::MAX;
const NONCE_LEN: usize = 12;
/// Base64 of everything before the path, and of the longest path.
const TEXT_LEN_MAX: usize = (2 + 8 + 8 + 8 + 4 + 2 + NONCE_LEN + PATH_LEN_MAX).div_ceil(3) * 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn said(path: &[u8]) -> Metadata {
        Metadata {
            path: path.to_vec(),
            parents: true,
            mtime: Some(Mtime(-5, 7)),
            mode: Some(0o640),
            exists: Exists::Keep,
        }
    }

    #[test]
    fn an_id_says_everything() {
        let now = SystemTime::now();
        for path in [&b"/a"[..], b"/\xff\n\"..", &[b'x'; PATH_LEN_MAX]] {
            let id = Id::new(u64::MAX >> 1, said(path), now).unwrap();
            assert_eq!(Id::parse(&id.to_text()), Some(id));
        }
        let plain = Metadata { mtime: None, mode: None, exists: Exists::Replace, ..said(b"/a") };
        let (one, other) = (Id::new(5, plain.clone(), now), Id::new(5, plain, now));
        let (one, other) = (one.unwrap(), other.unwrap());
        assert_ne!(one.upload().unwrap(), other.upload().unwrap(), "two uploads of one file");
        let read = Id::parse(&one.to_text()).unwrap();
        assert_eq!((read.part(&"/".into(), 0, Last::No), read.begun()), {
            (one.part(&"/".into(), 0, Last::No), one.begun())
        });
        assert!(!one.is_old(now) && one.is_old(now + KEPT_FOR + Duration::from_secs(2)));
    }

    #[test]
    fn what_is_no_id_is_none() {
        let good = Id::new(5, said(b"/a"), SystemTime::now()).unwrap().to_text();
        let bytes = URL_SAFE_NO_PAD.decode(&good).unwrap();
        for len in 0..bytes.len() - 1 {
            assert_eq!(Id::parse(&URL_SAFE_NO_PAD.encode(&bytes[..len])), None, "{len}");
        }
        for (at, value) in [(0, 0), (0, 2), (1, 4), (9, 0x80)] {
            let mut bad = bytes.clone();
            bad[at] = value;
            assert_eq!(Id::parse(&URL_SAFE_NO_PAD.encode(&bad)), None, "{at}");
        }
        for bad in ["", "..", "%2e", "====", &"A".repeat(TEXT_LEN_MAX + 4)] {
            assert_eq!(Id::parse(bad), None);
        }
    }
}
