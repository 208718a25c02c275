//! What is in a directory, as JSON: all at once where it is short, else as it is read.

use std::ops::ControlFlow;
use std::time::Instant;

use bytes::Bytes;
use tokio::task::spawn_blocking;
use tow_host::beneath::Root;
use tow_host::files::{ENTRIES_MAX, Show, list as list_on_disk};
use tow_node::ask::ls::{Depth, ls};
use tow_node::audit::Outcome;
use tow_node::serve::{Done, Visitor};
use tow_proto::message::Entry;
use tow_proto::{ByteString, Code, Refusal};

use super::Place;
use crate::answer::{Answer, Failure};
use crate::here::{Stay, reading};
use crate::machine::Machine;
use crate::server::Connection;
use crate::stream::{Outlet, stream};

pub(super) async fn list(connection: &Connection, place: &Place) -> Answer {
    let (outlet, mut streamed) = stream(PIECES_WAITING_MAX, None);
    match place.machine.clone() {
        Machine::Here(visitor) => {
            let started = Instant::now();
            let (permit, slot) = reading(&visitor).await.map_err(|no| place.say(no))?;
            let stay = Stay::begin(&visitor, connection);
            let (root, path) = (permit.root().clone(), place.path.clone());
            spawn_blocking(move || {
                let outcome = from_disk(&root, &path, outlet);
                audit(&visitor, path, outcome, started);
                drop((slot, stay));
            });
        }
        Machine::There(_) => {
            let place = place.clone();
            tokio::spawn(async move { from_there(&place, outlet).await });
        }
    }
    streamed.ready().await.map_err(|failure| place.say(failure))?;
    Ok(streamed.into_response("application/json"))
}

fn audit(visitor: &Visitor, path: ByteString, outcome: Outcome, started: Instant) {
    visitor.audit("ls", vec![path], &Done { outcome, bytes: 0, duration: started.elapsed() });
}

/// JSON that grows, and goes away in pieces.
struct Writer {
    json: Vec<u8>,
    is_first: bool,
}

impl Writer {
    fn new() -> Self {
        Self { json: HEAD.to_vec(), is_first: true }
    }

    /// Gives a piece where there is one.
    fn write(&mut self, entries: &[Entry]) -> Option<Bytes> {
        for entry in entries {
            if !std::mem::take(&mut self.is_first) {
                self.json.push(b',');
            }
            // A vector takes everything, and an entry has nothing that JSON has not.
            let _ = serde_json::to_writer(&mut self.json, entry);
        }
        (self.json.len() >= PIECE_LEN).then(|| std::mem::take(&mut self.json).into())
    }

    fn end(mut self) -> Bytes {
        self.json.extend_from_slice(TAIL);
        self.json.into()
    }
}

fn from_disk(root: &Root, path: &ByteString, mut outlet: Outlet) -> Outcome {
    let mut writer = Writer::new();
    let mut is_unread = false;
    let listed = list_on_disk(root, path, Show::Contents, &mut |entries| match writer
        .write(&entries)
        .map(|piece| outlet.blocking_put(piece))
    {
        Some(Err(_)) => {
            is_unread = true;
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    if is_unread {
        return Outcome::Cut;
    }
    if let Err(refusal) = listed {
        let code = refusal.code;
        outlet.blocking_fail(refusal);
        return Outcome::Refused(code);
    }
    match outlet.blocking_put(writer.end()) {
        Ok(()) => outlet.blocking_end(),
        Err(_) => return Outcome::Cut,
    }
    Outcome::Ok
}

async fn from_there(place: &Place, mut outlet: Outlet) {
    match fetch(place).await {
        Err(failure) => outlet.fail(failure).await,
        Ok(entries) => {
            let mut writer = Writer::new();
            for entries in entries.chunks(ENTRIES_AT_ONCE) {
                if let Some(piece) = writer.write(entries)
                    && outlet.put(piece).await.is_err()
                {
                    return;
                }
            }
            if outlet.put(writer.end()).await.is_ok() {
                outlet.end().await;
            }
        }
    }
}

/// On the wire they are in no order.
async fn fetch(place: &Place) -> Result<Vec<Entry>, Failure> {
    let mut connection = place.machine.connect().await?;
    let mut entries = Vec::new();
    ls(&mut connection, place.path.clone(), Depth::Inside, |batch| {
        // Of more than there can be, nothing is kept.
        if entries.len() <= ENTRIES_MAX {
            entries.extend(batch);
        }
    })
    .await?;
    if entries.len() > ENTRIES_MAX {
        return Err(Refusal::about(Code::TooLong, place.path.clone()).into());
    }
    place.machine.keep(connection);
    entries.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    Ok(entries)
}

const HEAD: &[u8] = b"{\"entries\":[";
const TAIL: &[u8] = b"]}";
/// Shorter listings are sent at once, with their length.
const PIECE_LEN: usize = 512 << 10;
const PIECES_WAITING_MAX: usize = 2;
const ENTRIES_AT_ONCE: usize = 1_000;
