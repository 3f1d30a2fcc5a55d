//! Reserved addresses, and what is done to them.
//!
//! All calls of the system that change mappings are here. Offsets and lengths are checked against the reservation, so what a
//! caller gets wrong is a panic and not another's memory.
#![expect(unsafe_code, reason = "mappings are changed by calls that cannot know what points to them")]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::ptr::{self, NonNull};

use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap, mmap_anonymous, mprotect, munmap};

/// Addresses that belong to whoever has this. Nothing is accessible at first.
#[derive(Debug)]
pub(super) struct Space {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: it is a range of addresses, whose contents are only reached by methods that say who may call them.
unsafe impl Send for Space {}
// SAFETY: as above.
unsafe impl Sync for Space {}

impl Space {
    /// Reserves `len` bytes of addresses.
    pub(super) fn reserve(len: usize) -> io::Result<Self> {
        // SAFETY: the kernel chooses addresses that nobody uses.
        let base = unsafe {
            mmap_anonymous(ptr::null_mut(), len, ProtFlags::empty(), MapFlags::PRIVATE | MapFlags::NORESERVE)
        }?;
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        let space = Self { base, len };
        space.keep_small_pages(0..len)?;
        Ok(space)
    }

    /// A huge page costs more to clear than a request takes. A kernel without them has nothing to be told.
    fn keep_small_pages(&self, range: Range<usize>) -> io::Result<()> {
        let len = range.len();
        // SAFETY: advice, within the reservation.
        match unsafe { madvise(self.at(&range).cast(), len, Advice::LinuxNoHugepage) } {
            Ok(()) | Err(rustix::io::Errno::INVAL) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The address of an offset.
    pub(super) fn address(&self, offset: usize) -> *mut u8 {
        self.at(&(offset..offset))
    }

    /// The address at which a range within the reservation begins.
    fn at(&self, range: &Range<usize>) -> *mut u8 {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} is not within {} bytes", self.len);
        self.base.as_ptr().wrapping_add(range.start)
    }

    /// Maps a file privately, from `offset`: what is written stays here. The caller has the range to itself.
    pub(super) fn map(&self, range: Range<usize>, file: &File, offset: u64) -> io::Result<()> {
        self.map_as(range, file, offset, ProtFlags::READ | ProtFlags::WRITE)
    }

    /// Maps a file for reading alone, from `offset`.
    pub(super) fn map_read_only(&self, range: Range<usize>, file: &File, offset: u64) -> io::Result<()> {
        self.map_as(range, file, offset, ProtFlags::READ)
    }

    fn map_as(&self, range: Range<usize>, file: &File, offset: u64, protection: ProtFlags) -> io::Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        let flags = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE;
        // SAFETY: it replaces mappings of this reservation only, of which the caller says that nobody uses them.
        unsafe { mmap(self.at(&range).cast(), range.len(), protection, flags, file, offset) }?;
        Ok(())
    }

    /// Makes a range accessible, which reads as zero where nothing has been mapped.
    pub(super) fn open(&self, range: Range<usize>) -> io::Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        // SAFETY: it takes nothing away, within the reservation.
        Ok(unsafe { mprotect(self.at(&range).cast(), range.len(), MprotectFlags::READ | MprotectFlags::WRITE) }?)
    }

    /// Gives the pages of a range back: they are as they were mapped, or zero. The caller has the range to itself.
    pub(super) fn give_back(&self, range: Range<usize>) -> io::Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        // SAFETY: the caller says that nobody uses it, within the reservation.
        Ok(unsafe { madvise(self.at(&range).cast(), range.len(), Advice::LinuxDontNeed) }?)
    }

    /// Unmaps what is in a range, which is reserved and inaccessible again. The caller has the range to itself.
    pub(super) fn close(&self, range: Range<usize>) -> io::Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        let flags = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE;
        // SAFETY: it replaces mappings of this reservation only, of which the caller says that nobody uses them.
        unsafe { mmap_anonymous(self.at(&range).cast(), range.len(), ProtFlags::empty(), flags) }?;
        self.keep_small_pages(range)
    }

    /// What is in a range.
    ///
    /// # Safety
    ///
    /// The range is accessible, and nobody writes to it meanwhile.
    pub(super) unsafe fn read(&self, range: Range<usize>) -> &[u8] {
        // SAFETY: the caller's promise, within the reservation.
        unsafe { std::slice::from_raw_parts(self.at(&range), range.len()) }
    }

    /// What is in a range, to be changed.
    ///
    /// # Safety
    ///
    /// The range is accessible, and nobody else reads or writes it meanwhile.
    #[expect(clippy::mut_from_ref, reason = "whoever calls it has the range to itself, though not the reservation")]
    pub(super) unsafe fn write(&self, range: Range<usize>) -> &mut [u8] {
        // SAFETY: the caller's promise, within the reservation.
        unsafe { std::slice::from_raw_parts_mut(self.at(&range), range.len()) }
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        // SAFETY: whoever used a part of it had a share in it.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
    }
}
