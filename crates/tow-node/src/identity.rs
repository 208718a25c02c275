//! Who this machine is: an Ed25519 key pair in one private file, made once and never replaced.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::base32;
use crate::state::{self, StateError};

/// This machine's key pair.
pub struct Identity {
    public: PublicKey,
    pkcs8: Zeroizing<Vec<u8>>,
}

/// An Ed25519 public key: who a machine or a device is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; 32]);

/// A public key's fingerprint, as people compare and name it: 160 bits of the BLAKE3 hash of its
/// SubjectPublicKeyInfo, in lower-case base32.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; KEY_ID_LEN]);

/// Why there is no identity.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The file can't be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The file is not what was written there. It is never replaced: other machines know its key.
    #[error("{}: not a whole Ed25519 key in PEM form", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The cryptographic library failed.
    #[error("no key could be made")]
    Generate,
}

impl IdentityError {
    /// What mends it, where something does.
    pub fn cure(&self) -> Option<String> {
        match self {
            Self::State(error) => error.cure(),
            Self::Damaged { .. } => {
                Some("bring it back from a copy, or remove it to get a new identity".into())
            }
            Self::Generate => None,
        }
    }
}

/// Not the text or the bytes of an Ed25519 public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not an Ed25519 public key")]
pub struct BadPublicKey;

/// Not a fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a key's fingerprint")]
pub struct BadKeyId;

impl Identity {
    /// The identity in `path`, whose directory was checked; made where there is none yet.
    ///
    /// # Errors
    /// The file is damaged, open to others, or can't be read or written.
    pub fn load_or_create(path: &Path) -> Result<Self, IdentityError> {
        match Self::load(path) {
            Err(IdentityError::State(error)) if error.is_not_found() => {}
            loaded => return loaded,
        }
        let made = Self::generate()?;
        match state::create_private(path, made.to_pem().as_bytes()) {
            Ok(()) => Ok(made),
            // Another process was faster: its key is the identity.
            Err(StateError::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
                Self::load(path)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The identity in `path`.
    ///
    /// # Errors
    /// There is none, or it is damaged, open to others or can't be read.
    pub fn load(path: &Path) -> Result<Self, IdentityError> {
        let pem = Zeroizing::new(state::read_private(path, PEM_LEN_MAX)?);
        from_pem(&pem)
            .and_then(Self::from_pkcs8)
            .ok_or_else(|| IdentityError::Damaged { path: path.to_owned() })
    }

    /// A new identity, in memory only.
    ///
    /// # Errors
    /// The cryptographic library failed.
    pub fn generate() -> Result<Self, IdentityError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| IdentityError::Generate)?;
        let der: Pkcs8V1Der<'static> = pair.as_der().map_err(|_| IdentityError::Generate)?;
        Self::from_pkcs8(Zeroizing::new(der.as_ref().to_vec())).ok_or(IdentityError::Generate)
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// The private key as PKCS#8 DER (RFC 5208), for TLS.
    pub fn pkcs8_der(&self) -> &[u8] {
        &self.pkcs8
    }

    fn from_pkcs8(pkcs8: Zeroizing<Vec<u8>>) -> Option<Self> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&pkcs8).ok()?;
        let public = PublicKey(pair.public_key().as_ref().try_into().ok()?);
        Some(Self { public, pkcs8 })
    }

    fn to_pem(&self) -> Zeroizing<String> {
        let body = Zeroizing::new(STANDARD.encode(&*self.pkcs8));
        let mut pem = Zeroizing::new(String::with_capacity(body.len() + 96));
        pem.push_str(PEM_BEGIN);
        for (at, char) in body.chars().enumerate() {
            if at % PEM_LINE_LEN == 0 {
                pem.push('\n');
            }
            pem.push(char);
        }
        pem.push('\n');
        pem.push_str(PEM_END);
        pem.push('\n');
        pem
    }
}

/// The one block of a PEM file (RFC 7468), with nothing before or after it.
fn from_pem(pem: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let text = std::str::from_utf8(pem).ok()?.trim();
    let body = text.strip_prefix(PEM_BEGIN)?.strip_suffix(PEM_END)?;
    let body: Zeroizing<String> =
        Zeroizing::new(body.chars().filter(|char| !char.is_ascii_whitespace()).collect());
    STANDARD.decode(body.as_bytes()).ok().map(Zeroizing::new)
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.public.id())
    }
}

impl PublicKey {
    /// A key of 32 bytes. Whether anybody holds its private half shows in the TLS handshake.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key as a SubjectPublicKeyInfo (RFC 8410).
    pub fn to_spki(self) -> [u8; SPKI_LEN] {
        let mut spki = [0; SPKI_LEN];
        let (prefix, key) = spki.split_at_mut(SPKI_PREFIX.len());
        prefix.copy_from_slice(&SPKI_PREFIX);
        key.copy_from_slice(&self.0);
        spki
    }

    /// The key of a SubjectPublicKeyInfo; every one of its bytes is checked.
    ///
    /// # Errors
    /// Not the 44 bytes of an Ed25519 key.
    pub fn from_spki(spki: &[u8]) -> Result<Self, BadPublicKey> {
        let key = spki.strip_prefix(&SPKI_PREFIX).ok_or(BadPublicKey)?;
        key.try_into().map(Self).map_err(|_| BadPublicKey)
    }

    /// Its fingerprint.
    pub fn id(&self) -> KeyId {
        let hash = blake3::hash(&self.to_spki());
        let mut id = [0; KEY_ID_LEN];
        id.copy_from_slice(&hash.as_bytes()[..KEY_ID_LEN]);
        KeyId(id)
    }
}

/// Base64url without padding, 43 characters: as in tickets and files.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = BadPublicKey;

    fn from_str(text: &str) -> Result<Self, BadPublicKey> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| BadPublicKey)?;
        bytes.try_into().map(Self).map_err(|_| BadPublicKey)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl KeyId {
    /// The first eight characters: enough to tell a handful of keys apart, not to trust one.
    pub fn short(&self) -> String {
        self.to_string()[..9].to_owned()
    }

    /// True where `prefix` is how the fingerprint starts; dashes and case do not matter.
    pub fn starts_with(&self, prefix: &str) -> bool {
        let wanted = prefix.chars().filter(|char| *char != '-');
        let mut have = base32::encode(&self.0).into_bytes().into_iter();
        wanted.map(base32::canonical).all(|char| char.is_some() && char == have.next())
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, char) in base32::encode(&self.0).chars().enumerate() {
            if at > 0 && at % KEY_ID_GROUP_LEN == 0 {
                f.write_str("-")?;
            }
            write!(f, "{}", char.to_ascii_lowercase())?;
        }
        Ok(())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl FromStr for KeyId {
    type Err = BadKeyId;

    fn from_str(text: &str) -> Result<Self, BadKeyId> {
        let chars: String = text.chars().filter(|char| *char != '-').collect();
        let bytes = base32::decode(&chars).ok_or(BadKeyId)?;
        bytes.try_into().map(Self).map_err(|_| BadKeyId)
    }
}

/// Length of an Ed25519 SubjectPublicKeyInfo in bytes.
pub const SPKI_LEN: usize = 44;
/// Algorithm 1.3.101.112 and the start of its bit string (RFC 8410, 4).
const SPKI_PREFIX: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const KEY_ID_LEN: usize = 20;
const KEY_ID_GROUP_LEN: usize = 4;
const PEM_LEN_MAX: u64 = 4 << 10;
const PEM_LINE_LEN: usize = 64;
const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
