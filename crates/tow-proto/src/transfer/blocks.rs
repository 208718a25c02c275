//! Which blocks of an old file are in a new one (PROTOCOL 7.3): the signatures of its blocks, and
//! the search for them at every offset of the new file.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Shortest block in bytes (PROTOCOL 7.3).
pub const BLOCK_LEN_MIN: u32 = 1 << 10;
/// Longest block in bytes (PROTOCOL 7.3).
pub const BLOCK_LEN_MAX: u32 = 1 << 20;
/// Most blocks that a [`Matcher`] looks for: 2 TiB in blocks of the greatest length.
pub const BLOCKS_MAX: usize = 1 << 21;

/// Length in bytes of the blocks by which a file of `old_size` bytes is searched for in another: a
/// power of two from 1 KiB to 1 MiB, 8 KiB at 1 GiB. There are at most 2^18 of them up to 256 GiB.
pub fn block_len(old_size: u64) -> u32 {
    let even = (old_size.isqrt() / 4).max(1).next_power_of_two();
    let fewest = old_size.div_ceil(USUAL_BLOCKS_MAX).max(1).next_power_of_two();
    let len = even.max(fewest).clamp(BLOCK_LEN_MIN.into(), BLOCK_LEN_MAX.into());
    // It was clamped to 32 bits.
    len as u32
}

/// What is known of a block (PROTOCOL 7.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The rolling sum.
    pub sum: u32,
    /// XXH3 with the seed of the question.
    pub hash: u64,
}

/// Appends the signatures of the whole blocks of `bytes`, which begin at a block of the file
/// (PROTOCOL 7.3). What is shorter than a block at the end has none.
pub fn sign(bytes: &[u8], block_len: u32, seed: u64, signatures: &mut Vec<Signature>) {
    for block in bytes.chunks_exact(block_len.max(1) as usize) {
        signatures.push(Signature { sum: Sum::of(block).value(), hash: hash(block, seed) });
    }
}

fn hash(block: &[u8], seed: u64) -> u64 {
    xxh3_64_with_seed(block, seed)
}

/// Something of the new file, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// It is this block of the old file.
    Copy {
        /// Index of the block.
        block: u64,
    },
    /// It is not known, and has to be sent.
    Literal(&'a [u8]),
}

/// Finds the blocks of an old file in a new one that comes in portions (PROTOCOL 7.3).
///
/// Signatures come from a peer: what one position costs is bounded, and so is what is hashed in
/// vain, whatever they are.
#[derive(Debug)]
pub struct Matcher {
    block_len: usize,
    seed: u64,
    table: Table,
    /// The end of what came, as far as nothing was said of it: from `carry_at` on.
    carry: Vec<u8>,
    carry_at: usize,
    /// The block after the last one that was found: most likely what comes next.
    expected: usize,
    /// The sum of the block at the current position, where it was looked for in vain.
    missed: Option<Sum>,
    /// Bytes that may be hashed in vain.
    credit: u64,
}

impl Matcher {
    /// Looks for blocks of `block_len` bytes with these signatures, the first [`BLOCKS_MAX`] of
    /// them. A length that no block has (0) is taken as the least one.
    pub fn new(block_len: u32, seed: u64, mut signatures: Vec<Signature>) -> Self {
        signatures.truncate(BLOCKS_MAX);
        let block_len = block_len.clamp(BLOCK_LEN_MIN, BLOCK_LEN_MAX) as usize;
        Self {
            block_len,
            seed,
            table: Table::new(signatures),
            carry: Vec::new(),
            carry_at: 0,
            expected: 0,
            missed: None,
            credit: CREDIT_BLOCKS * block_len as u64,
        }
    }

    /// The next bytes of the new file. Large portions are not copied, but for their ends.
    pub fn push(&mut self, mut input: &[u8], out: &mut dyn FnMut(Found<'_>)) {
        if self.carry_at < self.carry.len() {
            let Some(rest) = self.join(input, out) else { return };
            input = rest;
        }
        let done = self.scan(input, input.len(), out);
        self.carry.clear();
        self.carry_at = 0;
        self.carry.extend_from_slice(input.get(done..).unwrap_or_default());
    }

    /// That was all of the new file.
    pub fn finish(self, out: &mut dyn FnMut(Found<'_>)) {
        literal(self.carry.get(self.carry_at..).unwrap_or_default(), out);
    }

    /// Looks at the positions that begin in the carry and end in `input`. Gives what of `input` is
    /// left, where one behind the carry was reached.
    fn join<'a>(&mut self, input: &'a [u8], out: &mut dyn FnMut(Found<'_>)) -> Option<&'a [u8]> {
        let taken = input.len().min(self.block_len);
        if self.carry.len() + taken > 2 * self.block_len {
            self.carry.drain(..self.carry_at);
            self.carry_at = 0;
        }
        let carried = self.carry.len() - self.carry_at;
        self.carry.reserve_exact((2 * self.block_len).saturating_sub(self.carry.len()));
        self.carry.extend_from_slice(&input[..taken]);
        let carry = std::mem::take(&mut self.carry);
        let done = self.scan(carry.get(self.carry_at..).unwrap_or_default(), carried, out);
        self.carry = carry;
        self.carry_at += done;
        // Not all of it was taken only if that was a whole block, which is enough to get there.
        done.checked_sub(carried).and_then(|at| input.get(at..))
    }

    /// Looks at the positions below `end` whose blocks are in `bytes`, and gives the first one that
    /// was not reached. Everything before it was given out.
    fn scan(&mut self, bytes: &[u8], end: usize, out: &mut dyn FnMut(Found<'_>)) -> usize {
        let len = self.block_len;
        let (mut at, mut said) = (0, 0);
        while at < end {
            let found = match self.missed.take() {
                None => {
                    let Some(block) = bytes.get(at..at + len) else { break };
                    self.find(block)
                }
                Some(sum) => {
                    let (reached, found) = self.roll(bytes, at, end, sum);
                    at = reached;
                    found
                }
            };
            let Some(block) = found else {
                if at + len >= bytes.len() {
                    break;
                }
                continue;
            };
            literal(bytes.get(said..at).unwrap_or_default(), out);
            out(Found::Copy { block: block as u64 });
            self.expected = block + 1;
            at += len;
            said = at;
        }
        literal(bytes.get(said..at).unwrap_or_default(), out);
        at
    }

    /// Looks at a position for the first time.
    fn find(&mut self, block: &[u8]) -> Option<usize> {
        if let Some(expected) = self.table.signatures.get(self.expected)
            && hash(block, self.seed) == expected.hash
        {
            return Some(self.expected);
        }
        let sum = Sum::of(block);
        let found = self.look_up(sum, block);
        self.missed = found.is_none().then_some(sum);
        found
    }

    /// Moves on by single bytes from a position that was looked at, until a block is found or there
    /// are no more.
    fn roll(
        &mut self,
        bytes: &[u8],
        from: usize,
        end: usize,
        mut sum: Sum,
    ) -> (usize, Option<usize>) {
        let len = self.block_len;
        let mut at = from;
        while let Some(steps) = {
            let leaving = bytes.get(at..end).unwrap_or_default();
            let entering = bytes.get(at + len..).unwrap_or_default();
            self.table.filter.skip(leaving, entering, len, &mut sum)
        } {
            at += steps;
            self.earn(steps);
            if let Some(block) = bytes.get(at..at + len)
                && let Some(found) = self.look_up(sum, block)
            {
                return (at, Some(found));
            }
        }
        let last = end.min(bytes.len().saturating_sub(len)).max(at);
        self.earn(last - at);
        self.missed = Some(sum);
        (last, None)
    }

    fn earn(&mut self, bytes: usize) {
        let most = CREDIT_BLOCKS * self.block_len as u64;
        self.credit = (self.credit + CREDIT_PER_BYTE * bytes as u64).min(most);
    }

    /// The block of the old file that this is, if it is one.
    fn look_up(&mut self, sum: Sum, block: &[u8]) -> Option<usize> {
        let mut known = None;
        let (seed, cost) = (self.seed, self.block_len as u64);
        if self.credit < cost {
            return None;
        }
        for index in self.table.candidates(sum.value()) {
            let hash = *known.get_or_insert_with(|| hash(block, seed));
            if self.table.signatures.get(index).is_some_and(|found| found.hash == hash) {
                return Some(index);
            }
        }
        if known.is_some() {
            self.credit -= cost;
        }
        None
    }
}

fn literal(bytes: &[u8], out: &mut dyn FnMut(Found<'_>)) {
    if !bytes.is_empty() {
        out(Found::Literal(bytes));
    }
}

/// The rolling sum (PROTOCOL 7.3): of the bytes, and of the bytes times their distance from the
/// end of the block, the last one having 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sum {
    /// Modulo 2^32 here, which 2^16 divides.
    bytes: u32,
    distances: u32,
}

impl Sum {
    /// Lane by lane, so that it becomes vector instructions: each byte of lane `j` that is followed
    /// by `n` others in its lane is `LANES * n + LANES - j` from the end.
    fn of(block: &[u8]) -> Self {
        let (rows, rest) = block.as_chunks::<LANES>();
        let (mut bytes, mut before) = ([0u16; LANES], [0u16; LANES]);
        for row in rows {
            for lane in 0..LANES {
                before[lane] = before[lane].wrapping_add(bytes[lane]);
                bytes[lane] = bytes[lane].wrapping_add(u16::from(row[lane]));
            }
        }
        let mut sum = Self { bytes: 0, distances: 0 };
        for lane in 0..LANES {
            let in_rows = before[lane].wrapping_mul(LANES as u16);
            let in_row = bytes[lane].wrapping_mul((LANES - lane) as u16);
            sum.bytes = sum.bytes.wrapping_add(bytes[lane].into());
            sum.distances = sum.distances.wrapping_add(in_rows.wrapping_add(in_row).into());
        }
        for byte in rest {
            sum.bytes = sum.bytes.wrapping_add((*byte).into());
            sum.distances = sum.distances.wrapping_add(sum.bytes);
        }
        sum
    }

    /// Of the block one byte on.
    #[inline]
    fn roll(self, leaves: u8, enters: u8, len: usize) -> Self {
        let (leaves, enters) = (u32::from(leaves), u32::from(enters));
        let bytes = self.bytes.wrapping_sub(leaves).wrapping_add(enters);
        let gone = (len as u32).wrapping_mul(leaves);
        Self { bytes, distances: self.distances.wrapping_sub(gone).wrapping_add(bytes) }
    }

    #[inline]
    fn value(self) -> u32 {
        (self.bytes & 0xffff) | self.distances << 16
    }
}

/// Blocks by their sums: an open hash table in which nothing is further than [`PROBES`] slots from
/// where it belongs. What does not fit so is not found, which costs no more than sending it.
#[derive(Debug)]
struct Table {
    signatures: Vec<Signature>,
    /// Indices of blocks, or [`EMPTY`].
    slots: Vec<u32>,
    filter: Filter,
}

/// A bit for each of more places than there are slots: most positions are over with it.
#[derive(Debug)]
struct Filter {
    bits: Vec<u64>,
    shift: u32,
}

impl Table {
    fn new(signatures: Vec<Signature>) -> Self {
        let bits = (signatures.len() * 2).next_power_of_two().ilog2().max(4);
        let mut table = Self {
            slots: vec![EMPTY; (1 << bits) + PROBES],
            filter: Filter {
                bits: vec![0; 1 << (bits + FILTER_BITS).saturating_sub(6)],
                shift: u32::BITS - bits - FILTER_BITS,
            },
            signatures,
        };
        for index in 0..table.signatures.len() {
            table.insert(index);
        }
        table
    }

    fn insert(&mut self, index: usize) {
        let Some(signature) = self.signatures.get(index).copied() else { return };
        let place = self.filter.place(signature.sum);
        for slot in self.slots.iter_mut().skip(place >> FILTER_BITS).take(PROBES) {
            if *slot == EMPTY {
                *slot = index as u32;
                break;
            }
            if self.signatures.get(*slot as usize) == Some(&signature) {
                return;
            }
        }
        if let Some(word) = self.filter.bits.get_mut(place >> 6) {
            *word |= 1 << (place & 63);
        }
    }

    fn candidates(&self, sum: u32) -> impl Iterator<Item = usize> + '_ {
        let slots = self.slots.iter().skip(self.filter.place(sum) >> FILTER_BITS).take(PROBES);
        let indices = slots.take_while(|slot| **slot != EMPTY).map(|slot| *slot as usize);
        indices.filter(move |index| {
            self.signatures.get(*index).is_some_and(|signature| signature.sum == sum)
        })
    }
}

impl Filter {
    /// Multiplicative hashing after Knuth: the high bits depend on all bits of the sum.
    #[inline]
    fn place(&self, sum: u32) -> usize {
        (sum.wrapping_mul(0x9e37_79b1) >> self.shift) as usize
    }

    #[inline]
    fn may_have(&self, sum: u32) -> bool {
        let place = self.place(sum);
        self.bits.get(place >> 6).is_some_and(|word| word >> (place & 63) & 1 == 1)
    }

    /// Rolls `sum` on, to the next position that may have a block: how many bytes that is. `None`
    /// at the end of either slice.
    fn skip(&self, leaving: &[u8], entering: &[u8], len: usize, sum: &mut Sum) -> Option<usize> {
        let mut rolled = *sum;
        let mut pairs = leaving.iter().zip(entering);
        let found = pairs.position(|(leaves, enters)| {
            rolled = rolled.roll(*leaves, *enters, len);
            self.may_have(rolled.value())
        });
        *sum = rolled;
        found.map(|at| at + 1)
    }
}

const USUAL_BLOCKS_MAX: u64 = 1 << 18;
const LANES: usize = 32;
const PROBES: usize = 16;
const EMPTY: u32 = u32::MAX;
/// The filter has 2^4 times as many bits as there are slots.
const FILTER_BITS: u32 = 4;
/// What may be hashed in vain: so many bytes for each byte that is passed…
const CREDIT_PER_BYTE: u64 = 8;
/// …and so many blocks at once.
const CREDIT_BLOCKS: u64 = 64;
