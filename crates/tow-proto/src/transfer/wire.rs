//! The fields of records: numbers, byte strings, hashes (PROTOCOL 7.3). Everything is checked
//! against what is left before it is believed.

use super::pack::PackError;

/// What of a body has not been read yet.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Bytes that are left.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn bytes(&mut self, len: usize) -> Result<&'a [u8], PackError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(PackError::Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], PackError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(PackError::Malformed)?;
        self.rest = rest;
        Ok(*taken)
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, PackError> {
        let (byte, rest) = self.rest.split_first().ok_or(PackError::Malformed)?;
        self.rest = rest;
        Ok(*byte)
    }

    /// An unsigned LEB128 number, in the one shortest form.
    #[inline]
    pub(super) fn number(&mut self) -> Result<u64, PackError> {
        let first = self.byte()?;
        if first < 0x80 { Ok(u64::from(first)) } else { self.long_number(first) }
    }

    fn long_number(&mut self, first: u8) -> Result<u64, PackError> {
        let mut value = u64::from(first & 0x7f);
        for shift in (7..=63).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(PackError::Malformed);
            }
            value |= bits << shift;
            match byte {
                0 => return Err(PackError::Malformed),
                0x01..=0x7f => return Ok(value),
                _ => {}
            }
        }
        Err(PackError::Malformed)
    }

    /// A number below 2^32.
    pub(super) fn small(&mut self) -> Result<u32, PackError> {
        u32::try_from(self.number()?).map_err(|_| PackError::Malformed)
    }

    /// A signed number, zigzag.
    pub(super) fn signed(&mut self) -> Result<i64, PackError> {
        let value = self.number()?;
        Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
    }

    /// A byte string.
    #[inline]
    pub(super) fn string(&mut self) -> Result<&'a [u8], PackError> {
        let len = self.number()?;
        self.bytes(usize::try_from(len).map_err(|_| PackError::Malformed)?)
    }

    /// How many things follow, each of which takes at least `len_min` bytes.
    pub(super) fn count(&mut self, len_min: usize) -> Result<usize, PackError> {
        let count = usize::try_from(self.number()?).map_err(|_| PackError::Malformed)?;
        let needed = count.checked_mul(len_min).ok_or(PackError::Malformed)?;
        if needed > self.left() { Err(PackError::Malformed) } else { Ok(count) }
    }
}

#[inline]
pub(super) fn put_number(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn put_signed(value: i64, out: &mut Vec<u8>) {
    put_number(((value << 1) ^ (value >> 63)).cast_unsigned(), out);
}

#[inline]
pub(super) fn put_string(bytes: &[u8], out: &mut Vec<u8>) {
    put_number(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}
