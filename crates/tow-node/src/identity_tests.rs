//! One file, made once, never replaced.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::test_dir::TestDir;

#[test]
fn an_identity_is_made_once_and_loaded_from_then_on() {
    let dir = TestDir::new();
    let path = dir.path().join("identity.pem");
    let made = Identity::load_or_create(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    let loaded = Identity::load_or_create(&path).unwrap();
    assert_eq!(loaded.public(), made.public());
    assert_eq!(loaded.pkcs8_der(), made.pkcs8_der());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn processes_that_make_it_at_once_agree() {
    let dir = TestDir::new();
    let path = dir.path().join("identity.pem");
    let keys: Vec<_> = std::thread::scope(|scope| {
        let makers: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| Identity::load_or_create(&path).unwrap().public()))
            .collect();
        makers.into_iter().map(|maker| maker.join().unwrap()).collect()
    });
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
}

#[test]
fn the_file_is_a_pem_that_others_read() {
    let identity = Identity::generate().unwrap();
    let pem = identity.to_pem();
    assert_eq!(from_pem(pem.as_bytes()).unwrap().as_slice(), identity.pkcs8_der());
    // RFC 8410, 7: a version 1 key without attributes is 48 bytes, and one line of base64.
    assert_eq!(identity.pkcs8_der().len(), 48);
    assert_eq!(pem.lines().map(str::len).collect::<Vec<_>>(), [27, 64, 25]);
}

#[test]
fn a_key_of_another_tool_can_be_loaded() {
    // RFC 8410, 10.3.
    let pem = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        -----END PRIVATE KEY-----\n";
    let dir = TestDir::new();
    let path = dir.path().join("identity.pem");
    state::write_private(&path, pem.as_bytes()).unwrap();
    // RFC 8410, 10.1.
    let spki =
        STANDARD.decode("MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=").unwrap();
    assert_eq!(Identity::load(&path).unwrap().public().to_spki().as_slice(), spki);
}

#[test]
fn a_damaged_file_is_named_and_never_replaced() {
    let dir = TestDir::new();
    let path = dir.path().join("identity.pem");
    Identity::load_or_create(&path).unwrap();
    let whole = fs::read(&path).unwrap();
    let text = String::from_utf8(whole.clone()).unwrap();
    let mut damaged: Vec<Vec<u8>> = (0..whole.len() - 1).map(|len| whole[..len].to_vec()).collect();
    damaged.push(text.replacen("MC4", "MC5", 1).into_bytes());
    damaged.push(text.replace("PRIVATE", "PUBLIC").into_bytes());
    damaged.push([whole.as_slice(), &whole].concat());
    damaged.push([b"x", whole.as_slice()].concat());
    damaged.push(vec![0xff; 100]);
    for damaged in damaged {
        state::write_private(&path, &damaged).unwrap();
        let error = Identity::load_or_create(&path).unwrap_err();
        assert!(matches!(error, IdentityError::Damaged { .. }), "{error}");
        assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
        assert_eq!(fs::read(&path).unwrap(), damaged);
    }
}

#[test]
fn an_open_or_oversized_file_is_not_used() {
    let dir = TestDir::new();
    let path = dir.path().join("identity.pem");
    Identity::load_or_create(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let error = Identity::load_or_create(&path).unwrap_err();
    assert!(matches!(error, IdentityError::State(StateError::NotPrivate { .. })), "{error}");
    state::write_private(&path, &[b'-'; 5000]).unwrap();
    let error = Identity::load_or_create(&path).unwrap_err();
    assert!(matches!(error, IdentityError::State(StateError::TooLong { .. })), "{error}");
}

#[test]
fn a_public_key_is_read_from_all_44_bytes_and_no_others() {
    let key = PublicKey::from_bytes([7; 32]);
    let spki = key.to_spki();
    assert_eq!(PublicKey::from_spki(&spki), Ok(key));
    for len in 0..SPKI_LEN {
        assert_eq!(PublicKey::from_spki(&spki[..len]), Err(BadPublicKey));
    }
    assert_eq!(PublicKey::from_spki(&[&spki[..], &[0]].concat()), Err(BadPublicKey));
    for at in 0..SPKI_PREFIX.len() {
        let mut other = spki;
        other[at] ^= 1;
        assert_eq!(PublicKey::from_spki(&other), Err(BadPublicKey), "byte {at}");
    }
    assert_eq!(key.to_string().parse(), Ok(key));
    assert_eq!("AAAA".parse::<PublicKey>(), Err(BadPublicKey));
}

#[test]
fn a_fingerprint_is_fixed_for_ever() {
    let id = PublicKey::from_bytes([7; 32]).id();
    let text = id.to_string();
    assert_eq!(text.len(), 39);
    assert_eq!(text.parse(), Ok(id));
    assert_eq!(text.replace('-', "").to_uppercase().parse(), Ok(id));
    assert_eq!(id.short(), &text[..9]);
    assert_eq!(text, "25dt-tyzc-4haj-v7tj-npfg-sj0d-2xp5-qy5s");
    assert_ne!(PublicKey::from_bytes([8; 32]).id(), id);
    for bad in ["", "abcd", &text[..38], &format!("{text}0"), &text.replace(&text[..1], "u")] {
        assert_eq!(bad.parse::<KeyId>(), Err(BadKeyId), "{bad}");
    }
}

#[test]
fn the_start_of_a_fingerprint_is_recognised() {
    let id = PublicKey::from_bytes([7; 32]).id();
    let text = id.to_string();
    for len in 0..=text.len() {
        assert!(id.starts_with(&text[..len]));
        assert!(id.starts_with(&text[..len].to_uppercase().replace('-', "")));
    }
    assert!(!id.starts_with(&format!("{text}0")));
    assert!(!id.starts_with("u"));
    assert!(!id.starts_with(&text[1..]));
}
