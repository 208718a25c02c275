//! Zip archives whose every byte has its place before the first one is sent (PKWARE APPNOTE 6.3): files
//! are stored as they are, so lengths and offsets follow from what the plan knows. Only checksums do
//! not: they stand behind each file, and in the directory at the end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tow_proto::message::Mtime;

use super::plan::{Entry, Identity, Plan, Planned, What};
use super::pour::Pour;
use super::source::{Broken, Source};

/// An archive that is planned down to its last byte.
pub(super) struct Zip {
    plan: Plan,
    /// Where each entry begins.
    starts: Vec<u64>,
    /// Where the record of each entry begins in the directory.
    records: Vec<u64>,
    end: u64,
    len: u64,
}

impl Zip {
    pub(super) fn new(plan: Plan) -> Self {
        let mut at = 0;
        let mut starts = Vec::with_capacity(plan.entries.len());
        for entry in &plan.entries {
            starts.push(at);
            at += local(entry).len() as u64 + entry.size() + descriptor_len(entry);
        }
        let mut records = Vec::with_capacity(plan.entries.len());
        for (entry, start) in plan.entries.iter().zip(&starts) {
            records.push(at);
            at += record(entry, *start, 0).len() as u64;
        }
        let mut zip = Self { plan, starts, records, end: at, len: 0 };
        zip.len = at + zip.tail().len() as u64;
        zip
    }

    /// Bytes of the whole.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Pours what of the archive is asked for.
    pub(super) fn pour(
        &self,
        source: &mut Source,
        crcs: &Crcs,
        pour: &mut Pour,
    ) -> Result<(), Broken> {
        let mut known = Vec::new();
        known.resize(self.plan.entries.len(), None);
        let first = self.starts.partition_point(|start| *start <= pour.from()).saturating_sub(1);
        for (at, entry) in self.plan.entries.iter().enumerate().skip(first) {
            let Some(start) = self.starts.get(at).filter(|start| **start < pour.to()) else {
                break;
            };
            pour.move_to(*start);
            pour.put(&local(entry))?;
            let crc = self.content(entry, source, crcs, pour)?;
            if let (Some(crc), Some(known)) = (crc, known.get_mut(at)) {
                *known = Some(crc);
            }
        }
        let first = self.records.partition_point(|start| *start <= pour.from()).saturating_sub(1);
        for (at, entry) in self.plan.entries.iter().enumerate().skip(first) {
            let (Some(start), Some(place)) = (self.records.get(at), self.starts.get(at)) else {
                break;
            };
            if *start >= pour.to() {
                break;
            }
            let crc = match known.get(at).copied().flatten() {
                Some(crc) => crc,
                None => crc_of(entry, source, crcs, pour)?,
            };
            pour.move_to(*start);
            pour.put(&record(entry, *place, crc))?;
        }
        pour.move_to(self.end);
        pour.put(&self.tail())
    }

    /// Pours what of an entry is asked for, behind its header. Gives its checksum, where that came to
    /// be known.
    fn content(
        &self,
        entry: &Entry,
        source: &mut Source,
        crcs: &Crcs,
        pour: &mut Pour,
    ) -> Result<Option<u32>, Broken> {
        let planned = match &entry.what {
            What::Dir => return Ok(Some(0)),
            What::Link(content) | What::Text(content) => {
                pour.put(content)?;
                return Ok(Some(crc32fast::hash(content)));
            }
            What::File(planned) => planned,
        };
        if planned.size == 0 {
            return Ok(Some(0));
        }
        let begin = pour.at();
        let end = begin + planned.size;
        let has_descriptor = pour.wants(end, end + descriptor_len(entry));
        let (from, to) = pour.part(begin, end);
        let known = crcs.get(planned);
        let is_whole = (from, to) == (begin, end);
        let crc = if is_whole || (has_descriptor && known.is_none()) {
            let crc = hashed(planned, source, &mut |bytes| pour.put(bytes))?;
            crcs.put(planned, crc);
            Some(crc)
        } else {
            if from < to {
                pour.move_to(from);
                source.read(planned, from - begin, to - from, &mut |bytes| pour.put(bytes))?;
            }
            known
        };
        pour.move_to(end);
        if has_descriptor {
            pour.put(&descriptor(entry, crc.unwrap_or_default()))?;
        }
        Ok(crc)
    }

    /// What comes behind the directory.
    fn tail(&self) -> Vec<u8> {
        let count = self.plan.entries.len() as u64;
        let begin = self.records.first().copied().unwrap_or(self.end);
        let len = self.end - begin;
        let mut tail = Fields::default();
        if count >= u64::from(u16::MAX) || begin >= LARGE || len >= LARGE {
            tail.u32(0x0606_4b50).u64(44).u16(MADE_BY).u16(WITH_64).u32(0).u32(0);
            tail.u64(count).u64(count).u64(len).u64(begin);
            tail.u32(0x0706_4b50).u32(0).u64(self.end).u32(1);
        }
        let count = u16::try_from(count).unwrap_or(u16::MAX);
        tail.u32(0x0605_4b50).u16(0).u16(0).u16(count).u16(count);
        tail.u32(capped(len)).u32(capped(begin)).u16(0);
        tail.0
    }
}

/// The checksum of an entry that is not poured.
fn crc_of(entry: &Entry, source: &mut Source, crcs: &Crcs, pour: &Pour) -> Result<u32, Broken> {
    match &entry.what {
        What::Dir => Ok(0),
        What::Link(content) | What::Text(content) => Ok(crc32fast::hash(content)),
        What::File(planned) if planned.size == 0 => Ok(0),
        What::File(planned) => match crcs.get(planned) {
            Some(crc) => Ok(crc),
            None => {
                let crc = hashed(planned, source, &mut |_| pour.check())?;
                crcs.put(planned, crc);
                Ok(crc)
            }
        },
    }
}

/// Reads a whole file.
fn hashed(
    planned: &Planned,
    source: &mut Source,
    out: &mut dyn FnMut(&[u8]) -> Result<(), Broken>,
) -> Result<u32, Broken> {
    let mut hasher = crc32fast::Hasher::new();
    source.read(planned, 0, planned.size, &mut |bytes| {
        hasher.update(bytes);
        out(bytes)
    })?;
    Ok(hasher.finalize())
}

/// What stands before an entry.
fn local(entry: &Entry) -> Vec<u8> {
    let is_large = entry.size() >= LARGE;
    let mut extra = Fields::default();
    if is_large {
        extra.u16(1).u16(16).u64(entry.size()).u64(entry.size());
    }
    extra.stamp(entry.mtime);
    let mut local = Fields::default();
    local.u32(0x0403_4b50).u16(needed(entry, is_large));
    common(&mut local, entry);
    match &entry.what {
        // Said behind the content.
        What::File(planned) if planned.size > 0 => {
            let stated = if is_large { u32::MAX } else { 0 };
            local.u32(0).u32(stated).u32(stated);
        }
        What::Link(content) | What::Text(content) => {
            let len = capped(content.len() as u64);
            local.u32(crc32fast::hash(content)).u32(len).u32(len);
        }
        What::Dir | What::File(_) => {
            local.u32(0).u32(0).u32(0);
        }
    }
    local.u16(len16(&entry.name)).u16(len16(&extra.0));
    [local.0, entry.name.clone(), extra.0].concat()
}

/// What stands behind a file's content.
fn descriptor(entry: &Entry, crc: u32) -> Vec<u8> {
    let mut descriptor = Fields::default();
    descriptor.u32(0x0807_4b50).u32(crc);
    match u32::try_from(entry.size()) {
        Ok(size) if u64::from(size) < LARGE => descriptor.u32(size).u32(size),
        _ => descriptor.u64(entry.size()).u64(entry.size()),
    };
    descriptor.0
}

fn descriptor_len(entry: &Entry) -> u64 {
    match &entry.what {
        What::File(planned) if planned.size >= LARGE => 24,
        What::File(planned) if planned.size > 0 => 16,
        _ => 0,
    }
}

/// An entry's record in the directory.
fn record(entry: &Entry, start: u64, crc: u32) -> Vec<u8> {
    let size = entry.size();
    let mut large = Fields::default();
    if size >= LARGE {
        large.u64(size).u64(size);
    }
    if start >= LARGE {
        large.u64(start);
    }
    let is_large = !large.0.is_empty();
    let mut extra = Fields::default();
    if is_large {
        extra.u16(1).u16(len16(&large.0));
        extra.0.extend(&large.0);
    }
    extra.stamp(entry.mtime);
    let (kind, is_dir) = match entry.what {
        What::Dir => (0o040_000, 0x10),
        What::Link(_) => (0o120_000, 0),
        What::File(_) | What::Text(_) => (0o100_000, 0),
    };
    let mut record = Fields::default();
    record.u32(0x0201_4b50).u16(MADE_BY).u16(needed(entry, is_large));
    common(&mut record, entry);
    record.u32(crc).u32(capped(size)).u32(capped(size));
    record.u16(len16(&entry.name)).u16(len16(&extra.0)).u16(0).u16(0).u16(0);
    record.u32((kind | entry.mode) << 16 | is_dir).u32(capped(start));
    [record.0, entry.name.clone(), extra.0].concat()
}

/// Flags, method and time, which stand in both places.
fn common(fields: &mut Fields, entry: &Entry) {
    let utf8 = if std::str::from_utf8(&entry.name).is_ok() { 1 << 11 } else { 0 };
    let follows = if descriptor_len(entry) > 0 { 1 << 3 } else { 0 };
    let (date, time) = dos_time(entry.mtime);
    fields.u16(utf8 | follows).u16(0).u16(time).u16(date);
}

fn needed(entry: &Entry, is_large: bool) -> u16 {
    match (is_large, &entry.what) {
        (true, _) => WITH_64,
        (false, What::Dir) => 20,
        (false, _) => 10,
    }
}

/// Date and time in the form of DOS, in UTC: whoever reads archives of Unix goes by the stamp.
fn dos_time(mtime: Mtime) -> (u16, u16) {
    let secs = mtime.0.clamp(DOS_FIRST, DOS_LAST);
    let (days, second) = (secs.div_euclid(86_400), secs.rem_euclid(86_400));
    // Years begin in March, so that the day that is not always there is the last one.
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let date = ((year - 1980) << 9) | (month << 5) | day;
    let time = ((second / 3_600) << 11) | ((second / 60 % 60) << 5) | (second % 60 / 2);
    (u16::try_from(date).unwrap_or(u16::MAX), u16::try_from(time).unwrap_or(0))
}

fn capped(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn len16(bytes: &[u8]) -> u16 {
    u16::try_from(bytes.len()).unwrap_or(u16::MAX)
}

/// Numbers one after the other, the lowest byte first.
#[derive(Default)]
struct Fields(Vec<u8>);

impl Fields {
    fn u16(&mut self, number: u16) -> &mut Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    fn u32(&mut self, number: u32) -> &mut Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    fn u64(&mut self, number: u64) -> &mut Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    /// The extended timestamp, to the second; nothing of a time that it can't say.
    fn stamp(&mut self, mtime: Mtime) {
        if let Ok(secs) = i32::try_from(mtime.0) {
            self.u16(0x5455).u16(5);
            self.0.push(1);
            self.0.extend(secs.to_le_bytes());
        }
    }
}

/// Checksums of files as they were: who goes on with an archive does not wait until all before is read
/// once more. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Crcs(Arc<Mutex<HashMap<Key, u32>>>);

type Key = (Identity, u64, (i64, u32));

impl Crcs {
    fn get(&self, planned: &Planned) -> Option<u32> {
        let crcs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        crcs.get(&key(planned)?).copied()
    }

    fn put(&self, planned: &Planned, crc: u32) {
        let Some(key) = key(planned) else { return };
        let mut crcs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if crcs.len() == CRCS_MAX {
            crcs.clear();
        }
        crcs.insert(key, crc);
    }
}

fn key(planned: &Planned) -> Option<Key> {
    Some((planned.identity?, planned.size, (planned.mtime.0, planned.mtime.1)))
}

/// From here on a number does not fit in 32 bits, of which one value stands for that.
const LARGE: u64 = u32::MAX as u64;
/// Version of the format with 64-bit numbers.
const WITH_64: u16 = 45;
/// Unix, and that version.
const MADE_BY: u16 = 3 << 8 | WITH_64;
/// 1980-01-01.
const DOS_FIRST: i64 = 315_532_800;
/// 2107-12-31 23:59:58.
const DOS_LAST: i64 = 4_354_819_198;
const CRCS_MAX: usize = 200_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_dos_in_utc() {
        let date = |year: u16, month: u16, day: u16| (year - 1980) << 9 | month << 5 | day;
        for (secs, expected) in [
            (0, (date(1980, 1, 1), 0)),
            (DOS_FIRST, (date(1980, 1, 1), 0)),
            (951_782_400, (date(2000, 2, 29), 0)),
            (1_700_000_000, (date(2023, 11, 14), 22 << 11 | 13 << 5 | 10)),
            (i64::MAX, (date(2107, 12, 31), 23 << 11 | 59 << 5 | 29)),
        ] {
            assert_eq!(dos_time(Mtime(secs, 0)), expected, "{secs}");
        }
    }
}
