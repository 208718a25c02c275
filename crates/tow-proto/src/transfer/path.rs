//! Names and paths as they may come from a peer (PROTOCOL 7.3).

use crate::refusal::Code;

/// Longest name in bytes (PROTOCOL 7.3).
pub const NAME_LEN_MAX: usize = 255;
/// Longest path in bytes (PROTOCOL 7.3).
pub const PATH_LEN_MAX: usize = 4_096;
/// Most components of a path (PROTOCOL 7.3).
pub const DEPTH_MAX: usize = 256;
/// Longest target of a symbolic link in bytes (PROTOCOL 7.3); it is never empty.
pub const TARGET_LEN_MAX: usize = 4_095;

/// Whether `name` is one component that can be created beneath a directory (PROTOCOL 7.3).
///
/// # Errors
/// [`Code::BadName`].
pub fn check_name(name: &[u8]) -> Result<(), Code> {
    let is_bad = name.is_empty()
        || name.len() > NAME_LEN_MAX
        || name == b"."
        || name == b".."
        || name.iter().any(|byte| *byte == 0 || *byte == b'/');
    if is_bad { Err(Code::BadName) } else { Ok(()) }
}

/// Whether `path` leads to something beneath the top of a transfer, which is the empty path
/// (PROTOCOL 7.3).
///
/// # Errors
/// [`Code::TooLong`], [`Code::TooDeep`] or [`Code::BadName`].
pub fn check_path(path: &[u8]) -> Result<(), Code> {
    if path.is_empty() {
        return Ok(());
    }
    if path.len() > PATH_LEN_MAX {
        return Err(Code::TooLong);
    }
    let mut depth = 0;
    for name in path.split(|byte| *byte == b'/') {
        check_name(name)?;
        depth += 1;
    }
    if depth > DEPTH_MAX { Err(Code::TooDeep) } else { Ok(()) }
}
