//! The certificate that browsers see: made once and kept, for who trusts it trusts its key.

use thiserror::Error;
use tow_net::{Certificate, CertificateError};

use crate::state::{self, StateDir, StateError};

/// Why there is no certificate.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WebCertificateError {
    /// Its file can't be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// It can't be made.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// The node's own certificate and key, both in one private file; made for `names` where there is none
/// yet.
///
/// # Errors
/// The file can't be read or written, or is open to others.
pub fn web_certificate(
    state: &StateDir,
    names: Vec<String>,
) -> Result<Certificate, WebCertificateError> {
    let path = state.web_certificate_path();
    let pem = match state::read_private(&path, PEM_LEN_MAX) {
        Ok(pem) => String::from_utf8_lossy(&pem).into_owned(),
        Err(error) if error.is_not_found() => {
            let made = Certificate::self_signed(names)?;
            let pem = [made.key, made.chain].concat();
            state::write_private(&path, pem.as_bytes())?;
            pem
        }
        Err(error) => return Err(error.into()),
    };
    // Each is found in the file by its own label.
    Ok(Certificate { chain: pem.clone(), key: pem })
}

const PEM_LEN_MAX: u64 = 64 << 10;
