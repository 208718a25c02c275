//! `join`, asking: prove an invitation and learn the machine's key (PROTOCOL 5).

use tow_net::Address;
use tow_proto::message::{Confirm, FirstHead, Hello, Join, Welcome};

use super::{AskError, Client, Connection, Target};
use crate::identity::PublicKey;
use crate::invite::JoinCode;
use crate::pake::{self, EXPORTER_LABEL, Ids};
use crate::ticket::TicketSecret;

/// A machine that has let us in.
#[derive(Clone, Debug)]
pub struct Joined {
    /// Its key, proved by the invitation.
    pub key: PublicKey,
    /// The address that led to it.
    pub address: Address,
    /// What it said.
    pub welcome: Welcome,
}

/// How we prove that we were invited.
pub enum Invitation {
    /// A typed code: the machine proves itself by knowing it too.
    Code(JoinCode),
    /// A ticket, which pins the machine's key.
    Ticket {
        /// The machine's key.
        key: PublicKey,
        /// The one-time secret.
        secret: TicketSecret,
    },
}

/// Joins the machine at `address`.
///
/// # Errors
/// The refusal, a lost link, or a machine that could not prove itself.
pub async fn join(
    client: &Client,
    address: &Address,
    invitation: Invitation,
) -> Result<Joined, AskError> {
    let key = match &invitation {
        Invitation::Code(_) => None,
        Invitation::Ticket { key, .. } => Some(*key),
    };
    let target = Target { addresses: vec![address.clone()], key };
    let mut link = client.link(&target).await?;
    let node = match link.peer_key() {
        Some(Ok(spki)) => PublicKey::from_bytes(spki.key()),
        _ => {
            return Err(AskError::Protocol {
                what: "joining needs TLS; over a Unix socket it is not needed",
            });
        }
    };
    let ids = Ids { client: client.key(), node };
    let exporter =
        link.exporter(EXPORTER_LABEL).ok_or(AskError::Protocol { what: "no channel binding" })?;
    let mut hello = client.hello.clone();
    let welcome = match invitation {
        Invitation::Ticket { secret, .. } => {
            let proof = secret.proof_key().prove(&ids, &exporter).to_vec();
            hello.join = Some(Join::Ticket { proof });
            Connection::start(link, client.key().id().to_string(), &hello).into_welcome().await?
        }
        Invitation::Code(code) => by_code(&mut link, hello, &code, ids, &exporter).await?,
    };
    Ok(Joined { key: node, address: address.clone(), welcome })
}

async fn by_code(
    link: &mut tow_net::Link,
    mut hello: Hello,
    code: &JoinCode,
    ids: Ids,
    exporter: &[u8; 32],
) -> Result<Welcome, AskError> {
    let (join, message) = pake::start(code, ids);
    hello.join = Some(Join::Code { pake: message.to_vec() });
    link.send_head(&FirstHead::Hello(hello));
    let FirstHead::Join(reply) = super::read_first_head(link).await? else {
        return Err(AskError::Protocol { what: "no answer to the invitation" });
    };
    let (ours, expected) = join.finish(&reply.pake, exporter).map_err(|_| AskError::Protocol {
        what: "an answer to the invitation that can't be one",
    })?;
    link.send_head(&FirstHead::Confirm(Confirm { confirm: ours.to_vec() }));
    let FirstHead::Welcome(welcome) = super::read_first_head(link).await? else {
        return Err(AskError::Protocol { what: "no welcome" });
    };
    let confirmed =
        welcome.confirm.as_ref().is_some_and(|confirm| expected.verify(&confirm.confirm).is_ok());
    if confirmed { Ok(welcome) } else { Err(AskError::NotProved) }
}

impl Connection {
    async fn into_welcome(mut self) -> Result<Welcome, AskError> {
        let welcome = self.welcome().await?.clone();
        self.close().await;
        Ok(welcome)
    }
}
