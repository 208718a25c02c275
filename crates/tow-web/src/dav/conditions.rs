//! `If` (RFC 4918, 10.4): tokens and tags that must or must not be there, of what is asked for or of
//! something else.

use std::time::Instant;

use axum::http::HeaderMap;
use tow_node::ask::stat::Links;

use super::Call;
use super::answer::Halt;
use crate::answer::Failure;
use crate::files::etag;

/// What `If` says; without one, nothing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Conditions {
    lists: Vec<List>,
    tokens: Vec<String>,
}

/// All of it has to hold, of one of the lists.
#[derive(Debug, PartialEq, Eq)]
struct List {
    /// A URL; of what is asked for, where there is none.
    about: Option<String>,
    conditions: Vec<Condition>,
}

#[derive(Debug, PartialEq, Eq)]
struct Condition {
    is_wanted: bool,
    what: What,
}

#[derive(Debug, PartialEq, Eq)]
enum What {
    Token(String),
    /// With its quotation marks.
    Tag(String),
}

impl Conditions {
    /// Those of a request.
    ///
    /// # Errors
    /// 400.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Halt> {
        let mut lines = headers.get_all("if").into_iter();
        match (lines.next(), lines.next()) {
            (None, _) => Ok(Self::default()),
            (Some(line), None) => line.to_str().ok().and_then(Self::parse).ok_or(Halt::BAD),
            (Some(_), Some(_)) => Err(Halt::BAD),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut rest = text.trim_start();
        let (mut lists, mut tokens, mut count) = (Vec::new(), Vec::new(), 0);
        let mut about = None;
        let is_tagged = rest.starts_with('<');
        while !rest.is_empty() {
            if is_tagged && let Some(behind) = rest.strip_prefix('<') {
                let (url, behind) = behind.split_once('>')?;
                (about, rest) = (Some(url.to_owned()), behind.trim_start());
            }
            let mut inner = rest.strip_prefix('(')?.trim_start();
            let mut conditions = Vec::new();
            rest = loop {
                if let Some(behind) = inner.strip_prefix(')') {
                    break behind.trim_start();
                }
                let (condition, behind) = Condition::parse(inner)?;
                if let What::Token(token) = &condition.what {
                    tokens.push(token.clone());
                }
                conditions.push(condition);
                count += 1;
                inner = behind.trim_start();
            };
            if conditions.is_empty() || count > COUNT_MAX {
                return None;
            }
            lists.push(List { about: about.clone(), conditions });
        }
        (!lists.is_empty()).then_some(Self { lists, tokens })
    }

    /// Whether they hold.
    ///
    /// # Errors
    /// 412, or the refusal to look.
    pub(super) async fn check(&self, call: &Call) -> Result<(), Halt> {
        for list in &self.lists {
            if list.holds(call).await? {
                return Ok(());
            }
        }
        if self.lists.is_empty() { Ok(()) } else { Err(Halt::UNMET) }
    }

    /// The tokens that are shown, wherever.
    pub(super) fn tokens(&self) -> &[String] {
        &self.tokens
    }
}

impl List {
    async fn holds(&self, call: &Call) -> Result<bool, Halt> {
        let about = match &self.about {
            None => Some(call.target.clone()),
            // Of what is elsewhere, nothing is known.
            Some(url) => call.resource(url).ok(),
        };
        for condition in &self.conditions {
            let is_there = match (&condition.what, &about) {
                (_, None) => false,
                (What::Token(token), Some(target)) => {
                    let locks = call.dav.locks().on(&target.key, Instant::now());
                    locks.iter().any(|lock| lock.token == *token)
                }
                (What::Tag(tag), Some(target)) => match target.place.look(Links::Follow).await {
                    Ok(stat) => stat.is_some_and(|stat| etag(&stat) == *tag),
                    Err(Failure::Refused(_)) => false,
                    Err(failure) => return Err(failure.into()),
                },
            };
            if is_there != condition.is_wanted {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Condition {
    fn parse(text: &str) -> Option<(Self, &str)> {
        let bare = text
            .get(..3)
            .filter(|word| word.eq_ignore_ascii_case("not"))
            .and_then(|_| text.get(3..))
            .map(str::trim_start);
        let (is_wanted, rest) = (bare.is_none(), bare.unwrap_or(text));
        if let Some(rest) = rest.strip_prefix('<') {
            let (token, behind) = rest.split_once('>')?;
            return Some((Self { is_wanted, what: What::Token(token.to_owned()) }, behind));
        }
        let (tag, behind) = rest.strip_prefix('[')?.split_once(']')?;
        Some((Self { is_wanted, what: What::Tag(tag.trim().to_owned()) }, behind))
    }
}

/// Each of them can be a question to the machine.
const COUNT_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn token(is_wanted: bool, token: &str) -> Condition {
        Condition { is_wanted, what: What::Token(token.to_owned()) }
    }

    #[test]
    fn lists_are_of_what_is_asked_for_or_of_what_they_name() {
        let read = Conditions::parse("(<a:b> [\"x y\"]) (Not <c:d>)").unwrap();
        assert_eq!(read.tokens, ["a:b", "c:d"]);
        let tag = Condition { is_wanted: true, what: What::Tag("\"x y\"".to_owned()) };
        let first = List { about: None, conditions: vec![token(true, "a:b"), tag] };
        assert_eq!(read.lists[0], first);
        assert_eq!(read.lists[1].conditions, [token(false, "c:d")]);

        let read = Conditions::parse("</dav/a> (<t>) (not<u>)<http://h/dav/b>(<v>)").unwrap();
        let about: Vec<_> = read.lists.iter().map(|list| list.about.as_deref().unwrap()).collect();
        assert_eq!(about, ["/dav/a", "/dav/a", "http://h/dav/b"]);
        assert_eq!(read.lists[1].conditions, [token(false, "u")]);
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        for bad in [
            "",
            "x",
            "(",
            "()",
            "(<a)",
            "([a)",
            "(<a>",
            "<a>",
            "(<a>) x",
            "(<a>) </b> (<c>)",
            "(Not)",
            "(\u{fc}<a>)",
            "</a>",
            "(<a> b)",
        ] {
            assert_eq!(Conditions::parse(bad), None, "{bad}");
        }
        let many = format!("({})", "<a>".repeat(COUNT_MAX + 1));
        assert_eq!(Conditions::parse(&many), None);
        assert_eq!(Conditions::of(&HeaderMap::new()).ok().unwrap(), Conditions::default());
    }
}
