//! Tar archives in the pax format (POSIX.1-2001): a header of 512 bytes and the content of each entry,
//! and before it records of what the header has no room for.

use tow_proto::message::Mtime;

use super::plan::{Entry, Plan, What};
use super::pour::Pour;
use super::source::{Broken, Source};

/// Pours a whole archive.
pub(super) fn pour(plan: &Plan, source: &mut Source, pour: &mut Pour) -> Result<(), Broken> {
    for entry in &plan.entries {
        pour.put(&head(entry))?;
        match &entry.what {
            What::Dir | What::Link(_) => {}
            What::Text(content) => pour.put(content)?,
            What::File(planned) => {
                source.read(planned, 0, planned.size, &mut |bytes| pour.put(bytes))?;
            }
        }
        pour.put(padding(content_len(entry)))?;
    }
    pour.put(&[0; 2 * BLOCK_LEN])
}

/// Everything before an entry's content.
fn head(entry: &Entry) -> Vec<u8> {
    let link = match &entry.what {
        What::Link(target) => &target[..],
        _ => b"",
    };
    let kind = match entry.what {
        What::Dir => b'5',
        What::Link(_) => b'2',
        What::File(_) | What::Text(_) => b'0',
    };
    let records = records(entry, link);
    let mut head = Vec::new();
    if !records.is_empty() {
        let facts = Facts { mode: 0o644, uid: 0, gid: 0, size: records.len() as u64, secs: 0 };
        head.extend(header(b"PaxHeaders/entry", b"", b'x', &facts));
        head.extend(&records);
        head.extend(padding(records.len() as u64));
    }
    let secs = u64::try_from(entry.mtime.0).unwrap_or(0);
    let (mode, uid, gid) = (entry.mode, entry.uid, entry.gid);
    let facts = Facts { mode, uid, gid, size: content_len(entry), secs };
    head.extend(header(&entry.name, link, kind, &facts));
    head
}

fn content_len(entry: &Entry) -> u64 {
    if matches!(entry.what, What::Link(_)) { 0 } else { entry.size() }
}

struct Facts {
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    secs: u64,
}

/// What does not fit is cut off or 0 here, and stands in the records.
fn header(name: &[u8], link: &[u8], kind: u8, facts: &Facts) -> [u8; BLOCK_LEN] {
    let mut block = [0; BLOCK_LEN];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &name[..name.len().min(NAME_LEN_MAX)]);
    put(100, &octal::<7>(facts.mode.into()));
    put(108, &octal::<7>(facts.uid.into()));
    put(116, &octal::<7>(facts.gid.into()));
    put(124, &octal::<11>(facts.size));
    put(136, &octal::<11>(facts.secs));
    put(148, b"        ");
    put(156, &[kind]);
    put(157, &link[..link.len().min(NAME_LEN_MAX)]);
    put(257, b"ustar\x0000");
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    block[148..154].copy_from_slice(&octal::<6>(sum));
    block[154] = 0;
    block
}

/// Octal digits; 0 for what has more of them.
fn octal<const LEN: usize>(number: u64) -> [u8; LEN] {
    let mut digits = [b'0'; LEN];
    if number >> (3 * LEN) == 0 {
        for (at, digit) in digits.iter_mut().rev().enumerate() {
            *digit = b'0' + (number >> (3 * at) & 7) as u8;
        }
    }
    digits
}

/// What the header can't say.
fn records(entry: &Entry, link: &[u8]) -> Vec<u8> {
    let mut records = Vec::new();
    let is_text = |bytes| std::str::from_utf8(bytes).is_ok();
    if !is_text(&entry.name) || !is_text(link) {
        // Else they would be taken for UTF-8.
        record(&mut records, "hdrcharset", b"BINARY");
    }
    for (key, name) in [("path", &entry.name[..]), ("linkpath", link)] {
        if name.len() > NAME_LEN_MAX || !name.is_ascii() {
            record(&mut records, key, name);
        }
    }
    let Mtime(secs, nanos) = entry.mtime;
    if nanos != 0 || !(0..1 << 33).contains(&secs) {
        record(&mut records, "mtime", time(entry.mtime).as_bytes());
    }
    for (key, number, bits) in [
        ("size", content_len(entry), 33),
        ("uid", entry.uid.into(), 21),
        ("gid", entry.gid.into(), 21),
    ] {
        if number >> bits != 0 {
            record(&mut records, key, number.to_string().as_bytes());
        }
    }
    records
}

/// A decimal number; below 0 the nanoseconds count towards it.
fn time(Mtime(secs, nanos): Mtime) -> String {
    if secs < 0 && nanos > 0 {
        let (whole, rest) = (secs + 1, NANOS_PER_SEC - u64::from(nanos));
        return format!("-{}.{rest:09}", whole.unsigned_abs());
    }
    format!("{secs}.{nanos:09}")
}

/// `LEN KEY=VALUE` and a line's end, with LEN the length of all of it.
fn record(records: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut len = rest;
    while rest + len.to_string().len() != len {
        len = rest + len.to_string().len();
    }
    records.extend(format!("{len} {key}=").into_bytes());
    records.extend(value);
    records.push(b'\n');
}

/// What fills the last block.
fn padding(len: u64) -> &'static [u8] {
    let over = (len % BLOCK_LEN as u64) as usize;
    &ZEROS[..(BLOCK_LEN - over) % BLOCK_LEN]
}

const BLOCK_LEN: usize = 512;
const ZEROS: [u8; BLOCK_LEN] = [0; BLOCK_LEN];
const NAME_LEN_MAX: usize = 100;
const NANOS_PER_SEC: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_length() {
        for len in [1, 90, 91, 92, 93, 94, 95, 986, 987, 988, 989, 990] {
            let mut bytes = Vec::new();
            record(&mut bytes, "path", &vec![b'x'; len]);
            let said = std::str::from_utf8(&bytes).unwrap().split(' ').next().unwrap();
            assert_eq!(said.parse(), Ok(bytes.len()), "{len}");
        }
    }

    #[test]
    fn numbers_and_times_are_said_or_left_to_records() {
        assert_eq!(&octal::<7>(0o644), b"0000644");
        assert_eq!(&octal::<7>(1 << 21), b"0000000");
        assert_eq!(&octal::<11>((1 << 33) - 1), b"77777777777");
        assert_eq!(time(Mtime(5, 7)), "5.000000007");
        assert_eq!(time(Mtime(-1, 250_000_000)), "-0.750000000");
        assert_eq!(time(Mtime(-2, 0)), "-2.000000000");
        assert_eq!((padding(0).len(), padding(1).len(), padding(512).len()), (0, 511, 0));
    }
}
