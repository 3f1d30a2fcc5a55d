//! A place is used, written to and dropped, and the next who has it must find the image and nothing else.

use std::collections::BTreeSet;
use std::ops::Range;

use proptest::prelude::*;

use super::image::{HEAD, PAGE};
use super::pagemap::PageMap;
use super::place::{RUN, SWEEP};
use super::*;
use crate::native::Native;

/// Bytes of a system's page.
const SMALL: usize = 4096;
/// Bytes that are kept in memory, few enough that tests go beyond them.
const KEEP: usize = 8 * SMALL;

/// An image with two memories, the first of which has a page that is not in the file.
fn image() -> Arc<Image> {
    let mut written = Written::default();
    written.memory(3, (0..2 * PAGE).map(|byte| (byte % 251) as u8).collect());
    written.memory(1, vec![7; 100]);
    written.global(-5);
    Image::open(&Native::Bytes(written.finish())).unwrap()
}

/// What a memory of so many bytes is to begin as.
fn expected(image: &MemoryImage) -> Vec<u8> {
    let mut bytes = image.pristine().to_vec();
    bytes.resize(image.size(), 0);
    bytes
}

fn arena() -> Arc<Arena> {
    Arena::new(2, KEEP).unwrap()
}

/// The accessible bytes of a memory.
fn bytes(memory: &mut dyn LinearMemory) -> &mut [u8] {
    #[expect(unsafe_code, reason = "what guests do")]
    // SAFETY: they are accessible, and nobody else has the memory.
    unsafe {
        std::slice::from_raw_parts_mut(memory.as_ptr(), memory.byte_size())
    }
}

#[test]
fn a_place_begins_as_its_image_and_with_zeros_beyond_it() {
    let (arena, image) = (arena(), image());
    for memory in image.memories() {
        let mut place = arena.take(Some(memory.clone()), memory.size(), None).unwrap();
        assert_eq!(bytes(&mut place), expected(&memory));
        place.grow_to(memory.size() + PAGE).unwrap();
        assert_eq!(bytes(&mut place)[memory.size()..], vec![0; PAGE]);
    }
}

#[test]
fn a_memory_that_begins_empty_is_not_taken_for_the_one_after_it() {
    let mut written = Written::default();
    written.memory(1, Vec::new());
    written.memory(1, vec![7; 100]);
    let image = Image::open(&Native::Bytes(written.finish())).unwrap();
    let arena = Arena::new(1, KEEP).unwrap();
    for memory in image.memories() {
        let mut place = arena.take(Some(memory.clone()), memory.size(), None).unwrap();
        assert_eq!(bytes(&mut place), expected(&memory));
    }
}

#[test]
fn a_place_is_used_again_and_only_what_was_written_to_is_counted() {
    let (arena, image) = (arena(), image());
    // Before Linux 6.7 the kernel does not say it, and nothing is counted.
    let counted = u64::from(arena.pagemap.is_some());
    let memory = image.memories().next().unwrap();
    let mut address = None;
    for round in 1..5_u64 {
        let mut place = arena.take(Some(memory.clone()), memory.size(), None).unwrap();
        assert_eq!(*address.get_or_insert(place.as_ptr().addr()), place.as_ptr().addr());
        // Read, and written to as it was: neither makes a page another one.
        let contents = bytes(&mut place);
        assert_eq!(contents[5 * SMALL], expected(&memory)[5 * SMALL]);
        contents[6 * SMALL] = expected(&memory)[6 * SMALL];
        contents[SMALL + 1] = 0xee;
        contents[2 * PAGE + 3] = 0xee;
        drop(place);
        assert_eq!(arena.pages_dirtied(), 2 * round * counted);
    }
}

#[test]
fn a_place_goes_to_another_image_with_nothing_of_the_last() {
    let (arena, one, other) = (Arena::new(1, KEEP).unwrap(), image(), image());
    for image in [&one, &other, &one] {
        let memory = image.memories().nth(1).unwrap();
        let mut place = arena.take(Some(memory.clone()), memory.size(), None).unwrap();
        assert_eq!(bytes(&mut place), expected(&memory));
        place.grow_to(2 * PAGE).unwrap();
        bytes(&mut place).fill(0xee);
    }
    let mut empty = arena.take(None, PAGE, None).unwrap();
    assert_eq!(bytes(&mut empty), vec![0; PAGE]);
    bytes(&mut empty).fill(0xee);
    drop(empty);
    let mut empty = arena.take(None, 2 * PAGE, Some(2 * PAGE)).unwrap();
    assert_eq!(bytes(&mut empty), vec![0; 2 * PAGE]);
    assert!(empty.grow_to(3 * PAGE).is_err());
    assert!(arena.take(None, PAGE, None).unwrap_err().contains("no place for another memory"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Each round an instance writes somewhere, and grows; the next finds the image.
    #[test]
    fn whatever_is_written_the_next_finds_the_image(
        rounds in prop::collection::vec(
            (prop::collection::btree_set(0..3 * PAGE, 0..80), 0..3_usize, 1..4_usize), 1..20),
        is_told in any::<bool>(),
        in_turns in any::<bool>(),
    ) {
        let (mut arena, image) = (Arena::new(1, KEEP).unwrap(), image());
        if !is_told {
            Arc::get_mut(&mut arena).unwrap().pagemap = None;
        }
        let memory = image.memories().next().unwrap();
        let again = |(places, more, times): (BTreeSet<usize>, usize, usize)| vec![(places, more); times];
        for (places, more) in rounds.into_iter().flat_map(again) {
            let _turn = in_turns.then(Turn::begin);
            let mut place = arena.take(Some(memory.clone()), memory.size(), None).unwrap();
            prop_assert_eq!(bytes(&mut place), expected(&memory));
            place.grow_to(memory.size() + more * PAGE).unwrap();
            let contents = bytes(&mut place);
            prop_assert!(contents[memory.size()..].iter().all(|byte| *byte == 0));
            for at in places {
                contents[at] ^= 0xff;
            }
            contents[memory.size()..].fill(0xee);
        }
    }
}

#[test]
fn the_kernel_is_asked_unless_all_was_in_one_turn_without_a_page_fault() {
    let (mut arena, image) = (Arena::new(1, usize::MAX).unwrap(), image());
    let memory = image.memories().next().unwrap();
    if arena.pagemap.is_none() {
        return;
    }
    let take = |arena: &Arc<Arena>| {
        let mut place = arena.take(Some(memory.clone()), memory.size(), None).unwrap();
        assert_eq!(bytes(&mut place), expected(&memory));
        place
    };
    let write = |arena: &Arc<Arena>, page: usize| bytes(&mut take(arena))[page * SMALL] ^= 1;
    let turn = Turn::begin();
    write(&arena, 1);
    assert_eq!(arena.pages_dirtied(), 1, "there was a fault, and it was asked which pages are its own");
    // Who would ask now finds nobody: all is given back, and nothing is counted.
    let pagemap = Arc::get_mut(&mut arena).unwrap().pagemap.take();
    write(&arena, 1);
    assert_eq!(arena.pages_dirtied(), 2, "it was not asked");
    drop(turn);
    write(&arena, 1);
    assert_eq!(arena.pages_dirtied(), 2, "it would have been asked: this was in no turn");
    Arc::get_mut(&mut arena).unwrap().pagemap = pagemap;
    let turn = Turn::begin();
    write(&arena, 1);
    assert_eq!(arena.pages_dirtied(), 3);
    write(&arena, 2);
    assert_eq!(arena.pages_dirtied(), 4, "it was asked: there was a fault");
    Arc::get_mut(&mut arena).unwrap().pagemap = None;
    let mut place = take(&arena);
    drop(turn);
    let _turn = Turn::begin();
    bytes(&mut place)[2 * SMALL] ^= 1;
    drop(place);
    assert_eq!(arena.pages_dirtied(), 4, "it would have been asked: these were two turns");
    drop(take(&arena));
}

/// The ranges that the kernel names, from the first address, and how far it has looked.
fn own_pages(map: &PageMap, all: &Range<u64>, most: u64) -> (u64, Vec<Range<u64>>) {
    let mut own = Vec::new();
    let end = map.own(all.clone(), most, |range| {
        own.push(range.start - all.start..range.end - all.start);
        Ok(())
    });
    (end.unwrap(), own)
}

#[test]
fn pages_that_are_written_to_no_more_are_given_back() {
    let (arena, image) = (Arena::new(1, usize::MAX).unwrap(), image());
    let memory = image.memories().next().unwrap();
    let Some(map) = &arena.pagemap else { return };
    let used = |pages: Range<usize>| {
        let mut place = arena.take(Some(memory.clone()), memory.size(), None).unwrap();
        let contents = bytes(&mut place);
        for page in pages {
            contents[page * SMALL] ^= 1;
        }
        let start = place.as_ptr().addr() as u64;
        drop(place);
        own_pages(map, &(start..start + memory.size() as u64), 0).1
    };
    let pages = |ranges: Vec<Range<u64>>| -> Vec<_> {
        ranges.iter().map(|range| [range.start, range.end].map(|end| end as usize / SMALL)).collect()
    };
    let all = 3 * PAGE / SMALL;
    let long = RUN / SMALL + 3;
    assert_eq!(pages(used(0..all)), [[0, all]], "they are kept for the next");
    for _ in 1..SWEEP {
        assert_eq!(pages(used(long..long + 1)), [[0, all]]);
    }
    assert_eq!(pages(used(long..long + 1)), [[long, all]], "what is written to each time stays, and what is short");
}

#[test]
fn the_kernel_names_pages_that_were_written_to_and_no_others() {
    let (arena, image) = (arena(), image());
    let memory = image.memories().next().unwrap();
    let mut place = arena.take(Some(memory.clone()), memory.size(), None).unwrap();
    let contents = bytes(&mut place);
    assert_eq!(u32::from(contents[0]) + u32::from(contents[2 * PAGE]), 0, "both are read");
    contents[SMALL] = 1;
    contents[2 * SMALL] = 1;
    contents[2 * PAGE + SMALL] = 1;
    let start = place.as_ptr().addr() as u64;
    let all = start..start + memory.size() as u64;
    // Before Linux 6.7 there is nothing to be asked.
    let Some(map) = &arena.pagemap else { return };
    let (end, own) = own_pages(map, &all, 0);
    let (small, page) = (SMALL as u64, PAGE as u64);
    assert_eq!(own, [small..3 * small, 2 * page + small..2 * page + 2 * small]);
    assert_eq!(end, all.end);
    // Only as many as are asked for: it says where the next one may be.
    let (end, own) = own_pages(map, &all, 2);
    assert_eq!(own.as_slice(), std::slice::from_ref(&(small..3 * small)));
    assert!((start + 3 * small..=start + 2 * page + small).contains(&end));
}

#[test]
fn what_is_no_image_is_refused() {
    let good = {
        let mut written = Written::default();
        written.memory(2, vec![1; PAGE + 1]);
        written.finish()
    };
    let error = |bytes: &[u8]| Image::open(&Native::Bytes(bytes.to_vec())).unwrap_err().to_string();
    assert!(Image::open(&Native::Bytes(good.clone())).is_ok());
    assert!(error(&good[..HEAD + PAGE]).contains("is cut off"));
    let mut other = good.clone();
    other[0] ^= 1;
    assert!(error(&other).contains("is none"));
    let mut json = good.clone();
    json[13] ^= 1;
    assert!(error(&json).contains("cannot be read"));
    let mut long = good.clone();
    long[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(error(&long).contains("is none"));
    let mut more = good;
    let text = br#"{"memories":[{"pages":1,"filled":2}],"globals":[]}"#;
    more[8..12].copy_from_slice(&(text.len() as u32).to_le_bytes());
    more[12..12 + text.len()].copy_from_slice(text);
    assert!(error(&more).contains("cannot be"));
}

#[test]
fn a_module_of_data_is_written_as_an_image() {
    let module = wat(&[(0, 10, b"abc"), (1, 0, b"x")]);
    let image = Image::open(&Native::Bytes(Written::of_module(&module).unwrap().finish())).unwrap();
    let memories: Vec<_> = image.memories().collect();
    assert_eq!((memories[0].size(), memories[1].size()), (2 * PAGE, PAGE));
    assert_eq!(memories[0].pristine()[..14], *b"\0\0\0\0\0\0\0\0\0\0abc\0");
    assert_eq!(memories[1].pristine()[..2], *b"x\0");
    assert!(image.module(&["a", "b"], &["c"]).is_some());
    assert!(image.module(&["a"], &["c"]).is_none(), "it has two memories");
    let beyond = wat(&[(1, 65535, b"ab")]);
    assert!(Written::of_module(&beyond).unwrap_err().to_string().contains("outside of its memories"));
}

/// A module with memories of 2 and 1 pages, a global, and data: number of the memory, offset, bytes.
fn wat(data: &[(u32, i32, &[u8])]) -> Vec<u8> {
    use wasm_encoder::{ConstExpr, DataSection, GlobalSection, GlobalType, MemorySection, MemoryType, Module};
    let (mut memories, mut globals, mut section) = (MemorySection::new(), GlobalSection::new(), DataSection::new());
    for minimum in [2, 1] {
        memories.memory(MemoryType { minimum, maximum: None, memory64: false, shared: false, page_size_log2: None });
    }
    let ty = GlobalType { val_type: wasm_encoder::ValType::I32, mutable: true, shared: false };
    globals.global(ty, &ConstExpr::i32_const(7));
    for (memory, offset, bytes) in data {
        section.active(*memory, &ConstExpr::i32_const(*offset), bytes.iter().copied());
    }
    let mut module = Module::new();
    module.section(&memories).section(&globals).section(&section);
    module.finish()
}
