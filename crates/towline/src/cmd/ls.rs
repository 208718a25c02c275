//! `tow ls`.

use std::process::ExitCode;

use serde::Serialize;
use tow_node::ask::Pool;
use tow_node::ask::ls::{Depth, ls};
use tow_node::clock;
use tow_proto::ByteString;
use tow_proto::message::{Entry, EntryKind};

use crate::args::LsArgs;
use crate::client::{self, Here};
use crate::failure::Failure;
use crate::output;
use crate::remote::Remote;

#[derive(Serialize)]
struct Printed<'a> {
    name: &'a ByteString,
    kind: EntryKind,
    size: u64,
    mode: String,
    mtime: String,
    uid: u32,
    gid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: &'a Option<ByteString>,
}

/// Lists files on a machine.
pub(crate) fn run(args: LsArgs) -> Result<ExitCode, Failure> {
    let remotes =
        args.paths.iter().map(|path| Remote::expect(path)).collect::<Result<Vec<_>, _>>()?;
    let here = Here::open()?;
    let depth = if args.directory { Depth::Itself } else { Depth::Inside };
    client::block_on(async {
        let mut pool = Pool::new(here.client.clone());
        for (index, remote) in remotes.iter().enumerate() {
            let host = here.host(&remote.host)?;
            let failed = |error| client::failure(&host, error);
            if remotes.len() > 1 && !args.json {
                let gap = if index > 0 { "\n" } else { "" };
                output::line(format_args!("{gap}{}:{}:", remote.host, remote.path))?;
            }
            let mut connection = pool.connect(&host.target).await.map_err(failed)?;
            let mut printed = Ok(());
            let listed = ls(&mut connection, remote.path.clone(), depth, |entries| {
                if printed.is_ok() {
                    printed = entries.iter().try_for_each(|entry| print(entry, &args));
                }
            });
            listed.await.map_err(failed)?;
            printed?;
            pool.keep(&host.target, connection);
        }
        pool.close().await;
        Ok(ExitCode::SUCCESS)
    })
}

fn print(entry: &Entry, args: &LsArgs) -> std::io::Result<()> {
    let is_hidden = entry.name.as_bytes().first() == Some(&b'.');
    if is_hidden && !args.all && !args.json && !args.directory {
        return Ok(());
    }
    let mtime = clock::to_rfc3339(clock::from_unix_secs(u64::try_from(entry.mtime.0).unwrap_or(0)));
    if args.json {
        return output::json(&Printed {
            name: &entry.name,
            kind: entry.kind,
            size: entry.size,
            mode: format!("{:04o}", entry.mode),
            mtime,
            uid: entry.uid,
            gid: entry.gid,
            target: &entry.target,
        });
    }
    let mark = if entry.kind == EntryKind::Dir { "/" } else { "" };
    if !args.long {
        return output::line(format_args!("{}{mark}", entry.name));
    }
    let target = entry.target.as_ref().map(|target| format!(" -> {target}")).unwrap_or_default();
    output::line(format_args!(
        "{}{} {:>5} {:>5} {:>13} {mtime} {}{mark}{target}",
        letter(entry.kind),
        permissions(entry.mode),
        entry.uid,
        entry.gid,
        entry.size,
        entry.name,
    ))
}

/// What `ls -l` begins with.
pub(super) fn letter(kind: EntryKind) -> char {
    match kind {
        EntryKind::File => '-',
        EntryKind::Dir => 'd',
        EntryKind::Link => 'l',
        EntryKind::Special => 's',
    }
}

/// `rwxr-xr-x`, as everybody knows it.
pub(super) fn permissions(mode: u32) -> String {
    let bit = |shift: u32, char: char| if mode >> shift & 1 == 1 { char } else { '-' };
    let special =
        |shift: u32, execute: u32, set: char| match (mode >> shift & 1, mode >> execute & 1) {
            (0, 0) => '-',
            (0, _) => 'x',
            (_, 0) => set.to_ascii_uppercase(),
            _ => set,
        };
    [
        bit(8, 'r'),
        bit(7, 'w'),
        special(11, 6, 's'),
        bit(5, 'r'),
        bit(4, 'w'),
        special(10, 3, 's'),
        bit(2, 'r'),
        bit(1, 'w'),
        special(9, 0, 't'),
    ]
    .into_iter()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_read_as_ls_shows_them() {
        assert_eq!(permissions(0o755), "rwxr-xr-x");
        assert_eq!(permissions(0o4644), "rwSr--r--");
        assert_eq!(permissions(0o1777), "rwxrwxrwt");
    }
}
