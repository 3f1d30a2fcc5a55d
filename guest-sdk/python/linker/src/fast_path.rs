//! Gives a function of a module a fast path: another function, which is imported, and asked first.
//!
//! Nothing that calls the function changes, and what it did remains: the fast path may leave to it whatever it likes.

use wasm_encoder::reencode::{self, Reencode, utils};
use wasm_encoder::{BlockType, CodeSection, EntityType, Function, FunctionSection, ImportSection, Module, ValType};
use wasmparser::{
    CodeSectionReader, CompositeInnerType, FunctionSectionReader, ImportSectionReader, KnownCustom, Parser, Payload,
    TypeRef,
};

use crate::split::function_names;

/// Why a function cannot be given a fast path.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FastPathError {
    /// It is no WebAssembly, or damaged.
    #[error("not a core WebAssembly module: {0}")]
    Malformed(#[from] wasmparser::BinaryReaderError),
    /// It cannot be written anew.
    #[error("the module cannot be written anew: {0}")]
    Unsupported(#[from] reencode::Error),
    /// There is no such function.
    #[error("the module has no function named `{0}`")]
    NoFunction(String),
    /// It takes or returns something else.
    #[error("`{0}` is no function of two numbers of 32 bits that returns a float of 64 bits")]
    Type(String),
}

/// Has `function` ask the import `name` of `from` first. Both take two numbers of 32 bits and return a float of 64 bits; where
/// the import returns NaN, the function does what it did.
pub(crate) fn add_fast_path(module: &[u8], function: &str, from: &str, name: &str) -> Result<Vec<u8>, FastPathError> {
    let Found { imported, index, ty } = find(module, function)?;
    let mut rewriting = Rewriting { imported, body: index - imported, ty, from, name, bodies: 0 };
    let mut rewritten = Module::new();
    rewriting.parse_core_module(&mut rewritten, Parser::new(0), module)?;
    Ok(rewritten.finish())
}

/// Where a function is.
struct Found {
    /// Functions that are imported, which have the first numbers.
    imported: u32,
    index: u32,
    ty: u32,
}

fn find(module: &[u8], function: &str) -> Result<Found, FastPathError> {
    let (mut imported, mut index) = (0, None);
    let (mut types, mut fitting) = (Vec::new(), Vec::new());
    for payload in Parser::new(0).parse_all(module) {
        match payload? {
            Payload::TypeSection(section) => {
                for group in section {
                    fitting.extend(group?.types().map(|ty| match &ty.composite_type.inner {
                        CompositeInnerType::Func(ty) => {
                            ty.params() == [wasmparser::ValType::I32; 2] && ty.results() == [wasmparser::ValType::F64]
                        }
                        _ => false,
                    }));
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    imported += u32::from(matches!(import?.ty, TypeRef::Func(_)));
                }
            }
            Payload::FunctionSection(section) => types = section.into_iter().collect::<Result<_, _>>()?,
            Payload::CustomSection(section) => {
                if let KnownCustom::Name(names) = section.as_known() {
                    index = function_names(names)?
                        .into_iter()
                        .find_map(|(index, name)| (name == function).then_some(index));
                }
            }
            _ => {}
        }
    }
    let missing = || FastPathError::NoFunction(function.to_owned());
    let index = index.filter(|index| *index >= imported).ok_or_else(missing)?;
    let ty = *types.get((index - imported) as usize).ok_or_else(missing)?;
    match fitting.get(ty as usize) {
        Some(true) => Ok(Found { imported, index, ty }),
        _ => Err(FastPathError::Type(function.to_owned())),
    }
}

/// Writes a module anew, with one import more, and one function more: what the function did.
struct Rewriting<'a> {
    imported: u32,
    /// Which of the bodies is the function's.
    body: u32,
    ty: u32,
    from: &'a str,
    name: &'a str,
    /// Bodies of the module.
    bodies: u32,
}

impl Reencode for Rewriting<'_> {
    type Error = std::convert::Infallible;

    fn function_index(&mut self, function: u32) -> Result<u32, reencode::Error> {
        // The new import comes after those that there are.
        Ok(if function < self.imported { function } else { function + 1 })
    }

    fn parse_import_section(
        &mut self,
        imports: &mut ImportSection,
        section: ImportSectionReader<'_>,
    ) -> Result<(), reencode::Error> {
        utils::parse_import_section(self, imports, section)?;
        imports.import(self.from, self.name, EntityType::Function(self.ty));
        Ok(())
    }

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        section: FunctionSectionReader<'_>,
    ) -> Result<(), reencode::Error> {
        self.bodies = section.count();
        utils::parse_function_section(self, functions, section)?;
        functions.function(self.ty);
        Ok(())
    }

    fn parse_code_section(
        &mut self,
        code: &mut CodeSection,
        section: CodeSectionReader<'_>,
    ) -> Result<(), reencode::Error> {
        let mut before = None;
        for (body, number) in section.into_iter().zip(0..) {
            let body = body?;
            if number == self.body {
                code.function(&self.asking());
                before = Some(body);
            } else {
                self.parse_function_body(code, body)?;
            }
        }
        before.map_or(Ok(()), |body| self.parse_function_body(code, body))
    }
}

impl Rewriting<'_> {
    /// The body that takes the place of the function's: it asks the import, and calls what the function did.
    fn asking(&self) -> Function {
        let before = self.imported + 1 + self.bodies;
        let mut function = Function::new([(1, ValType::F64)]);
        function
            .instructions()
            .local_get(0)
            .local_get(1)
            .call(self.imported)
            .local_tee(2)
            .local_get(2)
            .f64_eq()
            .if_(BlockType::Result(ValType::F64))
            .local_get(2)
            .else_()
            .local_get(0)
            .local_get(1)
            .call(before)
            .end()
            .end();
        function
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODULE: &str = r#"(module
      (type $read (func (param i32 i32) (result f64)))
      (import "a" "b" (func $b))
      (table 2 funcref) (elem (i32.const 0) $other $read)
      (func $other (export "other") (param i32) (result f64) (call $read (local.get 0) (i32.const 1)))
      (func $read (export "read") (type $read) (call $b) (f64.convert_i32_s (local.get 0))))"#;

    #[test]
    fn the_import_is_asked_first_and_all_calls_still_mean_what_they_meant() {
        let module = add_fast_path(&wat::parse_str(MODULE).unwrap(), "read", "fast", "path").unwrap();
        wasmparser::validate(&module).unwrap();
        let expected = wat::parse_str(
            r#"(module
              (type $read (func (param i32 i32) (result f64)))
              (type (func)) (type (func (param i32) (result f64)))
              (import "a" "b" (func $b))
              (import "fast" "path" (func $path (type $read)))
              (table 2 funcref) (elem (i32.const 0) $other $read)
              (func $other (export "other") (param i32) (result f64) (call $read (local.get 0) (i32.const 1)))
              (func $read (export "read") (type $read) (local f64)
                (if (result f64)
                  (f64.eq (local.tee 2 (call $path (local.get 0) (local.get 1))) (local.get 2))
                  (then (local.get 2))
                  (else (call $before (local.get 0) (local.get 1)))))
              (func $before (type $read) (call $b) (f64.convert_i32_s (local.get 0))))"#,
        )
        .unwrap();
        let bodies = |module: &[u8]| {
            Parser::new(0)
                .parse_all(module)
                .filter_map(|payload| match payload.unwrap() {
                    Payload::CodeSectionEntry(body) => Some(body.as_bytes().to_vec()),
                    _ => None,
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(bodies(&module), bodies(&expected));
    }

    #[test]
    fn what_is_missing_or_of_another_type_is_said() {
        let module = wat::parse_str(MODULE).unwrap();
        let error = |name| add_fast_path(&module, name, "fast", "path").unwrap_err().to_string();
        assert_eq!(error("write"), "the module has no function named `write`");
        assert_eq!(error("b"), "the module has no function named `b`");
        assert!(error("other").contains("no function of two numbers"));
    }
}
