//! How content is to be taken by a browser: its type, whether it is shown or saved, and under which
//! name. Nothing of it may ever act as our own page.

use axum::http::{HeaderMap, HeaderValue, header};

use crate::path::encode;

/// What a browser is to do with content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Show it, where that is harmless.
    Inline,
    /// Save it.
    Save,
}

/// Says it in the head of an answer, of a file that is called `name`.
pub(crate) fn describe(fields: &mut HeaderMap, name: &[u8], wanted: Use) {
    let kind = media_type(name);
    let policy = inline_policy(&kind).filter(|_| wanted == Use::Inline);
    let how = if policy.is_some() { "inline" } else { "attachment" };
    let policy = policy.unwrap_or(NOTHING);
    fields.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    set(fields, header::CONTENT_TYPE, &kind);
    set(fields, header::CONTENT_DISPOSITION, &disposition(how, name));
}

/// `attachment` or `inline` with a name (RFC 6266, 8187).
pub(crate) fn disposition(how: &str, name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    let plain: String = text.chars().map(|char| if is_plain(char) { char } else { '_' }).collect();
    if plain == text {
        return format!("{how}; filename=\"{plain}\"");
    }
    let encoded = encode(text.as_bytes()).replace('/', "%2F");
    format!("{how}; filename=\"{plain}\"; filename*=UTF-8''{encoded}")
}

/// The type of a file by its name.
pub(crate) fn media_type(name: &[u8]) -> String {
    let dot = name.iter().rposition(|byte| *byte == b'.').filter(|at| *at > 0);
    let extension = dot.and_then(|dot| std::str::from_utf8(&name[dot + 1..]).ok()).unwrap_or("");
    let guess = mime_guess::from_ext(extension).first_raw().unwrap_or(BYTES);
    match guess {
        "text/plain" => "text/plain; charset=utf-8".to_owned(),
        // Files have the address of our own page: what its policy lets run has to be ours.
        guess if guess.contains("script") || guess == "text/css" => BYTES.to_owned(),
        guess => guess.to_owned(),
    }
}

/// Under which policy a type is shown; `None` where it is not.
fn inline_policy(kind: &str) -> Option<&'static str> {
    let is_media = ["image/", "audio/", "video/"].iter().any(|class| kind.starts_with(class));
    match kind {
        "image/svg+xml" => None,
        // Browsers show it with a viewer of their own, and none in a sandbox.
        "application/pdf" => Some(VIEWER),
        _ if is_media || kind.starts_with("text/plain") => Some(MEDIA),
        _ => None,
    }
}

/// What means itself within quotation marks, to every browser.
fn is_plain(char: char) -> bool {
    matches!(char, ' '..='~') && !matches!(char, '"' | '\\' | '%' | '/')
}

fn set(fields: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        fields.insert(name, value);
    }
}

const BYTES: &str = "application/octet-stream";
const NOTHING: &str = "sandbox; default-src 'none'";
/// A browser that is sent to a picture or a film makes a page of its own around it.
const MEDIA: &str =
    "sandbox; default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'";
const VIEWER: &str = "default-src 'none'; object-src 'self'; \
    style-src 'unsafe-inline'; frame-ancestors 'none'";

#[cfg(test)]
mod tests {
    use super::*;

    fn described(name: &[u8], wanted: Use) -> [String; 3] {
        let mut fields = HeaderMap::new();
        describe(&mut fields, name, wanted);
        [header::CONTENT_TYPE, header::CONTENT_DISPOSITION, header::CONTENT_SECURITY_POLICY]
            .map(|name| fields[name].to_str().unwrap().to_owned())
    }

    #[test]
    fn only_what_is_harmless_is_ever_shown() {
        for name in ["a.txt", "a.png", "a.JPG", "a.mp4", "a.mp3", "a.pdf"] {
            let [_, how, policy] = described(name.as_bytes(), Use::Inline);
            assert!(how.starts_with("inline; "), "{name}: {how}");
            assert!(policy.contains("default-src 'none'"));
            assert!(described(name.as_bytes(), Use::Save)[1].starts_with("attachment; "));
        }
        for name in
            ["a.svg", "a.html", "a.xhtml", "a.xml", "a.js", "a.svgz", "a", ".png", "a.\u{fc}"]
        {
            let [_, how, policy] = described(name.as_bytes(), Use::Inline);
            assert!(how.starts_with("attachment; "), "{name}: {how}");
            assert_eq!(policy, NOTHING, "{name}");
        }
        assert_eq!(described(b"a.txt", Use::Inline)[0], "text/plain; charset=utf-8");
        for name in ["Makefile", "a.js", "a.mjs", "a.JSX", "a.es", "a.css"] {
            assert_eq!(described(name.as_bytes(), Use::Inline)[0], BYTES, "{name}");
        }
    }

    #[test]
    fn a_name_of_any_bytes_is_said_and_can_say_nothing_else() {
        for (name, expected) in [
            (&b"a b.txt"[..], "x; filename=\"a b.txt\""),
            (
                b"a\"; filename=b",
                "x; filename=\"a_; filename=b\"; filename*=UTF-8''a%22%3B%20filename%3Db",
            ),
            (
                b"a\r\nSet-Cookie: b",
                "x; filename=\"a__Set-Cookie: b\"; filename*=UTF-8''a%0D%0ASet-Cookie%3A%20b",
            ),
            ("ü".as_bytes(), "x; filename=\"_\"; filename*=UTF-8''%C3%BC"),
            (b"\xff.bin", "x; filename=\"_.bin\"; filename*=UTF-8''%EF%BF%BD.bin"),
            (b"100%.txt", "x; filename=\"100_.txt\"; filename*=UTF-8''100%25.txt"),
        ] {
            assert_eq!(disposition("x", name), expected);
        }
    }
}
