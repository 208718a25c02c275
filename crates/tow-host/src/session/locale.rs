//! Which locale a program gets: one that this machine has. With any other, perl and many more
//! complain before they do their work, and text is shown as question marks.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::process::{Command, Stdio};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::Duration;

/// The first of these that is installed: what the client asked for, the node's own `LANG`, plain
/// UTF-8. The name is given back as it was spelled. None where not even the last is there: then no
/// `LANG` is set, which is `C`.
pub(super) fn choose(asked: &str, own: Option<&OsStr>, installed: &Installed) -> Option<String> {
    let own = own.and_then(OsStr::to_str);
    let mut candidates = [Some(asked), own, Some(PLAIN_UTF_8)].into_iter().flatten();
    candidates.find(|name| installed.has(name)).map(str::to_owned)
}

/// The locales of this machine.
pub(super) struct Installed {
    /// In the form that [`comparable`] gives.
    names: BTreeSet<String>,
}

impl Installed {
    /// Asks the C library's own program; once for the whole process, so that what is installed
    /// later needs a new one. Blocking, for [`TIME_MAX`] at most.
    pub(super) fn read() -> &'static Self {
        static READ: OnceLock<Installed> = OnceLock::new();
        READ.get_or_init(|| {
            match Self::listed_by(Command::new(PROGRAM).arg("-a"), TIME_MAX) {
                Ok(installed) => installed,
                // A C library that has no such program, such as musl, needs no files for this one.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Self::of([PLAIN_UTF_8]),
                Err(_) => Self::of([]),
            }
        })
    }

    /// What `command` prints within `limit`, a name on each line; nothing where it takes longer.
    ///
    /// # Errors
    /// Those of starting the program, or a thread.
    fn listed_by(command: &mut Command, limit: Duration) -> io::Result<Self> {
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let stdout = child.stdout.take();
        let (sender, list) = mpsc::sync_channel(1);
        let reader = thread::Builder::new().name("locales".into()).spawn(move || {
            let mut bytes = Vec::new();
            if let Some(stdout) = stdout {
                // What could not be read is not there.
                let _ = stdout.take(LIST_LEN_MAX).read_to_end(&mut bytes);
            }
            // Nobody waits for a list that comes too late.
            let _ = sender.send(bytes);
        });
        let list = list.recv_timeout(limit).unwrap_or_default();
        // It has nothing more to say. What it had to say is judged, not how it ends.
        let _ = child.kill();
        let _ = child.wait();
        reader?;
        Ok(Self::of(whole_lines(&list)))
    }

    fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self { names: names.into_iter().map(comparable).collect() }
    }

    /// Whether a program that is given this name finds it. Names that no locale has are not there.
    fn has(&self, name: &str) -> bool {
        let is_known = || self.names.contains(&comparable(name));
        is_plausible(name) && (matches!(name, "C" | "POSIX") || is_known())
    }
}

/// The lines that came to their end, without those that are not text: such names can't be asked for.
fn whole_lines(list: &[u8]) -> impl Iterator<Item = &str> {
    let lines = list.split_inclusive(|byte| *byte == b'\n');
    lines.filter_map(|line| std::str::from_utf8(line.strip_suffix(b"\n")?).ok())
}

fn is_plausible(name: &str) -> bool {
    let may_be_in_it = |byte: u8| byte.is_ascii_alphanumeric() || b"_.@-".contains(&byte);
    (1..=NAME_LEN_MAX).contains(&name.len()) && name.bytes().all(may_be_in_it)
}

/// `language_TERRITORY.codeset@modifier` with the codeset as glibc compares it: only letters and
/// digits, in lower case, and after `iso` where there are only digits. All else counts as it is.
fn comparable(name: &str) -> String {
    let (name, modifier) = name.split_at(name.find('@').unwrap_or(name.len()));
    let Some((language, codeset)) = name.split_once('.') else {
        return format!("{name}{modifier}");
    };
    let mut codeset: String = codeset.chars().filter(char::is_ascii_alphanumeric).collect();
    codeset.make_ascii_lowercase();
    let iso = if codeset.bytes().all(|byte| byte.is_ascii_digit()) { "iso" } else { "" };
    format!("{language}.{iso}{codeset}{modifier}")
}

/// Part of glibc; by its whole path, since nothing of our own environment is to matter.
const PROGRAM: &str = "/usr/bin/locale";
/// As most systems spell it; `C.utf8` is the same.
const PLAIN_UTF_8: &str = "C.UTF-8";
/// Bytes of a name. The longest of glibc's have 24.
const NAME_LEN_MAX: usize = 64;
/// Bytes of the list that are read. All that glibc can make are 12 KiB.
const LIST_LEN_MAX: u64 = 256 << 10;
/// It takes a few milliseconds, and longer only on a disk that does not answer.
const TIME_MAX: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn installed() -> Installed {
        Installed::of(["C", "C.utf8", "de_DE.utf8", "de_DE.iso88591", "de_DE@euro", "fr_FR"])
    }

    fn chosen(asked: &str, own: &str) -> Option<String> {
        choose(asked, Some(OsStr::new(own)), &installed())
    }

    #[test]
    fn the_hint_is_taken_where_it_is_installed_and_keeps_its_spelling() {
        for asked in [
            "de_DE.UTF-8",
            "de_DE.utf8",
            "de_DE.Utf-8",
            "de_DE.ISO-8859-1",
            "de_DE.8859-1",
            "de_DE@euro",
            "fr_FR",
            "C.UTF-8",
            "C",
            "POSIX",
        ] {
            assert_eq!(chosen(asked, "fr_FR").as_deref(), Some(asked));
        }
    }

    #[test]
    fn a_hint_that_is_not_installed_gives_way_to_the_nodes_own_and_that_to_plain_utf_8() {
        for asked in ["", "de_AT.UTF-8", "DE_de.utf8", "de_DE", "de_DE.UTF-8@euro", "de_DE.", "c"] {
            assert_eq!(chosen(asked, "fr_FR").as_deref(), Some("fr_FR"), "{asked}");
            assert_eq!(chosen(asked, "tlh_AA").as_deref(), Some("C.UTF-8"), "{asked}");
            assert_eq!(choose(asked, None, &installed()).as_deref(), Some("C.UTF-8"), "{asked}");
        }
    }

    #[test]
    fn without_any_of_them_there_is_none_but_what_needs_no_installing() {
        let nothing = Installed::of([]);
        assert_eq!(choose("de_DE.UTF-8", Some(OsStr::new("fr_FR")), &nothing), None);
        let own = Some(OsStr::new("POSIX"));
        assert_eq!(choose("C.UTF-8", own, &nothing).as_deref(), Some("POSIX"));
    }

    #[test]
    fn what_can_be_no_name_is_ignored_even_where_it_is_in_the_list() {
        let long = "x".repeat(NAME_LEN_MAX + 1);
        let bad = ["../../etc/x", "de_DE utf8", "fran\u{e7}ais", "a\nb", "a\0b", "a=b", "", &long];
        let installed = Installed::of(bad);
        for name in bad {
            assert_eq!(choose(name, Some(OsStr::new(name)), &installed), None, "{name:?}");
        }
        let longest = &long[1..];
        assert_eq!(choose(longest, None, &Installed::of([longest])).as_deref(), Some(longest));
    }

    #[test]
    fn a_list_is_cut_at_its_limit_and_after_a_whole_line() {
        let mut endless = Command::new("/bin/sh");
        endless.args(["-c", "echo first; while :; do echo abcdef; done"]);
        let listed = Installed::listed_by(&mut endless, Duration::from_secs(60)).unwrap();
        assert!(listed.has("first") && listed.has("abcdef"));
        assert_eq!(listed.names.len(), 2, "{:?}", listed.names);
    }

    #[test]
    fn a_program_that_does_not_come_to_its_end_is_ended() {
        let mut slow = Command::new("/bin/sh");
        slow.args(["-c", "exec sleep 600"]);
        let begun = Instant::now();
        let listed = Installed::listed_by(&mut slow, Duration::from_millis(50)).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
        assert!(listed.names.is_empty() && listed.has("C"));
    }

    #[test]
    fn nothing_of_the_environment_is_passed_on() {
        let mut command = Command::new("/bin/sh");
        command.env("LC_ALL", "de_DE").args(["-c", "echo \"x$HOME$LC_ALL\""]);
        let listed = Installed::listed_by(&mut command, Duration::from_secs(60)).unwrap();
        assert!(listed.has("x"), "{:?}", listed.names);
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error_by_its_kind() {
        let listed = Installed::listed_by(&mut Command::new("/nowhere/locale"), TIME_MAX);
        assert_eq!(listed.err().map(|error| error.kind()), Some(io::ErrorKind::NotFound));
    }

    /// The C library says so itself where it can't take a name.
    #[test]
    fn what_is_chosen_on_this_machine_is_accepted_by_its_c_library() {
        let installed = Installed::read();
        assert!(std::ptr::eq(installed, Installed::read()), "read once");
        for asked in ["", "C", "tlh_AA.UTF-8", "C.utf-8", "en_US.UTF-8", "de_DE.UTF-8"] {
            let Some(name) = choose(asked, None, installed) else { continue };
            let mut command = Command::new(PROGRAM);
            match command.env_clear().env("LC_ALL", &name).output() {
                Ok(output) => assert_eq!(output.stderr.escape_ascii().to_string(), "", "{name}"),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::NotFound),
            }
        }
    }
}
