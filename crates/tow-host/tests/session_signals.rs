//! Signals that this process ignores or blocks are not ignored or blocked in what it starts. Alone
//! in its binary, because dispositions belong to the whole process.
#![allow(unsafe_code, reason = "std has no way to ignore a signal")]

mod session_support;

use session_support::*;

#[tokio::test]
async fn a_program_starts_with_every_signal_as_by_default() {
    // SAFETY: SIG_IGN is no handler that could run; the set is plain data, and the mask is this
    // thread's.
    unsafe {
        for signal in [libc::SIGHUP, libc::SIGPIPE, libc::SIGINT, libc::SIGUSR1, 40] {
            assert_ne!(libc::signal(signal, libc::SIG_IGN), libc::SIG_ERR);
        }
        let mut blocked: libc::sigset_t = std::mem::zeroed();
        libc::sigaddset(&raw mut blocked, libc::SIGTERM);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const blocked, std::ptr::null_mut());
    }
    let seen = run(&sessions(), argv(&["grep", "^Sig[BI]", "/proc/self/status"])).await;
    let text = String::from_utf8(seen.stdout).unwrap();
    assert_eq!(text.lines().count(), 2, "{text}");
    for line in text.lines() {
        assert_eq!(line.split_once(":\t").unwrap().1, "0".repeat(16), "{line}");
    }
}
