//! `stat`, serving.

use tow_host::files::{self, Links};
use tow_net::Link;
use tow_proto::message::{Reply, Stat};

use super::thread::on_thread;
use super::{ChannelError, Peer, Served, Shared, now};

/// Says what is known of one file.
pub(super) async fn stat(
    shared: &Shared,
    peer: &Peer,
    link: &mut Link,
    request: Stat,
) -> Result<Served, ChannelError> {
    let root = peer.grant.read(now())?.root().clone();
    let _slot = shared.slots.take(peer)?;
    let links = if request.follow { Links::Follow } else { Links::Show };
    let reply = on_thread(link, move |_| files::stat(&root, &request.path, links)).await?;
    link.send_head(&Reply::Ok(reply));
    Ok(Served::ok(0))
}
