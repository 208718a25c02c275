//! `Upload-Checksum`: what the bytes of one request should be.

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::fields::{self, CHECKSUM};
use crate::answer::Failure;

/// A checksum that a client gave, beside the one of what has come so far.
#[derive(Clone)]
pub(super) struct Checksum {
    given: Vec<u8>,
    context: Context,
}

impl Checksum {
    /// That of a request, where it has one.
    ///
    /// # Errors
    /// An algorithm that was not offered, or a value that none of its checksums is.
    pub(super) fn of(headers: &HeaderMap) -> Result<Option<Self>, Failure> {
        fields::text(headers, &CHECKSUM)?.map(Self::parse).transpose()
    }

    fn parse(text: &str) -> Result<Self, Failure> {
        let (name, value) = text.split_once(' ').ok_or(fields::BAD)?;
        // SHA-1 guards against damage here, not against an enemy; clients of tus know little else.
        let algorithm = match name {
            "sha1" => &SHA1_FOR_LEGACY_USE_ONLY,
            "sha256" => &SHA256,
            _ => return Err(UNKNOWN),
        };
        let given = STANDARD.decode(value.trim()).map_err(|_| fields::BAD)?;
        if given.len() != algorithm.output_len() {
            return Err(fields::BAD);
        }
        Ok(Self { given, context: Context::new(algorithm) })
    }

    /// The next bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
    }

    /// Whether what has come is what was meant.
    pub(super) fn fits(self) -> bool {
        self.context.finish().as_ref() == self.given
    }
}

const UNKNOWN: Failure =
    Failure::Http(StatusCode::BAD_REQUEST, "checksums are sha1 or sha256 here");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_fits_its_bytes_and_no_others() {
        let of_abc = "sha1 qZk+NkcGgWq6PiVxeFDCbJzQ2J0=";
        let mut right = Checksum::parse(of_abc).ok().unwrap();
        let mut wrong = right.clone();
        right.update(b"ab");
        right.update(b"c");
        wrong.update(b"abd");
        assert!(right.fits() && !wrong.fits());
        let mut long =
            Checksum::parse("sha256 ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=").ok().unwrap();
        long.update(b"abc");
        assert!(long.fits());
        for bad in ["", "sha1", "md5 kAFQmDzST7DWlj99KOF/cg==", "sha1 !", "sha1 AAAA"] {
            assert!(Checksum::parse(bad).is_err(), "{bad}");
        }
    }
}
