//! TLS 1.3 with raw public keys on both sides (RFC 8446, RFC 7250). The one module that names
//! rustls.
//!
//! TLS proves that the peer holds a key, no more: any well-formed Ed25519 key may connect, and
//! `tow-node` decides what it may do. A client that knows the node's key pins it here.

use std::io::{self, IoSlice, Write};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, Connection, DigitallySignedStruct,
    DistinguishedName, ServerConfig, ServerConnection, SignatureScheme,
};
use thiserror::Error;
use tow_proto::ALPN;

/// An Ed25519 public key as TLS carries it: the 44 bytes of its SubjectPublicKeyInfo (RFC 8410).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Spki(pub [u8; SPKI_LEN]);

/// Length of an Ed25519 SubjectPublicKeyInfo in bytes.
pub const SPKI_LEN: usize = 44;
const SPKI_PREFIX: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

impl Spki {
    /// The SubjectPublicKeyInfo of 32 key bytes.
    pub fn from_key(key: &[u8; 32]) -> Self {
        let mut spki = [0; SPKI_LEN];
        spki[..12].copy_from_slice(&SPKI_PREFIX);
        spki[12..].copy_from_slice(key);
        Self(spki)
    }

    /// The 32 key bytes.
    pub fn key(&self) -> [u8; 32] {
        let mut key = [0; 32];
        key.copy_from_slice(&self.0[12..]);
        key
    }

    fn parse(der: &[u8]) -> Option<Self> {
        let spki: [u8; SPKI_LEN] = der.try_into().ok()?;
        (spki[..12] == SPKI_PREFIX).then_some(Self(spki))
    }
}

/// Which node a client accepts.
#[derive(Clone, Copy, Debug)]
pub enum Pin {
    /// Only the holder of this key.
    Key(Spki),
    /// Anybody: what follows has to prove the node (joining by code).
    Any,
}

/// Why TLS could not be set up or went wrong.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The peer holds another key than the pinned one.
    #[error("the other machine has another key than the one that is known for it")]
    OtherKey {
        /// The key that it showed.
        seen: Spki,
    },
    /// Our own private key can't be used.
    #[error("the private key can't be used")]
    BadPrivateKey,
    /// The peer broke the rules of TLS, or we can't agree.
    #[error("TLS failed: {0}")]
    Protocol(rustls::Error),
    /// The peer's handshake is longer than any that makes sense.
    #[error("a TLS handshake that is too long")]
    TooLong,
    /// TLS without our protocol.
    #[error("the other side speaks TLS, but not towline")]
    OtherProtocol,
}

/// What both ends of a node or a client need to speak TLS.
#[derive(Clone)]
pub struct TlsKeys {
    certified: Arc<rustls::sign::CertifiedKey>,
    provider: Arc<CryptoProvider>,
}

impl TlsKeys {
    /// From an Ed25519 key pair in PKCS#8.
    ///
    /// # Errors
    /// [`TlsError::BadPrivateKey`].
    pub fn new(pkcs8: &[u8], spki: Spki) -> Result<Self, TlsError> {
        let key = PrivatePkcs8KeyDer::from(pkcs8.to_vec());
        let signing = aws_lc_rs::sign::any_eddsa_type(&key).map_err(|_| TlsError::BadPrivateKey)?;
        let certified =
            rustls::sign::CertifiedKey::new(vec![CertificateDer::from(spki.0.to_vec())], signing);
        Ok(Self { certified: Arc::new(certified), provider: Arc::new(provider()) })
    }

    /// For the accepting side.
    pub fn acceptor(&self) -> Acceptor {
        let resolver =
            rustls::server::AlwaysResolvesServerRawPublicKeys::new(self.certified.clone());
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider has suites of TLS 1.3")
            .with_client_cert_verifier(Arc::new(AnyEd25519(self.provider.clone())))
            .with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![ALPN.to_vec()];
        // A resumed handshake saves nothing worth the state it needs.
        config.send_tls13_tickets = 0;
        Acceptor(Arc::new(config))
    }

    pub(crate) fn connect(&self, pin: Pin) -> Result<Tls, TlsError> {
        let resolver =
            rustls::client::AlwaysResolvesClientRawPublicKeys::new(self.certified.clone());
        let mut config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider has suites of TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pinned {
                pin,
                provider: self.provider.clone(),
            }))
            .with_client_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = rustls::client::Resumption::disabled();
        // The name in the clear would tell an onlooker which machine is meant; the key says it.
        config.enable_sni = false;
        let name = ServerName::try_from("towline").expect("a valid DNS name");
        ClientConnection::new(Arc::new(config), name)
            .map(|connection| Tls::new(connection.into(), pin))
            .map_err(TlsError::Protocol)
    }
}

/// Makes the accepting side of TLS.
#[derive(Clone)]
pub struct Acceptor(Arc<ServerConfig>);

impl Acceptor {
    pub(crate) fn accept(&self) -> Result<Tls, TlsError> {
        ServerConnection::new(self.0.clone())
            .map(|connection| Tls::new(connection.into(), Pin::Any))
            .map_err(TlsError::Protocol)
    }
}

/// AES-128 first where the processor has AES: it is the fastest, and not the weakest link here.
pub(crate) fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    let first = if has_aes() {
        CipherSuite::TLS13_AES_128_GCM_SHA256
    } else {
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
    };
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != first);
    provider
}

#[cfg(target_arch = "x86_64")]
fn has_aes() -> bool {
    std::arch::is_x86_feature_detected!("aes")
}

#[cfg(target_arch = "aarch64")]
fn has_aes() -> bool {
    std::arch::is_aarch64_feature_detected!("aes")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn has_aes() -> bool {
    false
}

/// One side of one TLS connection, without its socket.
pub(crate) struct Tls {
    connection: Connection,
    pin: Pin,
}

impl Tls {
    fn new(mut connection: Connection, pin: Pin) -> Self {
        // Bounded by `Link::has_room`; rustls's own limit would cut a frame in two.
        connection.set_buffer_limit(None);
        Self { connection, pin }
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// True once the whole ClientHello was understood.
    pub(crate) fn has_answered(&self) -> bool {
        !self.connection.is_handshaking() || self.connection.wants_write()
    }

    /// The peer's key, once the handshake is over.
    pub(crate) fn peer(&self) -> Result<Spki, TlsError> {
        if self.connection.alpn_protocol() != Some(ALPN) {
            return Err(TlsError::OtherProtocol);
        }
        self.connection
            .peer_certificates()
            .and_then(|certificates| Spki::parse(certificates.first()?))
            .ok_or(TlsError::OtherProtocol)
    }

    /// 32 bytes that only the two ends of this connection know (RFC 8446, 7.5).
    pub(crate) fn exporter(&self, label: &[u8]) -> Option<[u8; 32]> {
        self.connection.export_keying_material([0; 32], label, None).ok()
    }

    /// Takes ciphertext off the front of `bytes`, up to where plaintext is waiting.
    pub(crate) fn feed(&mut self, bytes: &mut &[u8]) -> Result<(), TlsError> {
        // Reading from memory fails only where rustls wants its plaintext taken first.
        let _ = self.connection.read_tls(bytes);
        match self.connection.process_new_packets() {
            Ok(_) => Ok(()),
            Err(rustls::Error::InvalidCertificate(_)) => Err(match (self.pin, self.shown_key()) {
                (Pin::Key(_), Some(seen)) => TlsError::OtherKey { seen },
                _ => TlsError::OtherProtocol,
            }),
            Err(error) => Err(TlsError::Protocol(error)),
        }
    }

    fn shown_key(&self) -> Option<Spki> {
        SHOWN.with(|shown| shown.take())
    }

    /// Hands waiting plaintext to `take`, which says how much of it it used.
    pub(crate) fn plain<T>(&mut self, take: impl FnOnce(&mut &[u8]) -> T) -> Plain<T> {
        use std::io::BufRead as _;
        let mut reader = self.connection.reader();
        match reader.fill_buf() {
            Ok([]) => Plain::Closed,
            Ok(bytes) => {
                let mut rest = bytes;
                let result = take(&mut rest);
                let used = bytes.len() - rest.len();
                reader.consume(used);
                Plain::Some(result)
            }
            Err(_) => Plain::None,
        }
    }

    /// True once the peer has said that it is done.
    pub(crate) fn is_closed(&mut self) -> bool {
        matches!(self.plain(|_| ()), Plain::Closed)
    }

    /// What `len` bytes become in one call of [`Self::send`] (RFC 8446, 5.2).
    pub(crate) fn sealed_len(len: usize) -> usize {
        len + len.div_ceil(RECORD_LEN_MAX) * RECORD_OVERHEAD
    }

    /// Encrypts `parts`, one after the other, into the queue.
    pub(crate) fn send(&mut self, parts: [&[u8]; 2]) {
        let slices = parts.map(IoSlice::new);
        let sent = self.connection.writer().write_vectored(&slices);
        debug_assert_eq!(sent.ok(), Some(parts[0].len() + parts[1].len()));
    }

    pub(crate) fn close(&mut self) {
        self.connection.send_close_notify();
    }

    pub(crate) fn wants_write(&self) -> bool {
        self.connection.wants_write()
    }

    pub(crate) fn flush_into(&mut self, socket: &mut impl Write) -> io::Result<usize> {
        self.connection.write_tls(socket)
    }
}

/// Most plaintext in a record, in bytes.
const RECORD_LEN_MAX: usize = 16 << 10;
/// Header, content type and tag of a record.
const RECORD_OVERHEAD: usize = 5 + 1 + 16;

/// What [`Tls::plain`] found.
pub(crate) enum Plain<T> {
    Some(T),
    None,
    Closed,
}

thread_local! {
    /// The key that a verifier on this thread refused last: rustls gives it no other way out.
    static SHOWN: std::cell::Cell<Option<Spki>> = const { std::cell::Cell::new(None) };
}

#[derive(Debug)]
struct Pinned {
    pin: Pin,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let seen = check_key(end_entity)?;
        match self.pin {
            Pin::Key(key) if key != seen => {
                SHOWN.with(|shown| shown.set(Some(seen)));
                Err(rustls::CertificateError::ApplicationVerificationFailure.into())
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken here".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_signature(&self.provider, message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct AnyEd25519(Arc<CryptoProvider>);

impl ClientCertVerifier for AnyEd25519 {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        check_key(end_entity).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken here".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_signature(&self.0, message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

fn check_key(der: &CertificateDer<'_>) -> Result<Spki, rustls::Error> {
    Spki::parse(der).ok_or_else(|| rustls::CertificateError::BadEncoding.into())
}

fn verify_signature(
    provider: &CryptoProvider,
    message: &[u8],
    cert: &CertificateDer<'_>,
    dss: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    let spki = SubjectPublicKeyInfoDer::from(cert.as_ref());
    verify_tls13_signature_with_raw_key(
        message,
        &spki,
        dss,
        &provider.signature_verification_algorithms,
    )
}

#[cfg(test)]
mod tests {
    use ::aws_lc_rs::rand::SystemRandom;
    use ::aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};

    use super::*;

    fn keys() -> TlsKeys {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let public = <[u8; 32]>::try_from(pair.public_key().as_ref()).unwrap();
        TlsKeys::new(pkcs8.as_ref(), Spki::from_key(&public)).unwrap()
    }

    fn pass(from: &mut Tls, to: &mut Tls) {
        let mut bytes = Vec::new();
        while from.wants_write() {
            from.flush_into(&mut bytes).unwrap();
        }
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            to.feed(&mut rest).unwrap();
        }
    }

    #[test]
    fn what_is_queued_is_counted_as_it_will_be_sent() {
        let mut client = keys().connect(Pin::Any).unwrap();
        let mut node = keys().acceptor().accept().unwrap();
        while client.is_handshaking() || node.is_handshaking() {
            pass(&mut client, &mut node);
            pass(&mut node, &mut client);
        }
        for (front, back) in [(8, 0), (8, 1), (8, 16_376), (8, 16_377), (8, 1 << 20)] {
            client.send([&vec![0; front], &vec![0; back]]);
            let mut sent = Vec::new();
            while client.wants_write() {
                client.flush_into(&mut sent).unwrap();
            }
            assert_eq!(sent.len(), Tls::sealed_len(front + back), "{front} + {back}");
        }
    }
}
