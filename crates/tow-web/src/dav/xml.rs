//! XML of requests, within limits, and what goes into that of answers.

use std::borrow::Cow;

use roxmltree::{Document, Node, ParsingOptions};

use super::answer::Halt;

/// The name of an element: namespace, and what stands behind the prefix.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    /// Nothing where there is none.
    pub(super) space: String,
    pub(super) local: String,
}

impl Name {
    /// That of `node`.
    pub(super) fn of(node: Node<'_, '_>) -> Self {
        let name = node.tag_name();
        let space = name.namespace().unwrap_or_default().to_owned();
        Self { space, local: name.name().to_owned() }
    }

    /// The element without content.
    pub(super) fn empty(&self) -> String {
        let mut out = String::new();
        open(&mut out, &self.space, &self.local);
        out.push_str("/>");
        out
    }
}

/// Reads a document of a request.
///
/// # Errors
/// 400: it is not well-formed, has a DTD, or is over a limit.
pub(super) fn parse(bytes: &[u8]) -> Result<Document<'_>, Halt> {
    let text = std::str::from_utf8(bytes).map_err(|_| Halt::BAD_XML)?;
    // An empty one would be let through.
    if text.contains("<!DOCTYPE") || is_laborious(text) {
        return Err(Halt::BAD_XML);
    }
    let options = ParsingOptions { nodes_limit: NODES_MAX, ..ParsingOptions::default() };
    let document = Document::parse_with_options(text, options).map_err(|_| Halt::BAD_XML)?;
    let mut depth = 0_usize;
    let mut node = document.root();
    // Down, then on, then up: without a stack that could be made deep.
    loop {
        if node.namespaces().any(|space| space.name().is_some() && space.uri().is_empty()) {
            return Err(Halt::BAD_XML);
        }
        if let Some(child) = node.first_child() {
            depth += 1;
            if depth > DEPTH_MAX {
                return Err(Halt::BAD_XML);
            }
            node = child;
            continue;
        }
        while node.next_sibling().is_none() {
            match node.parent() {
                Some(parent) => (node, depth) = (parent, depth.saturating_sub(1)),
                None => return Ok(document),
            }
        }
        node = node.next_sibling().ok_or(Halt::BAD_XML)?;
    }
}

/// Whether there are so many attributes or namespaces that reading them would keep a processor busy:
/// each is compared with all others of its element, a namespace with all of those above too.
fn is_laborious(text: &str) -> bool {
    let attributes = |tag: &str| tag.bytes().filter(|byte| *byte == b'=').count();
    text.matches("xmlns").count() > NAMESPACES_MAX
        || text.split('<').any(|tag| attributes(tag) > ATTRIBUTES_MAX)
}

/// Whether `node` is the element of that name of RFC 4918.
pub(super) fn is_dav(node: Node<'_, '_>, local: &str) -> bool {
    node.is_element() && node.has_tag_name((DAV_SPACE, local))
}

/// The elements in `node`.
pub(super) fn elements<'a, 'i>(node: Node<'a, 'i>) -> impl Iterator<Item = Node<'a, 'i>> {
    node.children().filter(Node::is_element)
}

/// All text in `node`.
pub(super) fn text(node: Node<'_, '_>) -> String {
    node.descendants().filter(Node::is_text).filter_map(|text| text.text()).collect()
}

/// `node` with all that is in it, which means the same wherever it is put.
pub(super) fn whole(node: Node<'_, '_>) -> String {
    let mut out = String::new();
    let lang = node.ancestors().find_map(|above| above.attribute((XML_SPACE, "lang")));
    write(&mut out, node, lang.filter(|_| node.attribute((XML_SPACE, "lang")).is_none()));
    out
}

/// No deeper than [`DEPTH_MAX`] calls.
fn write(out: &mut String, node: Node<'_, '_>, lang: Option<&str>) {
    let name = Name::of(node);
    open(out, &name.space, &name.local);
    if let Some(lang) = lang {
        out.push_str(&format!(" xml:lang=\"{}\"", escape(lang)));
    }
    for (index, attribute) in node.attributes().enumerate() {
        let (local, value) = (attribute.name(), escape(attribute.value()));
        match attribute.namespace() {
            None => out.push_str(&format!(" {local}=\"{value}\"")),
            Some(XML_SPACE) => out.push_str(&format!(" xml:{local}=\"{value}\"")),
            Some(space) => {
                let space = escape(space);
                out.push_str(&format!(" xmlns:A{index}=\"{space}\" A{index}:{local}=\"{value}\""));
            }
        }
    }
    out.push('>');
    for child in node.children() {
        if child.is_element() {
            write(out, child, None);
        } else if child.is_text() {
            out.push_str(&escape(child.text().unwrap_or_default()));
        }
    }
    let prefix = if name.space.is_empty() { "" } else { "P:" };
    out.push_str(&format!("</{prefix}{}>", name.local));
}

/// A start tag without its end.
fn open(out: &mut String, space: &str, local: &str) {
    if space.is_empty() {
        out.push_str(&format!("<{local} xmlns=\"\""));
    } else {
        out.push_str(&format!("<P:{local} xmlns:P=\"{}\"", escape(space)));
    }
}

/// `text` as it stands in an element or an attribute; what XML can't say becomes U+FFFD.
pub(super) fn escape(text: &str) -> Cow<'_, str> {
    let is_plain = |char: char| !matches!(char, '&' | '<' | '>' | '"' | '\'') && is_xml(char);
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            // A reader would make a line feed of it.
            '\r' => out.push_str("&#13;"),
            char if is_xml(char) => out.push(char),
            _ => out.push('\u{fffd}'),
        }
    }
    Cow::Owned(out)
}

fn is_xml(char: char) -> bool {
    match char {
        '\t' | '\n' => true,
        '\u{fffe}' | '\u{ffff}' => false,
        _ => char >= ' ',
    }
}

/// The namespace of RFC 4918.
pub(super) const DAV_SPACE: &str = "DAV:";
const XML_SPACE: &str = "http://www.w3.org/XML/1998/namespace";
const NODES_MAX: u32 = 10_000;
const DEPTH_MAX: usize = 32;
const NAMESPACES_MAX: usize = 512;
/// Of one element, with what is written behind it.
const ATTRIBUTES_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hostile_is_refused() {
        let deep = |depth: usize| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
        assert!(parse(deep(32).as_bytes()).is_ok());
        for bad in [
            deep(33),
            deep(100_000),
            format!("<a>{}</a>", "<b/>".repeat(20_000)),
            "<!DOCTYPE a><a/>".to_owned(),
            "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>".to_owned(),
            "<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><a/>".to_owned(),
            "<a>&b;</a>".to_owned(),
            "<a><b></a>".to_owned(),
            "<D:a xmlns:D=\"DAV:\"><b:c xmlns:b=\"\"/></D:a>".to_owned(),
            "<b:c/>".to_owned(),
            String::new(),
            "text".to_owned(),
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{:.60}", bad);
        }
        assert!(parse(b"<a>\xff</a>").is_err());
    }

    #[test]
    fn what_would_take_long_to_read_is_not_read() {
        let attributes =
            |count: usize| (0..count).map(|at| format!(" a{at}=''")).collect::<String>();
        let element = |count: usize| format!("<a{}/>", attributes(count));
        assert!(parse(element(ATTRIBUTES_MAX).as_bytes()).is_ok());
        let nested = |count: usize| {
            let open: String = (0..count).map(|at| format!("<a xmlns:n{at}='u'>")).collect();
            open + &"</a>".repeat(count)
        };
        assert!(parse(nested(DEPTH_MAX).as_bytes()).is_ok());
        // Each would take minutes.
        for bad in [element(100_000), nested(9_000)] {
            assert!(parse(bad.as_bytes()).is_err());
        }
    }

    #[test]
    fn an_element_means_the_same_wherever_it_is_put() {
        let source = "<x:a xmlns:x='urn:x' xmlns:y='urn:y' xml:lang='de'><x:b y:c='1&amp;\"' d='2'>t&lt;\
            <e xmlns='urn:e'/><f/></x:b></x:a>";
        let document = parse(source.as_bytes()).ok().unwrap();
        let written = whole(document.root_element().first_element_child().unwrap());
        let again = Document::parse(&written).unwrap();
        let root = again.root_element();
        assert_eq!(root.tag_name(), ("urn:x", "b").into());
        assert_eq!(root.attribute(("urn:y", "c")), Some("1&\""));
        assert_eq!((root.attribute("d"), text(root)), (Some("2"), "t<".to_owned()));
        assert_eq!(root.attribute((XML_SPACE, "lang")), Some("de"));
        let names: Vec<_> = elements(root).map(Name::of).collect();
        assert_eq!((names[0].space.as_str(), names[0].local.as_str()), ("urn:e", "e"));
        assert_eq!((names[1].space.as_str(), names[1].local.as_str()), ("", "f"));
    }

    #[test]
    fn any_text_can_be_said() {
        assert_eq!(escape("plain ü"), "plain ü");
        assert_eq!(
            escape("<&\">'\u{1}\r\u{ffff}"),
            "&lt;&amp;&quot;&gt;&apos;\u{fffd}&#13;\u{fffd}"
        );
    }
}
