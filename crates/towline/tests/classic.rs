//! The classic programs from outside: against each other, and against the small Python programs
//! in `tests/classic`, which share nothing with them but the description of the format.

#![allow(clippy::unwrap_used)] // In helpers too, which clippy does not take for tests.

#[path = "classic/programs.rs"]
mod programs;

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::process::Stdio;
use std::thread;

use tow_testkit::{TempDir, is_running, names_in, until};

use programs::{
    Server, addresses, ask, assert_closed, assert_fails, block, get, interrupt, python, read_block,
    stdout, text, tow, with_input,
};

const COMMANDS: &[u8] =
    b"echo out; echo err >&2\n\n   \nprintf '\\377\\000x'\npwd -P | wc -l\nq\necho never\n";
const ANSWERS: &[u8] = b"out\nerr\n\xff\0x1\n";

#[test]
fn our_client_and_our_server_agree_on_every_kind_of_socket() {
    let dir = TempDir::new();
    for address in addresses(&dir) {
        let server = Server::commands(&address);
        assert_eq!(ask(&server.address, COMMANDS), ANSWERS, "{address}");
    }
}

#[test]
fn our_client_agrees_with_another_server_on_every_kind_of_socket() {
    let dir = TempDir::new();
    for address in addresses(&dir) {
        let server = Server::python("cmd_server.py", &[&address]);
        assert_eq!(ask(&server.address, COMMANDS), ANSWERS, "{address}");
    }
}

#[test]
fn another_client_agrees_with_our_server_however_the_bytes_are_cut() {
    let dir = TempDir::new();
    for address in addresses(&dir) {
        let server = Server::commands(&address);
        for manner in ["together", "split", "bytewise"] {
            for piece in ["9", "65536"] {
                let client = python("cmd_client.py", &[&server.address, manner, piece]);
                let input = b"echo out; echo err >&2\n\nseq 1000\n";
                let expected: String = (1..=1000).map(|number| format!("{number}\n")).collect();
                let expected = format!("out\nerr\n{expected}");
                let answers = text(&stdout(with_input(client, input)));
                assert_eq!(answers, expected, "{address} {manner} {piece}");
            }
        }
    }
}

#[test]
fn ten_megabytes_on_both_outputs_at_once_arrive_in_order() {
    let server = Server::commands("127.0.0.1:0");
    let line = b"head -c 10000000 /dev/zero | tr '\\0' e >&2 & head -c 10000000 /dev/zero | tr '\\0' o; wait\n";
    for client in [
        tow(&["cmd", &server.address]),
        python("cmd_client.py", &[&server.address, "together", "65536"]),
    ] {
        let answer = stdout(with_input(client, line));
        assert_eq!(answer.len(), 20_000_000);
        let (out, err) = answer.split_at(10_000_000);
        assert!(out.iter().all(|byte| *byte == b'o') && err.iter().all(|byte| *byte == b'e'));
    }
}

#[test]
fn an_empty_command_has_an_empty_answer() {
    let server = Server::commands("127.0.0.1:0");
    let mut stream = server.tcp();
    stream.write_all(&block(b"")).unwrap();
    assert_eq!(read_block(&mut stream), b"");
    stream.write_all(&block(b"echo still here")).unwrap();
    assert_eq!(read_block(&mut stream), b"still here\n");
}

#[test]
fn requests_sent_ahead_are_answered_in_order_even_after_a_half_close() {
    let server = Server::commands("127.0.0.1:0");
    let mut stream = server.tcp();
    stream.write_all(&[block(b"echo 1"), block(b""), block(b"echo 3")].concat()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let answers = [0; 3].map(|_| text(&read_block(&mut stream)));
    assert_eq!(answers, ["1\n", "", "3\n"]);
    assert_closed(&mut stream);
}

#[test]
fn a_command_that_is_not_utf8_is_answered_and_the_connection_kept() {
    let server = Server::commands("127.0.0.1:0");
    let mut stream = server.tcp();
    stream.write_all(&block(b"echo \xff")).unwrap();
    let answer = text(&read_block(&mut stream));
    assert!(answer.contains("not UTF-8") && answer.contains("byte 5"), "{answer}");
    stream.write_all(&block("echo ü".as_bytes())).unwrap();
    assert_eq!(read_block(&mut stream), "ü\n".as_bytes());
}

#[test]
fn answers_in_gbk_are_decoded_even_where_a_character_is_cut() {
    let server = Server::commands("127.0.0.1:0");
    // The characters of two bytes start at odd offsets, reads end at even ones.
    let line = b"printf x; yes \"$(printf '\\326\\320')\" | head -n 50000 | tr -d '\\n'\n";
    let client = tow(&["cmd", &server.address, "--encoding", "gbk"]);
    let answer = text(&stdout(with_input(client, line)));
    assert_eq!(answer, format!("x{}", "中".repeat(50_000)));
    let output = tow(&["cmd", &server.address, "--encoding", "klingon"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn many_clients_are_served_at_once() {
    let dir = TempDir::new();
    let server = Server::commands("127.0.0.1:0");
    let count = 12;
    // Each command ends only when all of them run.
    let line = |number: usize| {
        let dir = dir.path().display();
        format!(
            "touch {dir}/{number}; until [ $(ls {dir} | wc -l) = {count} ]; do sleep 0.02; done; echo {number}\n"
        )
    };
    thread::scope(|scope| {
        for number in 0..count {
            let (address, line) = (&server.address, line(number));
            scope.spawn(move || {
                assert_eq!(text(&ask(address, line.as_bytes())), format!("{number}\n"));
            });
        }
    });
}

#[test]
fn a_client_that_never_finishes_its_request_holds_up_nobody() {
    let server = Server::tow(&["cmd-server", "--listen", "127.0.0.1:0", "--backlog", "1"]);
    let mut silent: Vec<_> = (0..4).map(|_| server.tcp()).collect();
    for stream in &mut silent {
        stream.write_all(&[5, 0, 0]).unwrap();
    }
    assert_eq!(ask(&server.address, b"echo served\n"), b"served\n");
}

#[test]
fn what_a_client_leaves_behind_is_killed() {
    let dir = TempDir::new();
    let server = Server::commands("127.0.0.1:0");
    let pids = dir.join("pids");
    let mut stream = server.tcp();
    let line = format!("sleep 1000 & echo $$ $! > {}; wait", pids.display());
    stream.write_all(&block(line.as_bytes())).unwrap();
    let written = || fs::read_to_string(&pids).unwrap_or_default();
    until("both process ids", || written().ends_with('\n'));
    drop(stream);
    server.wait_for_status("the command was killed");
    for pid in written().split_whitespace() {
        let pid = pid.parse().unwrap();
        until("the end of a process", || !is_running(pid));
    }
}

#[test]
fn lengths_that_cannot_be_are_refused_and_the_server_goes_on() {
    let server = Server::commands("127.0.0.1:0");
    for length in [-1, i64::MIN, 1 << 62, (1 << 20) + 1] {
        let mut stream = server.tcp();
        stream.write_all(&length.to_le_bytes()).unwrap();
        assert_closed(&mut stream);
        server.wait_for_status(&format!("a block of {length} bytes was announced"));
    }
    assert_eq!(ask(&server.address, b"echo alive\n"), b"alive\n");
}

#[test]
fn answers_with_lengths_that_cannot_be_are_errors() {
    for (length, part) in [
        ("-1", "a block of -1 bytes was announced"),
        ("4611686018427387904", "a block of 4611686018427387904 bytes was announced"),
        ("5", "the answer ended after 2 of 5 bytes"),
    ] {
        let server = Server::python("cmd_server.py", &["127.0.0.1:0", length]);
        assert_fails(&with_input(tow(&["cmd", &server.address]), b"anything\n"), part);
    }
}

#[test]
fn a_server_that_nobody_runs_is_an_error_with_a_hint() {
    let output = with_input(tow(&["cmd", "unix:/nonexistent/socket"]), b"");
    assert_fails(&output, "/nonexistent/socket: no such socket\ntow: hint: ");
}

#[test]
fn the_status_lines_say_who_asked_what_and_got_how_much() {
    let server = Server::commands("127.0.0.1:0");
    let mut stream = server.tcp();
    let peer = stream.local_addr().unwrap();
    stream.write_all(&block(b"printf 12345 # \x1b[2J\n# more")).unwrap();
    assert_eq!(read_block(&mut stream), b"12345");
    drop(stream);
    server.wait_for_status(&format!("{peer} left"));
    let asked = format!("{peer} asked `printf 12345 # \\u{{1b}}[2J\\n# more`");
    let status = server.status.lock().unwrap().clone();
    assert_eq!(
        status,
        [format!("{peer} connected"), asked, format!("{peer} got 5 bytes"), format!("{peer} left")]
    );
}

#[test]
fn servers_stay_on_this_machine_unless_they_are_told_otherwise() {
    let dir = TempDir::new();
    fs::write(dir.join("file"), "content").unwrap();
    let file = dir.join("file");
    for program in [&["cmd-server"][..], &["file-server", file.to_str().unwrap()]] {
        for address in ["0.0.0.0:0", "[::]:0", ":0"] {
            let output = tow(&[program, &["--listen", address]].concat()).output().unwrap();
            let stderr = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{stderr}");
            assert!(stderr.starts_with("tow: error: refused to listen on "), "{stderr}");
            assert!(stderr.contains("\ntow: hint: ") && stderr.contains("--insecure"), "{stderr}");
        }
    }
}

#[test]
fn an_insecure_server_warns_and_serves_both_families() {
    let server = Server::tow(&["cmd-server", "--listen", ":0", "--insecure"]);
    server.wait_for_status("tow: warning: ");
    let port = server.address.rsplit(':').next().unwrap().to_owned();
    for host in ["127.0.0.1", "[::1]", "localhost"] {
        assert_eq!(ask(&format!("{host}:{port}"), b"echo here\n"), b"here\n", "{host}");
    }
}

#[test]
fn an_interrupt_ends_a_server_its_commands_and_its_socket() {
    let dir = TempDir::new();
    let [_, _, address] = addresses(&dir);
    let mut server = Server::commands(&address);
    let pid = dir.join("pid");
    let client = tow(&["cmd", &address]);
    let line = format!("echo $$ > {}; exec sleep 1000\n", pid.display());
    let asking = thread::spawn(move || with_input(client, line.as_bytes()));
    let written = || fs::read_to_string(&pid).unwrap_or_default();
    until("the process id", || written().ends_with('\n'));
    server.interrupt();
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    assert!(!dir.join("socket").exists());
    let pid = written().trim().parse().unwrap();
    until("the end of the command", || !is_running(pid));
    assert_fails(&asking.join().unwrap(), "the server closed the connection");
}

#[test]
fn a_file_goes_from_our_server_to_our_client_and_to_another_on_every_kind_of_socket() {
    let dir = TempDir::new();
    let source = dir.join("a b\\c.bin");
    let content: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(&source, &content).unwrap();
    for address in addresses(&dir) {
        let target = TempDir::new();
        let server = Server::file(&address, &source);
        let output = get(&server.address, &[target.path().to_str().unwrap()]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(names_in(target.path()), ["a b\\c.bin"]);
        assert!(fs::read(target.join("a b\\c.bin")).unwrap() == content);
        server.wait_for_status("got a b\\c.bin, 1200000 bytes");
        let received = target.join("by another");
        let client = python("file_client.py", &[&server.address, received.to_str().unwrap()]);
        let header = text(&stdout(with_input(client, b"")));
        assert_eq!(header, "{\"file_name\": \"a b\\\\c.bin\", \"file_size\": 1200000}\n");
        assert!(fs::read(received).unwrap() == content);
    }
}

#[test]
fn a_file_comes_from_another_server_on_every_kind_of_socket() {
    let dir = TempDir::new();
    for address in addresses(&dir) {
        for end in ["close", "hold"] {
            let server = Server::python("file_server.py", &[&address, "naïve", "5", "12345", end]);
            let target = dir.join("target");
            let output = get(&server.address, &[target.to_str().unwrap(), "--force"]);
            assert!(output.status.success(), "{}", text(&output.stderr));
            assert_eq!(fs::read(target).unwrap(), b"12345", "{address} {end}");
            drop(server);
            let _ = fs::remove_file(dir.join("socket"));
        }
    }
}

#[test]
fn a_name_with_directories_in_it_stays_in_the_directory_that_was_asked_for() {
    let dir = TempDir::new();
    let target = dir.join("target");
    fs::create_dir(&target).unwrap();
    let server =
        Server::python("file_server.py", &["127.0.0.1:0", "../../evil", "1", "x", "close"]);
    let output = get(&server.address, &[target.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(names_in(dir.path()), ["target"]);
    assert_eq!(fs::read(target.join("evil")).unwrap(), b"x");
}

#[test]
fn names_that_name_nothing_are_refused() {
    let dir = TempDir::new();
    for name in ["", ".", "..", "a/..", "a/"] {
        let server = Server::python("file_server.py", &["127.0.0.1:0", name, "1", "x", "close"]);
        let output = get(&server.address, &[dir.path().to_str().unwrap()]);
        assert_fails(&output, "the server's name for the file cannot be used");
        assert_eq!(names_in(dir.path()), [""; 0]);
    }
}

#[test]
fn a_file_that_exists_is_replaced_only_by_force() {
    let dir = TempDir::new();
    fs::write(dir.join("kept"), "old").unwrap();
    let server = Server::python("file_server.py", &["127.0.0.1:0", "kept", "3", "new", "close"]);
    let target = dir.path().to_str().unwrap();
    assert_fails(&get(&server.address, &[target]), "exists\ntow: hint: --force");
    assert_eq!(fs::read(dir.join("kept")).unwrap(), b"old");
    assert!(get(&server.address, &[target, "--force"]).status.success());
    assert_eq!(fs::read(dir.join("kept")).unwrap(), b"new");
    assert_eq!(names_in(dir.path()), ["kept"]);
}

#[test]
fn content_that_is_not_as_long_as_announced_leaves_no_file() {
    let dir = TempDir::new();
    for (size, part) in [
        ("6", "the connection ended after 5 of 6 bytes"),
        ("4", "the server sent more than the 4 bytes"),
        ("-1", "the header is not understood"),
    ] {
        let server =
            Server::python("file_server.py", &["127.0.0.1:0", "a", size, "12345", "close"]);
        assert_fails(&get(&server.address, &[dir.path().to_str().unwrap()]), part);
        assert_eq!(names_in(dir.path()), [""; 0], "{size}");
    }
}

#[test]
fn a_header_with_a_length_that_cannot_be_is_an_error() {
    let dir = TempDir::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    for length in [-1, 1 << 62] {
        let answering = thread::spawn({
            let listener = listener.try_clone().unwrap();
            move || listener.accept().unwrap().0.write_all(&i64::to_le_bytes(length)).unwrap()
        });
        let output = get(&address, &[dir.path().to_str().unwrap()]);
        assert_fails(&output, &format!("a block of {length} bytes was announced"));
        answering.join().unwrap();
    }
    assert_eq!(names_in(dir.path()), [""; 0]);
}

#[test]
fn an_interrupted_get_leaves_nothing() {
    let dir = TempDir::new();
    let server = Server::python("file_server.py", &["127.0.0.1:0", "a", "9", "12345", "hold"]);
    let mut command = tow(&["get", &server.address, dir.path().to_str().unwrap()]);
    let child = command.stderr(Stdio::piped()).spawn().unwrap();
    until("the partial", || !names_in(dir.path()).is_empty());
    assert!(names_in(dir.path())[0].to_string_lossy().ends_with(".tow-part"));
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.starts_with("tow: error: interrupted"), "{stderr}");
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(names_in(dir.path()), [""; 0]);
}

#[test]
fn an_empty_file_arrives_empty() {
    let (source, target) = (TempDir::new(), TempDir::new());
    File::create(source.join("empty")).unwrap();
    let server = Server::file("127.0.0.1:0", &source.join("empty"));
    assert!(get(&server.address, &[target.path().to_str().unwrap()]).status.success());
    assert_eq!(fs::read(target.join("empty")).unwrap(), b"");
}

#[test]
fn five_gibibytes_arrive_whole_and_without_progress_in_a_pipe() {
    let (source, target) = (TempDir::in_memory(), TempDir::new());
    let size = 5_u64 << 30;
    let marks = [0, (2 << 30) - 3, 1 << 32, (1 << 32) + 1_234_567, size - 6];
    let file = File::create(source.join("big")).unwrap();
    file.set_len(size).unwrap();
    for mark in marks {
        file.write_all_at(format!("{mark:06}").get(..6).unwrap().as_bytes(), mark).unwrap();
    }
    let server = Server::file("127.0.0.1:0", &source.join("big"));
    let output = get(&server.address, &[target.path().to_str().unwrap()]);
    let path = target.join("big");
    assert_eq!(text(&output.stderr), format!("received {}, {size} bytes\n", path.display()));
    let received = File::open(&path).unwrap();
    assert_eq!(received.metadata().unwrap().len(), size);
    for mark in marks {
        let mut bytes = [0; 6];
        received.read_exact_at(&mut bytes, mark).unwrap();
        assert_eq!(&bytes, format!("{mark:06}").get(..6).unwrap().as_bytes());
    }
    let blocks = received.metadata().unwrap().blocks();
    assert!(blocks * 512 < 64 << 20, "zeros stay holes, {blocks} blocks are allocated");
}

#[test]
fn a_file_that_shrinks_ends_the_connection_early() {
    let dir = TempDir::in_memory();
    let file = File::create(dir.join("big")).unwrap();
    file.set_len(1 << 30).unwrap();
    let server = Server::file("127.0.0.1:0", &dir.join("big"));
    let mut stream = server.tcp();
    let header = text(&read_block(&mut stream));
    assert_eq!(header, "{\"file_name\":\"big\",\"file_size\":1073741824}");
    file.set_len(10).unwrap();
    let got = std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
    assert!(got < 1 << 30, "{got} bytes came");
    server.wait_for_status("the file shrank");
}

#[test]
fn many_clients_get_the_file_and_one_that_reads_nothing_holds_up_nobody() {
    let (source, target) = (TempDir::new(), TempDir::new());
    let content = vec![7; 3_000_000];
    fs::write(source.join("file"), &content).unwrap();
    let server = Server::file("127.0.0.1:0", &source.join("file"));
    let silent = server.tcp();
    thread::scope(|scope| {
        for number in 0..8 {
            let (address, path) = (&server.address, target.join(number.to_string()));
            scope.spawn(move || {
                assert!(get(address, &[path.to_str().unwrap()]).status.success());
            });
        }
    });
    for number in 0..8 {
        assert!(fs::read(target.join(number.to_string())).unwrap() == content);
    }
    drop(silent);
}

#[test]
fn only_a_regular_file_is_offered() {
    let dir = TempDir::new();
    for (path, part) in
        [(dir.path().to_owned(), "not a regular file"), (dir.join("none"), "No such file")]
    {
        let path = path.to_str().unwrap();
        let output = tow(&["file-server", "--listen", "127.0.0.1:0", path]).output().unwrap();
        assert_fails(&output, part);
    }
}
