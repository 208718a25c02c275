//! Programs that speak another encoding than UTF-8: shown here as UTF-8, typed to in their own. What
//! lies on the machine stays as it is; only a view of it is converted, portion by portion.

use encoding_rs::{DecoderResult, EncoderResult, Encoding, UTF_8};

/// The encoding of a label, as the WHATWG lists them.
///
/// # Errors
/// There is none of that name, or nothing can be typed in it.
pub(crate) fn parse(label: &str) -> Result<&'static Encoding, String> {
    Encoding::for_label(label.as_bytes())
        .filter(|encoding| encoding.output_encoding() == *encoding)
        .ok_or_else(|| format!("no such encoding; known are {KNOWN}, …"))
}

const KNOWN: &str = "utf-8, gbk, gb18030, big5, shift_jis, euc-jp, euc-kr, koi8-r, ibm866, latin1";

/// The encoding, unless bytes can be passed on as they are.
pub(crate) fn foreign(encoding: Option<&'static Encoding>) -> Option<&'static Encoding> {
    encoding.filter(|encoding| *encoding != UTF_8)
}

/// From an encoding to UTF-8. What makes no sense becomes U+FFFD.
pub(crate) struct Decoder {
    encoding: &'static Encoding,
    decoder: encoding_rs::Decoder,
}

impl Decoder {
    /// At the start of a text; a byte order mark is a character like any other.
    pub(crate) fn new(encoding: &'static Encoding) -> Self {
        Self { encoding, decoder: encoding.new_decoder_without_bom_handling() }
    }

    /// The next bytes, as far as they are whole characters; the rest is kept for the next.
    pub(crate) fn decode(&mut self, bytes: &[u8]) -> String {
        run(&mut self.decoder, bytes, Last::No)
    }

    /// What is left of a character that was not completed. A new text may begin after it.
    pub(crate) fn finish(&mut self) -> String {
        let mut ended = Self::new(self.encoding);
        std::mem::swap(self, &mut ended);
        run(&mut ended.decoder, b"", Last::Yes)
    }
}

/// From UTF-8 to an encoding. What does not exist there becomes `?`.
pub(crate) struct Encoder {
    typed: encoding_rs::Decoder,
    encoder: encoding_rs::Encoder,
}

impl Encoder {
    /// At the start of a text.
    pub(crate) fn new(encoding: &'static Encoding) -> Self {
        Self { typed: UTF_8.new_decoder_without_bom_handling(), encoder: encoding.new_encoder() }
    }

    /// The next bytes, as far as they are whole characters; the rest is kept for the next.
    pub(crate) fn encode(&mut self, utf8: &[u8]) -> Vec<u8> {
        let text = run(&mut self.typed, utf8, Last::No);
        let mut bytes = Vec::with_capacity(2 * text.len() + ENCODED_LEN_MIN);
        self.append(&text, &mut bytes, Last::No);
        bytes
    }

    /// The end of the text: what is left, and what an encoding with states ends with.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        let text = run(&mut self.typed, b"", Last::Yes);
        self.typed = UTF_8.new_decoder_without_bom_handling();
        let mut bytes = Vec::with_capacity(2 * text.len() + ENCODED_LEN_MIN);
        self.append(&text, &mut bytes, Last::Yes);
        self.encoder = self.encoder.encoding().new_encoder();
        bytes
    }

    fn append(&mut self, mut text: &str, bytes: &mut Vec<u8>, last: Last) {
        loop {
            bytes.reserve(ENCODED_LEN_MIN);
            let (result, read) = self.encoder.encode_from_utf8_to_vec_without_replacement(
                text,
                bytes,
                last == Last::Yes,
            );
            text = &text[read..];
            match result {
                EncoderResult::InputEmpty => return,
                EncoderResult::OutputFull => bytes.reserve(text.len()),
                // Through the encoder: where it has states, a `?` is not always its ASCII byte.
                EncoderResult::Unmappable(_) => self.append("?", bytes, Last::No),
            }
        }
    }
}

/// Whether more bytes follow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Yes,
    No,
}

fn run(decoder: &mut encoding_rs::Decoder, mut bytes: &[u8], last: Last) -> String {
    let mut text = String::with_capacity(bytes.len() + ENCODED_LEN_MIN);
    loop {
        let (result, read) =
            decoder.decode_to_string_without_replacement(bytes, &mut text, last == Last::Yes);
        bytes = &bytes[read..];
        match result {
            DecoderResult::InputEmpty => return text,
            DecoderResult::OutputFull => text.reserve(bytes.len() + ENCODED_LEN_MIN),
            DecoderResult::Malformed(..) => text.push(char::REPLACEMENT_CHARACTER),
        }
    }
}

/// Room for the longest character of any encoding, with what switches to it and back.
const ENCODED_LEN_MIN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    /// `text` in `label` is `bytes`, both ways, wherever either is cut.
    #[track_caller]
    fn check(label: &str, text: &str, bytes: &[u8]) {
        let encoding = parse(label).unwrap();
        for cut in 0..=bytes.len() {
            let mut decoder = Decoder::new(encoding);
            let parts = [decoder.decode(&bytes[..cut]), decoder.decode(&bytes[cut..])];
            assert_eq!(parts.concat() + &decoder.finish(), text, "{label} cut at {cut}");
        }
        for cut in 0..=text.len() {
            let mut encoder = Encoder::new(encoding);
            let (before, after) = text.as_bytes().split_at(cut);
            let mut encoded = encoder.encode(before);
            encoded.extend(encoder.encode(after));
            encoded.extend(encoder.finish());
            assert_eq!(encoded, bytes, "{label} cut at {cut}");
        }
    }

    #[test]
    fn text_passes_both_ways_wherever_it_is_cut() {
        check("gbk", "你好, tow\r\n", b"\xc4\xe3\xba\xc3, tow\r\n");
        check("big5", "中文", b"\xa4\xa4\xa4\xe5");
        check("cp866", "мир", b"\xac\xa8\xe0");
        check("KOI8-R", "мир", b"\xcd\xc9\xd2");
        check("latin1", "Grün €", b"Gr\xfcn \x80");
        check("shift_jis", "テスト\x1b[A", b"\x83e\x83X\x83g\x1b[A");
        check("iso-2022-jp", "日本", b"\x1b$BF|K\\\x1b(B");
    }

    #[test]
    fn what_makes_no_sense_is_replaced_and_what_follows_is_not() {
        let mut decoder = Decoder::new(parse("gbk").unwrap());
        assert_eq!(decoder.decode(b"a\xffb"), "a\u{fffd}b");
        assert_eq!(decoder.decode(b"\xc4"), "");
        assert_eq!(decoder.finish(), "\u{fffd}");
        assert_eq!(decoder.decode(b"\xc4\xe3"), "你");

        let mut encoder = Encoder::new(parse("ibm866").unwrap());
        assert_eq!(encoder.encode("é漢я".as_bytes()), b"??\xef");
        assert_eq!(encoder.encode(b"\xc3"), b"");
        assert_eq!(encoder.finish(), b"?");
        assert_eq!(encoder.encode("я".as_bytes()), b"\xef");
    }

    #[test]
    fn a_byte_order_mark_changes_nothing() {
        let mut decoder = Decoder::new(parse("windows-1252").unwrap());
        assert_eq!(decoder.decode(b"\xef\xbb\xbfx"), "ï»¿x");
        assert_eq!(decoder.decode(b"\xff\xfe"), "ÿþ");
    }

    #[test]
    fn a_label_that_names_nothing_is_told_what_there_is() {
        for label in ["klingon", "", "utf-16", "replacement"] {
            assert!(parse(label).unwrap_err().contains("gbk"), "{label}");
        }
        assert_eq!(foreign(parse("utf8").ok()), None);
    }

    #[test]
    fn much_is_converted_without_being_cut_short() {
        let text = "x漢é".repeat(50_000);
        let mut encoder = Encoder::new(parse("gbk").unwrap());
        let mut decoder = Decoder::new(parse("gbk").unwrap());
        assert_eq!(decoder.decode(&encoder.encode(text.as_bytes())), text);
    }
}
