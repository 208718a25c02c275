//! What is in a tree, as an archive is planned by it.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::symlink;

use tow_host::beneath::Root;
use tow_host::files::{Found, walk};
use tow_proto::message::EntryKind;
use tow_proto::{Code, Refusal};
use tow_testkit::TempDir;

fn place() -> (TempDir, Root) {
    let dir = TempDir::new();
    fs::create_dir_all(dir.join("a/b/c")).unwrap();
    fs::create_dir(dir.join("a/empty")).unwrap();
    fs::write(dir.join("a/b/z"), "zz").unwrap();
    fs::write(dir.join("a/b.txt"), "text").unwrap();
    symlink("../../..", dir.join("a/b/out")).unwrap();
    symlink("a", dir.join("link")).unwrap();
    let root = Root::open(dir.path(), dir.path()).unwrap();
    (dir, root)
}

fn all(root: &Root, path: &str, count_max: usize) -> Result<Vec<Found>, Refusal> {
    let mut all = Vec::new();
    walk(root, &path.into(), count_max, &mut |found| {
        all.push(found);
        ControlFlow::Continue(())
    })?;
    Ok(all)
}

#[test]
fn everything_is_given_once_and_in_order() {
    let (_dir, root) = place();
    let all_of_a = all(&root, "a", 100).unwrap();
    let names: Vec<_> = all_of_a.iter().map(|found| String::from_utf8_lossy(&found.path)).collect();
    assert_eq!(names, ["", "b", "b/c", "b/out", "b/z", "b.txt", "empty"]);
    assert_eq!(all_of_a[3].target, Some("../../..".into()));
    assert_eq!((all_of_a[4].size, all_of_a[4].kind), (2, EntryKind::File));
    assert!(all_of_a.iter().all(|found| found.refused.is_none()));
    assert_eq!(all(&root, "link", 100).unwrap(), all_of_a, "what was named is followed");
    assert_eq!(all(&root, "a/b.txt", 1).unwrap().len(), 1);
    assert_eq!(all(&root, "a/b/out", 100).unwrap_err().code, Code::OutsideRoot);
    assert_eq!(all(&root, "no", 100).unwrap_err().code, Code::NotFound);
}

#[test]
fn more_than_was_allowed_is_refused_and_who_has_enough_gets_no_more() {
    let (_dir, root) = place();
    assert_eq!(all(&root, "a", 7).unwrap().len(), 7);
    let refusal = all(&root, "a", 6).unwrap_err();
    assert_eq!((refusal.code, refusal.count), (Code::TooLong, Some(6)));
    let mut count = 0;
    walk(&root, &"a".into(), 100, &mut |_| {
        count += 1;
        if count == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .unwrap();
    assert_eq!(count, 3);
}
