//! Where things are kept: `$TOWLINE_HOME`, or the XDG directories.

use std::env;
use std::path::PathBuf;

use etcetera::{BaseStrategy as _, base_strategy::Xdg};
use tow_node::state::Layout;

use crate::failure::Failure;

/// The directories of this user.
pub(crate) fn layout() -> Result<Layout, Failure> {
    if let Some(home) = env::var_os("TOWLINE_HOME").filter(|home| !home.is_empty()) {
        let home = std::path::absolute(PathBuf::from(home))?;
        return Ok(Layout { config: home.clone(), socket: home.join("node.sock"), state: home });
    }
    let xdg = Xdg::new().map_err(|_| {
        Failure::other("there is no home directory")
            .hint("set HOME, or TOWLINE_HOME to a directory of its own")
    })?;
    let state = xdg.state_dir().unwrap_or_else(|| xdg.data_dir()).join("towline");
    let socket = xdg.runtime_dir().map_or_else(|| state.clone(), |runtime| runtime.join("towline"));
    Ok(Layout { config: xdg.config_dir().join("towline"), socket: socket.join("node.sock"), state })
}

/// The sockets at which this machine's own node may listen, the user's first.
pub(crate) fn sockets() -> Result<Vec<PathBuf>, Failure> {
    let mut sockets = vec![layout()?.socket];
    if env::var_os("TOWLINE_HOME").is_none() {
        sockets.push(PathBuf::from("/run/towline/node.sock"));
    }
    Ok(sockets)
}
