//! What is preloaded of a script: the imports with which it begins.

use scorebox::fuzz::script_imports;

/// A module of the app's own.
const OWN: &str = "own";

/// What is found are imports of other modules, each on a line, in words of the script, and the same is found in them again.
pub fn check(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let found = script_imports(text, OWN);
    for line in found.lines() {
        let (modules, names) = match line.split_once(' ') {
            Some(("import", modules)) => (modules, ""),
            Some(("from", rest)) => rest.split_once(" import ").expect("an import"),
            _ => panic!("{line:?} is no import"),
        };
        for module in modules.split(", ") {
            assert_ne!(module.split('.').next(), Some(OWN), "{line:?}");
            assert!(module.split('.').all(|part| is_name(part) && text.contains(part)), "{line:?}");
        }
        for name in names.split(", ").filter(|name| !matches!(*name, "" | "*")) {
            assert!(is_name(name) && text.contains(name), "{line:?}");
        }
    }
    assert_eq!(script_imports(&found, OWN), found);
    // What follows changes nothing.
    if text.len() < 1000 {
        let more = script_imports(&format!("{text}\nx = 1\nimport other\n"), OWN);
        assert!(found.starts_with(&more) || more.starts_with(&found), "{found:?}, {more:?}");
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|character| character == '_' || character.is_alphanumeric())
}
