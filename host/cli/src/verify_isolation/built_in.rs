//! The scanner that Scorebox brings, as a component and as a runtime; `scanner.wat` says what it does.

use std::fs;
use std::path::Path;

use scorebox_sandbox::{Bundle, Code, Runtime};

use super::drive::{Ask, Ending, Findings, Input, Scanner};
use super::secret::Secrets;

const SCANNER: &str = include_str!("scanner.wat");
/// So many of 512 requests grow by so many pages; the first ones by so many that they are given back to the system
/// afterwards. All others grow by none: then a place can be restored without asking the kernel for its pages.
const GROWTH: [(u64, u64); 4] = [(1, 200), (8, 40), (64, 12), (256, 2)];
const OF_GROWTH: u64 = 512;

/// The two forms of the scanner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Component,
    Runtime,
    /// The state that a runtime begins with.
    State,
}

/// The text of one form.
fn text(form: Form) -> String {
    let mut kept = String::new();
    let mut section = "end";
    for line in SCANNER.lines() {
        if let Some(mark) = line.trim().strip_prefix(";; [").and_then(|mark| mark.strip_suffix(']')) {
            section = mark;
            continue;
        }
        let keep = match section {
            "component" => form == Form::Component,
            "runtime" => form == Form::Runtime,
            "state" => form != Form::Runtime,
            _ => form != Form::State,
        };
        if keep {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    if form == Form::State { format!("(module {kept})") } else { kept }
}

fn assemble(form: Form) -> Result<Vec<u8>, String> {
    wat::parse_str(text(form)).map_err(|error| format!("the scanner cannot be assembled: {error}"))
}

/// The scanner as a component.
pub(super) fn component() -> Result<Bundle, String> {
    Ok(bundle(Code::Component(assemble(Form::Component)?)))
}

/// The scanner as a runtime, of which the files are written to `folder`.
pub(super) fn runtime(folder: &Path) -> Result<Bundle, String> {
    let library = wat::parse_str("(module (memory (export \"memory\") 0))").map_err(|error| error.to_string())?;
    let files =
        [("code.wasm", assemble(Form::Runtime)?), ("state.wasm", assemble(Form::State)?), ("library.wasm", library)];
    for (name, bytes) in files {
        let path = folder.join(name);
        fs::write(&path, bytes).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    Runtime::open(folder).map(|runtime| bundle(Code::Runtime(runtime))).map_err(|error| error.to_string())
}

fn bundle(code: Code) -> Bundle {
    let (owner, environment, files) = (String::new(), Vec::new(), Vec::new());
    Bundle { owner, code, environment, files, model_dir: None, preload: None }
}

/// How requests end: the number by which `scanner.wat` knows it, and how many of 800 requests. All others are answered.
const ENDS: [(Ending, u64, u64); 9] = [
    (Ending::Trap, 1, 80),
    (Ending::Deadline, 2, 1),
    (Ending::Aborted, 3, 4),
    (Ending::Aborted, 4, 16),
    (Ending::Answer, 5, 2),
    (Ending::OutOfMemory, 6, 2),
    (Ending::Trap, 7, 4),
    (Ending::Fault, 8, 20),
    (Ending::Fault, 9, 40),
];
const OF: u64 = 800;
/// The number of an end that keeps its instance until the client goes away.
const HOLD: u64 = 4;

/// Makes the requests, and reads the reports.
#[derive(Debug)]
pub(super) struct BuiltIn;

impl BuiltIn {
    /// A number below `of` for a request. Not in the order of the requests, which go to the deployments in turn: so each of
    /// them has requests of all kinds.
    fn draw(number: u64, of: u64, shift: u32) -> u64 {
        (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> shift) % of
    }

    /// What is drawn by a number where each thing has a share of the numbers; `None` beyond all shares.
    fn drawn<T>(mut number: u64, things: impl IntoIterator<Item = (u64, T)>) -> Option<T> {
        things.into_iter().find_map(|(share, thing)| {
            let is_drawn = number < share;
            number = number.saturating_sub(share);
            is_drawn.then_some(thing)
        })
    }

    fn pages(number: u64) -> u64 {
        Self::drawn(Self::draw(number, OF_GROWTH, 16), GROWTH).unwrap_or(0)
    }

    fn end(number: u64) -> (Ending, u64) {
        let ends = ENDS.map(|(ending, code, share)| (share, (ending, code)));
        Self::drawn(Self::draw(number, OF, 32), ends).unwrap_or((Ending::Answer, 0))
    }
}

impl Scanner for BuiltIn {
    fn request(&self, secrets: &Secrets, number: u64, ask: Ask) -> Option<(Input, Ending)> {
        let (ending, code) = match ask {
            Ask::Any => Self::end(number),
            Ask::Answer => (Ending::Answer, 0),
            Ask::Hold => (Ending::Aborted, HOLD),
        };
        let mut body = secrets.masked(number).to_vec();
        body.extend(code.to_le_bytes());
        body.extend(Self::pages(number).to_le_bytes());
        Some((Input { body, ..Input::default() }, ending))
    }

    fn report(&self, report: &[u8]) -> Result<Findings, String> {
        let words: Vec<_> = report.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
        let [scanned, memory, new_memory, globals, tables, stale, _first, planted] = words[..] else {
            return Err(format!("a report of {} bytes", report.len()));
        };
        let found = [("memory", memory), ("new memory", new_memory), ("globals", globals), ("tables", tables)];
        Ok(Findings { scanned, found: found.map(|(place, times)| (place.to_owned(), times)).into(), stale, planted })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use scorebox_sandbox::{Limits, NoLog, Sandbox, SandboxConfig};

    use super::*;

    #[test]
    fn all_forms_of_the_scanner_are_valid() {
        for form in [Form::Component, Form::Runtime, Form::State] {
            let bytes = assemble(form).unwrap();
            wasmparser::Validator::new().validate_all(&bytes).unwrap_or_else(|error| panic!("{form:?}: {error}"));
        }
    }

    /// What `scanner.wat` says of tables.
    #[test]
    fn a_component_that_writes_to_a_table_is_not_deployed() {
        let plant = r#"(func (export "plant") (param i32 i64) (result i32) "#;
        let writes = format!("{plant}(table.set $bits (i32.const 0) (ref.null func)) ");
        let text = text(Form::Component);
        assert!(text.contains(plant));
        let bundle = bundle(Code::Component(wat::parse_str(text.replace(plant, &writes)).unwrap()));
        let sandbox = Sandbox::new(&SandboxConfig { max_running: 1, ..SandboxConfig::default() }, None).unwrap();
        let sealed = sandbox.seal("a", "1", &bundle, &Limits::default(), Arc::new(NoLog), &|_| ());
        let error = sealed.unwrap_err().to_string();
        assert!(error.contains("table.set"), "{error}");
    }

    #[test]
    fn each_of_four_deployments_grows_by_all_amounts_as_often_as_it_is_to() {
        for deployment in 0..4 {
            for (share, pages) in GROWTH {
                let numbers = (0..OF_GROWTH * 400).filter(|number| number % 4 == deployment);
                let times = numbers.filter(|number| BuiltIn::pages(*number) == pages).count() as u64;
                assert!(times > share * 50 && times < share * 150, "{deployment}, {pages}: {times} times");
            }
        }
    }

    #[test]
    fn all_ends_come_about_as_often_as_they_are_to() {
        for (_, code, share) in ENDS {
            let times = (0..OF * 100).filter(|number| BuiltIn::end(*number).1 == code).count() as u64;
            assert!(times > share * 50 && times < share * 150, "{code}: {times} times");
        }
    }
}
