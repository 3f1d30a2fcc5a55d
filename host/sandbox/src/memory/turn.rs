//! Turns of guests, and whether a page fault was in one.
//!
//! The kernel makes a page a private mapping's own when it is written to for the first time: at a page fault of the thread
//! that writes, or for which the kernel does. It counts the faults of each thread (`ru_minflt` and `ru_majflt` of
//! `getrusage(2)`). So if an instance was made, run and dropped in one turn of one thread, and the count is the same before
//! and after, the pages that are its memory's own are those that were before.

use std::cell::Cell;
use std::io;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::resource::{UsageWho, getrusage};

use super::image::PAGE;
use super::space::Space;

thread_local! {
    /// The turn that this thread is in. No two turns have the same number, and 0 is none.
    static TURN: Cell<u64> = const { Cell::new(0) };
}

/// The number of the next turn.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// While this is there, the thread runs one guest and nothing else.
#[derive(Debug)]
pub(crate) struct Turn(());

impl Turn {
    /// Begins a turn.
    pub(crate) fn begin() -> Self {
        TURN.set(NEXT.fetch_add(1, Ordering::Relaxed));
        Self(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        TURN.set(0);
    }
}

/// A moment of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    turn: u64,
    faults: i64,
}

impl Moment {
    /// Now; `None` outside of turns, and where the kernel cannot say.
    pub(super) fn now() -> Option<Self> {
        let turn = TURN.get();
        if turn == 0 || !*ARE_COUNTED {
            return None;
        }
        Some(Self { turn, faults: faults().ok()? })
    }

    /// Whether this thread has been in the same turn since, and had no page fault.
    pub(super) fn no_fault_since(self) -> bool {
        Self::now() == Some(self)
    }
}

/// Whether the kernel counts the fault at which it makes a page a mapping's own: some that only look like Linux do not.
static ARE_COUNTED: LazyLock<bool> = LazyLock::new(|| {
    let counted = first_write_is_counted().unwrap_or(false);
    if !counted {
        tracing::debug!("the kernel does not count page faults: memories are searched after each request");
    }
    counted
});

fn first_write_is_counted() -> io::Result<bool> {
    let page = Space::reserve(PAGE)?;
    page.open(0..PAGE)?;
    #[expect(unsafe_code, reason = "it is a mapping")]
    // SAFETY: it is accessible, and nobody else has it.
    let bytes = unsafe { page.write(0..PAGE) };
    let before = faults()?;
    bytes[0] = 1;
    std::hint::black_box(bytes);
    Ok(faults()? > before)
}

/// Page faults of this thread since its start.
fn faults() -> io::Result<i64> {
    let usage = getrusage(UsageWho::RUSAGE_THREAD)?;
    Ok(usage.minor_page_faults() + usage.major_page_faults())
}
