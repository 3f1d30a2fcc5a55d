//! Looking at the pool that instances live in from outside: at the memory itself, whoever has it and whether or not any guest
//! could read it.
//!
//! A component hides its memories from whoever instantiates it, so the host cannot ask an instance for them. What it can do
//! is stronger: it reads the pages of its own process that belong to the engine's pool, by `/proc/self/mem`, after the
//! instances are destroyed. There must be no secret in any of them, whether the place is going to be used again or not:
//! linear memories, tables, stacks. `/proc/self/smaps` and `/proc/self/pagemap` say which pages there are at all, as the pool
//! sets far more addresses aside than a machine has memory.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use scorebox_sandbox::Pool;

use super::secret::Secrets;

/// Bytes that are looked at together.
const BLOCK: usize = 1 << 20;
/// Entries of the page map that are read together, eight bytes each.
const ENTRIES: usize = 1 << 16;
/// In an entry of the page map: the page is in memory, or in swap.
const PRESENT: u64 = 0b11 << 62;

/// What a search has come to.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// Bytes that were looked at.
    pub(super) bytes: u64,
    /// The number of each secret that was found.
    pub(super) found: Vec<u64>,
}

/// A mapping of the process.
struct Mapping {
    range: Range<u64>,
    /// Device, inode and offset of what is mapped.
    file: Option<String>,
    page: u64,
    /// Whether any of its pages is in memory or in swap.
    used: bool,
}

/// Looks for secrets in all of the pool. Pages that guests are using are looked at as they are at that moment.
pub(super) fn search(pool: &Pool, secrets: &Secrets) -> io::Result<Search> {
    let memory = File::open("/proc/self/mem")?;
    let pagemap = File::open("/proc/self/pagemap")?;
    let mut search = Search::default();
    let mut block = Vec::new();
    for mapping in mappings(pool)?.iter().filter(|mapping| mapping.used) {
        for present in present(&pagemap, mapping)? {
            let mut at = present.start;
            while at < present.end {
                // With what follows the block, so that a secret across its end is seen whole.
                let to = present.end.min(at + (BLOCK + Secrets::LONGEST) as u64);
                block.resize((to - at) as usize, 0);
                // A guest that runs may have given its memory back meanwhile.
                if memory.read_exact_at(&mut block, at).is_ok() {
                    secrets.find(&block, |offset, number| {
                        if offset < BLOCK {
                            search.found.push(number);
                        }
                    });
                    search.bytes += block.len().min(BLOCK) as u64;
                }
                at += BLOCK as u64;
            }
        }
    }
    Ok(search)
}

/// Which image is mapped where, by the address at which it begins: so it can be told when a place is given to another
/// deployment.
pub(super) fn images(pool: &Pool) -> io::Result<BTreeMap<u64, String>> {
    Ok(mappings(pool)?.into_iter().filter_map(|mapping| Some((mapping.range.start, mapping.file?))).collect())
}

/// The mappings that belong to the pool.
fn mappings(pool: &Pool) -> io::Result<Vec<Mapping>> {
    let mut mappings: Vec<Mapping> = Vec::new();
    for line in fs::read_to_string("/proc/self/smaps")?.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(first), Some(second)) = (words.next(), words.next()) else { continue };
        if let Some(name) = first.strip_suffix(':') {
            let Some(mapping) = mappings.last_mut() else { continue };
            match name {
                "Rss" | "Swap" => mapping.used |= second != "0",
                "KernelPageSize" => mapping.page = second.parse::<u64>().unwrap_or(4) << 10,
                _ => {}
            }
        } else if let Some((start, end)) = first.split_once('-')
            && let (Ok(start), Ok(end)) = (u64::from_str_radix(start, 16), u64::from_str_radix(end, 16))
        {
            let rest: Vec<_> = words.take(3).collect();
            let file = rest.get(2).is_some_and(|inode| *inode != "0").then(|| rest.join(" "));
            mappings.push(Mapping { range: start..end, file, page: 4096, used: false });
        }
    }
    mappings.retain(|mapping| {
        pool.ranges.iter().any(|range| range.start <= mapping.range.start && mapping.range.end <= range.end)
    });
    Ok(mappings)
}

/// The parts of a mapping that are in memory or in swap.
fn present(pagemap: &File, mapping: &Mapping) -> io::Result<Vec<Range<u64>>> {
    let mut parts: Vec<Range<u64>> = Vec::new();
    let mut entries = vec![0; ENTRIES * size_of::<u64>()];
    let mut page = mapping.range.start / mapping.page;
    let end = mapping.range.end / mapping.page;
    while page < end {
        let count = ENTRIES.min((end - page) as usize);
        let entries = &mut entries[..count * size_of::<u64>()];
        pagemap.read_exact_at(entries, page * size_of::<u64>() as u64)?;
        for (number, entry) in (page..).zip(entries.as_chunks().0) {
            if u64::from_le_bytes(*entry) & PRESENT == 0 {
                continue;
            }
            let range = number * mapping.page..(number + 1) * mapping.page;
            match parts.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => parts.push(range),
            }
        }
        page += count as u64;
    }
    Ok(parts)
}
