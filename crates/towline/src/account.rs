//! Who runs this process, and what the machine is called.

use std::env;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

/// The account's name, home and shell: from the environment, else from /etc/passwd.
pub(crate) fn account() -> tow_node::serve::Account {
    let uid = rustix::process::getuid().as_raw();
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let line = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.len() >= 7 && fields[2].parse() == Ok(uid));
    let field = |index: usize| line.as_ref().map(|fields| fields[index].to_owned());
    let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    let path = |bytes: std::ffi::OsString| PathBuf::from(bytes);
    tow_node::serve::Account {
        user: field(0)
            .or_else(|| variable("USER").map(|user| user.to_string_lossy().into_owned()))
            .unwrap_or_else(|| uid.to_string()),
        home: variable("HOME")
            .map(path)
            .or_else(|| field(5).map(PathBuf::from))
            // An account without a home starts at the top.
            .filter(|home| home.is_dir())
            .unwrap_or_else(|| "/".into()),
        shell: field(6)
            .map(PathBuf::from)
            .or_else(|| variable("SHELL").map(path))
            .filter(|shell| !shell.as_os_str().is_empty())
            .unwrap_or_else(|| "/bin/sh".into()),
        path: variable("PATH").unwrap_or_else(|| DEFAULT_PATH.into()),
        lang: variable("LANG"),
    }
}

/// The machine's name, without its domain.
pub(crate) fn machine() -> String {
    let name = rustix::system::uname().nodename().to_bytes().to_vec();
    let name = std::ffi::OsString::from_vec(name).to_string_lossy().into_owned();
    name.split('.').next().filter(|name| !name.is_empty()).unwrap_or("machine").to_owned()
}

/// Program and version, for logs and hellos.
pub(crate) const AGENT: &str = concat!("tow/", env!("CARGO_PKG_VERSION"));

const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
