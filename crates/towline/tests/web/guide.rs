//! The examples of docs/HTTP.md, as they stand.

use std::fs;
use std::path::Path;
use std::process::Command;

use tow_testkit::Machine;

use crate::TOW;

#[test]
fn the_examples_of_the_document_work_as_they_stand() {
    let host = Machine::new(TOW);
    let node = host.serve(&[]);
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/HTTP.md");
    let text = fs::read_to_string(docs).unwrap();
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let blocks: Vec<_> = blocks.collect();
    assert!(blocks.len() >= 5, "the examples have gone");
    let script = blocks.join("\n");
    let bin = Path::new(TOW).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let done = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script])
        .env("PATH", path)
        .env("BOX", format!("http://{}", node.address()))
        .env("TOWLINE_HOME", host.home())
        .env("HOME", host.work())
        .current_dir(host.work())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}\n{error}");
    for expected in ["\"entries\":", "second", "412", "\"exit\":", "\"sessions\":", "resumed"] {
        assert!(said.contains(expected), "{expected:?} is missing:\n{said}\n{error}");
    }
}
