//! Splits a core module into code, which many deployments share, and state, of which each has its own.
//!
//! The code imports what the module defined: its memory and its mutable globals. What their values are at the start goes
//! into the state. Nothing inside of functions changes: a module has one memory, which stays number 0, and globals are
//! imported from the first one on, so that all numbers stay what they were.

use wasm_encoder::{
    ConstExpr, DataSection, EntityType, ExportKind, ExportSection, GlobalSection, GlobalType, ImportSection,
    MemorySection, MemoryType, Module, RawSection, SectionId, ValType,
};
use wasmparser::{
    BinaryReaderError, DataKind, ExternalKind, KnownCustom, Name, NameSectionReader, Operator, Parser, Payload, TypeRef,
};

/// The module that state is imported from.
const STATE: &str = "state";

/// Why a module cannot be split.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SplitError {
    /// It is no WebAssembly, or damaged.
    #[error("not a core WebAssembly module: {0}")]
    Malformed(#[from] BinaryReaderError),
    /// It has something whose state could not be kept apart.
    #[error("the module {0}, which splitting does not support")]
    Unsupported(&'static str),
    /// A function that is to be exported is not there.
    #[error("the module has no function named `{0}`")]
    NoFunction(String),
}

/// The value of a global at the start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Global {
    pub(crate) mutable: bool,
    pub(crate) value: i32,
}

/// A piece of memory that is not zero at the start.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) offset: u32,
    pub(crate) bytes: Vec<u8>,
}

/// A module in two parts.
#[derive(Debug)]
pub(crate) struct Split {
    /// The module without its state, which it imports as `state` `<name>:memory` and `<name>:global<number>`.
    pub(crate) code: Vec<u8>,
    /// Pages of 64 KiB that the memory starts with.
    pub(crate) pages: u64,
    pub(crate) globals: Vec<Global>,
    pub(crate) segments: Vec<Segment>,
}

/// Splits `module`; its state is named after `name`. Functions in `export` are found by their names in the name section,
/// and exported by these.
pub(crate) fn split(name: &str, module: &[u8], export: &[&str]) -> Result<Split, SplitError> {
    let parts = Parts::read(module, export)?;
    let mut imports = parts.imports;
    imports.import(STATE, &format!("{name}:memory"), EntityType::Memory(memory_type(0)));
    for (number, global) in parts.globals.iter().enumerate() {
        imports.import(STATE, &format!("{name}:global{number}"), EntityType::Global(global_type(*global)));
    }
    let mut code = Module::new();
    for section in &parts.sections {
        match section {
            Section::Imports => code.section(&imports),
            Section::Globals => code.section(&parts.other_globals),
            Section::Exports => code.section(&parts.exports),
            Section::Raw(id, bytes) => code.section(&RawSection { id: *id, data: bytes }),
        };
    }
    Ok(Split { code: code.finish(), pages: parts.pages, globals: parts.globals, segments: parts.segments })
}

/// Writes the state of several modules as one module, which exports what their code imports.
pub(crate) fn state_module(splits: &[(&str, &Split)]) -> Vec<u8> {
    let (mut memories, mut globals) = (MemorySection::new(), GlobalSection::new());
    let (mut exports, mut data) = (ExportSection::new(), DataSection::new());
    for (index, (name, split)) in (0..).zip(splits) {
        memories.memory(memory_type(split.pages));
        exports.export(&format!("{name}:memory"), ExportKind::Memory, index);
        for segment in &split.segments {
            data.active(index, &ConstExpr::i32_const(segment.offset.cast_signed()), segment.bytes.iter().copied());
        }
        for (number, global) in split.globals.iter().enumerate() {
            exports.export(&format!("{name}:global{number}"), ExportKind::Global, globals.len());
            globals.global(global_type(*global), &ConstExpr::i32_const(global.value));
        }
    }
    let mut module = Module::new();
    module.section(&memories).section(&globals).section(&exports).section(&data);
    module.finish()
}

/// A module that exports one memory with the given content, as `memory`.
pub(crate) fn memory_module(content: &[u8]) -> Vec<u8> {
    let mut memories = MemorySection::new();
    memories.memory(memory_type(content.len().div_ceil(65536) as u64));
    let mut exports = ExportSection::new();
    exports.export("memory", ExportKind::Memory, 0);
    let mut data = DataSection::new();
    data.active(0, &ConstExpr::i32_const(0), content.iter().copied());
    let mut module = Module::new();
    module.section(&memories).section(&exports).section(&data);
    module.finish()
}

fn memory_type(minimum: u64) -> MemoryType {
    MemoryType { minimum, maximum: None, memory64: false, shared: false, page_size_log2: None }
}

fn global_type(global: Global) -> GlobalType {
    GlobalType { val_type: ValType::I32, mutable: global.mutable, shared: false }
}

/// A section of the module that is written.
enum Section<'a> {
    Imports,
    Globals,
    Exports,
    Raw(u8, &'a [u8]),
}

struct Parts<'a> {
    sections: Vec<Section<'a>>,
    imports: ImportSection,
    exports: ExportSection,
    /// Those that move into the state: all up to the last mutable one.
    globals: Vec<Global>,
    /// Those that stay.
    other_globals: GlobalSection,
    pages: u64,
    segments: Vec<Segment>,
}

impl<'a> Parts<'a> {
    fn read(module: &'a [u8], export: &[&str]) -> Result<Self, SplitError> {
        let mut parts = Self {
            sections: Vec::new(),
            imports: ImportSection::new(),
            exports: ExportSection::new(),
            globals: Vec::new(),
            other_globals: GlobalSection::new(),
            pages: 0,
            segments: Vec::new(),
        };
        let mut functions = Vec::new();
        for payload in Parser::new(0).parse_all(module) {
            parts.payload(module, payload?, &mut functions)?;
        }
        for name in export {
            let missing = || SplitError::NoFunction((*name).to_owned());
            let (index, _) = functions.iter().find(|(_, found)| found == name).ok_or_else(missing)?;
            parts.exports.export(name, ExportKind::Func, *index);
        }
        Ok(parts)
    }

    /// `functions` gets the numbers and names of functions.
    fn payload(
        &mut self,
        module: &'a [u8],
        payload: Payload<'a>,
        functions: &mut Vec<(u32, &'a str)>,
    ) -> Result<(), SplitError> {
        match payload {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import?;
                    let TypeRef::Func(index) = import.ty else {
                        return Err(SplitError::Unsupported("imports something else than functions"));
                    };
                    self.imports.import(import.module, import.name, EntityType::Function(index));
                }
                self.sections.push(Section::Imports);
            }
            Payload::MemorySection(section) => {
                if section.count() != 1 {
                    return Err(SplitError::Unsupported("has more than one memory"));
                }
                for memory in section {
                    self.pages = memory?.initial;
                }
            }
            Payload::GlobalSection(section) => {
                let globals = section.into_iter().map(|global| read_global(&global?)).collect::<Result<Vec<_>, _>>()?;
                let moved = globals.iter().rposition(|global| global.mutable).map_or(0, |last| last + 1);
                for global in &globals[moved..] {
                    self.other_globals.global(global_type(*global), &ConstExpr::i32_const(global.value));
                }
                self.globals = globals[..moved].to_vec();
                self.sections.push(Section::Globals);
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export?;
                    // The memory is the state's to export.
                    if export.kind == ExternalKind::Func {
                        self.exports.export(export.name, ExportKind::Func, export.index);
                    }
                }
                self.sections.push(Section::Exports);
            }
            Payload::DataSection(section) => {
                for data in section {
                    let data = data?;
                    let DataKind::Active { memory_index: 0, offset_expr } = data.kind else {
                        return Err(SplitError::Unsupported("has passive data"));
                    };
                    let offset = i32_constant(&offset_expr)?.cast_unsigned();
                    self.segments.push(Segment { offset, bytes: data.data.to_vec() });
                }
            }
            Payload::DataCountSection { .. } => {}
            Payload::StartSection { .. } => return Err(SplitError::Unsupported("has a start function")),
            Payload::CustomSection(section) => {
                if let KnownCustom::Name(names) = section.as_known() {
                    functions.extend(function_names(names)?);
                    self.sections.push(Section::Raw(SectionId::Custom.into(), &module[section.range()]));
                }
            }
            payload => {
                if let Some((id, range)) = payload.as_section() {
                    self.sections.push(Section::Raw(id, &module[range]));
                }
            }
        }
        Ok(())
    }
}

/// Numbers and names of a module's functions.
pub(crate) fn function_names(names: NameSectionReader<'_>) -> Result<Vec<(u32, &str)>, BinaryReaderError> {
    let mut functions = Vec::new();
    for name in names {
        if let Name::Function(map) = name? {
            for naming in map {
                let naming = naming?;
                functions.push((naming.index, naming.name));
            }
        }
    }
    Ok(functions)
}

fn read_global(global: &wasmparser::Global<'_>) -> Result<Global, SplitError> {
    if global.ty.content_type != wasmparser::ValType::I32 {
        return Err(SplitError::Unsupported("has a global that is no i32"));
    }
    Ok(Global { mutable: global.ty.mutable, value: i32_constant(&global.init_expr)? })
}

fn i32_constant(expression: &wasmparser::ConstExpr<'_>) -> Result<i32, SplitError> {
    let mut operators = expression.get_operators_reader();
    match (operators.read()?, operators.read()?) {
        (Operator::I32Const { value }, Operator::End) => Ok(value),
        _ => Err(SplitError::Unsupported("computes where its data or globals start")),
    }
}
