//! The rules of the house. A rule that is only written down is not one.
//!
//! Exceptions are named here, each with its reason; a list of them may become shorter.

#[path = "tidy/source.rs"]
mod source;

use source::{Source, files, quoted, read, root, sources};

/// Which crates of the workspace a crate may use.
const DIRECTIONS: [(&str, &[&str]); 8] = [
    ("tow-proto", &[]),
    ("tow-net", &["tow-proto"]),
    ("tow-host", &["tow-proto"]),
    ("tow-node", &["tow-proto", "tow-net", "tow-host"]),
    ("tow-web", &["tow-proto", "tow-net", "tow-host", "tow-node"]),
    ("towline", &["tow-proto", "tow-net", "tow-host", "tow-node", "tow-web"]),
    ("tow-testkit", &["tow-proto", "tow-net", "tow-host", "tow-node"]),
    ("xtask", &["tow-testkit"]),
];

/// Who may name the file system besides tow-host, and what for: never for a peer.
const OWN_FILES: [(&str, &str); 14] = [
    ("crates/towline/src/reference.rs", "the command reference, in a test"),
    ("crates/tow-net/src/listen.rs", "its own Unix socket"),
    ("crates/tow-node/src/state.rs", "the state directory"),
    ("crates/tow-node/src/identity.rs", "the private key"),
    ("crates/tow-node/src/keys.rs", "the files of grants"),
    ("crates/tow-node/src/hosts.rs", "the file of known machines"),
    ("crates/tow-node/src/audit.rs", "the audit log"),
    ("crates/tow-node/src/audit/reader.rs", "the audit log"),
    ("crates/towline/src/account.rs", "the account's entry in /etc/passwd"),
    ("crates/towline/src/local_peer.rs", "the kernel's tables of connections"),
    ("crates/towline/src/cmd/serve.rs", "the certificate named on the command line"),
    ("crates/towline/src/cmd/doctor", "the set-up that it is about"),
    ("crates/towline/src/cmd/classic/file_server.rs", "the file named on the command line"),
    ("crates/towline/src/cmd/classic/get.rs", "the file named on the command line"),
];

/// Who may start a process besides tow-host, and which: never one that a peer names.
const OWN_PROGRAMS: [(&str, &str); 2] = [
    ("crates/tow-node/src/keeper/process.rs", "this program again, as the keeper"),
    ("crates/towline/src/cmd/open.rs", "the browser of the one who asks"),
];

const FILE_LEN_MAX: usize = 600;
const FUNCTION_LEN_MAX: usize = 70;
const LONG_FILES: [&str; 0] = [];
const LONG_FUNCTIONS: [&str; 0] = [];
/// Files with `unsafe` in them.
const UNSAFE: [(&str, &str); 3] = [
    ("crates/tow-proto/tests/limits.rs", "an allocator that counts"),
    ("crates/tow-host/src/session/spawn.rs", "what the child does between fork and exec"),
    ("crates/towline/src/allocator.rs", "a setting of the C allocator that has no safe wrapper"),
];

#[test]
fn crates_are_used_in_one_direction() {
    for (name, allowed) in DIRECTIONS {
        let path = if name == "xtask" { "xtask/Cargo.toml".into() } else { manifest(name) };
        let text = read(&path);
        assert!(!text.is_empty(), "{path} is missing");
        for (section, used) in dependencies(&text) {
            let is_test = section == "dev-dependencies" && used == "tow-testkit";
            let is_ours = used.starts_with("tow-") || used == "towline";
            assert!(!is_ours || is_test || allowed.contains(&used), "{path} uses {used}");
        }
    }
}

#[test]
fn every_crate_has_its_directions() {
    for path in files(&root().join("crates"), "toml") {
        let known = DIRECTIONS.iter().any(|(name, _)| path == manifest(name));
        assert!(known || path.ends_with("clippy.toml"), "{path} is not in DIRECTIONS");
    }
}

#[test]
fn tow_proto_has_no_clock_socket_file_or_runtime() {
    let words = [
        "tokio",
        "std::fs",
        "std::net",
        "std::env",
        "std::process",
        "std::thread",
        "Instant::now",
        "SystemTime",
        "TcpStream",
        "UdpSocket",
        "UnixStream",
        "File::",
        "async fn",
        "rand::",
    ];
    none(sources(&["crates/tow-proto/src"]).iter().flat_map(|source| source.uses(&words)));
    let allowed = ["base64", "blake3", "serde", "serde_json", "thiserror", "xxhash-rust", "zstd"];
    for (section, used) in dependencies(&read(&manifest("tow-proto"))) {
        assert!(section == "dev-dependencies" || allowed.contains(&used), "tow-proto uses {used}");
    }
}

#[test]
fn only_tow_net_names_tls_and_sockets() {
    let crates = ["rustls", "socket2", "quinn"];
    for (name, _) in DIRECTIONS.iter().filter(|(name, _)| !["tow-net", "xtask"].contains(name)) {
        for (section, used) in dependencies(&read(&manifest(name))) {
            assert!(section != "dependencies" || !crates.contains(&used), "{name} uses {used}");
        }
        let words = ["rustls::", "socket2::", "quinn::"];
        none(of_crate(name).iter().flat_map(|source| source.uses(&words)));
    }
}

#[test]
fn only_tow_host_opens_files_for_a_peer_or_starts_programs() {
    let words = ["std::fs", "File::open", "File::create", "OpenOptions", "openat", "tokio::fs"];
    for name in ["tow-net", "tow-node", "towline"] {
        for source in of_crate(name) {
            if !OWN_PROGRAMS.iter().any(|(path, _)| source.path == *path) {
                none(source.uses(&["Command::new", "tokio::process"]));
            }
            if !OWN_FILES.iter().any(|(path, _)| source.path.starts_with(path)) {
                none(source.uses(&words));
            }
        }
    }
}

#[test]
fn only_towline_prints_exits_or_reads_the_environment() {
    let words = ["println!", "print!(", "process::exit", "env::var", "env::args", "io::stdin()"];
    for name in ["tow-proto", "tow-net", "tow-host", "tow-node"] {
        none(of_crate(name).iter().flat_map(|source| source.uses(&words)));
    }
}

#[test]
fn nothing_that_waits_in_line_is_unbounded() {
    let words = ["unbounded", "mpsc::channel()", "mpsc::channel::<"];
    let is_bounded = |place: &String| {
        // `channel::<T>(n)` of tokio has a bound; that of the standard library takes none.
        place.ends_with("mpsc::channel::<") && !line_of(place).contains(">()")
    };
    none(ours().iter().flat_map(|source| source.uses(&words)).filter(|place| !is_bounded(place)));
}

#[test]
fn no_test_is_ignored_and_nothing_is_left_open() {
    let words = [concat!("#[ign", "ore"), concat!("to", "do!"), concat!("unimpl", "emented!")];
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME")];
    for source in ours() {
        for (at, line) in source.lines.iter().enumerate() {
            let found = words.iter().chain(&marks).find(|word| line.contains(**word));
            assert!(found.is_none(), "{}:{}: {line}", source.path, at + 1);
        }
    }
}

#[test]
fn files_and_functions_are_short() {
    let (mut long, mut count) = (Vec::new(), 0);
    for source in ours() {
        let len = source.lines.len();
        if (len > FILE_LEN_MAX) != LONG_FILES.contains(&source.path.as_str()) {
            long.push(format!("{}: {len} lines (is it in LONG_FILES?)", source.path));
        }
        for function in source.functions() {
            count += 1;
            let name = format!("{}::{}", source.path, function.name);
            if (function.len > FUNCTION_LEN_MAX) != LONG_FUNCTIONS.contains(&name.as_str()) {
                long.push(format!("{name} (line {}): {} lines", function.line, function.len));
            }
        }
    }
    assert!(count > 500, "only {count} functions were found");
    none(long);
}

#[test]
fn every_file_says_first_what_it_is_for() {
    for source in ours().iter().filter(|source| !source.path.ends_with("/tests.rs")) {
        let first = source.lines.first().map_or("", String::as_str);
        assert!(first.starts_with("//! ") && first != "//! placeholder", "{}", source.path);
    }
}

#[test]
fn unsafe_code_is_where_it_is_said_to_be() {
    for source in ours() {
        let is_unsafe = |line: &String| line.contains(concat!("allow(", "unsafe_code)"));
        let is_known = UNSAFE.iter().any(|(path, _)| source.path == *path);
        assert!(is_known || !source.lines.iter().any(is_unsafe), "{}", source.path);
    }
}

#[test]
fn every_invariant_names_a_guard_that_exists() {
    let text = read("ARCHITECTURE.md");
    let invariants: Vec<&str> = text.split("Architecture Invariant: ").skip(1).collect();
    assert!(invariants.len() >= 9, "{} invariants", invariants.len());
    let mut missing = Vec::new();
    for invariant in invariants {
        let guards: Vec<&str> = quoted(invariant).filter(|word| word.ends_with(".rs")).collect();
        assert!(!guards.is_empty(), "no guard: {invariant}");
        missing.extend(guards.into_iter().filter(|path| !root().join(path).is_file()));
    }
    none(missing.into_iter().map(str::to_owned));
}

#[test]
fn every_file_that_a_document_names_exists() {
    for path in documents() {
        let text = read(&path);
        let is_path = |word: &&str| {
            let starts = ["crates/", "xtask/", "docs/", "fuzz/", "bench/", ".cargo/"];
            starts.iter().any(|start| word.starts_with(start))
                && !word.contains(['*', ' ', '{', 'N'])
        };
        let missing = quoted(&text).filter(is_path).filter(|word| !root().join(word).exists());
        none(missing.map(|word| format!("{path}: {word}")));
    }
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    for path in documents() {
        let text = read(&path);
        let here = root().join(&path);
        let links = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        let local = links.filter(|link| !link.is_empty() && !link.contains("://"));
        let missing = local.filter(|link| !here.with_file_name("").join(link).exists());
        none(missing.map(|link| format!("{path}: {link}")));
    }
}

#[test]
fn every_section_of_the_protocol_that_is_cited_exists() {
    let protocol = read("docs/PROTOCOL.md");
    let exists = |number: &str| {
        protocol.lines().any(|line| {
            let heading = line.trim_start_matches('#').trim_start();
            line.starts_with("##")
                && heading.trim_end_matches('.').starts_with(number)
                && !heading[number.len()..].starts_with(|next: char| next.is_ascii_digit())
        })
    };
    for source in ours() {
        for line in &source.lines {
            for cited in line.split("PROTOCOL ").skip(1) {
                for number in section_numbers(cited) {
                    assert!(exists(number), "{}: PROTOCOL {number}", source.path);
                }
            }
        }
    }
}

#[test]
fn the_labels_of_keys_and_proofs_are_those_of_the_protocol() {
    let protocol = read("docs/PROTOCOL.md");
    let mut found = 0;
    for source in of_crate("tow-node") {
        for (at, line) in source.shipped().filter(|(_, line)| line.contains("const ")) {
            let text = line.split('"').nth(1).unwrap_or_default();
            if ["EXPORTER", "towline 2", "towline ticket"]
                .iter()
                .any(|label| text.starts_with(label))
            {
                assert!(protocol.contains(text), "{}:{at}: {text}", source.path);
                found += 1;
            }
        }
    }
    assert!(found >= 5, "{found} labels");
}

#[test]
fn lock_files_name_the_public_registry_alone() {
    for path in ["Cargo.lock", "fuzz/Cargo.lock"] {
        let text = read(path);
        let sources: Vec<&str> =
            text.lines().filter(|line| line.starts_with("source = ")).collect();
        assert!(!sources.is_empty(), "{path} is missing");
        let public = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
        none(
            sources
                .into_iter()
                .filter(|line| *line != public)
                .map(|line| format!("{path}: {line}")),
        );
    }
}

#[test]
fn every_command_in_the_readme_exists() {
    let commands = commands();
    assert!(commands.contains(&"run".to_owned()), "{commands:?}");
    let readme = read("README.md");
    let blocks = readme.split("```").skip(1).step_by(2);
    let lines = blocks.flat_map(str::lines).map(after_prompt);
    let mut used = 0;
    for line in lines {
        let Some(command) = line.strip_prefix("tow ").and_then(|rest| rest.split(' ').next())
        else {
            continue;
        };
        assert!(
            command.starts_with('-') || commands.iter().any(|known| known == command),
            "{line}"
        );
        used += 1;
    }
    assert!(used >= 2, "README.md shows {used} commands");
}

/// `machine$ tow serve` without its prompt.
fn after_prompt(line: &str) -> &str {
    line.split_once("$ ").map_or(line, |(_, command)| command).trim_start()
}

#[test]
fn every_command_has_its_file() {
    for command in commands() {
        let name = command.replace('-', "_");
        let dir = root().join("crates/towline/src/cmd");
        let exists =
            dir.join(format!("{name}.rs")).exists() || dir.join(name).join("mod.rs").exists();
        assert!(exists, "no file in crates/towline/src/cmd for `{command}`");
    }
}

/// The subcommands of `tow`, as they are typed.
fn commands() -> Vec<String> {
    let args = read("crates/towline/src/args.rs");
    let body = args.split("enum Command {").nth(1).and_then(|rest| rest.split("\n}").next());
    let variants = body.unwrap_or_default().lines().filter(|line| {
        line.starts_with("    ") && line.as_bytes().get(4).is_some_and(u8::is_ascii_uppercase)
    });
    let word =
        |line: &str| line.trim().split(['(', ' ', ',']).next().unwrap_or_default().to_owned();
    variants.map(|line| kebab(&word(line))).collect()
}

fn kebab(name: &str) -> String {
    let mut words = String::new();
    for char in name.chars() {
        if char.is_ascii_uppercase() && !words.is_empty() {
            words.push('-');
        }
        words.push(char.to_ascii_lowercase());
    }
    words
}

/// `[section]` and name of each dependency of a manifest.
fn dependencies(manifest: &str) -> Vec<(&str, &str)> {
    let mut section = "";
    let mut found = Vec::new();
    for line in manifest.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if section.ends_with("dependencies") && !line.trim().is_empty() {
            found.push((section, line.split(['.', ' ', '=']).next().unwrap_or_default()));
        }
    }
    found
}

/// The numbers at the start of what follows "PROTOCOL ": `3.1, 5` or `7.1`.
fn section_numbers(cited: &str) -> Vec<&str> {
    let list = cited.find(|char: char| !(char.is_ascii_digit() || ". ,".contains(char)));
    let list = &cited[..list.unwrap_or(cited.len())];
    list.split(',')
        .map(|number| number.trim().trim_end_matches('.'))
        .filter(|n| !n.is_empty())
        .collect()
}

fn documents() -> Vec<String> {
    let mut documents = files(&root().join("docs"), "md");
    let top = ["README", "ARCHITECTURE", "CONTRIBUTING", "SECURITY", "CHANGELOG", "fuzz/README"];
    documents.extend(top.map(|name| format!("{name}.md")));
    documents
}

fn manifest(name: &str) -> String {
    format!("crates/{name}/Cargo.toml")
}

fn of_crate(name: &str) -> Vec<Source> {
    sources(&[&format!("crates/{name}/src")])
}

/// Every Rust file of the repository.
fn ours() -> Vec<Source> {
    sources(&["crates", "xtask", "fuzz", "bench"])
}

/// The line of a place that [`Source::uses`] gave.
fn line_of(place: &str) -> String {
    let mut parts = place.split(':');
    let (path, at) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let at: usize = at.parse().expect("a line number");
    read(path).lines().nth(at - 1).unwrap_or_default().to_owned()
}

/// Fails with all that was found.
fn none(found: impl IntoIterator<Item = String>) {
    let found: Vec<String> = found.into_iter().collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}
