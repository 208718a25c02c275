//! A key comes in by a file that is understood to the last field, or not at all.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::grant::Right;
use crate::names::NAME_LEN_MAX;
use crate::test_dir::TestDir;

const NOW: u64 = 1_795_359_845;

fn now() -> SystemTime {
    clock::from_unix_secs(NOW)
}

fn key(byte: u8) -> PublicKey {
    PublicKey::from_bytes([byte; 32])
}

fn record(byte: u8, name: &str) -> Record {
    Record {
        key: key(byte),
        name: name.to_owned(),
        rights: Right::together([Right::Read, Right::Run]),
        root: "/".into(),
        start: "/tmp".into(),
        created: now(),
        expires: None,
        holder: Holder::Device,
        end: None,
        session: None,
        root_identity: None,
        giver: None,
    }
}

fn with_record(byte: u8, name: &str) -> (TestDir, Keys, PathBuf) {
    let dir = TestDir::new();
    let mut keys = Keys::load(dir.path()).unwrap();
    keys.add(record(byte, name)).unwrap();
    let path = keys.record_path(&key(byte).id());
    (dir, keys, path)
}

#[test]
fn a_key_that_was_added_may_come_in_after_a_restart_too() {
    let dir = TestDir::new();
    let mut keys = Keys::load(dir.path()).unwrap();
    assert!(keys.is_empty());
    let full = Record {
        expires: Some(now()),
        root: OsStr::from_bytes(b"/srv/\xff").into(),
        start: "/srv/a\nb".into(),
        rights: Right::all(),
        ..record(1, "laptop")
    };
    for record in [full, record(2, "phone")] {
        assert_eq!(keys.add(record.clone()).unwrap(), record);
        for keys in [&keys, &Keys::load(dir.path()).unwrap()] {
            assert_eq!(keys.find(&record.key), Lookup::Known(record.clone()));
        }
    }
    assert_eq!(Keys::load(dir.path()).unwrap().list().count(), 2);
    assert_eq!(keys.find(&key(3)), Lookup::Unknown);
}

#[test]
fn the_file_is_one_that_a_person_can_read() {
    let (_dir, _, path) = with_record(1, "laptop");
    let text = fs::read_to_string(path).unwrap();
    let key = key(1);
    assert_eq!(
        text,
        format!(
            "key = \"{key}\"\nname = \"laptop\"\nrights = [\"run\", \"read\"]\n\
             created = \"2026-11-22T15:04:05Z\"\nroot = \"/\"\nstart = \"/tmp\"\n"
        )
    );
}

#[test]
fn a_file_with_anything_wrong_keeps_its_key_outside() {
    let (dir, _, path) = with_record(1, "laptop");
    let whole = fs::read_to_string(&path).unwrap();
    let mut wrong: Vec<String> = vec![
        format!("{whole}from = \"10.0.0.0/8\"\n"),
        format!("{whole}[limits]\nlinks = 1\n"),
        whole.replace("\"run\"", "\"fly\""),
        whole.replace("rights", "right"),
        whole.replace("name = \"laptop\"\n", ""),
        whole.replace("created = \"2026", "created = \"yesterday"),
        whole.replace("\"/\"", "\"srv\""),
        whole.replace("\"/tmp\"", "\"\""),
        whole.replace(&key(1).to_string(), &key(2).to_string()),
        whole.replace("key = ", "key = \"\"\nkey = "),
        format!("{whole}{}", "#".repeat(70_000)),
    ];
    let lines: Vec<&str> = whole.lines().collect();
    wrong.extend((0..lines.len()).map(|len| lines[..len].join("\n")));
    wrong.push(whole[..whole.len() - 2].to_owned());
    for text in &wrong {
        state::write_private(&path, text.as_bytes()).unwrap();
        let keys = Keys::load(dir.path()).unwrap();
        assert_eq!(keys.find(&key(1)), Lookup::Broken, "{text}");
        assert_eq!(keys.find(&key(2)), Lookup::Unknown, "{text}");
        assert_eq!(keys.broken().map(|file| &file.path).collect::<Vec<_>>(), [&path]);
        let refused = keys.find(&key(1)).into_grant(now()).unwrap_err();
        assert_eq!(refused.code, Code::Internal);
    }
    state::write_private(&path, whole.as_bytes()).unwrap();
    assert!(matches!(Keys::load(dir.path()).unwrap().find(&key(1)), Lookup::Known(_)));
}

#[test]
fn a_broken_file_is_told_with_its_line() {
    let (dir, _, path) = with_record(1, "laptop");
    let whole = fs::read_to_string(&path).unwrap();
    state::write_private(&path, format!("{whole}sudo = true\n").as_bytes()).unwrap();
    let keys = Keys::load(dir.path()).unwrap();
    let reason = keys.broken().next().unwrap().reason.to_string();
    assert!(reason.starts_with("line 7: unknown field `sudo`"), "{reason}");
}

#[test]
fn a_file_that_others_can_read_or_that_is_no_text_keeps_its_key_outside() {
    let (dir, _, path) = with_record(1, "laptop");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let keys = Keys::load(dir.path()).unwrap();
    assert_eq!(keys.find(&key(1)), Lookup::Broken);
    let reason = &keys.broken().next().unwrap().reason;
    assert!(reason.cure().is_some_and(|cure| cure.starts_with("chmod 600 ")), "{reason}");
    state::write_private(&path, b"\xff\xfe").unwrap();
    assert_eq!(Keys::load(dir.path()).unwrap().find(&key(1)), Lookup::Broken);
}

#[test]
fn one_broken_file_does_not_keep_others_outside() {
    let (dir, mut keys, path) = with_record(1, "laptop");
    keys.add(record(2, "phone")).unwrap();
    state::write_private(&path, b"").unwrap();
    state::write_private(&dir.path().join("notes.toml"), b"").unwrap();
    state::write_private(&dir.path().join(".half.toml"), b"").unwrap();
    state::write_private(&dir.path().join("README"), b"").unwrap();
    let keys = Keys::load(dir.path()).unwrap();
    assert_eq!(keys.find(&key(2)), Lookup::Known(record(2, "phone")));
    assert_eq!(keys.broken().count(), 2);
}

#[test]
fn a_key_that_was_removed_is_told_so() {
    let (dir, mut keys, path) = with_record(1, "laptop");
    let tombstone = keys.remove("laptop", now()).unwrap();
    assert_eq!(tombstone, Tombstone { id: key(1).id(), name: "laptop".to_owned(), removed: now() });
    assert!(!path.exists());
    for keys in [&keys, &Keys::load(dir.path()).unwrap()] {
        assert_eq!(keys.find(&key(1)), Lookup::Removed(tombstone.clone()));
        assert!(keys.is_empty());
    }
    assert_eq!(keys.find(&key(1)).into_grant(now()).unwrap_err().code, Code::RemovedKey);
    assert_eq!(keys.find(&key(9)).into_grant(now()).unwrap_err().code, Code::UnknownKey);
    assert!(matches!(keys.remove("laptop", now()), Err(KeysError::NotFound)));
    let id = key(1).id().to_string();
    assert!(matches!(keys.remove(&id, now()), Err(KeysError::NotFound)), "gone already");
}

#[test]
fn a_key_that_was_removed_may_join_again() {
    let (dir, mut keys, _) = with_record(1, "laptop");
    keys.remove("laptop", now()).unwrap();
    keys.add(record(1, "laptop")).unwrap();
    assert_eq!(Keys::load(dir.path()).unwrap().find(&key(1)), Lookup::Known(record(1, "laptop")));
}

#[test]
fn a_removal_that_was_cut_short_holds() {
    let (dir, mut keys, path) = with_record(1, "laptop");
    let file = fs::read(&path).unwrap();
    keys.remove("laptop", now()).unwrap();
    state::write_private(&path, &file).unwrap();
    let mut keys = Keys::load(dir.path()).unwrap();
    assert!(matches!(keys.find(&key(1)), Lookup::Removed(_)));
    let tombstone = keys.tombstone_path(&key(1).id());
    state::write_private(&tombstone, b"half a tomb").unwrap();
    keys = Keys::load(dir.path()).unwrap();
    assert!(matches!(keys.find(&key(1)), Lookup::Removed(_)));
}

#[test]
fn a_key_is_removed_by_the_start_of_its_fingerprint() {
    let (_dir, mut keys, _) = with_record(1, "laptop");
    let id = key(1).id().to_string();
    assert!(matches!(keys.remove(&id[..3], now()), Err(KeysError::NotFound)), "too short");
    assert!(matches!(keys.remove("", now()), Err(KeysError::NotFound)));
    assert_eq!(keys.remove(&id[..4].to_uppercase(), now()).unwrap().name, "laptop");
}

#[test]
fn several_keys_that_are_meant_are_none() {
    let dir = TestDir::new();
    let mut keys = Keys::load(dir.path()).unwrap();
    // Fingerprints are hashes, so two with one start are put here by hand.
    let (one, two) = (key(1).id(), key(2).id());
    let start = &one.to_string()[..6];
    let twin: KeyId = format!("{start}{}", &two.to_string()[6..]).parse().unwrap();
    keys.entries.insert(one, Entry::Known(record(1, "a")));
    keys.entries.insert(twin, Entry::Known(record(2, "b")));
    let error = keys.remove(start, now()).unwrap_err();
    assert!(matches!(error, KeysError::Ambiguous { count: 2 }), "{error}");
    assert_eq!(keys.list().count(), 2);
}

#[test]
fn two_keys_that_were_given_one_name_by_hand_are_both_meant() {
    let (_dir, mut keys, _) = with_record(1, "laptop");
    keys.entries.insert(key(2).id(), Entry::Known(record(2, "laptop")));
    let error = keys.remove("laptop", now()).unwrap_err();
    assert!(matches!(error, KeysError::Ambiguous { count: 2 }), "{error}");
    keys.remove(&key(2).id().to_string(), now()).unwrap();
    assert_eq!(keys.remove("laptop", now()).unwrap().id, key(1).id());
}

#[test]
fn a_file_under_another_spelling_of_its_fingerprint_does_not_count() {
    let (dir, _, path) = with_record(1, "laptop");
    let shouted = key(1).id().to_string().to_uppercase();
    fs::rename(&path, dir.path().join(format!("{shouted}.toml"))).unwrap();
    let keys = Keys::load(dir.path()).unwrap();
    assert_eq!(keys.find(&key(1)), Lookup::Unknown);
    assert_eq!(keys.broken().count(), 1);
}

#[test]
fn a_broken_key_can_be_removed() {
    let (dir, _, path) = with_record(1, "laptop");
    state::write_private(&path, b"").unwrap();
    let mut keys = Keys::load(dir.path()).unwrap();
    keys.remove(&key(1).id().to_string(), now()).unwrap();
    assert_eq!(keys.broken().count(), 0);
    assert!(!path.exists());
}

#[test]
fn names_are_made_unique() {
    let dir = TestDir::new();
    let mut keys = Keys::load(dir.path()).unwrap();
    let long = "x".repeat(NAME_LEN_MAX);
    let names: Vec<_> = (1..)
        .zip(["laptop", "laptop", "laptop", &long, &long])
        .map(|(byte, name)| keys.add(record(byte, name)).unwrap().name)
        .collect();
    let cut = format!("{}-2", "x".repeat(NAME_LEN_MAX - 2));
    assert_eq!(names, ["laptop", "laptop-2", "laptop-3", &long, &cut]);
    assert_eq!(keys.add(record(2, "laptop-2")).unwrap().name, "laptop-2", "its own is not taken");
}

#[test]
fn a_new_grant_takes_the_place_of_the_old_one() {
    let (dir, mut keys, _) = with_record(1, "laptop");
    let lesser = Record { rights: Right::together([Right::Read]), ..record(1, "laptop") };
    keys.add(lesser.clone()).unwrap();
    assert_eq!(Keys::load(dir.path()).unwrap().find(&key(1)), Lookup::Known(lesser));
}

#[test]
fn the_oldest_tombstones_are_forgotten() {
    let dir = TestDir::new();
    let mut keys = Keys::load(dir.path()).unwrap();
    for number in 0..=u64::try_from(TOMBSTONES_MAX).unwrap() {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        let id = PublicKey::from_bytes(bytes).id();
        let removed = clock::from_unix_secs(NOW - number);
        let tombstone = Tombstone { id, name: String::new(), removed };
        fs::write(keys.tombstone_path(&id), "").unwrap();
        keys.entries.insert(id, Entry::Removed(tombstone));
    }
    keys.add(record(1, "laptop")).unwrap();
    keys.remove("laptop", now()).unwrap();
    assert_eq!(fs::read_dir(keys.removed_dir()).unwrap().count(), TOMBSTONES_MAX);
    assert!(matches!(keys.find(&key(1)), Lookup::Removed(_)), "the newest is there");
    let mut oldest = [0; 32];
    oldest[..8].copy_from_slice(&u64::try_from(TOMBSTONES_MAX).unwrap().to_le_bytes());
    assert_eq!(keys.find(&PublicKey::from_bytes(oldest)), Lookup::Unknown);
}

#[test]
fn an_open_directory_is_not_used() {
    let dir = TestDir::new();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let error = Keys::load(dir.path()).unwrap_err();
    assert!(matches!(error, KeysError::State(StateError::NotPrivate { .. })), "{error}");
}

#[test]
fn a_key_that_was_removed_does_not_come_back_because_it_was_used() {
    let (dir, mut keys, _) = with_record(1, "browser");
    let later = now() + std::time::Duration::from_secs(60);
    keys.extend(&key(1), later).unwrap();
    assert!(matches!(keys.find(&key(1)), Lookup::Known(record) if record.expires == Some(later)));
    keys.remove("browser", now()).unwrap();
    assert!(matches!(keys.extend(&key(1), later), Err(KeysError::NotFound)));
    for keys in [&keys, &Keys::load(dir.path()).unwrap()] {
        assert!(matches!(keys.find(&key(1)), Lookup::Removed(_)));
    }
}
