//! Proof of a short code without telling it: SPAKE2, bound to the TLS channel and to both keys
//! (PROTOCOL 5.1).
//!
//! Whoever sits in the middle has two channels, so two exporters, and can neither pass a
//! confirmation on nor learn the code from it. The client confirms first: who guesses has committed to
//! one guess before there is anything to check it against.

use std::fmt;

use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::traits::IsIdentity as _;
use spake2::{Ed25519Group, Identity, Password, Spake2};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::identity::PublicKey;
use crate::invite::JoinCode;

/// Label of the 32 bytes that both ends take from their TLS channel (RFC 8446, 7.5).
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-towline-join-1";
/// Length of a SPAKE2 message in bytes: the side, then a point.
pub const MESSAGE_LEN: usize = 33;
/// Length of a confirmation in bytes.
pub const CONFIRM_LEN: usize = 32;

/// Both ends of a channel, as TLS proved them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// The device that joins.
    pub client: PublicKey,
    /// The machine that is joined.
    pub node: PublicKey,
}

/// The client between its message and the node's.
pub struct ClientJoin {
    spake: Spake2<Ed25519Group>,
    ids: Ids,
    message: [u8; MESSAGE_LEN],
}

/// The node between its message and the client's confirmation.
pub struct NodeJoin {
    shared: SharedKey,
    ids: Ids,
    messages: [[u8; MESSAGE_LEN]; 2],
}

/// What the node must send for the client to believe that it knew the code.
#[derive(Clone)]
pub struct ExpectedConfirm(blake3::Hash);

/// Why joining by code failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PakeError {
    /// Not a message of the other side, or a point that no honest side sends.
    #[error("not a message of the key exchange")]
    Malformed,
    /// Not the same code, or not the same channel.
    #[error("the other side does not know the code, or somebody is in between")]
    NotConfirmed,
}

/// The client's first step.
pub fn start(code: &JoinCode, ids: Ids) -> (ClientJoin, [u8; MESSAGE_LEN]) {
    let (client, node) = spake_ids(&ids);
    let (spake, message) = Spake2::start_a(&Password::new(code.as_bytes()), &client, &node);
    let message = own_message(&message);
    (ClientJoin { spake, ids, message }, message)
}

/// The node's one step before the proof. From here on the guess is spent.
///
/// # Errors
/// The client's message is malformed; no guess was spent.
pub fn answer(
    code: &JoinCode,
    ids: Ids,
    client_message: &[u8],
) -> Result<(NodeJoin, [u8; MESSAGE_LEN]), PakeError> {
    let client_message = checked(client_message, SIDE_CLIENT)?;
    let (client, node) = spake_ids(&ids);
    let (spake, message) = Spake2::start_b(&Password::new(code.as_bytes()), &client, &node);
    let message = own_message(&message);
    let shared = SharedKey::agree(spake, &client_message)?;
    Ok((NodeJoin { shared, ids, messages: [client_message, message] }, message))
}

impl ClientJoin {
    /// The client's confirmation, and what the node has to answer.
    ///
    /// # Errors
    /// The node's message is malformed.
    pub fn finish(
        self,
        node_message: &[u8],
        exporter: &[u8; 32],
    ) -> Result<([u8; CONFIRM_LEN], ExpectedConfirm), PakeError> {
        let node_message = checked(node_message, SIDE_NODE)?;
        let shared = SharedKey::agree(self.spake, &node_message)?;
        let messages = [self.message, node_message];
        let ours = shared.confirm(CLIENT_CONTEXT, exporter, &self.ids, &messages);
        let theirs = shared.confirm(NODE_CONTEXT, exporter, &self.ids, &messages);
        Ok((*ours.as_bytes(), ExpectedConfirm(theirs)))
    }
}

impl NodeJoin {
    /// Checks the client's confirmation and gives the node's own.
    ///
    /// # Errors
    /// [`PakeError::NotConfirmed`].
    pub fn verify(
        self,
        confirm: &[u8],
        exporter: &[u8; 32],
    ) -> Result<[u8; CONFIRM_LEN], PakeError> {
        let confirmed = |context| self.shared.confirm(context, exporter, &self.ids, &self.messages);
        check(&confirmed(CLIENT_CONTEXT), confirm)?;
        Ok(*confirmed(NODE_CONTEXT).as_bytes())
    }
}

impl ExpectedConfirm {
    /// Checks the node's confirmation.
    ///
    /// # Errors
    /// [`PakeError::NotConfirmed`].
    pub fn verify(&self, confirm: &[u8]) -> Result<(), PakeError> {
        check(&self.0, confirm)
    }
}

struct SharedKey(Zeroizing<Vec<u8>>);

impl SharedKey {
    fn agree(spake: Spake2<Ed25519Group>, message: &[u8; MESSAGE_LEN]) -> Result<Self, PakeError> {
        let shared = spake.finish(message).map_err(|_| PakeError::Malformed)?;
        Ok(Self(Zeroizing::new(shared)))
    }

    fn confirm(
        &self,
        context: &str,
        exporter: &[u8; 32],
        ids: &Ids,
        messages: &[[u8; MESSAGE_LEN]; 2],
    ) -> blake3::Hash {
        let key = Zeroizing::new(blake3::derive_key(context, &self.0));
        let mut hasher = blake3::Hasher::new_keyed(&key);
        hasher.update(exporter);
        hasher.update(&ids.client.to_spki());
        hasher.update(&ids.node.to_spki());
        hasher.update(&messages[0]);
        hasher.update(&messages[1]);
        hasher.finalize()
    }
}

/// Constant time for every confirmation of the right length: `blake3::Hash` compares so.
fn check(expected: &blake3::Hash, confirm: &[u8]) -> Result<(), PakeError> {
    let confirm = <[u8; CONFIRM_LEN]>::try_from(confirm).map_err(|_| PakeError::NotConfirmed)?;
    if *expected == blake3::Hash::from_bytes(confirm) {
        Ok(())
    } else {
        Err(PakeError::NotConfirmed)
    }
}

fn spake_ids(ids: &Ids) -> (Identity, Identity) {
    (Identity::new(&ids.client.to_spki()), Identity::new(&ids.node.to_spki()))
}

fn own_message(message: &[u8]) -> [u8; MESSAGE_LEN] {
    message.try_into().expect("spake2 writes one byte for the side and 32 for the point")
}

/// The message of the other side. The library takes any point; ours are of prime order and in their
/// one canonical encoding, so everything else is somebody's experiment.
fn checked(message: &[u8], side: u8) -> Result<[u8; MESSAGE_LEN], PakeError> {
    let message = <[u8; MESSAGE_LEN]>::try_from(message).map_err(|_| PakeError::Malformed)?;
    let encoded =
        CompressedEdwardsY::from_slice(&message[1..]).map_err(|_| PakeError::Malformed)?;
    let point = encoded.decompress().ok_or(PakeError::Malformed)?;
    let is_honest = message[0] == side
        && point.compress() == encoded
        && !point.is_identity()
        && point.is_torsion_free();
    if is_honest { Ok(message) } else { Err(PakeError::Malformed) }
}

impl fmt::Debug for ClientJoin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientJoin").field("ids", &self.ids).finish_non_exhaustive()
    }
}

impl fmt::Debug for NodeJoin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeJoin").field("ids", &self.ids).finish_non_exhaustive()
    }
}

impl fmt::Debug for ExpectedConfirm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExpectedConfirm(…)")
    }
}

const SIDE_CLIENT: u8 = b'A';
const SIDE_NODE: u8 = b'B';
const CLIENT_CONTEXT: &str = "towline 2026 confirmation of a join code, from the client";
const NODE_CONTEXT: &str = "towline 2026 confirmation of a join code, from the node";

#[cfg(test)]
mod tests {
    use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};

    use super::*;

    const CHANNEL: [u8; 32] = [1; 32];
    const OTHER_CHANNEL: [u8; 32] = [2; 32];

    fn code(text: &str) -> JoinCode {
        JoinCode::parse(text).unwrap()
    }

    fn key(byte: u8) -> PublicKey {
        PublicKey::from_bytes([byte; 32])
    }

    fn ids() -> Ids {
        Ids { client: key(10), node: key(20) }
    }

    /// Runs both ends as each sees the world; what the node says about the client, and the client
    /// about the node.
    fn join(
        client: (&JoinCode, Ids, &[u8; 32]),
        node: (&JoinCode, Ids, &[u8; 32]),
    ) -> Result<(), PakeError> {
        let (joining, message) = start(client.0, client.1);
        let (answered, reply) = answer(node.0, node.1, &message)?;
        let (confirm, expected) = joining.finish(&reply, client.2)?;
        let own = answered.verify(&confirm, node.2)?;
        expected.verify(&own)
    }

    #[test]
    fn the_right_code_on_one_channel_convinces_both() {
        for _ in 0..20 {
            let code = code("7K3M-9QWX");
            assert_eq!(join((&code, ids(), &CHANNEL), (&code, ids(), &CHANNEL)), Ok(()));
        }
    }

    #[test]
    fn a_wrong_code_convinces_nobody() {
        let joined =
            join((&code("7K3M-9QWX"), ids(), &CHANNEL), (&code("7K3M-9QWY"), ids(), &CHANNEL));
        assert_eq!(joined, Err(PakeError::NotConfirmed));
    }

    #[test]
    fn a_code_that_is_relayed_between_two_channels_is_refused() {
        let code = code("7K3M-9QWX");
        // The one in the middle passes every byte on, and shows its own key to both.
        let client_sees = Ids { client: key(10), node: key(66) };
        let node_sees = Ids { client: key(66), node: key(20) };
        for (client, node) in [
            ((&code, client_sees, &CHANNEL), (&code, node_sees, &OTHER_CHANNEL)),
            ((&code, ids(), &CHANNEL), (&code, ids(), &OTHER_CHANNEL)),
            ((&code, client_sees, &CHANNEL), (&code, ids(), &CHANNEL)),
            ((&code, ids(), &CHANNEL), (&code, node_sees, &CHANNEL)),
        ] {
            assert_eq!(join(client, node), Err(PakeError::NotConfirmed));
        }
    }

    #[test]
    fn a_node_that_does_not_know_the_code_can_not_confirm_it() {
        let (joining, message) = start(&code("7K3M-9QWX"), ids());
        let (_, reply) = answer(&code("0000-0000"), ids(), &message).unwrap();
        let (confirm, expected) = joining.finish(&reply, &CHANNEL).unwrap();
        assert_eq!(expected.verify(&confirm), Err(PakeError::NotConfirmed), "sent back");
        assert_eq!(expected.verify(&[0; 32]), Err(PakeError::NotConfirmed));
        assert_eq!(expected.verify(&[]), Err(PakeError::NotConfirmed));
    }

    #[test]
    fn every_changed_bit_of_a_confirmation_is_seen() {
        let code = code("7K3M-9QWX");
        for bit in [0, 1, 100, 255] {
            let (joining, message) = start(&code, ids());
            let (answered, reply) = answer(&code, ids(), &message).unwrap();
            let (mut confirm, _) = joining.finish(&reply, &CHANNEL).unwrap();
            confirm[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(answered.verify(&confirm, &CHANNEL), Err(PakeError::NotConfirmed));
        }
    }

    fn message(side: u8, point: [u8; 32]) -> Vec<u8> {
        [&[side][..], &point[..]].concat()
    }

    #[test]
    fn a_malformed_message_is_refused_on_either_side() {
        let code = code("7K3M-9QWX");
        let valid = ED25519_BASEPOINT_POINT.compress().0;
        let mixed = (ED25519_BASEPOINT_POINT + EIGHT_TORSION[1]).compress().0;
        // y = p + 1: the identity again, in an encoding that nobody writes.
        let mut not_canonical = [0xff; 32];
        not_canonical[0] = 0xee;
        not_canonical[31] = 0x7f;
        let mut points = vec![mixed, not_canonical, [0xff; 32], [2; 32]];
        points.extend(EIGHT_TORSION.iter().map(|point| point.compress().0));

        for (own, other) in [(SIDE_CLIENT, SIDE_NODE), (SIDE_NODE, SIDE_CLIENT)] {
            let mut bad: Vec<_> = points.iter().map(|point| message(own, *point)).collect();
            bad.push(message(other, valid));
            bad.push(message(b'S', valid));
            bad.extend([
                Vec::new(),
                vec![own],
                valid.to_vec(),
                [message(own, valid), vec![0]].concat(),
            ]);
            for bad in bad {
                if own == SIDE_CLIENT {
                    assert_eq!(
                        answer(&code, ids(), &bad).err(),
                        Some(PakeError::Malformed),
                        "{bad:?}"
                    );
                } else {
                    let (joining, _) = start(&code, ids());
                    let error = joining.finish(&bad, &CHANNEL).err();
                    assert_eq!(error, Some(PakeError::Malformed), "{bad:?}");
                }
            }
        }
        assert!(answer(&code, ids(), &message(SIDE_CLIENT, valid)).is_ok());
    }
}
