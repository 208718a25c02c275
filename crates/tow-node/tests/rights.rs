//! A right lasts as long as its grant, whatever is under way (PROTOCOL 3.2), and what was done with
//! it is in the audit log.

#![allow(clippy::unwrap_used)] // Clippy knows tests by their attribute, not by their directory.

mod node_support;

use std::time::{Duration, SystemTime};

use node_support::{DEADLINE, TestNode, ask, grant, last_refusal, run};
use tokio::time::timeout;
use tow_node::ask::{AskError, Client, Target, admin, join};
use tow_node::grant::Right;
use tow_node::identity::Identity;
use tow_node::keys::{Holder, Record};
use tow_node::ticket::Ticket;
use tow_proto::Code;
use tow_proto::message::{Invite, Invited, KeyRm, KeyRmDone, Request, Rights, RunReply};

fn invite(rights: Rights) -> Request {
    Request::Invite(Invite { rights, root: None, name: None, valid_secs: 600, grant_secs: None })
}

/// Joins with the ticket of `invited`.
async fn join_by(ticket: &str, node: &TestNode, device: &Identity) -> Result<(), AskError> {
    let client = Client::new(device, "test", "laptop").unwrap();
    let ticket: Ticket = Ticket::parse(ticket).unwrap();
    let invitation = join::Invitation::Ticket { key: ticket.key, secret: ticket.secret };
    join::join(&client, &node.address, invitation).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_expires_ends_what_is_under_way() {
    let device = Identity::generate().unwrap();
    // Long enough to get to work, on a slow machine too.
    let ends = SystemTime::now() + Duration::from_secs(8);
    let grant = Record { expires: Some(ends), ..grant(&device, &[Right::Run]) };
    let node = TestNode::start("expiry", vec![grant]);
    let (mut busy, mut idle) = (node.link(&device).await, node.link(&device).await);
    let _: RunReply = ask(&mut busy, &run(&["sleep", "1000"])).await.unwrap();
    for link in [&mut busy, &mut idle] {
        assert_eq!(last_refusal(link).await.code, Code::ExpiredKey);
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_removed_key_had_under_way_is_in_the_audit_log() {
    let device = Identity::generate().unwrap();
    let node = TestNode::start("removed", vec![grant(&device, &[Right::Run])]);
    let mut link = node.link(&device).await;
    let _: RunReply = ask(&mut link, &run(&["sleep", "1000"])).await.unwrap();
    let remove = Request::KeyRm(KeyRm { key: "laptop".into() });
    let removed: KeyRmDone = ask(&mut node.owner().await, &remove).await.unwrap();
    assert_eq!((removed.name.as_str(), removed.links), ("laptop", 1));
    assert_eq!(last_refusal(&mut link).await.code, Code::RemovedKey);
    let audit = node.audit();
    assert!(audit.iter().any(|line| line["what"] == "run"), "{audit:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_grant_of_a_key_counts_on_the_links_that_it_has() {
    let device = Identity::generate().unwrap();
    let node = TestNode::start("regrant", vec![grant(&device, &Right::ALL)]);
    let mut link = node.link(&device).await;
    let less = Right::together([Right::Read]);
    let invited: Invited = ask(&mut node.owner().await, &invite(less)).await.unwrap();
    join_by(&invited.ticket, &node, &device).await.unwrap();
    let refused = ask::<RunReply>(&mut link, &run(&["true"])).await.unwrap_err();
    assert_eq!((refused.code, refused.right.as_deref()), (Code::NoRight, Some("run")));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_ends_with_the_key_that_made_it() {
    let (admin, device) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let node = TestNode::start("giver", vec![grant(&admin, &Right::ALL)]);
    let mut link = node.link(&admin).await;
    let invited: Invited = ask(&mut link, &invite(Right::all())).await.unwrap();
    let remove = Request::KeyRm(KeyRm { key: "laptop".into() });
    let _: KeyRmDone = ask(&mut node.owner().await, &remove).await.unwrap();
    let refused = timeout(DEADLINE, join_by(&invited.ticket, &node, &device)).await.unwrap();
    assert!(
        matches!(&refused, Err(AskError::Refused(refusal)) if refusal.code == Code::ExpiredCode),
        "{refused:?}"
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_do_not_fit_one_head_are_listed_in_several() {
    let owner = Identity::generate().unwrap();
    let mut grants = vec![grant(&owner, &[Right::Admin])];
    for _ in 0..KEYS {
        grants.push(grant(&Identity::generate().unwrap(), &[]));
    }
    let node = TestNode::start("keys", grants);
    let client = Client::new(&owner, "test", "laptop").unwrap();
    let target = Target { addresses: vec![node.address.clone()], key: Some(node.key) };
    let mut connection = client.connect(&target).await.unwrap();
    let keys = admin::keys(&mut connection).await.unwrap();
    let mut ids: Vec<_> = keys.iter().map(|key| &key.id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!((keys.len(), ids.len()), (KEYS + 1, KEYS + 1));
    // The channel is over: the link serves the next.
    assert_eq!(admin::status(&mut connection).await.unwrap().links.open, 1);
    node.stop().await;
}

/// More than two heads hold.
const KEYS: usize = 210;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_browser_or_a_share_holds_is_good_for_nothing_on_a_native_link() {
    for holder in [Holder::Browser, Holder::Token, Holder::Share] {
        let device = Identity::generate().unwrap();
        let grant = Record { holder, ..grant(&device, &[Right::Run]) };
        let node = TestNode::start("holder", vec![grant]);
        let client = Client::new(&device, "test", "laptop").unwrap();
        let target = Target { addresses: vec![node.address.clone()], key: Some(node.key) };
        let refused = match client.connect(&target).await {
            Ok(mut connection) => connection.welcome().await.map(drop),
            Err(error) => Err(error),
        };
        assert!(
            matches!(&refused, Err(AskError::Refused(refusal)) if refusal.code == Code::UnknownKey),
            "{holder:?}: {refused:?}"
        );
        node.stop().await;
    }
}
