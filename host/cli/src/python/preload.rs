//! What a script begins with: imports, which can be made before the script is there, and shared by scripts that begin alike.

use std::collections::HashSet;

use scorebox_sandbox::{BundleFile, Preload};

use super::MAIN_SCRIPT;

/// Bytes of a script that are looked at. Where its imports go on beyond that, those are not preloaded.
const MAX_BYTES: usize = 64 * 1024;
/// What the runner reads before the script, in the app folder or beside the script.
const LOGGING: &str = "logging.json";

/// What can be preloaded for an app: the imports with which its script begins, up to the first statement that is none. The
/// app's own files and its model are withheld, so that a change in them has nothing made again.
pub(crate) fn preload(entry_script: Option<&str>, files: &[BundleFile]) -> Preload {
    let script = format!("app/{}", entry_script.unwrap_or(MAIN_SCRIPT));
    let own: HashSet<_> = files
        .iter()
        .filter_map(|file| file.path.strip_prefix("app/"))
        .flat_map(|path| path.split('/').map(|part| part.split('.').next().unwrap_or(part)))
        .collect();
    let text = files.iter().find(|file| file.path == script).and_then(|file| str::from_utf8(&file.contents).ok());
    let statements = imports(text.unwrap_or_default(), |name| own.contains(name));
    let is_withheld = |path: &str| (path.starts_with("app/") || path.starts_with("model/")) && !path.ends_with(LOGGING);
    let withheld = files.iter().map(|file| &file.path).filter(|path| is_withheld(path)).cloned().collect();
    Preload { statements, withheld }
}

/// The imports with which a text begins, one on each line, without the names that are given to what they import. It ends where
/// anything else is done, where a module of the app's own is imported, or where it is not certain what a line means.
pub(crate) fn imports(text: &str, is_own: impl Fn(&str) -> bool) -> String {
    let mut rest = after_docstring(first_lines(text.strip_prefix('\u{feff}').unwrap_or(text)));
    let mut statements = String::new();
    while let Some((tokens, after)) = simple_line(rest) {
        rest = after;
        if tokens.is_empty() {
            continue;
        }
        let Some((modules, statement)) = import(&tokens) else { break };
        let mut packages = modules.iter().map(|module| module.split('.').next().unwrap_or(module));
        if packages.any(&is_own) {
            break;
        }
        // It is for the compiler, and must be first.
        if modules != ["__future__"] {
            statements.push_str(&statement);
            statements.push('\n');
        }
    }
    statements
}

/// As many whole lines as are looked at.
fn first_lines(text: &str) -> &str {
    if text.len() <= MAX_BYTES {
        return text;
    }
    let lines = &text[..text.floor_char_boundary(MAX_BYTES)];
    &lines[..lines.rfind('\n').unwrap_or(0)]
}

/// What follows the text with which a module may say what it is for; all of `text` where there is none, or none that is simple.
fn after_docstring(text: &str) -> &str {
    let mut start = text;
    while let Some((tokens, after)) = simple_line(start) {
        if !tokens.is_empty() || after.is_empty() {
            break;
        }
        start = after;
    }
    let literal = start.strip_prefix(['r', 'R', 'u', 'U']).unwrap_or(start);
    let Some(quote) = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quote| literal.starts_with(quote)) else {
        return text;
    };
    let contents = &literal[quote.len()..];
    let mut from = 0;
    let end = loop {
        match contents[from..].find(['\\', quote.as_bytes()[0] as char]).map(|at| from + at) {
            None => return text,
            Some(at) if contents[at..].starts_with('\\') => {
                from = at + 1 + contents[at + 1..].chars().next().map_or(0, char::len_utf8);
            }
            Some(at) if contents[at..].starts_with(quote) => break at,
            Some(at) => from = at + 1,
        }
    };
    if quote.len() == 1 && contents[..end].contains('\n') {
        return text;
    }
    match simple_line(&contents[end + quote.len()..]) {
        Some((tokens, after)) if tokens.is_empty() => after,
        _ => text,
    }
}

/// The names, commas, dots, stars and parentheses of the first line, which goes on while a parenthesis is open or where it ends
/// with a backslash; and what follows it. `None` at the end, and where anything else is in it.
fn simple_line(text: &str) -> Option<(Vec<&str>, &str)> {
    let mut tokens = Vec::new();
    let mut open = 0_u32;
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let length = match character {
            '\n' if open == 0 => return Some((tokens, &rest[1..])),
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '\\' if rest.starts_with("\\\n") => 2,
            '\\' if rest.starts_with("\\\r\n") => 3,
            // A line that begins further in belongs to what is not there.
            ' ' | '\t' if tokens.is_empty() && rest.len() == text.len() => {
                let blank = rest.trim_start_matches([' ', '\t', '\r']);
                if !blank.is_empty() && !blank.starts_with(['\n', '#']) {
                    return None;
                }
                rest.len() - blank.len()
            }
            ' ' | '\t' | '\r' | '\n' => 1,
            '(' | ')' | ',' | '.' | '*' => {
                open = match character {
                    '(' => open + 1,
                    ')' => open.checked_sub(1)?,
                    _ => open,
                };
                tokens.push(&rest[..1]);
                1
            }
            _ if is_of_name(character) => {
                let length = rest.find(|character| !is_of_name(character)).unwrap_or(rest.len());
                tokens.push(&rest[..length]);
                length
            }
            _ => return None,
        };
        rest = &rest[length..];
    }
    (open == 0 && !text.is_empty()).then_some((tokens, rest))
}

fn is_of_name(character: char) -> bool {
    character == '_' || character.is_alphanumeric()
}

/// The modules that an import is of, and the statement; `None` where it is none.
fn import(tokens: &[&str]) -> Option<(Vec<String>, String)> {
    match tokens {
        ["import", names @ ..] => {
            let modules = names_of(names)?;
            let statement = format!("import {}", modules.join(", "));
            Some((modules, statement))
        }
        ["from", rest @ ..] => {
            let at = rest.iter().position(|token| *token == "import")?;
            let (module, names) = (&rest[..at], &rest[at + 1..]);
            let module = dotted(module)?;
            let names = match names {
                ["*"] => vec!["*".to_owned()],
                ["(", names @ .., ",", ")"] | ["(", names @ .., ")"] | names => names_of(names)?,
            };
            names.iter().all(|name| !name.contains('.')).then_some(())?;
            let statement = format!("from {module} import {}", names.join(", "));
            Some((vec![module], statement))
        }
        _ => None,
    }
}

/// Names that are separated by commas, each with or without another name that is given to it.
fn names_of(tokens: &[&str]) -> Option<Vec<String>> {
    tokens
        .split(|token| *token == ",")
        .map(|name| match name {
            [name @ .., "as", given] if is_name(given) => dotted(name),
            name => dotted(name),
        })
        .collect()
}

fn dotted(tokens: &[&str]) -> Option<String> {
    let is_dotted = tokens.len() % 2 == 1
        && tokens.iter().enumerate().all(|(at, token)| if at % 2 == 0 { is_name(token) } else { *token == "." });
    is_dotted.then(|| tokens.concat())
}

fn is_name(token: &str) -> bool {
    token.starts_with(|character: char| is_of_name(character) && !character.is_numeric())
        && !matches!(token, "as" | "from" | "import")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        imports(text, |name| name == "own").lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_imports_with_which_a_script_begins() {
        let script = "# -*- coding: utf-8 -*-\n\n\"\"\"What it's for.\n\nimport nothing \\\"\"\" \"\"\"  # so\r\n\
            from __future__ import annotations\nimport json, os.path as path\nimport numpy as np  # arrays\n\n    # indented\n\
            import sklearn.linear_model\nfrom sklearn . pipeline import (\n    Pipeline as P,  # one\n    make_pipeline,\n)\n\
            from os import path, \\\n    sep\nfrom math import *\nmodel = None\nimport pandas\n";
        assert_eq!(
            found(script),
            [
                "import json, os.path",
                "import numpy",
                "import sklearn.linear_model",
                "from sklearn.pipeline import Pipeline, make_pipeline",
                "from os import path, sep",
                "from math import *",
            ]
        );
        assert_eq!(found("'one line'\nimport json"), ["import json"]);
        assert_eq!(found("\u{feff}import json\r\nimport os\r\n"), ["import json", "import os"]);
    }

    #[test]
    fn it_ends_where_a_line_is_anything_else() {
        for line in [
            "import own",
            "import own.part",
            "from own import part",
            "from . import part",
            "from .part import name",
            "import json; print()",
            "import json, own",
            "import json,",
            "import",
            "import json as",
            "import json.",
            "import 1",
            "from json import",
            "from json import (loads",
            "from json import a.b",
            "from import json",
            "from json import loads)",
            "importjson",
            "import json if True else os",
            "\"\"\"not at the beginning\"\"\"",
            "x = \"\"\"\nimport pandas\n\"\"\"",
            "if True:\n    import json",
            "try:\n    import json\nexcept ImportError: pass",
            "    import json",
            "import json \\ # no",
        ] {
            assert_eq!(found(&format!("import os\n{line}\nimport re\n")), ["import os"], "{line}");
        }
        assert_eq!(found("\"\"\"without an end\nimport json\n"), [""; 0]);
        assert_eq!(found("'two\nlines'\nimport json\n"), [""; 0]);
        assert_eq!(found("\"doc\" + f()\nimport json\n"), [""; 0]);
        assert_eq!(found("f\"{print()}\"\nimport json\n"), [""; 0]);
        assert_eq!(found(""), [""; 0]);
    }

    #[test]
    fn of_a_long_script_no_more_than_whole_lines_at_its_beginning_is_looked_at() {
        let lines = "import json\n".repeat(10_000);
        assert_eq!(found(&lines).len(), MAX_BYTES / "import json\n".len());
        assert_eq!(found(&format!("import json{}", ", json".repeat(MAX_BYTES))), [""; 0]);
        assert_eq!(found(&format!("import os\nfrom os import (\n{})\n", "path,\n".repeat(MAX_BYTES))), ["import os"]);
    }

    #[test]
    fn what_is_withheld_is_the_apps_own_and_its_model() {
        let file = |path: &str, contents: &str| BundleFile { path: path.to_owned(), contents: contents.into() };
        let files = [
            file("app/logging.json", "{}"),
            file("app/lib/own.py", ""),
            file("app/main.py", "import os\nimport own\n"),
            file("app/src/score.py", "import json\nimport lib\n"),
            file("model/weights", ""),
            file("site/package/__init__.py", ""),
        ];
        let preloaded = preload(Some("src/score.py"), &files);
        assert_eq!(preloaded.statements, "import json\n");
        let withheld = ["app/lib/own.py", "app/main.py", "app/src/score.py", "model/weights"];
        assert_eq!(preloaded.withheld, withheld.map(str::to_owned).into());
        assert_eq!(preload(None, &files).statements, "import os\n");
        assert_eq!(preload(Some("none.py"), &files).statements, "");
    }
}
