//! Seeds, and what fuzzing has found, through the same checks.

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use scorebox_fuzz::TARGETS;

/// The files of a folder of this project, in their order.
fn files(folder: &str, target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(target);
    let Ok(files) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    files.sort_unstable();
    files
}

/// Gives all inputs of a folder to their checks.
fn replay(folder: &str) -> usize {
    let mut count = 0;
    for (target, check) in TARGETS {
        for file in files(folder, target) {
            let data = fs::read(&file).expect("it can be read");
            assert!(catch_unwind(|| check(&data)).is_ok(), "{} is not as it must be", file.display());
            count += 1;
        }
    }
    count
}

#[test]
fn what_fuzzing_has_found_is_mended() {
    assert!(replay("regressions") > 0);
}

#[test]
fn seeds_are_as_they_must_be() {
    assert!(replay("seeds") > TARGETS.len());
}

#[test]
fn every_target_has_a_program_and_seeds() {
    for (target, _) in TARGETS {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fuzz_targets/{target}.rs"));
        assert!(program.is_file(), "{} is not there", program.display());
        assert!(!files("seeds", target).is_empty(), "seeds/{target} has no seeds");
    }
}
