//! The places of the process for memories, and who has which.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::image::MemoryImage;
use super::pagemap::PageMap;
use super::place::Place;
use super::space::Space;
use super::{GUARD, RESERVATION};

/// Addresses from one place to the next: the guard after a place is the one before the next.
const STRIDE: usize = GUARD + RESERVATION;
/// Places that keep their image, and pages of their own, while nobody has them. Each takes what it keeps.
const WARM: usize = 32;

/// All places.
#[derive(Debug)]
pub(crate) struct Arena {
    pub(super) space: Space,
    /// Not there where the kernel cannot say which pages are a place's own.
    pub(super) pagemap: Option<&'static PageMap>,
    /// Bytes of a place that are kept in memory, at most.
    pub(super) keep: usize,
    /// Pages of 4 KiB whose contents were not those of their image any more, since the start.
    pub(super) dirtied: AtomicU64,
    idle: Mutex<Idle>,
}

/// Places that nobody has.
#[derive(Debug)]
struct Idle {
    cold: Vec<usize>,
    /// With their images, the one that has been idle for longest first.
    warm: Vec<Warm>,
}

/// A place that is as its image is.
#[derive(Debug)]
pub(super) struct Warm {
    pub(super) number: usize,
    pub(super) image: MemoryImage,
    /// Where its own pages are, if that is known: offsets from its base, in order.
    pub(super) own: Option<Vec<Range<usize>>>,
    /// How often it has been made so.
    pub(super) resets: u32,
}

/// A place that somebody is going to have.
enum Found {
    /// It is as an image is.
    Warm(Warm),
    /// It is empty.
    Cold(usize),
}

impl Arena {
    /// Reserves `places` places, of which each keeps up to `keep` bytes in memory.
    pub(crate) fn new(places: usize, keep: usize) -> io::Result<Arc<Self>> {
        let len = places.checked_mul(STRIDE).and_then(|len| len.checked_add(GUARD));
        let space = Space::reserve(len.ok_or(io::ErrorKind::OutOfMemory)?)?;
        let idle = Mutex::new(Idle { cold: (0..places).rev().collect(), warm: Vec::with_capacity(WARM + 1) });
        Ok(Arc::new(Self { space, pagemap: PageMap::of_process(), keep, dirtied: AtomicU64::new(0), idle }))
    }

    /// How many pages of 4 KiB had other contents than their image, when an instance was destroyed, since the start. Pages
    /// beyond what is kept in memory are not counted: nobody looks at them.
    pub(crate) fn pages_dirtied(&self) -> u64 {
        self.dirtied.load(Ordering::Relaxed)
    }

    /// Where a place begins.
    pub(super) fn base(number: usize) -> usize {
        GUARD + number * STRIDE
    }

    /// Takes a place that begins as an image, or empty with `minimum` bytes.
    pub(super) fn take(
        self: &Arc<Self>,
        image: Option<MemoryImage>,
        minimum: usize,
        maximum: Option<usize>,
    ) -> Result<Place, String> {
        let failed = |error: io::Error| format!("a memory cannot be mapped: {error}");
        let capacity = maximum.map_or(RESERVATION, |maximum| maximum.min(RESERVATION));
        let place = match self.find(image.as_ref()).ok_or("there is no place for another memory")? {
            Found::Warm(warm) if image.as_ref().is_some_and(|image| image.is(&warm.image)) => {
                Place::warm(Arc::clone(self), warm, capacity)
            }
            found => {
                let (number, size) = match found {
                    Found::Warm(Warm { number, image, .. }) => (number, image.size()),
                    Found::Cold(number) => (number, 0),
                };
                Place::cold(Arc::clone(self), number, size, capacity)
                    .and_then(|place| place.begin_as(image))
                    .map_err(failed)?
            }
        };
        place.open(minimum).map_err(failed)
    }

    /// A place that has the image, else one that is empty, else the one that has been idle for longest.
    fn find(&self, image: Option<&MemoryImage>) -> Option<Found> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let same = image.and_then(|image| idle.warm.iter().rposition(|warm| warm.image.is(image)));
        if same.is_none()
            && let Some(number) = idle.cold.pop()
        {
            return Some(Found::Cold(number));
        }
        let index = same.or_else(|| (!idle.warm.is_empty()).then_some(0))?;
        Some(Found::Warm(idle.warm.remove(index)))
    }

    /// Takes back a place that is as its image is.
    pub(super) fn put_warm(&self, warm: Warm) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.warm.push(warm);
        if idle.warm.len() > WARM {
            let Warm { number, image, .. } = idle.warm.remove(0);
            drop(idle);
            self.close(number, image.size());
        }
    }

    /// Unmaps a place that nobody has, and takes it back.
    pub(super) fn close(&self, number: usize, size: usize) {
        let base = Self::base(number);
        match self.space.close(base..base + size) {
            Ok(()) => self.idle.lock().unwrap_or_else(PoisonError::into_inner).cold.push(number),
            // What is in it must not be found by another, so nobody gets it any more.
            Err(error) => tracing::error!("a memory cannot be unmapped, and its place is not used again: {error}"),
        }
    }

    /// The addresses of a range of a place.
    pub(super) fn addresses(&self, range: &Range<usize>) -> Range<u64> {
        let at = |offset| self.space.address(offset).addr() as u64;
        at(range.start)..at(range.end)
    }
}
