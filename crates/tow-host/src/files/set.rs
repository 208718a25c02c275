//! Changing what is said of something: permissions and time.

use rustix::fd::{AsRawFd as _, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, chmodat, fstat, utimensat};
use rustix::io::Errno;
use tow_proto::message::{EntryKind, Mtime, StatReply};
use tow_proto::{ByteString, Code, Refusal};

use super::content;
use super::meta::{kind_of, timestamps};
use super::upload::check_attributes;
use crate::beneath::{Root, code_of, open_within};

/// Gives what is at `path`, which may be a symbolic link, these permission bits and this time of its
/// last change, and gives what is known of it then.
///
/// # Errors
/// [`Code::BadArgument`] of special bits or a time that is none, [`Code::LinkLoop`] of permissions for
/// a link, [`Code::BadName`] where the path names no entry of a directory (the root, `.`, `..`),
/// [`Code::OutsideRoot`], or what the file system says.
pub fn set(
    root: &Root,
    path: &ByteString,
    mode: Option<u32>,
    mtime: Option<Mtime>,
) -> Result<StatReply, Refusal> {
    let refuse = |code| Refusal::about(code, path.clone());
    let refuse_errno = |errno| refuse(code_of(errno));
    check_attributes(mode, mtime).map_err(refuse)?;
    let (dir, name) = root.open_parent(path)?;
    // A handle that stands for the file itself and opens nothing of it.
    let file = open_within(&dir, &name, OFlags::PATH, Mode::empty()).map_err(refuse_errno)?;
    let stat = fstat(&file).map_err(refuse_errno)?;
    let kind = kind_of(&stat);
    if kind != EntryKind::Dir && path.as_bytes().ends_with(b"/") {
        return Err(refuse(Code::NotADirectory));
    }
    if let Some(mode) = mode {
        let kept = match kind {
            EntryKind::Link => return Err(refuse(Code::LinkLoop)),
            // Whom what is made in it belongs to stays as it is.
            EntryKind::Dir => stat.st_mode & 0o7000,
            EntryKind::File | EntryKind::Special => 0,
        };
        chmod(&file, Mode::from_raw_mode(kept | mode)).map_err(refuse_errno)?;
    }
    if let Some(mtime) = mtime {
        // By name: not every kernel takes a handle. What has taken its place is in the same directory.
        utimensat(&dir, &name, &timestamps(mtime), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(refuse_errno)?;
    }
    let stat = fstat(&file).map_err(refuse_errno)?;
    Ok(content::reply(&file, path, &stat))
}

/// Sets permissions by a handle that may stand for something that can't be opened. Of a link it would
/// be what that leads to.
fn chmod(file: &OwnedFd, mode: Mode) -> Result<(), Errno> {
    chmodat(CWD, format!("/proc/self/fd/{}", file.as_raw_fd()), mode, AtFlags::empty())
}
