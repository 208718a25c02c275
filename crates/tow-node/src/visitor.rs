//! Visitors: browsers, app passwords and shares. They can't hold a key as a device does, so they hold
//! a secret, and their key is the one whose private half is derived from it (HTTP.md 2).
//!
//! The node stores the public half as for any device. Nothing that it stores lets anybody in.

use std::fmt;

use aws_lc_rs::rand;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::identity::PublicKey;

/// What a visitor holds: 256 random bits.
#[derive(Clone)]
pub struct VisitorSecret(Zeroizing<[u8; SECRET_LEN]>);

impl VisitorSecret {
    /// A new one. `None` when the system has no randomness.
    pub fn random() -> Option<Self> {
        let mut bytes = Zeroizing::new([0; SECRET_LEN]);
        rand::fill(bytes.as_mut_slice()).ok()?;
        Some(Self(bytes))
    }

    /// The secret of a text: with or without [`TOKEN_PREFIX`].
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix(TOKEN_PREFIX).unwrap_or(text);
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).ok()?);
        bytes.as_slice().try_into().ok().map(|bytes| Self(Zeroizing::new(bytes)))
    }

    /// Base64url without padding, 43 characters: in cookies and links. It is a secret, so there is no
    /// `Display`.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(URL_SAFE_NO_PAD.encode(*self.0))
    }

    /// The same as an app password.
    pub fn to_token(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{TOKEN_PREFIX}{}", *self.to_text()))
    }

    /// The key that whoever holds the secret has. `None` when the cryptographic library fails.
    pub fn key(&self) -> Option<PublicKey> {
        let seed = Zeroizing::new(blake3::derive_key(KEY_CONTEXT, self.0.as_slice()));
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_slice()).ok()?;
        pair.public_key().as_ref().try_into().ok().map(PublicKey::from_bytes)
    }

    /// What a page has to show beside its cookie: derived, so that nothing has to be remembered.
    pub fn page_token(&self) -> String {
        URL_SAFE_NO_PAD.encode(blake3::derive_key(PAGE_TOKEN_CONTEXT, self.0.as_slice()))
    }

    /// Whether `token` is [`Self::page_token`]; takes the same time for every wrong one.
    pub fn accepts(&self, token: &str) -> bool {
        let own = blake3::derive_key(PAGE_TOKEN_CONTEXT, self.0.as_slice());
        let shown = URL_SAFE_NO_PAD.decode(token).ok();
        let shown = shown.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        // Comparing two `blake3::Hash` takes constant time.
        shown.is_some_and(|shown| blake3::Hash::from_bytes(shown) == blake3::Hash::from_bytes(own))
    }
}

impl fmt::Debug for VisitorSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VisitorSecret(…)")
    }
}

/// How an app password starts, so that it is recognised where it does not belong.
pub const TOKEN_PREFIX: &str = "towt_";
const SECRET_LEN: usize = 32;
const KEY_CONTEXT: &str = "towline 2026 private key of a visitor";
const PAGE_TOKEN_CONTEXT: &str = "towline 2026 token of a page";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_one_key_and_one_token_and_two_texts() {
        let secret = VisitorSecret::random().unwrap();
        for text in [secret.to_text(), secret.to_token()] {
            let parsed = VisitorSecret::parse(&text).unwrap();
            assert_eq!(parsed.key(), secret.key());
            assert!(parsed.accepts(&secret.page_token()));
        }
        let other = VisitorSecret::random().unwrap();
        assert_ne!(other.key(), secret.key());
        assert!(!other.accepts(&secret.page_token()));
        assert!(!secret.accepts("") && !secret.accepts(&secret.to_text()));
    }

    #[test]
    fn what_is_no_secret_is_none() {
        let text = VisitorSecret::random().unwrap().to_text().to_string();
        for bad in ["", "towt_", &text[1..], &format!("{text}A"), &format!("{text}=")] {
            assert!(VisitorSecret::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        let secret = VisitorSecret::random().unwrap();
        assert!(!format!("{secret:?}").contains(secret.to_text().as_str()));
    }
}
