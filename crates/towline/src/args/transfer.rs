//! `get`, `put` and `sync`: what is copied and how.

use std::ffi::OsString;

use clap::{Args, Parser, ValueEnum};
use tow_proto::ByteString;
use tow_proto::transfer::{Compress, Durable, Options};

use crate::remote;

#[derive(Debug, Parser)]
pub(crate) struct GetArgs {
    /// HOST:PATH…, then where to [default: here]
    #[arg(required = true, value_name = "HOST:PATH… [DEST]")]
    pub(crate) paths: Vec<OsString>,
    #[command(flatten)]
    pub(crate) how: TransferArgs,
}

#[derive(Debug, Parser)]
pub(crate) struct PutArgs {
    /// SRC…, then HOST:PATH
    #[arg(required = true, num_args = 2.., value_name = "SRC… HOST:PATH")]
    pub(crate) paths: Vec<OsString>,
    #[command(flatten)]
    pub(crate) how: TransferArgs,
}

#[derive(Debug, Parser)]
pub(crate) struct SyncArgs {
    /// What is copied: PATH or HOST:PATH
    #[arg(value_name = "SRC")]
    pub(crate) source: OsString,
    /// What becomes equal to it: PATH or HOST:PATH
    #[arg(value_name = "DEST")]
    pub(crate) destination: OsString,
    /// Remove what SRC does not have
    #[arg(long)]
    pub(crate) delete: bool,
    /// Remove at most so many entries
    #[arg(long, value_name = "N", requires = "delete")]
    pub(crate) max_delete: Option<u64>,
    /// Remove everything if SRC is empty
    #[arg(long, requires = "delete")]
    pub(crate) delete_all: bool,
    #[command(flatten)]
    pub(crate) how: TransferArgs,
}

/// What all of them take.
#[derive(Debug, Args)]
pub(crate) struct TransferArgs {
    /// Say what would be done, and do nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Leave out what matches, as in a .gitignore file; may be given several times
    #[arg(long, value_name = "PATTERN")]
    pub(crate) exclude: Vec<OsString>,
    /// Obey the .gitignore files of the trees
    #[arg(long)]
    pub(crate) gitignore: bool,
    /// Compare contents, not sizes and times
    #[arg(short, long)]
    pub(crate) checksum: bool,
    /// Send changed files whole, without looking for what of them is there
    #[arg(long)]
    pub(crate) whole: bool,
    /// Keep owners, groups and special permission bits, as far as that is allowed
    #[arg(short, long)]
    pub(crate) archive: bool,
    /// Copy pipes, sockets and devices too
    #[arg(long)]
    pub(crate) special: bool,
    /// Move what is replaced or removed into this directory of the destination
    #[arg(long, value_name = "DIR")]
    pub(crate) backup_dir: Option<OsString>,
    /// When to wait for the disk
    #[arg(long, value_name = "WHEN", default_value = "batch")]
    pub(crate) durable: DurableArg,
    /// Compress on the way
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub(crate) compress: CompressArg,
    /// Send at most so much in a second: 500k, 10m (bytes)
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub(crate) bwlimit: Option<u64>,
    /// Print JSON lines
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum DurableArg {
    /// Never: the kernel writes when it likes
    None,
    /// Before files get their names, many at a time
    Batch,
    /// Before a file gets its name, each by itself
    File,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum CompressArg {
    /// Where it makes the copy faster
    Auto,
    /// Never
    Never,
    /// Always
    Always,
}

impl TransferArgs {
    /// As they are sent.
    pub(crate) fn options(&self) -> Options {
        let bytes = |word: &OsString| -> ByteString { remote::bytes(word.clone()) };
        Options {
            dry_run: self.dry_run,
            exclude: self.exclude.iter().map(bytes).collect(),
            gitignore: self.gitignore,
            checksum: self.checksum,
            whole: self.whole,
            archive: self.archive,
            special: self.special,
            backup: self.backup_dir.as_ref().map(bytes),
            durable: match self.durable {
                DurableArg::None => Durable::None,
                DurableArg::Batch => Durable::Batch,
                DurableArg::File => Durable::File,
            },
            compress: match self.compress {
                CompressArg::Auto => Compress::Auto,
                CompressArg::Never => Compress::Never,
                CompressArg::Always => Compress::Always,
            },
            bwlimit: self.bwlimit,
            ..Options::default()
        }
    }
}

impl SyncArgs {
    /// As they are sent.
    pub(crate) fn options(&self) -> Options {
        Options {
            exact: true,
            delete: self.delete,
            max_delete: self.max_delete,
            delete_all: self.delete_all,
            ..self.how.options()
        }
    }
}

/// `800`, `500k`, `10m`, `1g`: bytes per second, in powers of 1024.
fn rate(text: &str) -> Result<u64, String> {
    let digits = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        _ => return Err("expected bytes per second such as 500k or 10m".into()),
    };
    let number: u64 =
        number.parse().map_err(|_| "expected bytes per second such as 500k or 10m")?;
    let rate = number.checked_mul(1 << shift).ok_or("too much")?;
    if rate < RATE_MIN { Err("at least 1k".into()) } else { Ok(rate) }
}

/// Below this, signs of life would wait behind content.
const RATE_MIN: u64 = 1 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_has_a_unit_and_a_lower_limit() {
        assert_eq!(rate("2048"), Ok(2048));
        assert_eq!(rate("500k"), Ok(500 << 10));
        assert_eq!(rate("10M"), Ok(10 << 20));
        for bad in ["", "k", "5w", "-1", "1.5m", "0", "99999999999g"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn deleting_must_be_asked_for() {
        let parse =
            |line: &str| SyncArgs::try_parse_from(line.split(' ')).map(|args| args.options());
        let options = parse("sync a box:b --delete --max-delete 5 -n").unwrap_or_default();
        assert!(options.exact && options.delete && options.dry_run);
        assert_eq!(options.max_delete, Some(5));
        assert!(parse("sync a box:b --max-delete 5").is_err());
        assert!(!parse("sync a box:b").unwrap_or_default().delete);
    }
}
