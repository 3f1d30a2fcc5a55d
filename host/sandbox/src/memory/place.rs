//! A place: addresses for one memory, which belong to one instance at a time.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use wasmtime::LinearMemory;

use super::arena::{Arena, Warm};
use super::image::MemoryImage;
use super::pagemap::PageMap;
use super::turn::Moment;
use crate::sparse;

/// Bytes that are compared and copied together: the smallest page of a system.
const BLOCK: usize = 4096;
/// At every so many-th reset long runs of pages that the instance has not changed are given back: what one large request
/// has taken does not make all that follow slower.
pub(super) const SWEEP: u32 = 16;
/// Bytes of such a run at least. To give back what one request in some changes would cost more than to look at it.
pub(super) const RUN: usize = 32 * BLOCK;

/// A memory of an instance. When it is dropped its place is made as it was, and given to the next.
#[derive(Debug)]
pub(super) struct Place {
    arena: Arc<Arena>,
    number: usize,
    image: Option<MemoryImage>,
    /// Bytes that are accessible.
    size: usize,
    capacity: usize,
    /// Where its own pages were when this began, if that is known: offsets from its base, in order.
    own: Option<Vec<Range<usize>>>,
    /// When this began.
    since: Option<Moment>,
    /// How often it has been made equal to its image.
    resets: u32,
}

/// What has come of making pages equal to the image.
#[derive(Debug, Default)]
struct Restored {
    /// Blocks that were not.
    dirtied: u64,
    /// Whether some were given back.
    gave_back: bool,
}

impl Place {
    /// A place that nobody has, and which is as its image is.
    pub(super) fn warm(arena: Arc<Arena>, warm: Warm, capacity: usize) -> Self {
        let Warm { number, image, own, resets } = warm;
        let size = image.size();
        Self { arena, number, size, image: Some(image), capacity, own, since: Moment::now(), resets }
    }

    /// The place of this number, which nobody has, without the `size` bytes that are mapped in it.
    pub(super) fn cold(arena: Arc<Arena>, number: usize, size: usize, capacity: usize) -> io::Result<Self> {
        // Whatever fails from here on, all that is mapped is unmapped before another gets the place.
        let mut place = Self { arena, number, image: None, size, capacity, own: None, since: None, resets: 0 };
        place.arena.space.close(place.base()..place.base() + size)?;
        place.size = 0;
        Ok(place)
    }

    /// The same with an image in it, if there is one.
    pub(super) fn begin_as(mut self, image: Option<MemoryImage>) -> io::Result<Self> {
        if let Some(image) = image {
            self.size = image.size();
            image.map_into(&self.arena.space, self.base())?;
            // From here on it can be restored.
            self.image = Some(image);
        }
        Ok(self)
    }

    /// The same with at least so many bytes accessible.
    pub(super) fn open(mut self, size: usize) -> io::Result<Self> {
        if size > self.size {
            self.arena.space.open(self.base() + self.size..self.base() + size)?;
            self.size = size;
        }
        Ok(self)
    }

    fn base(&self) -> usize {
        Arena::base(self.number)
    }

    /// Makes everything equal to the image.
    fn reset(&mut self, image: &MemoryImage) -> io::Result<()> {
        let (base, end) = (self.base(), self.base() + image.size());
        // What has grown is not part of it.
        self.arena.space.close(end..self.base() + self.size)?;
        let mut restored = Restored::default();
        let known = self.own.take().filter(|_| self.since.is_some_and(Moment::no_fault_since));
        let own = if let Some(known) = known {
            known.iter().try_for_each(|range| self.restore(image, range.clone(), &mut restored))?;
            known
        } else {
            let Some(pagemap) = &self.arena.pagemap else { return self.arena.space.give_back(base..end) };
            self.restore_what_is_own(image, pagemap, &mut restored)?
        };
        self.arena.dirtied.fetch_add(restored.dirtied, Ordering::Relaxed);
        self.own = (!restored.gave_back).then_some(own);
        Ok(())
    }

    /// Makes those pages equal to the image that the kernel names, and returns where they are.
    fn restore_what_is_own(
        &self,
        image: &MemoryImage,
        pagemap: &PageMap,
        restored: &mut Restored,
    ) -> io::Result<Vec<Range<usize>>> {
        let (base, end) = (self.base(), self.base() + image.size());
        let first = self.arena.addresses(&(base..base)).start;
        let (mut from, mut kept, mut ranges) = (base, 0, Vec::new());
        while from < end && kept < self.arena.keep {
            let most = (self.arena.keep - kept).div_ceil(BLOCK) as u64;
            let walked = pagemap.own(self.arena.addresses(&(from..end)), most, |own| {
                let range = (own.start - first) as usize..(own.end - first) as usize;
                kept += range.len();
                self.restore(image, range.clone(), restored)?;
                ranges.push(range);
                Ok(())
            })?;
            from = base + (walked - first) as usize;
        }
        // More than is kept in memory.
        self.arena.space.give_back(from..end)?;
        Ok(ranges)
    }

    /// Makes a range equal to the image.
    fn restore(&self, image: &MemoryImage, range: Range<usize>, restored: &mut Restored) -> io::Result<()> {
        let sweeps = self.resets.is_multiple_of(SWEEP);
        let mut sweep = |unchanged: Range<usize>| {
            if unchanged.len() < RUN || !sweeps {
                return Ok(());
            }
            restored.gave_back = true;
            self.arena.space.give_back(self.base() + unchanged.start..self.base() + unchanged.end)
        };
        #[expect(unsafe_code, reason = "it is a mapping")]
        // SAFETY: the range is accessible, and the instance that had it is gone: this is called when the engine drops its
        // memory.
        let own = unsafe { self.arena.space.write(self.base() + range.start..self.base() + range.end) };
        let pristine = image.pristine();
        let mut unchanged = range.start..range.start;
        for (number, block) in own.chunks_mut(BLOCK).enumerate() {
            let at = range.start + number * BLOCK;
            let end = at + block.len();
            // The file's part ends at a multiple of a block.
            let pristine = pristine.get(at..end).unwrap_or(&sparse::ZEROS[..block.len()]);
            if pristine == block {
                unchanged.end = end;
                continue;
            }
            block.copy_from_slice(pristine);
            restored.dirtied += 1;
            sweep(unchanged)?;
            unchanged = end..end;
        }
        sweep(unchanged)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        match self.image.take() {
            Some(image) => match self.reset(&image) {
                Ok(()) => {
                    let (own, resets) = (self.own.take(), self.resets.wrapping_add(1));
                    self.arena.put_warm(Warm { number: self.number, image, own, resets });
                }
                Err(error) => {
                    tracing::error!("a memory cannot be reset, and is unmapped: {error}");
                    self.arena.close(self.number, self.size.max(image.size()));
                }
            },
            None => self.arena.close(self.number, self.size),
        }
    }
}

// SAFETY: the addresses from the base are reserved for this place, with guards before and after, and do not change while it
// is there.
#[expect(unsafe_code, reason = "compiled code relies on the guards")]
unsafe impl LinearMemory for Place {
    fn byte_size(&self) -> usize {
        self.size
    }

    fn byte_capacity(&self) -> usize {
        self.capacity
    }

    fn grow_to(&mut self, size: usize) -> wasmtime::Result<()> {
        if size > self.capacity {
            wasmtime::bail!("a memory has at most {} bytes", self.capacity);
        }
        self.arena.space.open(self.base() + self.size..self.base() + size)?;
        self.size = size;
        Ok(())
    }

    fn as_ptr(&self) -> *mut u8 {
        self.arena.space.address(self.base())
    }
}
