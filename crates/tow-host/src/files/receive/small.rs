//! Writing a small file under a name of its own, in as few system calls as it takes.

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, OFlags, fchmod, fstat, futimens, openat, unlinkat};
use tow_proto::Code;
use tow_proto::transfer::Meta;

use super::Fault;
use super::dress::Dress;
use crate::beneath::code_of;
use crate::files::meta::timestamps;
use crate::files::partial::write_at;

/// Which permissions a file gets in one directory when it is made with some: the process's mask and
/// the directory's default list decide.
#[derive(Debug, Default)]
pub(super) struct Modes(Vec<(u32, u32)>);

impl Modes {
    /// Whether a file that was made with `mode` has it.
    fn are_right(&mut self, file: &OwnedFd, mode: u32) -> Result<bool, rustix::io::Errno> {
        let known = self.0.iter().find(|(wanted, _)| *wanted == mode);
        let got = match known {
            Some((_, got)) => *got,
            None => {
                let got = fstat(file)?.st_mode & 0o7777;
                if self.0.len() < KNOWN_MAX {
                    self.0.push((mode, got));
                }
                got
            }
        };
        Ok(got == mode)
    }
}

/// Makes the file `name` with everything that it is to have. Nothing is left where that fails.
pub(super) fn write_small(
    dir: &OwnedFd,
    name: &[u8],
    meta: &Meta,
    content: &[u8],
    dress: &Dress,
    modes: &mut Modes,
) -> Result<OwnedFd, Fault> {
    let mode = dress.mode_of(meta);
    // What may become somebody else's, or run as its owner, is nobody's until it is.
    let is_open = !dress.may_give(meta) && mode & 0o7000 == 0;
    let first_mode = Mode::from_raw_mode(if is_open { mode } else { 0o600 });
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(dir, name, flags, first_mode).map_err(Fault::of)?;
    let result = write_at(&file, content, 0).map_err(|(written, code)| {
        let missing = content.len() as u64 - written;
        Fault::Failed(code, (code == Code::NoSpace).then_some(missing))
    });
    let result = result.and_then(|()| {
        let dressed =
            if is_open { dress_open(&file, mode, meta, modes) } else { dress.file(&file, meta) };
        dressed.map_err(|errno| code_of(errno).into())
    });
    match result {
        Ok(()) => Ok(file),
        Err(fault) => {
            let _ = unlinkat(dir, name, AtFlags::empty());
            Err(fault)
        }
    }
}

fn dress_open(
    file: &OwnedFd,
    mode: u32,
    meta: &Meta,
    modes: &mut Modes,
) -> Result<(), rustix::io::Errno> {
    if !modes.are_right(file, mode)? {
        fchmod(file, Mode::from_raw_mode(mode))?;
    }
    futimens(file, &timestamps(meta.mtime))
}

/// Different permissions that are remembered in one directory.
const KNOWN_MAX: usize = 8;
