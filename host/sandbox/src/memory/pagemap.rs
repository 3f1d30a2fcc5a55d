//! Which pages of a private mapping are its own, from the kernel: `PAGEMAP_SCAN`, of Linux 6.7 and later.
//!
//! See `Documentation/admin-guide/mm/pagemap.rst` of the kernel. A page is asked for if it is neither of a file nor the page
//! of zeros, and is present *or swapped*: the kernel calls a page that it is moving elsewhere swapped as well. To ask for
//! present pages alone would miss those for a moment.
#![expect(unsafe_code, reason = "an ioctl takes addresses")]

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::OnceLock;

use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl, opcode};

/// Ranges that one call returns at most.
const RANGES: usize = 256;

const FILE: u64 = 1 << 2;
const PRESENT: u64 = 1 << 3;
const SWAPPED: u64 = 1 << 4;
const ZERO: u64 = 1 << 5;

/// `struct pm_scan_arg`.
#[repr(C)]
struct Scan {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    ranges: u64,
    ranges_len: u64,
    max_pages: u64,
    inverted: u64,
    mask: u64,
    any_of: u64,
    returned: u64,
}

/// `struct page_region`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Region {
    start: u64,
    end: u64,
    _categories: u64,
}

/// The page map of this process.
#[derive(Debug)]
pub(crate) struct PageMap(File);

impl PageMap {
    /// That of this process, opened by the first who asks; `None` where the kernel cannot be asked.
    ///
    /// A process that cannot be dumped owns no file of its own in `/proc` any more, and only root could open this one. What
    /// has been opened before stays open.
    pub(crate) fn of_process() -> Option<&'static Self> {
        static MAP: OnceLock<Option<PageMap>> = OnceLock::new();
        MAP.get_or_init(|| Self::open().ok()).as_ref()
    }

    fn open() -> io::Result<Self> {
        let map = Self(File::open("/proc/self/pagemap")?);
        map.own(0..0, 1, |_| Ok(()))?;
        Ok(map)
    }

    /// Calls `each` for ranges of addresses within `range` whose pages are the mapping's own, in order, of `pages` pages
    /// together at the most. Returns the address up to which all have been named.
    pub(super) fn own(
        &self,
        range: Range<u64>,
        pages: u64,
        mut each: impl FnMut(Range<u64>) -> io::Result<()>,
    ) -> io::Result<u64> {
        let mut ranges = [const { MaybeUninit::<Region>::uninit() }; RANGES];
        let mut scan = Scan {
            size: size_of::<Scan>() as u64,
            flags: 0,
            start: range.start,
            end: range.end,
            walk_end: 0,
            ranges: ranges.as_mut_ptr().addr() as u64,
            ranges_len: RANGES as u64,
            max_pages: pages,
            inverted: FILE | ZERO,
            mask: FILE | ZERO,
            any_of: PRESENT | SWAPPED,
            returned: 0,
        };
        // SAFETY: the array has room for so many ranges.
        let count = unsafe { ioctl(&self.0, Call(&mut scan)) }?;
        for region in ranges.get(..count).unwrap_or_default() {
            // SAFETY: the kernel has written so many.
            let region = unsafe { region.assume_init() };
            each(region.start..region.end)?;
        }
        Ok(scan.walk_end)
    }
}

/// The call, by its argument, which is still there afterwards.
struct Call<'a>(&'a mut Scan);

// SAFETY: number and argument are those of PAGEMAP_SCAN, which writes to the argument and to the array that it names.
unsafe impl Ioctl for Call<'_> {
    type Output = usize;
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        opcode::read_write::<Scan>(b'f', 16)
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::from_mut(self.0).cast()
    }

    unsafe fn output_from_ptr(output: IoctlOutput, _: *mut c_void) -> rustix::io::Result<usize> {
        Ok(output.unsigned_abs() as usize)
    }
}
