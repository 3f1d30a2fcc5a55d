//! What the runtime carries, and whether that is what an app asks for.

use std::fmt::{self, Display};
use std::path::Path;

use pep440_rs::Version;
use serde::Deserialize;

use super::requirement::{Requirement, Source, normalized};
use super::requirement_files::{RequirementFiles, RequirementsError, Wanted};

/// A package that is part of the Python runtime.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Carried {
    /// Its name.
    pub(crate) name: String,
    /// The only version of it that there is.
    pub(crate) version: String,
}

/// Reads the list that comes with a runtime: `[{"name": "numpy", "version": "2.5.2"}]`.
pub(crate) fn parse_carried(json: &[u8]) -> Result<Vec<Carried>, String> {
    serde_json::from_slice(json).map_err(|error| format!("the list of the runtime's packages cannot be read: {error}"))
}

/// What a script gets from the part of the runtime that stands in for Azure ML's server. It is there as far as scripts use
/// it and has no version of its own, so any that is asked for will do.
const PROVIDED: [&str; 7] = [
    "azureml-contrib-services",
    "azureml-defaults",
    "azureml-inference-server-http",
    "flask",
    "gunicorn",
    "inference-schema",
    "werkzeug",
];

/// Something that goes on but may not go well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Warning(pub(crate) String);

impl Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How the runtime meets a requirement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Satisfied {
    /// It carries the package, in a version that will do.
    Yes(Carried),
    /// It carries the package, in another version. The text says both.
    OtherVersion(Carried, String),
    /// It stands in for the package.
    Provided,
}

/// How the runtime meets a requirement that `who` has, a package or else a line of a file; none if the package has to be
/// installed.
pub(crate) fn satisfied(
    requirement: &Requirement,
    who: &dyn Display,
    is_package: bool,
    carried: &[Carried],
) -> Option<Satisfied> {
    let key = requirement.key();
    if PROVIDED.contains(&key.as_str()) {
        return Some(Satisfied::Provided);
    }
    let package = carried.iter().find(|package| normalized(&package.name) == key)?.clone();
    // A list whose versions cannot be read says nothing against them.
    let Ok(version) = package.version.parse::<Version>() else { return Some(Satisfied::Yes(package)) };
    if matches!(requirement.source, Source::Versions(_)) && requirement.accepts(&version) {
        return Some(Satisfied::Yes(package));
    }
    let way_out = if is_package {
        format!("test whether that will do, or ask for a version of {who} that does not say so")
    } else {
        let major = version.release().first().copied().unwrap_or_default();
        format!("write {}>={major}, or take it out", package.name)
    };
    let text =
        format!("{who} asks for {requirement}; the runtime carries {} {}: {way_out}", package.name, package.version);
    Some(Satisfied::OtherVersion(package, text))
}

/// Checks an app that is served as it lies in its folder: what its requirement files ask for has to be part of the
/// runtime, because nothing is installed for it.
///
/// A package that the runtime carries in another version is a warning: pins from the days of another Python are in most
/// files, and most scripts do not depend on them.
pub(crate) fn check_requirements(folder: &Path, carried: &[Carried]) -> Result<Vec<Warning>, RequirementsError> {
    let files = RequirementFiles::read(folder)?;
    let mut warnings = Vec::new();
    let mut unmet = Vec::new();
    for Wanted { requirement, origin, .. } in &files.wanted {
        if !requirement.applies("") {
            continue;
        }
        match satisfied(requirement, origin, false, carried) {
            None => unmet.push((origin.clone(), requirement.to_string())),
            Some(Satisfied::OtherVersion(_, text)) => warnings.push(Warning(text)),
            Some(Satisfied::Yes(_) | Satisfied::Provided) => {}
        }
    }
    if unmet.is_empty() { Ok(warnings) } else { Err(RequirementsError::Unmet { unmet, folder: folder.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried() -> Vec<Carried> {
        parse_carried(br#"[{"name": "numpy", "version": "2.5.2"}, {"name": "PyYAML", "version": "6.0.3"}]"#).unwrap()
    }

    fn check(text: &str) -> Result<Vec<Warning>, RequirementsError> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("requirements.txt"), text).unwrap();
        check_requirements(folder.path(), &carried())
    }

    #[test]
    fn what_the_runtime_carries_needs_no_build() {
        let text = "numpy>=2\nazureml-defaults==1.53\nFlask\npyyaml\nhumanize; sys_platform == 'win32'\n";
        assert_eq!(check(text).unwrap(), []);
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(check_requirements(folder.path(), &[]).unwrap(), []);
    }

    #[test]
    fn another_version_is_a_warning_with_both() {
        let warnings = check("# pinned\nnumpy==1.26.4\n").unwrap();
        let text = warnings[0].to_string();
        assert!(
            text.contains(
                "requirements.txt line 2 asks for numpy==1.26.4; the runtime carries numpy 2.5.2: write numpy>=2, or \
                 take it out"
            ),
            "{text}"
        );
    }

    #[test]
    fn what_it_does_not_carry_has_to_be_built() {
        let error = check("numpy\nhumanize>=4\ngit+https://host/own.git#egg=own\n").unwrap_err().to_string();
        assert!(error.contains("requirements.txt line 2 asks for humanize>=4\n"), "{error}");
        assert!(error.contains("line 3 asks for own @ git+https://host/own.git"), "{error}");
        assert!(error.contains("`scorebox build "), "{error}");
    }

    #[test]
    fn a_list_that_is_none_is_refused() {
        assert!(parse_carried(b"{}").unwrap_err().contains("cannot be read"));
    }
}
