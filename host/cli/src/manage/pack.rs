//! What is uploaded of a scorer.

use std::fs;
use std::path::Path;

use scorebox_sandbox::{Bundle, Code, MODULE_FILE, model_dir_of};

use crate::python::{ARCHIVE_EXTENSION, App, archive_component};

/// Bytes of the files of a scorer. The server has a limit of its own.
const MAX_BYTES: u64 = 8 << 30;
/// The script of a folder.
const SCRIPT: &str = "score.py";

/// The bundle of a scorer: a component or an archive as it is, else an archive of its files.
pub(super) fn pack(scorer: &Path, model_dir: Option<&Path>) -> Result<Vec<u8>, String> {
    let bundle = bundle(scorer, model_dir)?;
    if bundle.is_empty() {
        return Err(format!("{} is empty; make it anew", scorer.display()));
    }
    Ok(bundle)
}

fn bundle(scorer: &Path, model_dir: Option<&Path>) -> Result<Vec<u8>, String> {
    let is = |ending: &str| scorer.extension().is_some_and(|found| found == ending);
    let read = || fs::read(scorer).map_err(|error| format!("cannot read {}: {error}", scorer.display()));
    if is(ARCHIVE_EXTENSION) {
        return match model_dir {
            None => read(),
            Some(_) => Err(format!("{} brings its own model directory; leave --model_dir out", scorer.display())),
        };
    }
    let script = scorer.join(SCRIPT);
    if is("py") {
        return pack_app(scorer, model_dir, scorer.parent().filter(|folder| !folder.as_os_str().is_empty()));
    }
    if scorer.is_dir() && script.is_file() && !scorer.join(MODULE_FILE).exists() {
        let model_dir = model_dir_of(scorer, model_dir).map_err(|error| error.to_string())?;
        return pack_app(&script, model_dir.as_deref(), Some(scorer));
    }
    let Bundle { code, files, .. } = Bundle::read(scorer, model_dir, MAX_BYTES).map_err(|error| error.to_string())?;
    match code {
        Code::Component(component) if files.is_empty() => Ok(component),
        Code::Component(component) => archive_component(&component, &files).map_err(|error| error.to_string()),
        Code::Runtime(_) => Err(format!("{} is no scorer", scorer.display())),
    }
}

fn pack_app(script: &Path, model_dir: Option<&Path>, root: Option<&Path>) -> Result<Vec<u8>, String> {
    let app = App::read(script, model_dir, root, None, MAX_BYTES).map_err(|error| error.to_string())?;
    app.archive(None).map_err(|error| error.to_string())
}
