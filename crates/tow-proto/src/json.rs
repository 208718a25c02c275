//! JSON with limits (PROTOCOL 4): depth at most 32, integers exact up to 2^53.

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// Deepest nesting of arrays and objects that is read.
pub const DEPTH_MAX: usize = 32;

/// Why a head could not be read. Says where, never repeats what the peer sent.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum JsonError {
    /// Arrays and objects are nested too deeply.
    #[error("nested more than {DEPTH_MAX} deep at byte {at}")]
    TooDeep {
        /// Offset of the bracket that was one too many.
        at: usize,
    },
    /// Not JSON, or not of the expected shape.
    #[error("not understood at column {column}")]
    Malformed {
        /// Column (bytes, from 1) at which reading stopped.
        column: usize,
    },
}

/// Reads one JSON value.
///
/// # Errors
/// [`JsonError::TooDeep`] before anything is parsed, else [`JsonError::Malformed`].
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, JsonError> {
    check_depth(bytes)?;
    serde_json::from_slice(bytes).map_err(|error| JsonError::Malformed { column: error.column() })
}

/// Writes one JSON value. Our own message types always can be.
pub fn to_vec<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("message types have string keys and no failing serializers")
}

fn check_depth(bytes: &[u8]) -> Result<(), JsonError> {
    let mut depth = 0usize;
    let mut in_string = false;
    let mut escaped = false;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err(JsonError::TooDeep { at });
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// `u64` as a number up to 2^53, as a decimal string above: use with `#[serde(with = "big")]`.
pub mod big {
    use serde::{Deserialize, Deserializer, Serializer, de};

    /// Largest integer that every JSON reader keeps exact.
    pub const EXACT_MAX: u64 = 1 << 53;

    /// A number, or a string above [`EXACT_MAX`].
    ///
    /// # Errors
    /// Only the serializer's own.
    pub fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        if *value <= EXACT_MAX {
            serializer.serialize_u64(*value)
        } else {
            serializer.collect_str(value)
        }
    }

    /// Either form.
    ///
    /// # Errors
    /// Neither a whole number nor the decimal digits of one.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Number(u64),
            Digits(String),
        }
        match Either::deserialize(deserializer)? {
            Either::Number(value) => Ok(value),
            Either::Digits(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.parse().map_err(de::Error::custom)
            }
            Either::Digits(_) => Err(de::Error::custom("expected decimal digits")),
        }
    }

    /// The same for a value that may be absent; with `#[serde(default)]`.
    pub mod option {
        use serde::{Deserialize, Deserializer, Serializer};

        /// As [`super::serialize`]; nothing is `null`.
        ///
        /// # Errors
        /// Only the serializer's own.
        pub fn serialize<S: Serializer>(
            value: &Option<u64>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            match value {
                Some(value) => super::serialize(value, serializer),
                None => serializer.serialize_none(),
            }
        }

        /// Either form, or `null`.
        ///
        /// # Errors
        /// None of them.
        pub fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<u64>, D::Error> {
            #[derive(Deserialize)]
            struct Big(#[serde(with = "super")] u64);
            let value = Option::<Big>::deserialize(deserializer)?;
            Ok(value.map(|Big(value)| value))
        }
    }
}
