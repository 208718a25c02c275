//! Trees and files to copy, always the same ones, and whether a copy is one.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Result, ensure};

/// Bytes that can't be compressed, always the same for a seed.
pub(super) struct Noise(blake3::OutputReader);

impl Noise {
    pub(super) fn new(seed: u64) -> Self {
        Self(blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof())
    }

    pub(super) fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }

    /// A number below `end`.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes) % end
    }
}

/// Files of `len` bytes in directories of `each` in `top`, which is made. All are from the past: what
/// has just been written can't be taken for unchanged by anybody.
pub(super) fn tree(top: &Path, files: usize, each: usize, len: usize) -> Result<()> {
    let mut noise = Noise::new(0);
    let mut content = vec![0; len];
    fs::create_dir(top)?;
    for number in 0..files {
        let path = path(top, number, each);
        if number % each == 0
            && let Some(parent) = path.parent()
        {
            fs::create_dir(parent)?;
        }
        noise.fill(&mut content);
        write(&path, &content, past())?;
    }
    Ok(())
}

/// Gives every hundredth file new content of the same length: those whose number is `turn` beyond a
/// hundred.
pub(super) fn change(top: &Path, files: usize, each: usize, turn: usize) -> Result<()> {
    let mut noise = Noise::new(1 + turn as u64);
    for number in (turn % 100..files).step_by(100) {
        let path = path(top, number, each);
        let mut content = vec![0; usize::try_from(fs::metadata(&path)?.len())?];
        noise.fill(&mut content);
        write(&path, &content, SystemTime::now())?;
    }
    Ok(())
}

/// A file of `len` bytes that can't be compressed.
pub(super) fn file(path: &Path, len: u64) -> Result<()> {
    let mut noise = Noise::new(0);
    let mut buffer = vec![0; 1 << 20];
    let mut file = File::create(path)?;
    for _ in 0..len.div_ceil(buffer.len() as u64) {
        noise.fill(&mut buffer);
        file.write_all(&buffer)?;
    }
    file.set_modified(past())?;
    Ok(())
}

/// A file of at least `len` bytes of lines like those of a log, which compress as logs do.
pub(super) fn text(path: &Path, len: u64) -> Result<()> {
    let mut noise = Noise::new(0);
    let words: Vec<String> = (0..WORDS).map(|_| word(&mut noise)).collect();
    let mut file = BufWriter::new(File::create(path)?);
    let (mut written, mut micros) = (0, 0u64);
    while written < len {
        micros += noise.below(50_000);
        let mut line = format!(
            "2025-11-22T{:02}:{:02}:{:02}.{:06}Z box {}[{}]:",
            micros / 3_600_000_000 % 24,
            micros / 60_000_000 % 60,
            micros / 1_000_000 % 60,
            micros % 1_000_000,
            pick(&words, &mut noise),
            noise.below(30_000),
        );
        for _ in 0..4 + noise.below(12) {
            line.push(' ');
            line.push_str(pick(&words, &mut noise));
        }
        line.push('\n');
        file.write_all(line.as_bytes())?;
        written += line.len() as u64;
    }
    file.into_inner()?.set_modified(past())?;
    Ok(())
}

/// Fails where `copy` does not hold what `source` does.
pub(super) fn ensure_same(source: &Path, copy: &Path) -> Result<()> {
    let (wanted, got) = (digest(source)?, digest(copy)?);
    ensure!(wanted == got, "{} is no copy: {got:?} instead of {wanted:?}", copy.display());
    Ok(())
}

/// How many files are in a tree, and a hash of their names and content.
fn digest(top: &Path) -> Result<(usize, blake3::Hash)> {
    let mut paths = Vec::new();
    collect(top, &mut paths)?;
    paths.sort_unstable();
    let mut hasher = blake3::Hasher::new();
    for path in &paths {
        let name = path.strip_prefix(top)?;
        hasher.update(name.as_os_str().as_encoded_bytes());
        hasher.update(&fs::metadata(path)?.len().to_le_bytes());
        hasher.update_reader(File::open(path)?)?;
    }
    Ok((paths.len(), hasher.finalize()))
}

fn collect(dir: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), paths)?;
        } else {
            paths.push(entry.path());
        }
    }
    Ok(())
}

fn path(top: &Path, number: usize, each: usize) -> PathBuf {
    top.join(format!("dir{:04}/file{number:07}.txt", number / each))
}

fn write(path: &Path, content: &[u8], modified: SystemTime) -> Result<()> {
    let mut file = File::create(path)?;
    file.write_all(content)?;
    Ok(file.set_modified(modified)?)
}

/// The first words are said most often, as in any language.
fn pick<'a>(words: &'a [String], noise: &mut Noise) -> &'a str {
    let end = 1 + noise.below(words.len() as u64);
    let end = 1 + noise.below(end);
    words.get(noise.below(end) as usize).map_or("", String::as_str)
}

fn word(noise: &mut Noise) -> String {
    (0..2 + noise.below(9)).map(|_| char::from(b'a' + noise.below(26) as u8)).collect()
}

/// 1 January 2025.
fn past() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_735_689_600)
}

const WORDS: usize = 4000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_a_hundred_files_changes_and_a_copy_notices() {
        let dir = tow_testkit::TempDir::new();
        let (one, other) = (dir.path().join("one"), dir.path().join("other"));
        tree(&one, 250, 100, 10).unwrap();
        tree(&other, 250, 100, 10).unwrap();
        ensure_same(&one, &other).unwrap();
        change(&one, 250, 100, 3).unwrap();
        let differs = |number: usize| {
            let of = |top: &Path| fs::read(path(top, number, 100)).unwrap();
            of(&one) != of(&other)
        };
        let changed: Vec<usize> = (0..250).filter(|number| differs(*number)).collect();
        assert_eq!(changed, [3, 103, 203]);
        assert!(ensure_same(&one, &other).is_err());
    }
}
