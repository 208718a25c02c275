//! What a person types to `tow` itself and not to the program: `~.` and its like, at the start of a
//! line. Pure: bytes in, what they mean out, however they are cut.

/// What was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Typed {
    /// For the program.
    Bytes(Vec<u8>),
    /// `~.`: go, for good.
    Leave,
    /// `~d`: go, and let the session go on.
    Detach,
    /// `~?`: which escapes are there?
    Help,
    /// `~^Z`: stop `tow` here, as a job of the local shell.
    Suspend,
}

/// Who makes lines of what is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Discipline {
    /// Nobody: every key arrives by itself.
    Raw,
    /// The local terminal: an escape is followed by the end of its line, which is part of it.
    Lines,
}

/// Finds escapes in what is typed.
#[derive(Debug)]
pub(crate) struct Escapes {
    discipline: Discipline,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    LineStart,
    /// A tilde at the start of a line waits for what follows it.
    Tilde,
    /// After an escape: a line starts here, too.
    Escaped,
    Inside,
}

impl Escapes {
    /// At the start of a line.
    pub(crate) fn new(discipline: Discipline) -> Self {
        Self { discipline, state: State::LineStart }
    }

    /// What these bytes mean, in order.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Vec<Typed> {
        let mut typed = Vec::new();
        let mut plain = Vec::with_capacity(bytes.len() + 1);
        for byte in bytes {
            if let Some(escape) = self.step(*byte, &mut plain) {
                if !plain.is_empty() {
                    typed.push(Typed::Bytes(std::mem::take(&mut plain)));
                }
                typed.push(escape);
            }
        }
        if !plain.is_empty() {
            typed.push(Typed::Bytes(plain));
        }
        typed
    }

    /// The end of what is typed: a tilde that nothing followed was meant for the program.
    pub(crate) fn finish(&mut self) -> &'static [u8] {
        match std::mem::replace(&mut self.state, State::Inside) {
            State::Tilde => b"~",
            _ => b"",
        }
    }

    fn step(&mut self, byte: u8, plain: &mut Vec<u8>) -> Option<Typed> {
        let escape = match (self.state, byte) {
            (State::LineStart | State::Escaped, b'~') => {
                self.state = State::Tilde;
                return None;
            }
            (State::Escaped, b'\n') if self.discipline == Discipline::Lines => {
                self.state = State::LineStart;
                return None;
            }
            (State::Tilde, b'.') => Typed::Leave,
            (State::Tilde, b'd') => Typed::Detach,
            (State::Tilde, b'?') => Typed::Help,
            (State::Tilde, CTRL_Z) => Typed::Suspend,
            (state, byte) => {
                if state == State::Tilde && byte != b'~' {
                    plain.push(b'~');
                }
                plain.push(byte);
                let ends_line = matches!(byte, b'\r' | b'\n');
                self.state = if ends_line { State::LineStart } else { State::Inside };
                return None;
            }
        };
        self.state = State::Escaped;
        Some(escape)
    }
}

const CTRL_Z: u8 = 0x1a;

#[cfg(test)]
mod tests {
    use super::*;

    /// What `line` means, and the same wherever it is cut in two, and byte by byte.
    #[track_caller]
    fn check(discipline: Discipline, line: &[u8], expected: &[Typed]) {
        for cut in 0..=line.len() {
            let mut escapes = Escapes::new(discipline);
            let mut typed = escapes.feed(&line[..cut]);
            typed.extend(escapes.feed(&line[cut..]));
            assert_eq!(joined(typed), expected, "{:?} cut at {cut}", line.escape_ascii());
        }
        let mut escapes = Escapes::new(discipline);
        let typed = line.iter().flat_map(|byte| escapes.feed(&[*byte])).collect();
        assert_eq!(joined(typed), expected, "{:?} byte by byte", line.escape_ascii());
    }

    fn joined(typed: Vec<Typed>) -> Vec<Typed> {
        let mut joined: Vec<Typed> = Vec::new();
        for one in typed {
            match (joined.last_mut(), one) {
                (Some(Typed::Bytes(before)), Typed::Bytes(more)) => before.extend(more),
                (_, one) => joined.push(one),
            }
        }
        joined
    }

    fn bytes(bytes: &[u8]) -> Typed {
        Typed::Bytes(bytes.to_vec())
    }

    #[test]
    fn an_escape_is_one_only_at_the_start_of_a_line() {
        use Discipline::Raw;
        check(Raw, b"~.", &[Typed::Leave]);
        check(Raw, b"ls\r~d", &[bytes(b"ls\r"), Typed::Detach]);
        check(Raw, b"ls\n~?more", &[bytes(b"ls\n"), Typed::Help, bytes(b"more")]);
        check(Raw, b"a~.", &[bytes(b"a~.")]);
        check(Raw, b" ~d\x1b~.", &[bytes(b" ~d\x1b~.")]);
        check(Raw, b"~\x1ax", &[Typed::Suspend, bytes(b"x")]);
    }

    #[test]
    fn two_tildes_are_one_and_anything_else_is_passed_on() {
        use Discipline::Raw;
        check(Raw, b"~~", &[bytes(b"~")]);
        check(Raw, b"~~.", &[bytes(b"~.")]);
        check(Raw, b"~/bin\r~~~", &[bytes(b"~/bin\r~~")]);
        check(Raw, b"~\r~.", &[bytes(b"~\r"), Typed::Leave]);
        check(Raw, "~ä\r".as_bytes(), &[bytes("~ä\r".as_bytes())]);
        check(Raw, b"~\x03", &[bytes(b"~\x03")]);
    }

    #[test]
    fn a_line_starts_after_an_escape_too() {
        use Discipline::Raw;
        check(Raw, b"~?~?~.", &[Typed::Help, Typed::Help, Typed::Leave]);
        check(Raw, b"~?\r~d", &[Typed::Help, bytes(b"\r"), Typed::Detach]);
    }

    #[test]
    fn the_end_of_the_line_of_an_escape_is_not_for_the_program() {
        use Discipline::Lines;
        check(Lines, b"~?\nyes\n~.\n", &[Typed::Help, bytes(b"yes\n"), Typed::Leave]);
        check(Lines, b"~?\n\n", &[Typed::Help, bytes(b"\n")]);
        check(Lines, b"~?~d\n", &[Typed::Help, Typed::Detach]);
    }

    #[test]
    fn a_tilde_that_was_the_last_key_is_not_lost() {
        let mut escapes = Escapes::new(Discipline::Lines);
        assert_eq!(escapes.feed(b"a\n~"), [bytes(b"a\n")]);
        assert_eq!(escapes.finish(), b"~");
        assert_eq!(escapes.finish(), b"");
    }
}
