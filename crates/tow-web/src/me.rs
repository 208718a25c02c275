//! What a visitor is told about themselves.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use serde::Serialize;
use tow_node::clock::unix_secs;
use tow_node::grant::Right;
use tow_node::keys::Holder;
use tow_node::visitor::VisitorSecret;
use tow_proto::ByteString;

use crate::answer::{Answer, json};
use crate::guest::Guest;
use crate::machine::Machine;
use crate::path::below_root;

pub(crate) fn routes() -> Router {
    Router::new().route("/api/v1/me", get(me))
}

/// Who somebody is and what they may.
#[derive(Serialize)]
pub(crate) struct Me {
    machine: String,
    name: String,
    agent: String,
    rights: Vec<Right>,
    /// The machine's real path of the root.
    root: ByteString,
    /// Where to begin, from the root.
    start: ByteString,
    expires: Option<u64>,
    share: Option<Share>,
    token: String,
}

/// What a share is confined to.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Share {
    Session(String),
    Drop(bool),
}

impl Me {
    pub(crate) fn of(machine: &Machine, secret: &VisitorSecret) -> Self {
        let welcome = machine.welcome();
        let root = welcome.root.unwrap_or_else(|| "/".into());
        let start = welcome.start.and_then(|start| below_root(&root, start.as_bytes()));
        let (name, expires, share) = match machine {
            Machine::Here(visitor) => {
                let record = visitor.record();
                let is_share = record.holder == Holder::Share;
                let is_drop = is_share && record.rights.write && !record.rights.read;
                let share = match &record.session {
                    Some(session) => Some(Share::Session(session.clone())),
                    None => is_drop.then_some(Share::Drop(true)),
                };
                (record.name.clone(), record.expires.map(unix_secs), share)
            }
            Machine::There(_) => (String::new(), None, None),
        };
        Self {
            machine: welcome.machine,
            name,
            agent: welcome.agent,
            rights: Right::list(welcome.rights),
            root,
            start: start.map_or_else(|| "/".into(), Into::into),
            expires,
            share,
            token: secret.page_token(),
        }
    }
}

async fn me(guest: Guest) -> Answer {
    Ok(json(StatusCode::OK, &Me::of(&guest.machine, &guest.secret)))
}
