//! How much freed memory the C allocator keeps. By default it gives 128 KiB back to the system at
//! once, so that every buffer of a transfer is faulted in anew: about 0.4 s for each GiB.

/// Lets each arena keep [`KEPT_LEN`] bytes. To be called once, before threads are started.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
pub(crate) fn keep_freed_memory() {
    for parameter in [libc::M_TRIM_THRESHOLD, libc::M_MMAP_THRESHOLD] {
        // SAFETY: mallopt takes two plain integers and touches no memory of ours; an unknown
        // parameter or value is refused with 0 and changes nothing.
        let done = unsafe { libc::mallopt(parameter, KEPT_LEN) };
        debug_assert_eq!(done, 1);
    }
}

/// Other C libraries have no such knob.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn keep_freed_memory() {}

/// Enough for every buffer that a transfer has under way.
#[cfg(target_env = "gnu")]
const KEPT_LEN: libc::c_int = 8 << 20;

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    #[test]
    fn the_allocator_takes_the_setting_again_and_again() {
        super::keep_freed_memory();
        super::keep_freed_memory();
        let buffers: Vec<Vec<u8>> = (0..8).map(|_| vec![1; 1 << 20]).collect();
        assert_eq!(buffers.iter().map(Vec::len).sum::<usize>(), 8 << 20);
    }
}
