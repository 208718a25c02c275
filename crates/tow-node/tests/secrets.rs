//! No secret is in what is printed for debugging, in an error, or in the audit log, in any of the
//! forms in which bytes are commonly written.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use tow_node::audit::{Audit, Outcome, Record, Who};
use tow_node::grant::Right;
use tow_node::identity::{Identity, PublicKey};
use tow_node::invite::{Invitations, Issued, JoinCode, Offer};
use tow_node::pake::{self, Ids};
use tow_node::ticket::Ticket;
use tow_proto::Trust;

/// A private directory that goes away.
struct TestDir(PathBuf);

impl TestDir {
    fn new(name: &str) -> Self {
        let name = format!("secrets-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // Of an earlier process of the same number.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::DirBuilder::new().mode(0o700).create(&path).expect("a new directory");
        Self(path)
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Every common way to write some bytes.
fn spellings(secret: &[u8]) -> Vec<String> {
    let hex = |digits: fn(&u8) -> String| secret.iter().map(digits).collect::<String>();
    let list: Vec<String> = secret.iter().map(u8::to_string).collect();
    let mut spellings = vec![
        hex(|byte| format!("{byte:02x}")),
        hex(|byte| format!("{byte:02X}")),
        STANDARD_NO_PAD.encode(secret),
        URL_SAFE_NO_PAD.encode(secret),
        list.join(", "),
        list.join(","),
    ];
    if let Ok(text) = std::str::from_utf8(secret) {
        spellings.extend([text.to_owned(), text.to_lowercase(), text.replace('-', "")]);
    }
    spellings
}

fn assert_free_of(shown: &str, secret: &[u8], what: &str) {
    for spelling in spellings(secret) {
        assert!(!shown.contains(&spelling), "{what} shows its secret: {shown}");
    }
    // Half of a key is too much too.
    for spelling in spellings(&secret[..secret.len() / 2]) {
        assert!(spelling.len() < 6 || !shown.contains(&spelling), "{what} shows half: {shown}");
    }
}

fn debug(value: &impl std::fmt::Debug) -> String {
    format!("{value:?} {value:#?}")
}

fn ids() -> Ids {
    Ids { client: PublicKey::from_bytes([1; 32]), node: PublicKey::from_bytes([2; 32]) }
}

fn invite(invitations: &Invitations) -> Issued {
    let offer = Offer {
        giver: None,
        rights: Right::all(),
        root: "/".into(),
        start: "/".into(),
        name: None,
        expires: None,
    };
    let valid = Duration::from_secs(60);
    invitations.invite(offer, valid, Instant::now(), SystemTime::now()).expect("the first")
}

/// The secret of a ticket, from its text: there is no other way to get at it.
fn secret_of(issued: &Issued) -> (Ticket, Vec<u8>) {
    let ticket =
        Ticket { address: "box:8690".to_owned(), key: ids().node, secret: issued.secret.clone() };
    let text = ticket.to_text();
    let secret = URL_SAFE_NO_PAD.decode(text.rsplit('.').next().unwrap_or_default());
    (ticket, secret.expect("a ticket ends in its secret"))
}

#[test]
fn an_identity_shows_its_fingerprint_only() {
    let identity = Identity::generate().unwrap();
    let shown = debug(&identity);
    assert!(shown.contains(&identity.public().id().to_string()));
    assert_free_of(&shown, identity.pkcs8_der(), "an identity");
    let seed = &identity.pkcs8_der()[identity.pkcs8_der().len() - 32..];
    assert_free_of(&shown, seed, "an identity");
}

#[test]
fn a_damaged_identity_file_is_not_quoted() {
    let dir = TestDir::new("identity");
    let path = dir.0.join("identity.pem");
    Identity::load_or_create(&path).unwrap();
    let pem = std::fs::read_to_string(&path).unwrap();
    let body = pem.lines().nth(1).unwrap().to_owned();
    std::fs::write(&path, pem.replace("END", "DNE")).unwrap();
    let error = Identity::load(&path).unwrap_err();
    assert_free_of(&format!("{error} {}", debug(&error)), body.as_bytes(), "an error");
}

#[test]
fn an_invitation_shows_neither_code_nor_ticket() {
    let invitations = Invitations::new();
    let issued = invite(&invitations);
    let (ticket, secret) = secret_of(&issued);
    let code = issued.code.to_text();
    let guess = invitations.guess(Instant::now()).unwrap();
    let shown = [
        debug(&invitations),
        debug(&issued),
        debug(&ticket),
        debug(&issued.secret.proof_key()),
        debug(&guess),
    ];
    for shown in shown {
        assert_free_of(&shown, code.as_bytes(), "an invitation");
        assert_free_of(&shown, &secret, "an invitation");
        // What proves the ticket is as good as its secret while the invitation is open.
        let proof_key = blake3::derive_key("towline 2026 key of ticket proofs", &secret);
        assert_free_of(&shown, &proof_key, "an invitation");
    }
}

#[test]
fn a_run_of_the_key_exchange_shows_no_secret() {
    let invitations = Invitations::new();
    let issued = invite(&invitations);
    let code = issued.code.to_text();
    let (client, message) = pake::start(&issued.code, ids());
    let shown_client = debug(&client);
    let guess = invitations.guess(Instant::now()).unwrap();
    let (answered, reply) = guess.answer(ids(), &message).unwrap();
    let shown_node = debug(&answered);
    let (confirm, expected) = client.finish(&reply, &[3; 32]).unwrap();
    let (_, own) = answered.verify(&confirm, &[3; 32], Instant::now()).unwrap();
    let shown_expected = debug(&expected);
    assert_free_of(&shown_client, code.as_bytes(), "the client");
    assert_free_of(&shown_node, code.as_bytes(), "the node");
    for shown in [shown_client, shown_node, shown_expected] {
        assert_free_of(&shown, &own, "a confirmation that is not sent yet");
        assert_free_of(&shown, &confirm, "a confirmation that is not sent yet");
    }
}

#[test]
fn errors_do_not_repeat_what_may_be_a_secret() {
    let invitations = Invitations::new();
    let issued = invite(&invitations);
    let (ticket, secret) = secret_of(&issued);
    let text = ticket.to_text();
    for broken in [&text[..text.len() - 1], &format!("{text}x"), &text.replace("tow1", "tow9")] {
        let error = Ticket::parse(broken).unwrap_err();
        assert_free_of(&format!("{error} {error:?}"), &secret, "an error about a ticket");
    }
    let code = issued.code.to_text();
    let error = JoinCode::parse(&format!("{code}7")).unwrap_err();
    assert_free_of(&format!("{error} {error:?}"), code.as_bytes(), "an error about a code");
}

#[test]
fn the_audit_log_has_names_of_variables_and_never_values() {
    let dir = TestDir::new("audit");
    let path = dir.0.join("audit.jsonl");
    let audit = Audit::open(&path).unwrap();
    let value = "hunter2-\u{e9}\u{1b}correct-horse";
    let who = Who::Key(ids().client.id());
    let mut record = Record::new(who, Trust::Proved, "run", Outcome::Ok)
        .with_env(&[("API_TOKEN".into(), value.into())]);
    record.detail = vec!["deploy".into()];
    audit.record(&record);
    let shown = format!("{} {}", std::fs::read_to_string(&path).unwrap(), debug(&record));
    assert!(shown.contains("API_TOKEN") && shown.contains("deploy"));
    assert_free_of(&shown, value.as_bytes(), "the audit log");
    assert!(!shown.contains("hunter2") && !shown.contains("correct-horse"));
}
