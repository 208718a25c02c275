//! `tow stat`.

use std::process::ExitCode;

use serde::Serialize;
use tow_node::ask::stat::{Links, stat};
use tow_node::clock;
use tow_proto::ByteString;
use tow_proto::message::{EntryKind, Mtime, StatReply};

use super::each::{Each, remotes};
use super::ls::{letter, permissions};
use crate::args::StatArgs;
use crate::client;
use crate::failure::Failure;
use crate::output;

#[derive(Serialize)]
struct Printed<'a> {
    path: &'a ByteString,
    kind: EntryKind,
    size: u64,
    mode: String,
    uid: u32,
    gid: u32,
    links: u64,
    device: u64,
    inode: u64,
    mtime: String,
    ctime: String,
    atime: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: &'a Option<ByteString>,
}

/// Says what is known of files on a machine.
pub(crate) fn run(args: StatArgs) -> Result<ExitCode, Failure> {
    let remotes = remotes(&args.paths)?;
    let links = if args.follow { Links::Follow } else { Links::Show };
    let mut each = Each::open()?;
    client::block_on(async {
        for remote in remotes {
            let host = each.host(&remote.host)?;
            let ask = async |connection: &mut _| stat(connection, remote.path, links).await;
            let Some(known) = each.ask(&host, ask, |_| None).await? else { continue };
            if args.json { print_json(&known)? } else { print(&known)? }
        }
        Ok(each.finish().await)
    })
}

fn print_json(known: &StatReply) -> std::io::Result<()> {
    output::json(&Printed {
        path: &known.path,
        kind: known.kind,
        size: known.size,
        mode: format!("{:04o}", known.mode),
        uid: known.uid,
        gid: known.gid,
        links: known.links,
        device: known.device,
        inode: known.inode,
        mtime: time(known.mtime),
        ctime: time(known.ctime),
        atime: time(known.atime),
        target: &known.target,
    })
}

fn print(known: &StatReply) -> std::io::Result<()> {
    let StatReply { path, kind, size, mode, uid, gid, links, device, inode, .. } = known;
    let target = known.target.as_ref().map(|target| format!(" -> {target}")).unwrap_or_default();
    output::line(format_args!("{path}{target}"))?;
    let kind_name = match kind {
        EntryKind::File => "file",
        EntryKind::Dir => "directory",
        EntryKind::Link => "symbolic link",
        EntryKind::Special => "pipe, socket or device",
    };
    output::line(format_args!("  type      {kind_name}"))?;
    output::line(format_args!("  size      {size} bytes"))?;
    output::line(format_args!("  mode      {mode:04o} {}{}", letter(*kind), permissions(*mode)))?;
    output::line(format_args!("  owner     uid {uid}, gid {gid}"))?;
    output::line(format_args!("  inode     {inode} on device {device}, {links} links"))?;
    output::line(format_args!("  modified  {}", time(known.mtime)))?;
    output::line(format_args!("  changed   {}", time(known.ctime)))?;
    output::line(format_args!("  read      {}", time(known.atime)))
}

/// To the nanosecond, as `2026-11-22T15:04:05.678000000Z`; times before 1970 are shown as its start.
fn time(time: Mtime) -> String {
    let Mtime(secs, nanos) = time;
    let (secs, nanos) = u64::try_from(secs).map_or((0, 0), |secs| (secs, nanos));
    let seconds = clock::to_rfc3339(clock::from_unix_secs(secs));
    format!("{}.{nanos:09}Z", seconds.trim_end_matches('Z'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_all_their_digits() {
        assert_eq!(time(Mtime(1_000_000_000, 5)), "2001-09-09T01:46:40.000000005Z");
        assert_eq!(time(Mtime(-1, 999_999_999)), "1970-01-01T00:00:00.000000000Z");
    }
}
