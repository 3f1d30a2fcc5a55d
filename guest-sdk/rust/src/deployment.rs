//! What `init` is given.

use serde::de::DeserializeOwned;

use crate::fault::{Fault, Result};
use crate::{Deployment, File};

impl Deployment {
    /// The content of a file of the bundle. `path` is relative to the bundle's root: `model/weights.json`.
    ///
    /// # Errors
    ///
    /// The bundle has no such file; the message lists those that it has.
    ///
    /// ```
    /// # use scorebox_guest::{Deployment, File};
    /// let deployment = Deployment {
    ///     name: "iris".into(),
    ///     version: "1".into(),
    ///     environment: vec![],
    ///     files: vec![File { path: "labels.txt".into(), contents: b"setosa".to_vec() }],
    /// };
    /// assert_eq!(deployment.file("labels.txt"), Ok(&b"setosa"[..]));
    /// assert_eq!(
    ///     deployment.file("model.json").unwrap_err().to_string(),
    ///     "The bundle has no file 'model.json'. It has 1 file: 'labels.txt'.",
    /// );
    /// ```
    pub fn file(&self, path: &str) -> Result<&[u8]> {
        match self.files.iter().find(|file| file.path == path) {
            Some(file) => Ok(&file.contents),
            None => Err(Fault::failed(no_file(path, &self.files))),
        }
    }

    /// A JSON file of the bundle, parsed. `path` is relative to the bundle's root: `model/weights.json`.
    ///
    /// # Errors
    ///
    /// The bundle has no such file, or its content is not JSON of the form of `T`; the message says where it is not.
    pub fn json<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        serde_json::from_slice(self.file(path)?)
            .map_err(|error| Fault::failed(format_args!("The file '{path}' of the bundle cannot be used: {error}")))
    }
}

/// Names at most ten of the files: a bundle may have thousands.
fn no_file(path: &str, files: &[File]) -> String {
    const SHOWN: usize = 10;
    let mut names = files.iter().take(SHOWN).map(|file| format!("'{}'", file.path)).collect::<Vec<_>>();
    if files.len() > SHOWN {
        names.push("...".to_owned());
    }
    match files.len() {
        0 => format!("The bundle has no file '{path}': it has no files at all. Serve the folder that holds them."),
        1 => format!("The bundle has no file '{path}'. It has 1 file: {}.", names[0]),
        count => format!("The bundle has no file '{path}'. It has {count} files: {}.", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(files: &[(&str, &str)]) -> Deployment {
        let file = |&(path, contents): &(&str, &str)| File { path: path.into(), contents: contents.into() };
        Deployment {
            name: "test".into(),
            version: "1".into(),
            environment: vec![],
            files: files.iter().map(file).collect(),
        }
    }

    #[test]
    fn a_json_file_is_parsed() {
        assert_eq!(deployment(&[("a.json", "[1, 2]")]).json::<Vec<i32>>("a.json"), Ok(vec![1, 2]));
    }

    #[test]
    fn a_bad_json_file_is_named_with_the_place() {
        assert_eq!(
            deployment(&[("a.json", "[1, x]")]).json::<Vec<i32>>("a.json").map_err(|fault| fault.to_string()),
            Err("The file 'a.json' of the bundle cannot be used: expected value at line 1 column 5".to_owned()),
        );
    }

    #[test]
    fn a_file_that_is_not_there_is_named_beside_those_that_are() {
        let message = |files: &[(&str, &str)]| match deployment(files).file("b") {
            Ok(_) => String::new(),
            Err(fault) => fault.to_string(),
        };
        assert_eq!(
            message(&[]),
            "The bundle has no file 'b': it has no files at all. Serve the folder that holds them.",
        );
        assert_eq!(message(&[("a", ""), ("c", "")]), "The bundle has no file 'b'. It has 2 files: 'a', 'c'.",);
        assert!(message(&[("a", ""); 11]).ends_with("'a', ...."));
    }
}
