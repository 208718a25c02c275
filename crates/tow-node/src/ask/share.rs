//! Ways in that are secrets, asking: app passwords and shares.

use tow_proto::message::{
    Reply, Request, Share, ShareInfo, ShareReply, ShareRm, Shares, Token, TokenReply,
};

use super::{AskError, Connection, head};

/// Makes an app password.
///
/// # Errors
/// The refusal, or a lost link.
pub async fn token(connection: &mut Connection, token: Token) -> Result<TokenReply, AskError> {
    connection.ask(&Request::Token(token)).await
}

/// Makes a link that opens one directory or one session.
///
/// # Errors
/// The refusal, or a lost link.
pub async fn share(connection: &mut Connection, share: Share) -> Result<ShareReply, AskError> {
    connection.ask(&Request::Share(share)).await
}

/// Which links there are.
///
/// # Errors
/// The refusal, or a lost link.
pub async fn shares(connection: &mut Connection) -> Result<Vec<ShareInfo>, AskError> {
    let Shares { mut shares, mut more } = connection.ask(&Request::Shares).await?;
    while more {
        let frame = connection.link.next_frame().await?;
        let next: Reply<Shares> = head(&frame)?;
        let next = next.into_result()?;
        shares.extend(next.shares);
        more = next.more;
        if shares.len() > SHARES_MAX {
            return Err(AskError::Protocol { what: "more shares than a machine can have" });
        }
    }
    Ok(shares)
}

/// Ends the share whose fingerprint starts with `share`.
///
/// # Errors
/// The refusal, or a lost link.
pub async fn share_rm(connection: &mut Connection, share: &str) -> Result<(), AskError> {
    let request = Request::ShareRm(ShareRm { share: share.to_owned() });
    connection.ask::<serde_json::Value>(&request).await.map(drop)
}

const SHARES_MAX: usize = 100_000;
