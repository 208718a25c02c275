//! Crockford's base32: digits and letters without I, L, O and U, so that what is read aloud or typed
//! by hand comes out right.

/// `bytes` as upper-case characters, the most significant bits first.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 8 / 5 + 1);
    let mut bits = 0u32;
    let mut have = 0;
    for byte in bytes {
        bits = (bits << 8) | u32::from(*byte);
        have += 8;
        while have >= 5 {
            have -= 5;
            text.push(char::from(ALPHABET[(bits >> have) as usize & 31]));
        }
    }
    if have > 0 {
        text.push(char::from(ALPHABET[(bits << (5 - have)) as usize & 31]));
    }
    text
}

/// What [`encode`] made into `text`; `None` for a character that is none, and for bits left over that
/// it would not have written.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 5 / 8);
    let mut bits = 0u32;
    let mut have = 0;
    for char in text.chars() {
        let canonical = canonical(char)?;
        let value = ALPHABET.iter().position(|letter| *letter == canonical)?;
        bits = (bits << 5) | u32::try_from(value).ok()?;
        have += 5;
        if have >= 8 {
            have -= 8;
            bytes.push((bits >> have) as u8);
            bits &= (1 << have) - 1;
        }
    }
    (bits == 0 && have < 5).then_some(bytes)
}

/// The character of the alphabet that a person meant: either case, O for 0, I and L for 1.
pub(crate) fn canonical(char: char) -> Option<u8> {
    match char.to_ascii_uppercase() {
        'O' => Some(b'0'),
        'I' | 'L' => Some(b'1'),
        other => ALPHABET.iter().copied().find(|letter| char::from(*letter) == other),
    }
}

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_encoded_is_decoded_again() {
        for len in 0..40u8 {
            let bytes: Vec<u8> = (0..len).map(|at| at.wrapping_mul(37).wrapping_add(len)).collect();
            assert_eq!(decode(&encode(&bytes)), Some(bytes));
        }
        assert_eq!(encode(&[0xff; 5]), "ZZZZZZZZ");
        assert_eq!(encode(&[0, 0, 0, 0, 1]), "00000001");
    }

    #[test]
    fn look_alikes_are_taken_for_what_was_meant_and_others_are_refused() {
        assert_eq!(decode("oO0iIlL1"), decode("00011111"));
        assert_eq!(decode("ABCU"), None);
        assert_eq!(decode("AB D"), None);
        assert_eq!(decode("ZW"), decode("zw"));
        assert_eq!((decode("ZX"), decode("ZW0")), (None, None), "left over");
    }
}
