//! Fetches a tree from a machine that this user knows, and says each file as it comes:
//! `cargo run -p tow-node --example fetch -- STATE_DIR HOST PATH DEST`

#![allow(clippy::print_stdout, reason = "an example says what it does")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tow_node::ask::{Client, Target, get};
use tow_node::state::{Layout, StateDir};
use tow_node::transfer::{Change, Run, Watch};
use tow_node::{hosts::Hosts, identity::Identity};

struct Say;

impl Watch for Say {
    fn item(&self, change: Change, path: &[u8], size: u64) {
        println!("{change:?} {} ({size} bytes)", path.escape_ascii());
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [state, host, path, destination] = args.as_slice() else { return Err("four words".into()) };
    let state = PathBuf::from(state);
    let socket = state.join("node.sock");
    let state = StateDir::open(Layout { config: state.clone(), socket, state })?;
    let client =
        Client::new(&Identity::load_or_create(&state.user_key_path())?, "fetch", "example")?;
    let hosts = Hosts::load(&state.hosts_path())?;
    let host = hosts.find(host).ok_or("unknown machine: `tow join` first")?;
    let addresses = host.addresses.iter().filter_map(|address| address.parse().ok()).collect();
    let mut machine = client.connect(&Target { addresses, key: Some(host.key) }).await?;
    let run = Run { watch: Arc::new(Say), ..Run::default() };
    let outcome = get::get(&mut machine, path.as_str().into(), Path::new(destination), run).await?;
    println!("{} files, {} bytes", outcome.summary.files, outcome.summary.bytes);
    machine.close().await;
    Ok(())
}
