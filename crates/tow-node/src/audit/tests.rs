//! Nothing is lost without being counted, and nothing that is written does harm.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use super::*;
use crate::identity::PublicKey;
use crate::test_dir::TestDir;

fn wall() -> SystemTime {
    crate::clock::from_unix_secs(1_795_359_845)
}

fn key() -> KeyId {
    PublicKey::from_bytes([7; 32]).id()
}

fn served(what: &'static str) -> Record {
    Record::new(Who::Key(key()), Trust::Proved, what, Outcome::Ok)
}

fn refused(code: Code) -> Record {
    Record::new(Who::Unknown, Trust::Unproved, "link", Outcome::Refused(code))
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn log() -> (TestDir, PathBuf) {
    let dir = TestDir::new();
    let path = dir.path().join("audit.jsonl");
    (dir, path)
}

#[test]
fn a_record_is_one_line_with_all_its_facts() {
    let (_dir, path) = log();
    let audit = Audit::open(&path).unwrap();
    let mut record = served("run").with_env(&[("TOKEN".into(), "hunter2".into())]);
    record.name = "laptop".to_owned();
    record.from = "192.0.2.7:51234".to_owned();
    record.detail = vec!["make".into(), ByteString(vec![0xff, b'a'])];
    record.session = "0123456789ab".to_owned();
    record.outcome = Outcome::Ended(Ended::Code(2));
    record.bytes = 70;
    record.duration = Duration::from_millis(1500);
    audit.record_at(&record, wall() + Duration::from_millis(7), Instant::now());
    let text = fs::read_to_string(&path).unwrap();
    let key = key();
    assert_eq!(
        text,
        format!(
            "{{\"time\":\"2026-11-22T15:04:05.007Z\",\"seq\":1,\"who\":\"{key}\",\"name\":\"laptop\",\
             \"from\":\"192.0.2.7:51234\",\"what\":\"run\",\"detail\":[\"make\",{{\"b64\":\"/2E=\"}}],\
             \"env\":[\"TOKEN\"],\"session\":\"0123456789ab\",\"outcome\":\"exit\",\"exit\":2,\"bytes\":70,\"duration_ms\":1500}}\n"
        )
    );
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
}

#[test]
fn outcomes_are_told_apart() {
    let (_dir, path) = log();
    let audit = Audit::open(&path).unwrap();
    let signal = Ended::Signal { name: "KILL".to_owned(), number: 9, core: false };
    let outcomes = [
        Outcome::Ok,
        Outcome::Begun,
        Outcome::Cut,
        Outcome::Refused(Code::NoRight),
        Outcome::Ended(Ended::Code(0)),
        Outcome::Ended(signal),
    ];
    for outcome in outcomes {
        audit.record(&Record { outcome, who: Who::Uid(1000), ..served("run") });
    }
    let lines = lines(&path);
    let words: Vec<_> = lines.iter().map(|line| line["outcome"].as_str().unwrap()).collect();
    assert_eq!(words, ["ok", "begun", "cut", "refused", "exit", "signal"]);
    assert_eq!((&lines[3]["code"], &lines[3]["why"]), (&Value::from(13), &Value::from("NoRight")));
    assert_eq!((&lines[4]["exit"], &lines[5]["signal"]), (&Value::from(0), &Value::from("KILL")));
    assert!(lines.iter().all(|line| line["who"] == "uid:1000"));
}

#[test]
fn nothing_in_a_line_moves_a_cursor_and_nothing_is_lost() {
    let (_dir, path) = log();
    let audit = Audit::open(&path).unwrap();
    let nasty = "\u{1b}[2J\u{9b}1m\u{202e}\u{200b}\n\r\0\u{7f}\u{e0041}\u{feff}\"\\é";
    let mut record = served("put");
    record.detail = vec![nasty.into()];
    record.name = nasty.to_owned();
    record.from = nasty.to_owned();
    audit.record(&record);
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 1);
    let shown = tow_proto::byte_string::escape(text.trim_end().as_bytes());
    assert_eq!(shown, text.trim_end(), "nothing is left to be escaped");
    let line = &lines(&path)[0];
    assert_eq!((&line["detail"][0], &line["from"]), (&Value::from(nasty), &Value::from(nasty)));
    assert_eq!(line["name"], "[2J1m\"\\é");
}

#[test]
fn a_long_list_is_cut_and_the_rest_counted() {
    let (_dir, path) = log();
    let audit = Audit::open(&path).unwrap();
    let mut record = served("run");
    record.detail = vec![ByteString(vec![1; 100]); 10_000];
    audit.record(&record);
    record.detail = vec![ByteString(vec![b'x'; 1 << 20])];
    audit.record(&record);
    let lines = lines(&path);
    let kept = lines[0]["detail"].as_array().unwrap().len();
    assert_eq!(lines[0]["left_out"], 10_000 - kept);
    assert_eq!(
        (lines[1]["detail"].as_array().unwrap().len(), &lines[1]["left_out"]),
        (0, &Value::from(1))
    );
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.lines().all(|line| line.len() < 128 << 10));
}

#[test]
fn numbers_go_on_after_a_restart_even_after_a_torn_line() {
    let (_dir, path) = log();
    for restart in 1..=3u64 {
        Audit::open(&path).unwrap().record(&served("ls"));
        assert_eq!(lines(&path).last().unwrap()["seq"], restart);
    }
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"{\"time\":\"2026-11-22T15:0").unwrap();
    Audit::open(&path).unwrap().record(&served("get"));
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 5);
    let last: Value = serde_json::from_str(lines[4]).unwrap();
    assert_eq!((&last["seq"], &last["what"]), (&Value::from(4), &Value::from("get")));
}

#[test]
fn a_full_file_makes_room_for_a_new_one_and_one_old_one_is_kept() {
    let (_dir, path) = log();
    let audit = Audit::open_rotating(&path, 1000).unwrap();
    for _ in 0..50 {
        audit.record(&served("ls"));
    }
    let numbers = |path: &Path| -> Vec<u64> {
        lines(path).iter().map(|line| line["seq"].as_u64().unwrap()).collect()
    };
    let both: Vec<u64> = numbers(&older_path(&path)).into_iter().chain(numbers(&path)).collect();
    assert_eq!(*both.last().unwrap(), 50);
    assert!(both.windows(2).all(|pair| pair[1] == pair[0] + 1), "{both:?}");
    assert!(fs::metadata(older_path(&path)).unwrap().len() >= 1000);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 2);
    drop(audit);
    let audit = Audit::open_rotating(&path, 1000).unwrap();
    audit.record(&served("ls"));
    assert_eq!(audit.0.writer().seq, 51);
}

#[test]
fn the_count_goes_on_from_the_older_file_where_the_new_one_is_empty() {
    let (_dir, path) = log();
    Audit::open_rotating(&path, 1).unwrap().record(&served("ls"));
    assert_eq!(fs::read(&path).unwrap(), b"");
    Audit::open(&path).unwrap().record(&served("ls"));
    assert_eq!(lines(&path)[0]["seq"], 2);
}

#[test]
fn what_can_not_be_written_is_counted_in_the_next_line() {
    let (_dir, path) = log();
    let audit = Audit::open(&path).unwrap();
    audit.record(&served("ls"));
    // The device that is always full.
    let full = OpenOptions::new().append(true).open("/dev/full").unwrap();
    let real = std::mem::replace(&mut audit.0.writer().file, full.into());
    for _ in 0..3 {
        audit.record(&served("run"));
    }
    {
        let mut writer = audit.0.writer();
        writer.file = real;
        writer.len = fs::metadata(&path).unwrap().len();
        writer.is_torn = false;
    }
    audit.record(&served("get"));
    audit.record(&served("put"));
    let lines = lines(&path);
    assert_eq!(lines.len(), 3);
    assert_eq!((&lines[1]["what"], &lines[1]["lost"]), (&Value::from("get"), &Value::from(3)));
    assert_eq!(lines[2]["lost"], Value::Null);
}

#[test]
fn a_flood_of_equal_refusals_is_counted() {
    let (_dir, path) = log();
    let audit = Audit::open(&path).unwrap();
    let start = Instant::now();
    for _ in 0..1000 {
        audit.record_at(&refused(Code::UnknownKey), wall(), start);
    }
    audit.record_at(&refused(Code::WrongCode), wall(), start);
    assert_eq!(lines(&path).len(), 11, "ten, and the other kind");
    audit.record_at(&served("ls"), wall(), start + flood::WINDOW);
    let lines = lines(&path);
    assert_eq!(lines.len(), 13);
    assert_eq!(
        (&lines[11]["repeated"], &lines[11]["why"]),
        (&Value::from(990), &Value::from("UnknownKey"))
    );
    assert_eq!(lines[12]["what"], "ls");
    let seqs: Vec<_> = lines.iter().map(|line| line["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=13).collect::<Vec<_>>());
}

#[test]
fn a_flood_that_ends_is_counted_without_another_record() {
    let (_dir, path) = log();
    let audit = Audit::open(&path).unwrap();
    for _ in 0..15 {
        audit.record(&refused(Code::UnknownKey));
    }
    drop(audit);
    let counted: u64 = lines(&path).iter().map(|line| line["repeated"].as_u64().unwrap_or(1)).sum();
    assert_eq!(counted, 15);
}

#[test]
fn a_proved_peer_and_a_success_are_never_held_back() {
    let (_dir, path) = log();
    let audit = Audit::open(&path).unwrap();
    for _ in 0..50 {
        audit.record(&Record { trust: Trust::Proved, ..refused(Code::NoRight) });
        audit.record(&Record { trust: Trust::Unproved, ..served("join") });
    }
    assert_eq!(lines(&path).len(), 100);
}

async fn next_lines(reader: &mut Reader) -> Vec<Value> {
    let chunk = tokio::time::timeout(Duration::from_secs(20), reader.next_chunk());
    let chunk = chunk.await.expect("lines come").unwrap().unwrap_or_default();
    let text = String::from_utf8(chunk).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn reading_to_now_ends_even_while_more_is_written() {
    let (_dir, path) = log();
    let audit = Audit::open(&path).unwrap();
    audit.record(&served("ls"));
    let mut reader = audit.reader(ReadTo::Now).unwrap();
    audit.record(&served("get"));
    assert_eq!(next_lines(&mut reader).await.len(), 1);
    assert_eq!(reader.next_chunk().await.unwrap(), None);
}

#[tokio::test]
async fn a_follower_gets_every_line_once_across_rotations() {
    let (_dir, path) = log();
    let audit = Audit::open_rotating(&path, 2000).unwrap();
    for _ in 0..20 {
        audit.record(&served("ls"));
    }
    let first = lines(&older_path(&path))[0]["seq"].as_u64().unwrap();
    let mut reader = audit.reader(ReadTo::Forever).unwrap();
    let writer = std::thread::spawn({
        let audit = audit.clone();
        move || (0..5).for_each(|_| audit.record(&served("get")))
    });
    let mut seen = Vec::new();
    while seen.last() != Some(&25) {
        seen.extend(next_lines(&mut reader).await.iter().map(|line| line["seq"].as_u64().unwrap()));
    }
    writer.join().unwrap();
    assert_eq!(seen, (first..=25).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_follower_waits_and_a_dropped_wait_loses_nothing() {
    let (_dir, path) = log();
    let audit = Audit::open(&path).unwrap();
    let mut reader = audit.reader(ReadTo::Forever).unwrap();
    for _ in 0..20 {
        let waited = tokio::time::timeout(Duration::ZERO, reader.next_chunk()).await;
        assert!(waited.is_err(), "there is nothing yet");
    }
    audit.record(&served("ls"));
    // Polled once and dropped, while a thread may be reading.
    let dropped = tokio::time::timeout(Duration::ZERO, reader.next_chunk()).await;
    if dropped.is_err() {
        assert_eq!(next_lines(&mut reader).await[0]["seq"], 1);
    }
    audit.record(&served("get"));
    assert_eq!(next_lines(&mut reader).await[0]["seq"], 2, "once, and only once");
}

#[tokio::test]
async fn a_follower_that_fell_behind_goes_on_with_what_is_left() {
    let (_dir, path) = log();
    let audit = Audit::open_rotating(&path, 500).unwrap();
    audit.record(&served("ls"));
    let mut reader = audit.reader(ReadTo::Forever).unwrap();
    for _ in 0..99 {
        audit.record(&served("ls"));
    }
    let mut seen = Vec::new();
    while seen.last() != Some(&100) {
        seen.extend(next_lines(&mut reader).await.iter().map(|line| line["seq"].as_u64().unwrap()));
    }
    assert_eq!(seen[0], 1);
    assert!(seen.windows(2).all(|pair| pair[1] > pair[0]), "{seen:?}");
}
