//! Known machines, in a file of their own.

use super::*;
use crate::test_dir::TestDir;

fn host(key: u8, address: &str, secs: u64) -> Host {
    let key = PublicKey::from_bytes([key; 32]);
    Host::new(key, vec![address.to_owned()], clock::from_unix_secs(secs))
}

fn write(path: &Path, text: &str) {
    state::write_private(path, text.as_bytes()).unwrap();
}

#[test]
fn a_machine_that_was_added_is_found_again() {
    let dir = TestDir::new();
    let path = dir.path().join("hosts.toml");
    assert_eq!(Hosts::load(&path).unwrap(), Hosts::default(), "no file, no machines");
    let added = Hosts::change(&path, |hosts| hosts.add("box", host(1, "box.lan:8690", 5))).unwrap();
    assert_eq!(added, "box");
    let hosts = Hosts::load(&path).unwrap();
    assert_eq!(hosts.find("box"), Some(&host(1, "box.lan:8690", 5)));
    assert_eq!(hosts.find_address("box.lan:8690"), Some(("box", &host(1, "box.lan:8690", 5))));
    assert_eq!(hosts.find_address("box.lan"), None);
    assert_eq!(hosts.find_key(&PublicKey::from_bytes([1; 32])).unwrap().0, "box");
    assert_eq!(hosts.find("BOX"), None);
}

#[test]
fn another_machine_of_the_same_name_gets_a_suffix() {
    let mut hosts = Hosts::default();
    assert_eq!(hosts.add("box", host(1, "a:1", 1)).unwrap(), "box");
    assert_eq!(hosts.add("box", host(2, "b:1", 2)).unwrap(), "box-2");
    assert_eq!(hosts.add("box", host(3, "c:1", 3)).unwrap(), "box-3");
    assert_eq!(hosts.add("box", host(1, "d:1", 4)).unwrap(), "box", "its own name is not taken");
    assert_eq!(hosts.iter().count(), 3);
    assert_eq!(hosts.find("box").unwrap().addresses, ["d:1", "a:1"]);
}

#[test]
fn of_two_machines_at_one_address_the_later_one_is_meant() {
    let mut hosts = Hosts::default();
    hosts.add("new", host(1, "a:1", 9)).unwrap();
    hosts.add("old", host(2, "a:1", 3)).unwrap();
    assert_eq!(hosts.find_address("a:1").unwrap().0, "new");
}

#[test]
fn a_name_is_one_word_that_is_nothing_else() {
    for (name, usable) in [
        ("box", "box"),
        ("my box", "my-box"),
        ("a:b/c@d", "a-b-c-d"),
        ("-rf", "rf"),
        (".", "machine"),
        ("..", "machine"),
        ("[::1]", "1"),
        ("\u{1b}[31mred", "31mred"),
        ("", "machine"),
        ("müller", "müller"),
    ] {
        assert_eq!(usable_name(name), usable, "{name:?}");
        assert_eq!(usable_name(usable), usable);
    }
}

#[test]
fn a_machine_can_be_renamed_and_removed() {
    let mut hosts = Hosts::default();
    hosts.add("a", host(1, "a:1", 1)).unwrap();
    hosts.add("b", host(2, "b:1", 1)).unwrap();
    assert!(matches!(hosts.rename("a", "b"), Err(HostsError::NameTaken)));
    assert!(matches!(hosts.rename("a", "c/d"), Err(HostsError::BadName)));
    assert!(matches!(hosts.rename("z", "y"), Err(HostsError::NotFound)));
    hosts.rename("a", "a").unwrap();
    hosts.rename("a", "c").unwrap();
    assert_eq!(hosts.find("c"), Some(&host(1, "a:1", 1)));
    assert_eq!(hosts.remove("c").unwrap(), host(1, "a:1", 1));
    assert!(matches!(hosts.remove("c"), Err(HostsError::NotFound)));
    assert_eq!(hosts.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["b"]);
}

#[test]
fn what_a_later_version_wrote_is_kept() {
    let dir = TestDir::new();
    let path = dir.path().join("hosts.toml");
    let key = PublicKey::from_bytes([1; 32]);
    write(
        &path,
        &format!(
            "colour = \"blue\"\n[host.box]\nkey = \"{key}\"\naddresses = [\"a:1\"]\n\
             added = \"2026-11-22T15:04:05Z\"\nnote = \"under the desk\"\n"
        ),
    );
    Hosts::change(&path, |hosts| hosts.rename("box", "nas")).unwrap();
    Hosts::change(&path, |hosts| hosts.add("nas", host(1, "b:1", 7))).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("colour = \"blue\""), "{text}");
    assert!(text.contains("note = \"under the desk\""), "{text}");
    assert_eq!(Hosts::load(&path).unwrap().find("nas").unwrap().addresses, ["b:1", "a:1"]);
}

#[test]
fn a_damaged_file_is_named_with_its_line_and_left_alone() {
    let dir = TestDir::new();
    let path = dir.path().join("hosts.toml");
    let key = PublicKey::from_bytes([1; 32]);
    let whole =
        format!("[host.box]\nkey = \"{key}\"\naddresses = []\nadded = \"2026-11-22T15:04:05Z\"\n");
    for (text, line) in [
        (whole.replace("[host.box]", "[host.box"), 1),
        (whole.replace("addresses = []", "addresses = 7"), 3),
        (whole.replace(&key.to_string(), "abc"), 2),
        (whole.replace("added", "addad"), 1),
        (whole.replace("15:04", "25:04"), 4),
    ] {
        write(&path, &text);
        let error = Hosts::load(&path).unwrap_err();
        let HostsError::Malformed { line: found, .. } = &error else { panic!("{error}") };
        assert_eq!(*found, line, "{error}");
        assert!(error.to_string().starts_with(&format!("{}:{line}: ", path.display())), "{error}");
        assert!(Hosts::change(&path, |hosts| hosts.add("b", host(2, "b:1", 1))).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
    state::write_private(&path, b"\xff").unwrap();
    assert!(matches!(Hosts::load(&path), Err(HostsError::NotText { .. })));
}

#[test]
fn two_processes_that_add_at_once_lose_nothing() {
    let dir = TestDir::new();
    let path = dir.path().join("hosts.toml");
    std::thread::scope(|scope| {
        for key in 0..16u8 {
            let path = &path;
            scope.spawn(move || {
                Hosts::change(path, |hosts| hosts.add("box", host(key, "a:1", 1))).unwrap();
            });
        }
    });
    assert_eq!(Hosts::load(&path).unwrap().iter().count(), 16);
}
