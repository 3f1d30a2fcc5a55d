//! Memories of runtimes: how an instance gets its snapshot, and how the place that it had is made as new.
//!
//! A runtime's snapshot is tens of MiB, of which a request writes a few dozen pages. The engine's own pool can only give
//! back all pages of a memory when an instance is destroyed, so that the next one faults each of them in again, one by
//! one: that took longer than the requests themselves. Here a place keeps its pages, and what the instance has written to
//! is copied back from the snapshot.
//!
//! ```text
//! image    the snapshot in a file, mapped once for reading         (image.rs)
//! place    addresses for one memory; the image mapped privately    (place.rs)
//! arena    the places of the process, and who has which            (arena.rs)
//! pagemap  which pages of a place are its own, from the kernel     (pagemap.rs)
//! turn     whether these can have become more meanwhile            (turn.rs)
//! stacks   native stacks, which the same engine needs              (stacks.rs)
//! space    reserved addresses, and what is done to them            (space.rs)
//! ```
//!
//! # Why nothing is left
//!
//! A place maps its image privately. Each of its pages is therefore one of three: not there, the file's own, which cannot be
//! written to through this mapping, or one of the place's own, which the kernel made at a write. The kernel says which are of
//! the third kind, whether they are in memory, in swap or on their way between places in memory, and all of these are
//! made equal to the image, or given back. A page that has been made equal stays the place's own, and is looked at
//! again after each instance that follows; now and then long runs that the instance has not changed are given back. What is
//! beyond the image is given back and closed. Where the kernel cannot say, all pages are given back.
//!
//! To ask the kernel takes a quarter of the time of a short request, since it looks at each page of the image. It is not
//! asked where it would say the same as the last time: where the instance has had all its time in one turn of a thread, and
//! that thread no page fault.

mod arena;
mod image;
mod pagemap;
mod place;
mod space;
mod stacks;
#[cfg(test)]
mod tests;
mod turn;

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;

use wasmtime::{LinearMemory, MemoryCreator, MemoryType};

use pagemap::PageMap;

pub(crate) use arena::Arena;
pub(crate) use image::{Image, MemoryImage, ReadOnly, Written};
pub(crate) use stacks::Stacks;
pub(crate) use turn::Turn;

/// Addresses that compiled code takes for reachable from a memory's base: it checks no bounds within. The engine's default
/// for memories of 32 bits, fixed here because places are made with it.
pub(crate) const RESERVATION: usize = 4 << 30;
/// Addresses before and after that which are never accessible: what an access may add to a 32-bit address.
pub(crate) const GUARD: usize = 32 << 20;

/// What one memory of an instance begins as.
#[derive(Debug, Clone)]
pub(crate) enum Beginning {
    /// A copy of an image, of its own.
    Copy(MemoryImage),
    /// What all instances read, and none can write to.
    ReadOnly(Arc<ReadOnly>),
}

/// What the memories of an instance begin as, in the order in which it makes them.
pub(crate) type Beginnings = Arc<[Beginning]>;

thread_local! {
    /// What the memories begin as that are made next on this thread: for an instance that is being made.
    static NEXT: RefCell<Option<(Beginnings, usize)>> = const { RefCell::new(None) };
}

/// Makes an instance, the first memories of which begin as is said.
///
/// The engine does not say for which instance it wants a memory, so it is said here, on the thread that makes the instance
/// and only while it does. It is an error if not all of them are made: the instance is not what it was taken for.
pub(crate) async fn instantiate_with<T>(
    beginnings: &Beginnings,
    make: impl Future<Output = wasmtime::Result<T>>,
) -> wasmtime::Result<T> {
    let mut make = pin!(make);
    let mut next = Some((Arc::clone(beginnings), 0));
    let instance = poll_fn(|context| {
        NEXT.set(next.take());
        // Also when the engine panics: what is made later on this thread is not to begin as this.
        let taken = TakeBack(&mut next);
        let polled = make.as_mut().poll(context);
        drop(taken);
        polled
    })
    .await?;
    match next {
        Some((beginnings, used)) if used == beginnings.len() => Ok(instance),
        _ => Err(wasmtime::format_err!("the instance has other memories than its snapshot")),
    }
}

/// Takes back, when it is dropped, what the next memories of the thread begin as.
struct TakeBack<'a>(&'a mut Option<(Beginnings, usize)>);

impl Drop for TakeBack<'_> {
    fn drop(&mut self) {
        *self.0 = NEXT.take();
    }
}

/// Opens what the kernel says about the pages of this process, by which the memories of runtimes are restored. To be called
/// before the process gives up its rights; sandboxes find it open. Returns whether there is any: Linux 6.7 has it. Without it
/// all pages of an instance are given back, and the next one faults them in again, which takes three to five times as long.
pub fn open_page_map() -> bool {
    PageMap::of_process().is_some()
}

/// The next beginning, unless all have been used.
fn next() -> Option<Beginning> {
    NEXT.with_borrow_mut(|next| {
        let (beginnings, used) = next.as_mut()?;
        let beginning = beginnings.get(*used)?.clone();
        *used += 1;
        Some(beginning)
    })
}

/// Gives memories to the engine.
#[derive(Debug)]
pub(crate) struct Memories(pub(crate) Arc<Arena>);

// SAFETY: a memory that this gives out is a place of the arena, or a read-only mapping, with the reservation and the guards
// that it is asked for; a place belongs to one memory at a time, and its base does not move.
#[expect(unsafe_code, reason = "compiled code relies on the guards of what this gives out")]
unsafe impl MemoryCreator for Memories {
    fn new_memory(
        &self,
        ty: MemoryType,
        minimum: usize,
        maximum: Option<usize>,
        reserved: Option<usize>,
        guard: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        if reserved.is_none_or(|reserved| reserved > RESERVATION) || guard > GUARD || minimum > RESERVATION {
            return Err("a memory is asked for that is larger than a place".to_owned());
        }
        let fits = |size: usize| {
            // Nothing else could tell an instance that is given the wrong snapshot.
            if size == minimum && ty.page_size() == image::PAGE as u64 {
                Ok(())
            } else {
                Err(format!("a memory of {minimum} bytes is asked for, and its snapshot has {size}"))
            }
        };
        match next() {
            Some(Beginning::Copy(image)) => {
                fits(image.size())?;
                self.0.take(Some(image), minimum, maximum).map(|place| Box::new(place) as _)
            }
            Some(Beginning::ReadOnly(memory)) => {
                fits(memory.size())?;
                Ok(Box::new(image::Shared(memory)))
            }
            // Such as the heap that exceptions are allocated on.
            None => self.0.take(None, minimum, maximum).map(|place| Box::new(place) as _),
        }
    }
}
