//! What is excluded, by patterns and by `.gitignore` files.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::files::tree::open_dir;

fn filter(exclude: &[&str]) -> Filter {
    let exclude = exclude.iter().map(|pattern| (*pattern).into()).collect();
    Filter::new(&Options { exclude, ..Options::default() }).unwrap()
}

#[test]
fn patterns_match_as_in_a_gitignore_file() {
    let filter = filter(&["*.o", "/build/", "a/*.log", "!keep.o"]);
    for (dir, name, is_dir, expected) in [
        ("", "x.o", false, true),
        ("deep/down", "x.o", false, true),
        ("deep", "keep.o", false, false),
        ("", "build", true, true),
        ("", "build", false, false),
        ("deep", "build", true, false),
        ("a", "x.log", false, true),
        ("b/a", "x.log", false, false),
    ] {
        let excluded = filter.excludes(dir.as_bytes(), name.as_bytes(), is_dir);
        assert_eq!(excluded, expected, "{dir}/{name}");
    }
}

#[test]
fn partial_files_and_backups_are_never_part_of_it() {
    let options = Options { backup: Some("old/yesterday/".into()), ..Options::default() };
    let filter = Filter::new(&options).unwrap();
    assert!(filter.excludes(b"a", b".x.0123456789abcdef.tow-part", false));
    assert!(!filter.excludes(b"a", b".x.0123456789abcdeg.tow-part", false));
    assert!(!filter.excludes(b"a", b"x.tow-part", false));
    assert!(filter.excludes(b"old", b"yesterday", true));
    assert!(!filter.excludes(b"old", b"today", true));
    assert!(!filter.excludes(b"", b"yesterday", true));
}

#[test]
fn names_that_are_no_text_are_matched_too() {
    assert!(filter(&["*.o"]).excludes(b"\xff", b"\xfe.o", false));
    assert!(!filter(&["*.o"]).excludes(b"\xff", b"\xfe.c", false));
}

#[test]
fn a_pattern_that_is_none_is_refused_by_name() {
    let options = Options { exclude: vec!["a{".into()], ..Options::default() };
    let refusal = Filter::new(&options).unwrap_err();
    assert_eq!((refusal.code, refusal.path), (Code::BadArgument, Some("a{".into())));
    let options = Options { exclude: vec![b"\xff".as_slice().into()], ..Options::default() };
    assert_eq!(Filter::new(&options).unwrap_err().code, Code::BadArgument);
    let options = Options { exclude: vec!["x".into(); PATTERNS_MAX + 1], ..Options::default() };
    assert_eq!(Filter::new(&options).unwrap_err().code, Code::TooLong);
}

#[test]
fn an_inner_gitignore_file_stands_over_an_outer_one() {
    let base = std::env::temp_dir().join(format!("tow-filter-{}", std::process::id()));
    std::fs::create_dir_all(base.join("a")).unwrap();
    std::fs::write(base.join(".gitignore"), "\u{feff}*.log\r\n/only\n\\#odd\n").unwrap();
    std::fs::write(base.join("a/.gitignore"), "!kept.log\n/here\n").unwrap();
    let top = std::fs::File::open(&base).unwrap().into();
    let inner = open_dir(&top, b"a").unwrap();

    let options = Options { gitignore: true, ..Options::default() };
    let outer = Filter::new(&options).unwrap().enter(&top, b"");
    let filter = outer.enter(&inner, b"a");
    assert!(outer.excludes(b"", b"x.log", false));
    assert!(outer.excludes(b"", b"only", false));
    assert!(outer.excludes(b"", b"#odd", false));
    assert!(filter.excludes(b"a", b"x.log", false));
    assert!(!filter.excludes(b"a", b"kept.log", false));
    assert!(!filter.excludes(b"a", b"only", false));
    assert!(filter.excludes(b"a", b"here", false));
    assert!(!filter.excludes(b"a/b", b"here", false));
    let deaf = Filter::new(&Options::default()).unwrap().enter(&top, b"");
    assert!(!deaf.excludes(b"", b"x.log", false));
    std::fs::remove_dir_all(&base).unwrap();
}
