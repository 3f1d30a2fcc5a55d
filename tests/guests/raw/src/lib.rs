//! Hands the host whatever bytes the request has, where the host expects values of the contract between them: no bindings
//! check them here.
//!
//! The body is copied to [`ARENA`], at the end of the memory. It begins with twelve words (little-endian). The bits of the
//! first say which functions of the host are called before the end: 1 `log.write` with the words 1 to 6, 2 `stream.start`
//! with the words 7 to 9, 4 `stream.write` with the words 10 and 11. What follows the words is what `run` returns.

// It grows its memory by hand, which only WebAssembly has.
#![cfg(target_arch = "wasm32")]

use std::arch::wasm32;

mod bindings {
    wit_bindgen::generate!({ path: "../../../wit", world: "scorer" });
}

/// Where the body is put.
const ARENA: usize = 0x20_0000;
/// Bytes that are there for it. The memory ends after them.
const ARENA_BYTES: usize = 0x1_0000;
/// Bytes of a page of memory.
const PAGE: usize = 0x1_0000;
/// Words before what `run` returns.
const WORDS: usize = 12;
/// Where the request has the address and the length of its body, in words.
const BODY: usize = 18;

#[link(wasm_import_module = "scorebox:scoring/log@0.1.0")]
unsafe extern "C" {
    #[link_name = "write"]
    fn log_write(stream: u32, level: u32, logger: u32, logger_len: u32, text: u32, text_len: u32);
}

#[link(wasm_import_module = "scorebox:scoring/stream@0.1.0")]
unsafe extern "C" {
    #[link_name = "start"]
    fn stream_start(status: u32, headers: u32, headers_len: u32, result: *mut [u8; 2]);
    #[link_name = "write"]
    fn stream_write(chunk: u32, chunk_len: u32, result: *mut [u8; 2]);
}

#[unsafe(export_name = "scorebox:scoring/scoring@0.1.0#init")]
extern "C" fn init(_: u32, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32) -> *const [u32; 3] {
    let pages = (ARENA + ARENA_BYTES) / PAGE - wasm32::memory_size(0);
    assert_ne!(wasm32::memory_grow(0, pages), usize::MAX);
    // Nothing went wrong.
    &[0; 3]
}

#[unsafe(export_name = "scorebox:scoring/scoring@0.1.0#schema")]
extern "C" fn schema() -> *const [u32; 9] {
    // The mode is `raw`, and nothing is declared.
    &[2, 0, 0, 0, 0, 0, 0, 4, 0]
}

#[unsafe(export_name = "scorebox:scoring/scoring@0.1.0#run")]
extern "C" fn run(request: *const [u32; BODY + 2]) -> usize {
    // SAFETY: the host wrote the request there, and the memory has the arena since `init`; nothing else is in it.
    unsafe {
        let body = (*request)[BODY] as *const u8;
        let length = ((*request)[BODY + 1] as usize).min(ARENA_BYTES);
        std::ptr::copy_nonoverlapping(body, ARENA as *mut u8, length);
        let words = *(ARENA as *const [u32; WORDS]);
        let mut result = [0; 2];
        if words[0] & 1 != 0 {
            log_write(words[1], words[2], words[3], words[4], words[5], words[6]);
        }
        if words[0] & 2 != 0 {
            stream_start(words[7], words[8], words[9], &raw mut result);
        }
        if words[0] & 4 != 0 {
            stream_write(words[10], words[11], &raw mut result);
        }
    }
    ARENA + WORDS * size_of::<u32>()
}
