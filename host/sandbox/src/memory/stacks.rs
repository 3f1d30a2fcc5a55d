//! Native stacks of runtimes' instances.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use wasmtime::{StackCreator, StackMemory};

use super::space::Space;
use super::turn::Moment;

/// Inaccessible bytes below a stack.
const GUARD: usize = 64 * 1024;
/// Bytes of a stack, from its top, that are cleared in place after use; the rest is given back to the system. An interpreter
/// goes that deep with each request.
const KEEP: usize = 128 * 1024;

/// Stacks of one size, each used by one instance at a time and cleared after it.
#[derive(Debug)]
pub(crate) struct Stacks(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    space: Space,
    /// Bytes of each.
    size: usize,
    idle: Mutex<Idle>,
}

/// Stacks that nobody has.
#[derive(Debug)]
struct Idle {
    used_before: Vec<usize>,
    /// Those that nobody has had yet are not accessible: what is accessible counts against limits of the system.
    never_used: Range<usize>,
}

impl Shared {
    /// Where a stack is.
    fn range(&self, number: usize) -> Range<usize> {
        let start = number * (GUARD + self.size) + GUARD;
        start..start + self.size
    }

    /// Takes one that nobody has.
    fn take(&self) -> wasmtime::Result<usize> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = idle.used_before.pop() {
            return Ok(number);
        }
        let number = idle.never_used.start;
        if idle.never_used.is_empty() {
            wasmtime::bail!("there is no place for another stack");
        }
        self.space.open(self.range(number))?;
        idle.never_used.start += 1;
        Ok(number)
    }
}

impl Stacks {
    /// Reserves `count` stacks of `size` bytes, a multiple of all systems' pages.
    pub(crate) fn new(count: usize, size: usize) -> io::Result<Self> {
        let len = (GUARD + size).checked_mul(count).ok_or(io::ErrorKind::OutOfMemory)?;
        let idle = Mutex::new(Idle { used_before: Vec::with_capacity(count), never_used: 0..count });
        Ok(Self(Arc::new(Shared { space: Space::reserve(len)?, size, idle })))
    }
}

// SAFETY: a stack is a range of addresses of its own with a guard below it, and reads as zero.
#[expect(unsafe_code, reason = "guests run on what this gives out")]
unsafe impl StackCreator for Stacks {
    fn new_stack(&self, size: usize, _: bool) -> wasmtime::Result<Box<dyn StackMemory>> {
        if size > self.0.size {
            wasmtime::bail!("a stack is asked for that is larger than {} bytes", self.0.size);
        }
        Ok(Box::new(Stack { number: self.0.take()?, shared: Arc::clone(&self.0), since: Moment::now() }))
    }
}

/// A stack in use. When it is dropped it is cleared, and given to the next.
#[derive(Debug)]
struct Stack {
    shared: Arc<Shared>,
    number: usize,
    /// When this began.
    since: Option<Moment>,
}

impl Drop for Stack {
    fn drop(&mut self) {
        let Range { start, end } = self.shared.range(self.number);
        let kept = end.saturating_sub(KEEP).max(start);
        #[expect(unsafe_code, reason = "it is a mapping")]
        // SAFETY: it is accessible, and what ran on it has ended: this is called when the engine drops it.
        unsafe {
            self.shared.space.write(kept..end).fill(0);
        }
        // There are pages below only if there was a page fault.
        let given_back = match self.since {
            Some(since) if since.no_fault_since() => Ok(()),
            _ => self.shared.space.give_back(start..kept),
        };
        match given_back {
            Ok(()) => {
                self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner).used_before.push(self.number);
            }
            Err(error) => tracing::error!("a stack cannot be cleared, and is not used again: {error}"),
        }
    }
}

// SAFETY: the range is accessible, and what is below it is not.
#[expect(unsafe_code, reason = "guests run on what this gives out")]
unsafe impl StackMemory for Stack {
    fn top(&self) -> *mut u8 {
        self.shared.space.address(self.shared.range(self.number).end)
    }

    fn range(&self) -> Range<usize> {
        let Range { start, end } = self.shared.range(self.number);
        self.shared.space.address(start).addr()..self.shared.space.address(end).addr()
    }

    fn guard_range(&self) -> Range<*mut u8> {
        let start = self.shared.range(self.number).start;
        self.shared.space.address(start - GUARD)..self.shared.space.address(start)
    }
}
