//! The tests that there are, by the sources: Cargo says which programs there are, and the rest is in their files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use scorebox_tests::process;
use serde_json::Value;

/// The tests of each program, by its name: that of the test program, or of the crate for its unit tests.
#[derive(Debug, Default)]
pub(crate) struct Tests(BTreeMap<String, Program>);

#[derive(Debug, Default)]
struct Program {
    /// Whether these are the unit tests of a crate, which are named without their module.
    is_crate: bool,
    /// The path of each test, from the root of its program.
    tests: Vec<Vec<String>>,
}

impl Tests {
    /// The tests of all members of these projects.
    pub(crate) fn of(manifests: &[PathBuf]) -> Self {
        let mut programs = BTreeMap::<_, Program>::new();
        for manifest in manifests {
            let metadata = metadata(manifest);
            for package in members(&metadata["packages"]) {
                for target in members(&package["targets"]) {
                    let is_program = members(&target["kind"]).iter().any(|kind| kind == "test");
                    if target["test"] == false {
                        continue;
                    }
                    let name = if is_program { &target["name"] } else { &package["name"] };
                    let program = programs.entry(text(name).to_owned()).or_default();
                    program.is_crate |= !is_program;
                    read_file(Path::new(text(&target["src_path"])), &mut Vec::new(), true, &mut program.tests);
                }
            }
        }
        Self(programs)
    }

    /// The tests of these sources, of one file each: as crates where the name has a hyphen.
    pub(crate) fn of_sources(programs: &[(&str, &str)]) -> Self {
        let programs = programs.iter().map(|(name, source)| {
            let mut tests = Vec::new();
            read_tests(&words(source), &mut Vec::new(), &mut tests, &mut |module| panic!("{module:?} is no file"));
            ((*name).to_owned(), Program { is_crate: name.contains('-'), tests })
        });
        Self(programs.collect())
    }

    /// Finds the one test of this name.
    pub(crate) fn find(&self, name: &str) -> Result<(), String> {
        let (program, path) = self.program(name)?;
        let found =
            program.tests.iter().filter(|test| if program.is_crate { test.ends_with(&path) } else { **test == path });
        match found.count() {
            0 => Err("no such test".to_owned()),
            1 => Ok(()),
            _ => Err("several tests have this name: name the module too".to_owned()),
        }
    }

    /// Finds the tests of a program, or of a module of it.
    pub(crate) fn find_group(&self, name: &str) -> Result<(), String> {
        let (program, path) = self.program(name)?;
        let found = program.tests.iter().any(|test| test.len() > path.len() && test.starts_with(&path));
        if found { Ok(()) } else { Err("no such tests".to_owned()) }
    }

    fn program(&self, name: &str) -> Result<(&Program, Vec<String>), String> {
        let mut parts = name.split("::");
        let program = parts.next().unwrap_or_default();
        let program = self.0.get(program).ok_or_else(|| format!("no such program of tests: {program}"))?;
        Ok((program, parts.map(str::to_owned).collect()))
    }
}

/// What Cargo knows about a project without looking at its dependencies.
fn metadata(manifest: &Path) -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = process::hermetic(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version=1", "--manifest-path"])
        .arg(manifest)
        .output()
        .expect("Cargo is there");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("Cargo writes JSON")
}

fn members(list: &Value) -> &[Value] {
    list.as_array().expect("a list")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

/// Adds the tests of a file and of the modules that it names. `is_root` says whether modules lie beside the file, or in the
/// folder of its name.
fn read_file(file: &Path, module: &mut Vec<String>, is_root: bool, tests: &mut Vec<Vec<String>>) {
    let source = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let folder = if is_root || file.ends_with("mod.rs") { file.with_file_name("") } else { file.with_extension("") };
    let depth = module.len();
    let mut files = Vec::new();
    read_tests(&words(&source), module, tests, &mut |path| files.push(path.to_vec()));
    for mut path in files {
        let place = folder.join(path[depth..].iter().collect::<PathBuf>());
        let beside = place.with_extension("rs");
        let file = if beside.is_file() { beside } else { place.join("mod.rs") };
        read_file(&file, &mut path, false, tests);
    }
}

/// Adds the tests in these words, and tells which modules are in files of their own.
fn read_tests(
    words: &[String],
    module: &mut Vec<String>,
    tests: &mut Vec<Vec<String>>,
    in_file: &mut dyn FnMut(&[String]),
) {
    // For each brace that is open: whether it is a module's.
    let mut braces = Vec::new();
    let mut attributes: Vec<String> = Vec::new();
    let mut rest = words.iter().map(String::as_str).peekable();
    while let Some(word) = rest.next() {
        match word {
            "#" if rest.peek() == Some(&"[") => {
                let mut depth = 0;
                let mut attribute = String::new();
                for word in rest.by_ref() {
                    depth += i32::from(word == "[") - i32::from(word == "]");
                    attribute.push_str(word);
                    if depth == 0 {
                        break;
                    }
                }
                attributes.push(attribute);
                continue;
            }
            // Neither visibility nor kind of a function parts it from its attributes.
            "pub" | "async" | "(" | ")" | "crate" | "super" | "in" | "const" | "unsafe" => continue,
            "fn" => {
                let of_test = |attribute: &String| {
                    let path = attribute.trim_matches(['[', ']']).split('(').next().unwrap_or_default();
                    path.rsplit("::").next() == Some("test")
                };
                let is_ignored = attributes.iter().any(|attribute| attribute.starts_with("[ignore"));
                if attributes.iter().any(of_test)
                    && !is_ignored
                    && let Some(name) = rest.next()
                {
                    tests.push(module.iter().map(String::as_str).chain([name]).map(str::to_owned).collect());
                }
            }
            "mod" => {
                let name = rest.next().unwrap_or_default().to_owned();
                match rest.next() {
                    Some("{") => {
                        module.push(name);
                        braces.push(true);
                    }
                    // One that lies elsewhere is shared with another program, whose tests it would be.
                    Some(";") if attributes.iter().any(|attribute| attribute.starts_with("[path")) => {}
                    Some(";") => {
                        module.push(name);
                        in_file(module);
                        module.pop();
                    }
                    _ => {}
                }
            }
            "{" => braces.push(false),
            "}" if braces.pop() == Some(true) => drop(module.pop()),
            _ => {}
        }
        attributes.clear();
    }
}

/// The words and signs of a source, without comments and without what is between quotes.
fn words(source: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            comment(rest)
        } else if first == '"' {
            quoted(rest, '"')
        } else if let Some(length) = raw(rest) {
            length
        } else if first == '\'' {
            character(rest)
        } else if first.is_alphanumeric() || first == '_' {
            let length = rest.find(|char: char| !char.is_alphanumeric() && char != '_').unwrap_or(rest.len());
            words.push(rest[..length].to_owned());
            length
        } else {
            if !first.is_whitespace() {
                words.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    words
}

/// The length of a comment, with those within it.
fn comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The length of a text in quotes, in which a backslash takes the next character's meaning.
fn quoted(text: &str, quote: char) -> usize {
    let mut chars = text.char_indices().skip(1);
    while let Some((at, char)) = chars.next() {
        if char == '\\' {
            chars.next();
        } else if char == quote {
            return at + 1;
        }
    }
    text.len()
}

/// The length of a raw text, `r#"..."#` or `br"..."`, if this is one.
fn raw(text: &str) -> Option<usize> {
    let hashes = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let rest = hashes.trim_start_matches('#');
    let hashes = &hashes[..hashes.len() - rest.len()];
    let inner = rest.strip_prefix('"')?;
    let end = format!("\"{hashes}");
    let start = text.len() - inner.len();
    Some(inner.find(&end).map_or(text.len(), |at| start + at + end.len()))
}

/// The length of a character in quotes, or of the sign that begins the name of a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.chars().skip(1);
    match (chars.next(), chars.next()) {
        (Some('\\'), _) => quoted(text, '\''),
        (Some(char), Some('\'')) => 2 + char.len_utf8(),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_tests(source: &str, expected: &[&str]) {
        let mut tests = Vec::new();
        let mut files = Vec::new();
        read_tests(&words(source), &mut Vec::new(), &mut tests, &mut |path| files.push(path.join("::")));
        let found: Vec<_> = tests.iter().map(|test| test.join("::")).chain(files).collect();
        assert_eq!(found, expected, "{source}");
    }

    #[test]
    fn tests_are_found_with_their_modules() {
        assert_tests("#[test]\nfn a() {}\n\n#[test]\nfn b() -> Result<(), ()> { Ok(()) }", &["a", "b"]);
        assert_tests("mod m {\n mod n { #[test] fn a() { if true {} } }\n #[test] fn b() {} }", &["m::n::a", "m::b"]);
        assert_tests(
            "#[cfg(test)] mod tests { use super::*; #[test] fn a() {} }\n#[test] fn b() {}",
            &["tests::a", "b"],
        );
        assert_tests("#[tokio::test(start_paused = true)] async fn a() {}", &["a"]);
        assert_tests("#[test]\n#[should_panic(expected = \"[x]\")]\npub(crate) fn a() {}", &["a"]);
        assert_tests("proptest! { #[test] fn a(x in any::<u8>()) {} }", &["a"]);
        assert_tests("mod a; mod b { mod c; }", &["a", "b::c"]);
    }

    #[test]
    fn what_is_no_test_is_not_found() {
        assert_tests("fn a() {}\n#[cfg(test)] fn b() {}\n#[inline] fn c() {}", &[]);
        assert_tests("#[test] #[ignore = \"slow\"] fn a() {}\n#[ignore]\n#[test]\nfn b() {}", &[]);
        assert_tests("// #[test] fn a() {}\n/* #[test] /* */ fn b() {} */", &[]);
        assert_tests(r##"const A: &str = "#[test] fn a() {}"; const B: &str = r#"#[test] "fn b() {}"#;"##, &[]);
        assert_tests("#[test] const A: u8 = 1; fn a() {}", &[]);
    }

    #[test]
    fn quotes_do_not_hide_what_follows() {
        assert_tests("fn f<'a>(x: &'a str) { '\"'; '\\''; b'{'; \"\\\"{\"; }\n#[test] fn a() {}", &["a"]);
        assert_tests("mod m { const C: char = '}'; const D: &str = \"}\"; #[test] fn a() {} }", &["m::a"]);
    }

    #[test]
    fn the_tests_of_crates_are_named_without_their_module_where_that_is_clear() {
        let source = "mod a { mod tests { #[test] fn x() {} #[test] fn y() {} } } mod b { #[test] fn x() {} }";
        let tests = Tests::of_sources(&[("scorebox-a", source)]);
        assert_eq!(tests.find("scorebox-a::y"), Ok(()));
        assert_eq!(tests.find("scorebox-a::tests::x"), Ok(()));
        assert!(tests.find("scorebox-a::x").unwrap_err().contains("several"));
    }
}
