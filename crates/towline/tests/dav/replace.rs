//! `COPY`, `MOVE` and `DELETE`: what is replaced, and what stays.

use std::fs;
use std::os::unix::fs::symlink;

use tow_testkit::{Machine, TempDir, names_in};

use super::{House, Visitor, house};

fn to(house: &House, method: &str, from: &str, to: &str, more: &[(&str, &str)], status: u16) {
    let mut fields = vec![("Destination", to)];
    fields.extend(more);
    house.ask(method, from, &fields, "").expect(status);
}

#[test]
fn a_destination_is_on_this_host_below_dav() {
    let house = house();
    house.host.write("a", "a");
    let own = format!("http://{}/dav/b", house.me.address);
    for method in ["COPY", "MOVE"] {
        for (destination, status) in [
            ("http://elsewhere.example/dav/b", 502),
            ("ftp://x/dav/b", 502),
            ("//elsewhere.example/dav/b", 400),
            ("/api/v1/files/b", 403),
            ("/b", 403),
            ("b", 400),
            ("", 400),
            ("/dav/b#c", 400),
            ("/dav/../b", 400),
            ("/dav/a", 403),
            ("/dav/", 403),
            ("/dav/none/b", 409),
            ("/dav/a/b", 409),
        ] {
            to(&house, method, "/a", destination, &[], status);
        }
        house.ask(method, "/a", &[], "").expect(400);
    }
    assert_eq!(names_in(&house.host.work()), ["a"]);
    to(&house, "COPY", "/a", &own, &[], 201);
    to(&house, "MOVE", "/a", "/dav/c%20d", &[], 201);
    assert_eq!((house.read("b"), house.read("c d")), ("a".into(), "a".into()));
}

#[test]
fn what_is_there_is_replaced_only_where_that_is_said() {
    let house = house();
    for method in ["COPY", "MOVE"] {
        house.host.write("file", "new");
        house.host.write("dir/new", "new");
        house.host.write("old", "old");
        house.host.write("olddir/old", "old");
        for (from, place) in [
            ("/file", "/dav/old"),
            ("/dir", "/dav/olddir"),
            ("/file", "/dav/olddir"),
            ("/dir", "/dav/old"),
        ] {
            to(&house, method, from, place, &[("Overwrite", "F")], 412);
        }
        to(&house, method, "/file", "/dav/old", &[], 204);
        to(&house, method, "/dir", "/dav/olddir", &[("Overwrite", "T")], 204);
        assert_eq!(house.read("old"), "new");
        assert_eq!(names_in(&house.host.file("olddir")), ["new"], "not merged");
        // Each in place of the other kind.
        to(&house, method, "/old", "/dav/olddir", &[], 204);
        assert_eq!(house.read("olddir"), "new");
        house.host.write("tree/x", "x");
        to(&house, method, "/tree", "/dav/olddir", &[], 204);
        assert_eq!(house.read("olddir/x"), "x");
        let is_copy = method == "COPY";
        assert_eq!(house.host.file("file").exists(), is_copy);
        for name in names_in(&house.host.work()) {
            let path = format!("/{}", name.to_str().unwrap());
            house.ask("DELETE", &path, &[], "").expect(204);
        }
    }
}

#[test]
fn a_directory_is_copied_whole_or_alone_and_never_into_itself() {
    let house = house();
    house.host.write("d/a", "a");
    symlink("a", house.host.file("d/link")).unwrap();
    symlink(".", house.host.file("d/loop")).unwrap();
    to(&house, "COPY", "/d", "/dav/whole", &[("Depth", "infinity")], 201);
    assert_eq!(names_in(&house.host.file("whole")), ["a", "link", "loop"]);
    assert_eq!(fs::read_link(house.host.file("whole/loop")).unwrap().to_str(), Some("."));
    to(&house, "COPY", "/d", "/dav/alone", &[("Depth", "0")], 201);
    assert_eq!(names_in(&house.host.file("alone")), [""; 0]);
    to(&house, "COPY", "/d/link", "/dav/content", &[], 201);
    assert_eq!(house.read("content"), "a");
    for (method, place, status) in
        [("COPY", "/dav/d/x", 403), ("MOVE", "/dav/d/x", 403), ("COPY", "/dav/d/loop/x", 403)]
    {
        to(&house, method, "/d", place, &[], status);
    }
    to(&house, "MOVE", "/d/a", "/dav/d", &[], 403);
    to(&house, "COPY", "/d", "/dav/y", &[("Depth", "1")], 400);
    assert_eq!(names_in(&house.host.file("d")), ["a", "link", "loop"]);
}

#[test]
fn a_move_that_fails_gives_back_what_it_was_to_replace() {
    let host = Machine::new(super::TOW);
    let node = host.serve(&[]);
    let me = Visitor::sign_in(&host, &node, &[]);
    let elsewhere = TempDir::in_memory();
    fs::create_dir(elsewhere.join("d")).unwrap();
    host.write("old/file", "old");
    let destination = format!("/dav{}", host.file("old").display());
    let from = format!("/dav{}", elsewhere.join("d").display());
    let refused = me.ask("MOVE", &from, &[("Destination", &destination)], b"").expect(409);
    assert_eq!(refused.refusal(), "OtherFileSystem");
    assert_eq!(names_in(&host.work()), ["old"]);
    assert_eq!(fs::read_to_string(host.file("old/file")).unwrap(), "old");
}

#[test]
fn a_root_stays_and_what_is_missing_is_missing() {
    let house = house();
    house.host.write("d/a", "a");
    house.ask("DELETE", "/", &[], "").expect(403);
    to(&house, "MOVE", "/", "/dav/x", &[], 403);
    house.ask("MKCOL", "/", &[], "").expect(405);
    house.ask("MKCOL", "/d", &[], "").expect(405);
    house.ask("MKCOL", "/x/y", &[], "").expect(409);
    house.ask("DELETE", "/x", &[], "").expect(404);
    house.ask("DELETE", "/d", &[("Depth", "0")], "").expect(400);
    assert_eq!(house.read("d/a"), "a");
    house.ask("DELETE", "/d/", &[], "").expect(204);
    assert_eq!(names_in(&house.host.work()), [""; 0]);
}

#[test]
fn dead_properties_go_with_their_file() {
    let house = house();
    house.host.write("d/a", "a");
    let set = "<propertyupdate xmlns='DAV:'><set><prop><x xmlns='urn:x'>kept &amp; <y/></x></prop></set>\
        </propertyupdate>";
    house.ask("PROPPATCH", "/d/a", &[], set).expect(207);
    to(&house, "COPY", "/d", "/dav/e", &[], 201);
    to(&house, "MOVE", "/d", "/dav/f", &[], 201);
    let wanted = super::prop("<x xmlns='urn:x'/>");
    for path in ["/e/a", "/f/a"] {
        let found = house.find(path, "0", &wanted);
        assert!(
            found.contains("kept &amp; <y xmlns=") || found.contains("kept &amp; <P:y"),
            "{found}"
        );
    }
    house.ask("DELETE", "/f", &[], "").expect(204);
    house.host.write("f/a", "another");
    assert!(house.find("/f/a", "0", &wanted).contains("404 Not Found"));
    let protected = set
        .replace("<x xmlns='urn:x'>kept &amp; <y/></x>", "<getetag>x</getetag><z xmlns='urn:x'/>");
    let refused = house.ask("PROPPATCH", "/e/a", &[], &protected).expect(207);
    let refused = String::from_utf8_lossy(&refused.body).into_owned();
    assert!(
        refused.contains("403 Forbidden") && refused.contains("424 Failed Dependency"),
        "{refused}"
    );
}
