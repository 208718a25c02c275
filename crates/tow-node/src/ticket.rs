//! The ticket of an invitation: a link that carries the machine's key and a one-time secret, so that
//! nobody in the middle can take part (PROTOCOL 5.2).

use std::fmt;

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use thiserror::Error;
use zeroize::{Zeroize as _, ZeroizeOnDrop, Zeroizing};

use crate::identity::PublicKey;
use crate::pake::Ids;

/// The one-time secret of a ticket: 128 random bits.
#[derive(Clone, PartialEq, Eq)]
pub struct TicketSecret([u8; SECRET_LEN]);

/// A ticket: `https://HOST:PORT/#tow1.KEY.SECRET`. What follows `#` is never sent by a browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// `HOST:PORT` of the machine, an IPv6 address in brackets.
    pub address: String,
    /// The machine's key.
    pub key: PublicKey,
    /// The secret.
    pub secret: TicketSecret,
}

/// What proves a ticket: derived from its secret by both sides.
///
/// The node keeps this and not the secret, so its memory does not hold the ticket's text. It would
/// be enough for a proof, but lives only as long as the invitation and is in no file.
#[derive(Clone)]
pub struct ProofKey(Zeroizing<[u8; 32]>);

/// Why a text is not a ticket. Never repeats the text: it holds a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BadTicket {
    /// It does not start as tickets do.
    #[error("a ticket starts with https://")]
    NoScheme,
    /// It names no machine.
    #[error("a ticket names a machine and its port, https://HOST:PORT/#…")]
    NoAddress,
    /// The part after `#` is missing or of another kind.
    #[error("the part from #tow1. on is missing; was the link cut off?")]
    NoSecret,
    /// A later version made it.
    #[error("a ticket of a later version of towline")]
    LaterVersion,
    /// The machine's key is not whole.
    #[error("the machine's key in it is not whole; was the link cut off?")]
    BadKey,
    /// The secret is not whole.
    #[error("the secret in it is not whole; was the link cut off?")]
    BadSecret,
    /// Longer than any ticket.
    #[error("longer than {TICKET_LEN_MAX} bytes")]
    TooLong,
}

impl TicketSecret {
    /// A new secret. `None` when the system has no randomness.
    pub fn random() -> Option<Self> {
        let mut bytes = [0; SECRET_LEN];
        rand::fill(&mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// The secret of a text: the last part of a ticket.
    pub fn parse(text: &str) -> Option<Self> {
        decode_secret(text)
    }

    /// The key of its proofs.
    pub fn proof_key(&self) -> ProofKey {
        ProofKey(Zeroizing::new(blake3::derive_key(PROOF_KEY_CONTEXT, &self.0)))
    }
}

impl Drop for TicketSecret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl ZeroizeOnDrop for TicketSecret {}

impl fmt::Debug for TicketSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketSecret(…)")
    }
}

impl ProofKey {
    /// What the client sends: only the holder of the secret, at the end of this very channel, between
    /// these two keys, can have made it. `exporter` is the channel's, of the label
    /// [`crate::pake::EXPORTER_LABEL`].
    pub fn prove(&self, ids: &Ids, exporter: &[u8; 32]) -> [u8; PROOF_LEN] {
        *self.proof(ids, exporter).as_bytes()
    }

    /// Whether `proof` is the one; takes the same time for every wrong one.
    pub fn accepts(&self, proof: &[u8], ids: &Ids, exporter: &[u8; 32]) -> bool {
        // Comparing two `blake3::Hash` takes constant time.
        <[u8; PROOF_LEN]>::try_from(proof)
            .is_ok_and(|proof| self.proof(ids, exporter) == blake3::Hash::from_bytes(proof))
    }

    /// Whether both are of one secret; takes the same time for every two that are not.
    pub(crate) fn is(&self, other: &Self) -> bool {
        blake3::Hash::from_bytes(*self.0) == blake3::Hash::from_bytes(*other.0)
    }

    fn proof(&self, ids: &Ids, exporter: &[u8; 32]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(PROOF_LABEL);
        hasher.update(exporter);
        hasher.update(&ids.client.to_spki());
        hasher.update(&ids.node.to_spki());
        hasher.finalize()
    }
}

impl fmt::Debug for ProofKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProofKey(…)")
    }
}

impl Ticket {
    /// The text to be shown or copied. It holds the secret, so there is no `Display`.
    pub fn to_text(&self) -> String {
        let secret = URL_SAFE_NO_PAD.encode(self.secret.0);
        format!("https://{}/#{FRAGMENT}.{}.{secret}", self.address, self.key)
    }

    /// The ticket of a text; white space around it does not matter.
    ///
    /// # Errors
    /// What is missing.
    pub fn parse(text: &str) -> Result<Self, BadTicket> {
        let text = text.trim();
        if text.len() > TICKET_LEN_MAX {
            return Err(BadTicket::TooLong);
        }
        let rest = strip_scheme(text).ok_or(BadTicket::NoScheme)?;
        let (place, fragment) = rest.split_once('#').ok_or(BadTicket::NoSecret)?;
        let address = place.strip_suffix('/').unwrap_or(place);
        if !is_address(address) {
            return Err(BadTicket::NoAddress);
        }
        let mut parts = fragment.split('.');
        match parts.next() {
            Some(FRAGMENT) => {}
            Some(other) if other.starts_with("tow") => return Err(BadTicket::LaterVersion),
            _ => return Err(BadTicket::NoSecret),
        }
        let key = parts.next().and_then(|key| key.parse().ok()).ok_or(BadTicket::BadKey)?;
        let secret = parts.next().and_then(decode_secret).ok_or(BadTicket::BadSecret)?;
        if parts.next().is_some() {
            return Err(BadTicket::LaterVersion);
        }
        Ok(Self { address: address.to_owned(), key, secret })
    }
}

fn strip_scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then_some(rest)
}

fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let is_host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(|v6| !v6.contains(['[', ']'])),
        None => !host.contains([':', '[', ']']),
    };
    is_host
        && host.len() > 2 * usize::from(host.starts_with('['))
        && !host.contains(|char: char| {
            matches!(char, '/' | '@' | '?') || char.is_whitespace() || char.is_control()
        })
        && port.bytes().all(|byte| byte.is_ascii_digit())
        && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn decode_secret(text: &str) -> Option<TicketSecret> {
    let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).ok()?);
    bytes.as_slice().try_into().map(TicketSecret).ok()
}

/// Length of a proof in bytes.
pub const PROOF_LEN: usize = 32;
/// Longest text that is read as a ticket, in bytes: a host name of 253 and everything else.
pub const TICKET_LEN_MAX: usize = 512;
const SECRET_LEN: usize = 16;
const SCHEME: &str = "https://";
const FRAGMENT: &str = "tow1";
const PROOF_KEY_CONTEXT: &str = "towline 2026 key of ticket proofs";
const PROOF_LABEL: &[u8] = b"towline ticket proof 1";

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> Ids {
        Ids { client: PublicKey::from_bytes([1; 32]), node: PublicKey::from_bytes([2; 32]) }
    }

    fn ticket(address: &str) -> Ticket {
        let key = PublicKey::from_bytes([7; 32]);
        Ticket { address: address.to_owned(), key, secret: TicketSecret([9; SECRET_LEN]) }
    }

    #[test]
    fn a_ticket_survives_being_copied() {
        for address in ["box.lan:8690", "192.0.2.7:1", "[2001:db8::1]:65535", "a:8690"] {
            let text = ticket(address).to_text();
            assert_eq!(Ticket::parse(&text), Ok(ticket(address)), "{address}");
            assert_eq!(Ticket::parse(&format!(" \n{text}\r\n")), Ok(ticket(address)));
        }
        let text = ticket("box:1").to_text();
        assert_eq!(text.len(), "https://box:1/#tow1.".len() + 43 + 1 + 22);
        assert_eq!(Ticket::parse(&text.replace("https", "HTTPS")), Ok(ticket("box:1")));
        assert_eq!(Ticket::parse(&text.replace("/#", "#")), Ok(ticket("box:1")));
    }

    #[test]
    fn a_text_that_is_no_ticket_is_told_what_is_missing() {
        let whole = ticket("box:1").to_text();
        let cut = |by: usize| whole[..whole.len() - by].to_owned();
        for (text, error) in [
            (String::new(), BadTicket::NoScheme),
            ("ABCD-EFGH".to_owned(), BadTicket::NoScheme),
            (whole.replace("https", "http"), BadTicket::NoScheme),
            ("https://box:1/".to_owned(), BadTicket::NoSecret),
            ("https://box:1/#top".to_owned(), BadTicket::NoSecret),
            (whole.replace("tow1", "tow2"), BadTicket::LaterVersion),
            (format!("{whole}.more"), BadTicket::LaterVersion),
            (cut(1), BadTicket::BadSecret),
            (cut(23), BadTicket::BadSecret),
            (cut(24), BadTicket::BadKey),
            (format!("{whole}A"), BadTicket::BadSecret),
            (whole.replace("box:1", "box"), BadTicket::NoAddress),
            (whole.replace("box:1", "box:0"), BadTicket::NoAddress),
            (whole.replace("box:1", "box:+1"), BadTicket::NoAddress),
            (whole.replace("box:1", "box:65536"), BadTicket::NoAddress),
            (whole.replace("box:1", ":1"), BadTicket::NoAddress),
            (whole.replace("box:1", "[]:1"), BadTicket::NoAddress),
            (whole.replace("box:1", "::1:1"), BadTicket::NoAddress),
            (whole.replace("box:1", "me@box:1"), BadTicket::NoAddress),
            (whole.replace("box:1", "b\u{1b}x:1"), BadTicket::NoAddress),
            (whole.replace("box", &"x".repeat(600)), BadTicket::TooLong),
        ] {
            assert_eq!(Ticket::parse(&text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_proof_is_good_for_one_channel_between_two_keys() {
        let key = ticket("box:1").secret.proof_key();
        let exporter = [3; 32];
        let proof = key.prove(&ids(), &exporter);
        assert!(key.accepts(&proof, &ids(), &exporter));

        assert!(!key.accepts(&proof, &ids(), &[4; 32]), "another channel");
        let other = PublicKey::from_bytes([5; 32]);
        assert!(!key.accepts(&proof, &Ids { client: other, ..ids() }, &exporter));
        assert!(!key.accepts(&proof, &Ids { node: other, ..ids() }, &exporter));
        let swapped = Ids { client: ids().node, node: ids().client };
        assert!(!key.accepts(&proof, &swapped, &exporter));
        let another = TicketSecret([8; SECRET_LEN]).proof_key();
        assert!(!another.accepts(&proof, &ids(), &exporter), "another secret");
        for len in 0..PROOF_LEN {
            assert!(!key.accepts(&proof[..len], &ids(), &exporter));
        }
        for bit in 0..PROOF_LEN * 8 {
            let mut flipped = proof;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!key.accepts(&flipped, &ids(), &exporter));
        }
    }

    #[test]
    fn secrets_are_random() {
        let (one, two) = (TicketSecret::random().unwrap(), TicketSecret::random().unwrap());
        assert_ne!(one, two);
    }
}
