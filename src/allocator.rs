//! The memory allocator of the program, and its options.

/// Uploads allocate and free buffers of hundreds of megabytes. The allocator of the C library keeps
/// freed memory in arenas of its own, so that twice `uploads.buffer_bytes` stays resident.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// With these the allocator returns freed memory to the system at once (`tests/load/memory` shows
/// the difference). It reads them from the environment before `main` begins.
const OPTIONS: [(&str, &str); 2] =
    [("MIMALLOC_PURGE_DELAY", "0"), ("MIMALLOC_ARENA_EAGER_COMMIT", "0")];

/// Executes this program again in the same process, with the options in its environment. Returns if
/// they are set, and if the execution fails: then the program runs with more memory.
#[expect(clippy::disallowed_methods, reason = "these variables are the allocator's, not settings")]
pub(crate) fn set_options() {
    let mut missing = OPTIONS.iter().filter(|(name, _)| std::env::var_os(name).is_none());
    let Some(first) = missing.next() else { return };
    let Ok(program) = std::env::current_exe() else { return };
    let mut again = std::process::Command::new(program);
    again.args(std::env::args_os().skip(1)).env(first.0, first.1);
    again.envs(missing.copied());
    let _failed = std::os::unix::process::CommandExt::exec(&mut again);
}
