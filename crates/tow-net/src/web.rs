//! Connections of browsers and HTTP programs on the node's port: TLS with an X.509 certificate, or
//! none at all from this machine's own loopback address (HTTP.md 1).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::Acceptor as HelloReader;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tow_proto::ALPN;

use crate::tls::provider;

/// A certificate chain and its private key, both in PEM.
pub struct Certificate {
    /// The chain, the node's own certificate first.
    pub chain: String,
    /// The private key in PKCS#8. A secret.
    pub key: String,
}

/// Why there is no door for browsers.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// It is not a chain of certificates in PEM.
    #[error("not a chain of certificates in PEM form")]
    BadChain,
    /// It is not a private key in PEM.
    #[error("not a private key in PEM form")]
    BadKey,
    /// They don't belong together, or this TLS can't use them.
    #[error("the certificate can't be used: {0}")]
    Unusable(rustls::Error),
    /// The cryptographic library failed.
    #[error("no certificate could be made")]
    Generate,
}

impl Certificate {
    /// A self-signed one for `names` (host names and IP addresses), ECDSA P-256. It never expires:
    /// who trusts it trusts the key.
    ///
    /// # Errors
    /// [`CertificateError::Generate`].
    pub fn self_signed(names: Vec<String>) -> Result<Self, CertificateError> {
        let generate = |_| CertificateError::Generate;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(generate)?;
        let mut params = CertificateParams::new(names).map_err(generate)?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, "towline");
        let certificate = params.self_signed(&key).map_err(generate)?;
        Ok(Self { chain: certificate.pem(), key: key.serialize_pem() })
    }
}

/// Accepts connections of browsers.
#[derive(Clone)]
pub struct WebAcceptor(Arc<ServerConfig>);

impl WebAcceptor {
    /// With this certificate.
    ///
    /// # Errors
    /// It can't be used.
    pub fn new(certificate: &Certificate) -> Result<Self, CertificateError> {
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(certificate.chain.as_bytes())
                .collect::<Result<_, _>>()
                .map_err(|_| CertificateError::BadChain)?;
        if chain.is_empty() {
            return Err(CertificateError::BadChain);
        }
        let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes())
            .map_err(|_| CertificateError::BadKey)?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider has suites of TLS 1.3")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(CertificateError::Unusable)?;
        // HTTP/2 made uploads five times slower in servers that were measured.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }

    pub(crate) async fn accept(&self, stream: Prefixed) -> io::Result<WebStream> {
        let acceptor = tokio_rustls::TlsAcceptor::from(self.0.clone());
        Ok(WebStream::Tls(Box::new(acceptor.accept(stream).await?)))
    }
}

/// What a TLS client wants, by its ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wants {
    /// The rest of it has to arrive first.
    More,
    /// towline's protocol, or something that its acceptor will refuse.
    Towline,
    /// HTTP.
    Web,
}

/// Reads a ClientHello that is used again by whoever accepts the connection.
pub(crate) struct Hello {
    reader: HelloReader,
    read: usize,
}

impl Hello {
    pub(crate) fn new() -> Self {
        Self { reader: HelloReader::default(), read: 0 }
    }

    /// `bytes` are all that have arrived so far, from the very first on.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Wants {
        let mut new = bytes.get(self.read..).unwrap_or_default();
        while !new.is_empty() {
            match self.reader.read_tls(&mut new) {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
            match self.reader.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => {
                    let hello = accepted.client_hello();
                    let mut offers = hello.alpn().into_iter().flatten();
                    let wants_towline = offers.any(|name| name == ALPN);
                    return if wants_towline { Wants::Towline } else { Wants::Web };
                }
                // Its acceptor says what is wrong.
                Err(_) => return Wants::Towline,
            }
        }
        self.read = bytes.len();
        Wants::More
    }
}

/// A TCP connection of which some bytes were read already.
pub struct Prefixed {
    prefix: Vec<u8>,
    read: usize,
    stream: TcpStream,
}

impl Prefixed {
    pub(crate) fn new(prefix: Vec<u8>, stream: TcpStream) -> Self {
        Self { prefix, read: 0, stream }
    }
}

impl AsyncRead for Prefixed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let rest = self.prefix.get(self.read..).unwrap_or_default();
        if rest.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let len = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..len]);
        self.read += len;
        if self.read == self.prefix.len() {
            (self.prefix, self.read) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Prefixed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A connection of a browser, ready for HTTP.
pub enum WebStream {
    /// From this machine itself, or through a tunnel's own port.
    Plain(Prefixed),
    /// TLS.
    Tls(Box<TlsStream<Prefixed>>),
}

impl WebStream {
    /// A connection to a port that belongs to the browser's user alone.
    pub fn plain(stream: TcpStream) -> Self {
        let _ = stream.set_nodelay(true);
        Self::Plain(Prefixed::new(Vec::new(), stream))
    }

    /// Whether the other end reached us by TLS.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}

macro_rules! delegate {
    ($self:ident, $method:ident($($argument:expr),*)) => {
        match $self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).$method($($argument),*),
            Self::Tls(stream) => Pin::new(stream.as_mut()).$method($($argument),*),
        }
    };
}

impl AsyncRead for WebStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        delegate!(self, poll_read(context, buffer))
    }
}

impl AsyncWrite for WebStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, poll_shutdown(context))
    }
}
