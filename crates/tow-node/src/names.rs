//! What devices and machines are called: names come from outside and are shown on terminals.

use std::borrow::Cow;

use tow_proto::byte_string::escape;

/// A name that can be shown and typed: printable, no white space at its ends, at most
/// [`NAME_LEN_MAX`] bytes; `device` where nothing is left.
pub fn sanitise_name(name: &str) -> String {
    let name = printable_name(name);
    if name.is_empty() { NAMELESS.to_owned() } else { name }
}

/// The same, and empty where nothing is left.
pub(crate) fn printable_name(name: &str) -> String {
    let printable: String = name
        .chars()
        .filter(|char| matches!(escape(char.encode_utf8(&mut [0; 4]).as_bytes()), Cow::Borrowed(_)))
        .collect();
    cut(printable.trim(), NAME_LEN_MAX).trim_end().to_owned()
}

/// `name`, or with `-2`, `-3`, … where it is taken.
pub(crate) fn unique_name(name: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let suffixed = (2u64..).map(|number| {
        let suffix = format!("-{number}");
        format!("{}{suffix}", cut(name, NAME_LEN_MAX - suffix.len()))
    });
    let mut names = std::iter::once(name.to_owned()).chain(suffixed);
    names.find(|name| !is_taken(name)).unwrap_or_default()
}

/// The start of `text`, at most `len_max` bytes, without half a character.
fn cut(text: &str, len_max: usize) -> &str {
    let len = (0..=len_max.min(text.len())).rev().find(|len| text.is_char_boundary(*len));
    &text[..len.unwrap_or(0)]
}

/// Longest name of a device or a machine, in bytes.
pub const NAME_LEN_MAX: usize = 64;
const NAMELESS: &str = "device";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_can_be_shown_and_typed() {
        for (name, shown) in [
            ("laptop", "laptop"),
            ("Ann's büro 2", "Ann's büro 2"),
            ("  a \n", "a"),
            ("a\u{1b}[31mb\u{9b}c", "a[31mbc"),
            ("a\u{202e}b\u{200b}c\u{feff}", "abc"),
            ("a\nb\tc\0d\u{7f}", "abcd"),
            ("", "device"),
            ("\u{1b}\u{7}", "device"),
            ("   ", "device"),
        ] {
            assert_eq!(sanitise_name(name), shown, "{name:?}");
        }
        assert_eq!(sanitise_name(&"x".repeat(100)), "x".repeat(64));
        assert_eq!(sanitise_name(&"€".repeat(100)), "€".repeat(21), "no half characters");
        assert_eq!(sanitise_name(&format!("{} b", "x".repeat(63))), "x".repeat(63));
    }
}
