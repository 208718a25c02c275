//! How fast one file goes from one directory to another through both ends of the engine, within one
//! process: a thread that reads and hashes, a queue of 8 chunks, a thread that writes and hashes.
//!
//! `cargo run --release -p tow-host --example transfer_speed -- DIR [MIB]`; DIR should be on a tmpfs.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a tool for one person at a terminal")]

use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use tow_host::beneath::Root;
use tow_host::files::{Destination, HaveSet, Progress, Rejected, Source};

fn main() {
    let mut args = std::env::args().skip(1);
    let dir = PathBuf::from(args.next().unwrap()).join("transfer-speed");
    let mib: u64 = args.next().map_or(2048, |mib| mib.parse().unwrap());
    std::fs::create_dir_all(dir.join("to")).unwrap();
    let mut file = std::fs::File::create(dir.join("file")).unwrap();
    let block: Vec<u8> = (0..1u32 << 18)
        .flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    for _ in 0..mib {
        file.write_all(&block).unwrap();
    }
    for _ in 0..5 {
        let seconds = once(&dir);
        let bytes = (mib << 20) as f64;
        println!("{mib} MiB in {seconds:.2} s, {:.2} GB/s", bytes / seconds / 1e9);
        std::fs::remove_file(dir.join("to/file")).unwrap();
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

fn once(dir: &std::path::Path) -> f64 {
    let root = Root::open(dir, dir).unwrap();
    let source = Source::offer(&root, &"file".into(), "here").unwrap();
    let destination = Destination::prepare(
        &root,
        &"to".into(),
        source.kind(),
        source.name(),
        source.source(),
        "key",
    )
    .unwrap();
    let started = Instant::now();
    let (sender, receiver) = sync_channel(8);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let progress = Progress::default();
            let outgoing = source.scan(&progress);
            let rejected = Rejected::default();
            let _ = outgoing.send(HaveSet::new(), &rejected, &progress, &mut |item| match sender
                .send(item)
            {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            });
        });
        let mut incoming = destination.receive(Arc::default());
        for item in receiver {
            incoming.handle(item, &mut |event| panic!("{event:?}")).unwrap();
        }
        assert_eq!(incoming.finish(&mut |event| panic!("{event:?}")).files, 1);
    });
    started.elapsed().as_secs_f64()
}
