//! The module `bridge` of the component: copies between memories.
//!
//! The only unsafe code of the glue, apart from the entry points that the linker needs, is here and in [`crate::python`]:
//! calls of other modules. Addresses of Python's memory are numbers; the bridge checks them against its size.
#![expect(unsafe_code, reason = "calls of other modules are foreign functions")]

/// Bytes of a page of WebAssembly memory.
const PAGE: u64 = 65536;

/// A place outside of the memory that it should be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutOfBounds;

#[link(wasm_import_module = "bridge")]
unsafe extern "C" {
    fn python_to_glue(to: *mut u8, from: u32, bytes: usize);
    fn glue_to_python(to: u32, from: *const u8, bytes: usize);
    fn library_to_python(to: u32, from: u32, bytes: u32);
    fn library_to_glue(to: *mut u8, from: u32, bytes: usize);
    safe fn python_pages() -> u32;
    safe fn library_pages() -> u32;
}

fn check(pages: u32, address: u32, bytes: usize) -> Result<(), OutOfBounds> {
    let end = u64::from(address) + bytes as u64;
    if end <= u64::from(pages) * PAGE { Ok(()) } else { Err(OutOfBounds) }
}

/// Reads Python's memory.
pub(crate) fn read_python(from: u32, into: &mut [u8]) -> Result<(), OutOfBounds> {
    check(python_pages(), from, into.len())?;
    // SAFETY: the slice is where bytes may be written to.
    unsafe { python_to_glue(into.as_mut_ptr(), from, into.len()) };
    Ok(())
}

/// Reads `bytes` of Python's memory into a vector.
pub(crate) fn read_python_vec(from: u32, bytes: u32) -> Result<Vec<u8>, OutOfBounds> {
    let bytes = bytes as usize;
    check(python_pages(), from, bytes)?;
    let mut vec = Vec::with_capacity(bytes);
    // SAFETY: the vector has room for so many bytes, which are all written.
    unsafe {
        python_to_glue(vec.as_mut_ptr(), from, bytes);
        vec.set_len(bytes);
    }
    Ok(vec)
}

/// Writes Python's memory.
pub(crate) fn write_python(to: u32, from: &[u8]) -> Result<(), OutOfBounds> {
    check(python_pages(), to, from.len())?;
    // SAFETY: the slice is where bytes can be read from.
    unsafe { glue_to_python(to, from.as_ptr(), from.len()) };
    Ok(())
}

/// Copies from the library to Python's memory.
pub(crate) fn write_python_from_library(to: u32, from: u32, bytes: u32) -> Result<(), OutOfBounds> {
    check(python_pages(), to, bytes as usize)?;
    check(library_pages(), from, bytes as usize)?;
    // SAFETY: no memory of the glue is touched.
    unsafe { library_to_python(to, from, bytes) };
    Ok(())
}

/// Reads the library.
pub(crate) fn read_library(from: u32, into: &mut [u8]) -> Result<(), OutOfBounds> {
    check(library_pages(), from, into.len())?;
    // SAFETY: the slice is where bytes may be written to.
    unsafe { library_to_glue(into.as_mut_ptr(), from, into.len()) };
    Ok(())
}
