//! Images: the memories of a snapshot, in a file that instances map.
//!
//! The file begins with a head of [`HEAD`] bytes: [`MAGIC`], the length of what follows (4 bytes, little-endian), and JSON
//! that says how many pages each memory has, how many of its bytes are in the file, and the values of the globals. Then come
//! the memories, each from a multiple of [`PAGE`], so that they can be mapped as they are. What follows in the file is not
//! looked at.
//!
//! There is no code in it: whoever wrote it decides what guests find in their memories, and nothing else.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wasm_encoder::{ConstExpr, ExportKind, ExportSection, GlobalSection, GlobalType, MemorySection, MemoryType};
use wasmparser::{DataKind, Operator, Parser, Payload};
use wasmtime::LinearMemory;

use super::space::Space;
use super::{GUARD, RESERVATION};
use crate::native::Native;
use crate::sparse;

/// Bytes of a page of WebAssembly memory. A multiple of every system's pages.
pub(super) const PAGE: usize = 65536;
/// Bytes before the first memory.
pub(super) const HEAD: usize = PAGE;
/// What an image begins with.
const MAGIC: &[u8; 8] = b"SBXIMG01";
/// Memories that an image has at most, and globals.
const MOST: usize = 64;

/// The snapshot of one memory, and of the globals, as it is written down.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Layout {
    memories: Vec<Extent>,
    globals: Vec<i32>,
}

/// A memory in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Extent {
    /// Pages that it has.
    pages: u32,
    /// Pages of these that are in the file. Those that follow are zero.
    filled: u32,
}

/// Writes an image.
#[derive(Debug, Default)]
pub(crate) struct Written {
    layout: Layout,
    contents: Vec<Vec<u8>>,
}

impl Written {
    /// Adds a memory of so many pages, with what it begins with.
    pub(crate) fn memory(&mut self, pages: u32, contents: Vec<u8>) {
        let filled = contents.len().div_ceil(PAGE) as u32;
        self.layout.memories.push(Extent { pages, filled });
        self.contents.push(contents);
    }

    /// Adds a global.
    pub(crate) fn global(&mut self, value: i32) {
        self.layout.globals.push(value);
    }

    /// The image.
    pub(crate) fn finish(self) -> Vec<u8> {
        let layout = serde_json::to_vec(&self.layout).expect("numbers can be written as JSON");
        let filled: usize = self.layout.memories.iter().map(|extent| extent.filled as usize * PAGE).sum();
        let mut image = vec![0; HEAD + filled];
        let head = [MAGIC, (layout.len() as u32).to_le_bytes().as_slice(), &layout].concat();
        image[..head.len()].copy_from_slice(&head);
        let mut start = HEAD;
        for (contents, extent) in self.contents.iter().zip(&self.layout.memories) {
            sparse::copy(contents, &mut image[start..]);
            start += extent.filled as usize * PAGE;
        }
        image
    }

    /// The image of what a core module begins with that has memories, globals and data, and no code. Globals are of type
    /// i32.
    pub(crate) fn of_module(module: &[u8]) -> wasmtime::Result<Self> {
        let mut image = Self::default();
        for payload in Parser::new(0).parse_all(module) {
            match payload? {
                Payload::MemorySection(memories) => {
                    for memory in memories {
                        image.memory(u32::try_from(memory?.initial)?, Vec::new());
                    }
                }
                Payload::GlobalSection(globals) => {
                    for global in globals {
                        image.global(constant(&global?.init_expr)?);
                    }
                }
                Payload::DataSection(segments) => {
                    for segment in segments {
                        let segment = segment?;
                        let DataKind::Active { memory_index, offset_expr } = segment.kind else {
                            wasmtime::bail!("it has passive data");
                        };
                        image.write(memory_index as usize, constant(&offset_expr)?.cast_unsigned(), segment.data)?;
                    }
                }
                Payload::FunctionSection(_) | Payload::StartSection { .. } => wasmtime::bail!("it has functions"),
                _ => {}
            }
        }
        Ok(image)
    }

    fn write(&mut self, memory: usize, offset: u32, data: &[u8]) -> wasmtime::Result<()> {
        let offset = offset as usize;
        match (self.layout.memories.get_mut(memory), self.contents.get_mut(memory)) {
            (Some(extent), Some(contents)) if offset + data.len() <= extent.pages as usize * PAGE => {
                contents.resize(contents.len().max(offset + data.len()), 0);
                contents[offset..offset + data.len()].copy_from_slice(data);
                extent.filled = contents.len().div_ceil(PAGE) as u32;
                Ok(())
            }
            _ => wasmtime::bail!("its data is outside of its memories"),
        }
    }
}

fn constant(expression: &wasmparser::ConstExpr<'_>) -> wasmtime::Result<i32> {
    let mut operators = expression.get_operators_reader();
    match (operators.read()?, operators.read()?) {
        (Operator::I32Const { value }, Operator::End) => Ok(value),
        _ => wasmtime::bail!("it computes where its data or globals start"),
    }
}

/// An image that instances map.
#[derive(Debug)]
pub(crate) struct Image {
    file: File,
    layout: Layout,
    /// All memories, mapped for reading: what places are made equal to again.
    pristine: Space,
}

impl Image {
    /// Opens an image.
    pub(crate) fn open(native: &Native) -> io::Result<Arc<Self>> {
        match native {
            Native::File(path) => Self::of_file(File::open(path)?),
            Native::Bytes(bytes) => Self::of_bytes(bytes),
        }
    }

    /// The same for an image that is in no file yet.
    pub(crate) fn of_bytes(bytes: &[u8]) -> io::Result<Arc<Self>> {
        let mut file = in_memory()?;
        sparse::write(&mut file, bytes)?;
        file.rewind()?;
        Self::of_file(file)
    }

    fn of_file(mut file: File) -> io::Result<Arc<Self>> {
        let layout = read_layout(&mut file)?;
        let len = layout.memories.iter().map(|extent| extent.filled as usize * PAGE).sum::<usize>();
        if file.metadata()?.len() < (HEAD + len) as u64 {
            return Err(malformed("is cut off"));
        }
        let pristine = Space::reserve(len.max(PAGE))?;
        pristine.map_read_only(0..len, &file, HEAD as u64)?;
        Ok(Arc::new(Self { file, layout, pristine }))
    }

    /// Its memories, in order.
    pub(crate) fn memories(self: &Arc<Self>) -> impl Iterator<Item = MemoryImage> {
        let starts = self.layout.memories.iter().scan(0, |next, extent| {
            let start = *next;
            *next += extent.filled as usize * PAGE;
            Some((start, *extent))
        });
        starts.map(|(start, extent)| MemoryImage { image: Arc::clone(self), start, extent })
    }

    /// A module with memories and globals as they are here, which exports them under the given names. It holds no data: the
    /// memories are given to it when an instance is made.
    pub(crate) fn module(&self, memories: &[impl AsRef<str>], globals: &[impl AsRef<str>]) -> Option<Vec<u8>> {
        let Layout { memories: extents, globals: values } = &self.layout;
        if extents.len() != memories.len() || values.len() != globals.len() {
            return None;
        }
        let (mut memory_section, mut global_section) = (MemorySection::new(), GlobalSection::new());
        let mut exports = ExportSection::new();
        for (number, (name, extent)) in (0..).zip(memories.iter().zip(extents)) {
            memory_section.memory(MemoryType {
                minimum: u64::from(extent.pages),
                maximum: None,
                memory64: false,
                shared: false,
                page_size_log2: None,
            });
            exports.export(name.as_ref(), ExportKind::Memory, number);
        }
        for (number, (name, value)) in (0..).zip(globals.iter().zip(values)) {
            let ty = GlobalType { val_type: wasm_encoder::ValType::I32, mutable: true, shared: false };
            global_section.global(ty, &ConstExpr::i32_const(*value));
            exports.export(name.as_ref(), ExportKind::Global, number);
        }
        let mut module = wasm_encoder::Module::new();
        module.section(&memory_section).section(&global_section).section(&exports);
        Some(module.finish())
    }
}

fn read_layout(file: &mut File) -> io::Result<Layout> {
    let mut head = [0; 12];
    file.read_exact(&mut head)?;
    let (magic, len) = head.split_at(MAGIC.len());
    let len = u32::from_le_bytes(len.try_into().map_err(|_| malformed("has no head"))?) as usize;
    if magic != MAGIC || len > HEAD - head.len() {
        return Err(malformed("is none"));
    }
    let mut json = vec![0; len];
    file.read_exact(&mut json)?;
    let layout: Layout = serde_json::from_slice(&json).map_err(|_| malformed("has a head that cannot be read"))?;
    let pages = (RESERVATION / PAGE) as u32;
    let sound = |extent: &Extent| extent.filled <= extent.pages && extent.pages <= pages;
    if layout.memories.len() > MOST || layout.globals.len() > MOST || !layout.memories.iter().all(sound) {
        return Err(malformed("has a head that cannot be"));
    }
    Ok(layout)
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the image of a snapshot {what}"))
}

/// A file that is in memory alone.
fn in_memory() -> io::Result<File> {
    Ok(rustix::fs::memfd_create("snapshot", rustix::fs::MemfdFlags::CLOEXEC)?.into())
}

/// One memory of an image.
#[derive(Debug, Clone)]
pub(crate) struct MemoryImage {
    image: Arc<Image>,
    /// Where it begins among the memories, in bytes.
    start: usize,
    extent: Extent,
}

impl MemoryImage {
    /// Bytes that the memory has.
    pub(super) fn size(&self) -> usize {
        self.extent.pages as usize * PAGE
    }

    /// Bytes from its beginning that are in the file. What follows is zero.
    pub(super) fn filled(&self) -> usize {
        self.extent.filled as usize * PAGE
    }

    /// Whether both are the same memory of the same image.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.image, &other.image) && self.start == other.start && self.extent == other.extent
    }

    /// Maps it into a space, from `at`.
    pub(super) fn map_into(&self, space: &Space, at: usize) -> io::Result<()> {
        space.map(at..at + self.filled(), &self.image.file, (HEAD + self.start) as u64)?;
        space.open(at + self.filled()..at + self.size())
    }

    /// What is in its first [`filled`](Self::filled) bytes.
    pub(super) fn pristine(&self) -> &[u8] {
        #[expect(unsafe_code, reason = "it is a mapping")]
        // SAFETY: it is mapped for as long as the image is there, and written by nobody: the mapping is private and for
        // reading, and files of the cache are never changed.
        unsafe {
            self.image.pristine.read(self.start..self.start + self.filled())
        }
    }

    /// The same memory for all instances, which none can write to.
    pub(crate) fn read_only(&self) -> io::Result<Arc<ReadOnly>> {
        let space = Space::reserve(GUARD + RESERVATION + GUARD)?;
        space.map_read_only(GUARD..GUARD + self.filled(), &self.image.file, (HEAD + self.start) as u64)?;
        Ok(Arc::new(ReadOnly { space, size: self.size() }))
    }
}

/// A memory that instances share, because none can write to it.
#[derive(Debug)]
pub(crate) struct ReadOnly {
    space: Space,
    size: usize,
}

impl ReadOnly {
    pub(super) fn size(&self) -> usize {
        self.size
    }
}

/// A share in a read-only memory.
#[derive(Debug)]
pub(super) struct Shared(pub(super) Arc<ReadOnly>);

// SAFETY: the addresses are reserved with their guards for as long as this is there, and the memory does not grow. A write is
// a fault at an address of the memory, which the engine takes for an access out of bounds.
#[expect(unsafe_code, reason = "compiled code relies on the guards")]
unsafe impl LinearMemory for Shared {
    fn byte_size(&self) -> usize {
        self.0.size
    }

    fn byte_capacity(&self) -> usize {
        RESERVATION
    }

    fn grow_to(&mut self, _: usize) -> wasmtime::Result<()> {
        wasmtime::bail!("a memory that instances share does not grow")
    }

    fn as_ptr(&self) -> *mut u8 {
        self.0.space.address(GUARD)
    }
}
