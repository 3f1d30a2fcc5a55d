//! Which packages an app needs, in which versions.
//!
//! pip could choose them all by itself, but not for this runtime: it takes the conditions of requirements as those of the
//! Python that it runs on, it cannot be told of packages that are there already, and where a package has machine code it
//! goes back to versions from years ago until it finds one without. So pip only says what the newest version of a package
//! is that will do, and fetches it; what that needs in turn is found out here.
//!
//! A version is chosen anew when something is found later that asks for another. What is not done is to give up the
//! newest version of one package because of what it asks of another: where two cannot be had together, both are named, and
//! the user chooses.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};

use pep440_rs::{Version, VersionSpecifier};

use super::wheel::Wheel;
use crate::python::{
    Carried, Origin, Requirement, RequirementFiles, Satisfied, Source, Wanted, Warning, normalized, satisfied,
};

/// How often versions are chosen anew, at most.
const MAX_ROUNDS: usize = 100;

/// Who asks for a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// The app's requirement files.
    File(Origin),
    /// Another package.
    Package {
        /// Its name.
        name: String,
        /// The version that asks.
        version: Version,
    },
}

impl Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(origin) => origin.fmt(f),
            Self::Package { name, version } => write!(f, "{name} {version}"),
        }
    }
}

/// A package that is to be got, with all that is asked of it.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    /// Its name, normalised.
    pub(super) key: String,
    /// Who asks for it, and how.
    pub(super) demands: Vec<(Who, Requirement)>,
    /// Where the app's files ask for what asks for it, if they do not do so themselves.
    pub(super) via: Option<Origin>,
}

impl Ask {
    /// Whether a version will do for all.
    pub(super) fn accepts(&self, version: &Version) -> bool {
        self.demands.iter().all(|(_, requirement)| requirement.accepts(version))
    }

    /// The URL or path that it is to come from.
    pub(super) fn place(&self) -> Option<&str> {
        self.demands.iter().find_map(|(_, requirement)| match &requirement.source {
            Source::Place(place) => Some(place.as_str()),
            Source::Versions(_) => None,
        })
    }

    /// Whether versions before a release are asked for by name.
    pub(super) fn takes_prereleases(&self) -> bool {
        self.demands.iter().any(|(_, requirement)| match &requirement.source {
            Source::Versions(versions) => versions.iter().any(VersionSpecifier::any_prerelease),
            Source::Place(_) => false,
        })
    }

    /// Whether a wheel is what is asked for.
    fn is_met_by(&self, wheel: &Wheel) -> bool {
        self.place() == wheel.place.as_deref() && self.accepts(&wheel.version)
    }

    /// All that is asked, on one line.
    pub(super) fn asked(&self) -> String {
        let demands: Vec<_> = self.demands.iter().map(|(who, requirement)| format!("{who} ({requirement})")).collect();
        let via = self.via.as_ref().map(|origin| format!(", by way of {origin}")).unwrap_or_default();
        demands.join(", ") + &via
    }
}

/// Why there is no set of packages.
#[derive(Debug, thiserror::Error)]
pub(in crate::build) enum ResolveError<E> {
    /// The index cannot give what is asked for.
    #[error(transparent)]
    Index(E),
    /// A package is asked for from two places.
    #[error("{key} is asked for from more than one place: {asked}; choose one of them")]
    Places {
        /// The package.
        key: String,
        /// Who asks.
        asked: String,
    },
    /// The runtime has it in another version, and that is not wanted.
    #[error("{}", .0.join("\n"))]
    Conflicts(Vec<String>),
    /// Versions that change each other for ever.
    #[error("there is no end in choosing versions of {0}; write down exact versions of what they need")]
    Endless(String),
}

/// Where wheels come from.
pub(super) trait Index {
    /// Why there are none.
    type Error;

    /// The newest wheel for each package that will do for all who ask for it, in the same order.
    fn pick(&mut self, asks: &[Ask]) -> Result<Vec<Wheel>, Self::Error>;
}

/// What an app needs.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    /// What is installed, in order of the names, and who asks for it.
    pub(super) wheels: Vec<(Wheel, String)>,
    /// What the runtime has: name, version if it has one, and who asks for it.
    pub(super) from_runtime: Vec<(String, Option<String>, String)>,
    /// What may not go well.
    pub(super) warnings: Vec<Warning>,
}

/// Finds out what an app needs. With `strict`, a package that is asked for in another version than the runtime carries is an
/// error.
pub(super) fn resolve<I: Index>(
    files: &RequirementFiles,
    carried: &[Carried],
    strict: bool,
    index: &mut I,
) -> Result<Resolved, ResolveError<I::Error>> {
    let mut picked: BTreeMap<String, Wheel> = BTreeMap::new();
    for _ in 0..MAX_ROUNDS {
        let Closure { asks, from_runtime, warnings } = closure(files, carried, &picked);
        if strict && !warnings.is_empty() {
            return Err(ResolveError::Conflicts(warnings.into_iter().map(|Warning(text)| text).collect()));
        }
        if let Some(ask) = asks.values().find(|ask| places(ask).len() > 1) {
            return Err(ResolveError::Places { key: ask.key.clone(), asked: ask.asked() });
        }
        let open: Vec<_> = asks
            .values()
            .filter(|ask| !picked.get(&ask.key).is_some_and(|wheel| ask.is_met_by(wheel)))
            .cloned()
            .collect();
        if open.is_empty() {
            let wheels = asks.into_values().filter_map(|ask| Some((picked.remove(&ask.key)?, ask.asked()))).collect();
            return Ok(Resolved { wheels, from_runtime, warnings });
        }
        let wheels = index.pick(&open).map_err(ResolveError::Index)?;
        picked.extend(open.into_iter().zip(wheels).map(|(ask, wheel)| (ask.key, wheel)));
    }
    Err(ResolveError::Endless(picked.into_keys().collect::<Vec<_>>().join(", ")))
}

fn places(ask: &Ask) -> BTreeSet<&str> {
    ask.demands
        .iter()
        .filter_map(|(_, requirement)| match &requirement.source {
            Source::Place(place) => Some(place.as_str()),
            Source::Versions(_) => None,
        })
        .collect()
}

/// What is needed, as far as it is known by the wheels that have been picked.
#[derive(Default)]
struct Closure {
    asks: BTreeMap<String, Ask>,
    from_runtime: Vec<(String, Option<String>, String)>,
    warnings: Vec<Warning>,
}

fn closure(files: &RequirementFiles, carried: &[Carried], picked: &BTreeMap<String, Wheel>) -> Closure {
    let mut result = Closure::default();
    // A package and one of its optional parts, or itself.
    let mut seen: BTreeSet<(String, String)> = BTreeSet::new();
    let mut open: Vec<(Who, Requirement)> = files
        .wanted
        .iter()
        .rev()
        .filter(|wanted| wanted.requirement.applies(""))
        .map(|Wanted { requirement, origin, .. }| (Who::File(origin.clone()), requirement.clone()))
        .collect();
    while let Some((who, requirement)) = open.pop() {
        match satisfied(&requirement, &who, matches!(who, Who::Package { .. }), carried) {
            Some(Satisfied::Provided) => {
                result.from_runtime.push((requirement.name.clone(), None, who.to_string()));
                continue;
            }
            Some(Satisfied::Yes(package)) => {
                result.from_runtime.push((package.name, Some(package.version), who.to_string()));
                continue;
            }
            Some(Satisfied::OtherVersion(package, text)) => {
                result.from_runtime.push((package.name, Some(package.version), who.to_string()));
                result.warnings.push(Warning(text));
                continue;
            }
            None => {}
        }
        let key = requirement.key();
        let parts = std::iter::once(String::new()).chain(requirement.extras.iter().cloned());
        let ask = result.asks.entry(key.clone()).or_insert_with(|| {
            let limits = files.constraints.iter().filter(|wanted| wanted.requirement.key() == key);
            let limits = limits.filter(|wanted| wanted.requirement.applies(""));
            let demands = limits.map(|wanted| (Who::File(wanted.origin.clone()), wanted.requirement.clone())).collect();
            Ask { key: key.clone(), demands, via: None }
        });
        let demand = (who, requirement.clone());
        if !ask.demands.contains(&demand) {
            ask.demands.push(demand);
        }
        let Some(wheel) = picked.get(&key) else { continue };
        for part in parts {
            if !seen.insert((key.clone(), part.clone())) {
                continue;
            }
            let who = Who::Package { name: wheel.name.clone(), version: wheel.version.clone() };
            let needed = wheel.requires.iter().filter(|needed| {
                // What it needs anyway is not counted again with each part, and a part may name others of its own.
                needed.applies(&part) && (part.is_empty() || !needed.applies(""))
            });
            open.extend(needed.rev().map(|needed| (who.clone(), needed.clone())));
        }
    }
    let vias: Vec<_> = result.asks.values().map(|ask| via(&result.asks, ask)).collect();
    for (ask, via) in result.asks.values_mut().zip(vias) {
        ask.via = via;
    }
    let mut seen = BTreeSet::new();
    result.from_runtime.retain(|(name, ..)| seen.insert(normalized(name)));
    result.from_runtime.sort();
    let mut seen = BTreeSet::new();
    result.warnings.retain(|Warning(text)| seen.insert(text.clone()));
    result
}

/// Follows those who ask up to the app's files.
fn via(asks: &BTreeMap<String, Ask>, ask: &Ask) -> Option<Origin> {
    let is_file = |(who, _): &(Who, Requirement)| matches!(who, Who::File(_));
    if ask.demands.iter().any(is_file) {
        return None;
    }
    let mut ask = ask;
    // Packages may ask for each other in circles.
    for _ in 0..asks.len() {
        match ask.demands.iter().find(|demand| is_file(demand)).or(ask.demands.first()) {
            Some((Who::File(origin), _)) => return Some(origin.clone()),
            Some((Who::Package { name, .. }, _)) => ask = asks.get(&normalized(name))?,
            None => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// An index of packages with what they need.
    struct Fake(Vec<(&'static str, &'static str, &'static [&'static str])>);

    impl Index for Fake {
        type Error = String;

        fn pick(&mut self, asks: &[Ask]) -> Result<Vec<Wheel>, String> {
            asks.iter().map(|ask| self.one(ask).ok_or_else(|| format!("no {}: {}", ask.key, ask.asked()))).collect()
        }
    }

    impl Fake {
        fn one(&self, ask: &Ask) -> Option<Wheel> {
            let all = self.0.iter().filter(|(name, ..)| *name == ask.key);
            let fits = all.filter(|(_, version, _)| ask.accepts(&version.parse().unwrap()));
            let (name, version, requires) = fits.max_by_key(|(_, version, _)| version.parse::<Version>().unwrap())?;
            Some(Wheel {
                name: (*name).to_owned(),
                version: version.parse().unwrap(),
                file: String::new(),
                sha256: String::new(),
                requires: requires.iter().map(|text| text.parse().unwrap()).collect(),
                files: Vec::new(),
                native: Vec::new(),
                place: ask.place().map(str::to_owned),
            })
        }
    }

    fn files(wanted: &[&str], constraints: &[&str]) -> RequirementFiles {
        let read = |texts: &[&str]| {
            let origin = |line| Origin { file: PathBuf::from("requirements.txt"), line };
            texts
                .iter()
                .enumerate()
                .map(|(line, text)| Wanted {
                    requirement: text.parse().unwrap(),
                    origin: origin(line + 1),
                    hashes: Vec::new(),
                })
                .collect()
        };
        RequirementFiles { wanted: read(wanted), constraints: read(constraints), ..RequirementFiles::default() }
    }

    fn run(
        wanted: &[&str],
        index: &[(&'static str, &'static str, &'static [&'static str])],
    ) -> Result<Vec<String>, String> {
        run_with(&files(wanted, &[]), index, false).map(|resolved| names(&resolved))
    }

    fn names(resolved: &Resolved) -> Vec<String> {
        resolved.wheels.iter().map(|(wheel, _)| format!("{} {}", wheel.name, wheel.version)).collect()
    }

    fn run_with(
        files: &RequirementFiles,
        index: &[(&'static str, &'static str, &'static [&'static str])],
        strict: bool,
    ) -> Result<Resolved, String> {
        let carried = [Carried { name: "numpy".to_owned(), version: "2.5.2".to_owned() }];
        resolve(files, &carried, strict, &mut Fake(index.to_vec())).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_needed_is_found_down_to_the_last() {
        let index: [(_, _, &[_]); 4] = [
            ("a", "1", &["b>=1", "numpy>=2"]),
            ("b", "1", &["c; python_version>'3'"]),
            ("c", "2", &[]),
            ("d", "1", &[]),
        ];
        assert_eq!(run(&["a", "d; sys_platform == 'linux'"], &index).unwrap(), ["a 1", "b 1", "c 2"]);
    }

    #[test]
    fn optional_parts_bring_what_they_need() {
        let index: [(_, _, &[_]); 4] = [
            ("a", "1", &["b; extra == 'x'", "c; extra == 'y'", "a[y]; extra == 'all'"]),
            ("b", "1", &[]),
            ("c", "1", &[]),
            ("d", "1", &["a[all]"]),
        ];
        assert_eq!(run(&["a"], &index).unwrap(), ["a 1"]);
        assert_eq!(run(&["a[x]"], &index).unwrap(), ["a 1", "b 1"]);
        assert_eq!(run(&["d"], &index).unwrap(), ["a 1", "c 1", "d 1"]);
    }

    #[test]
    fn a_version_is_chosen_anew_when_another_is_asked_for_later() {
        let index: [(_, _, &[_]); 5] = [
            ("a", "1", &["b"]),
            ("b", "2", &["only-of-2"]),
            ("b", "1", &[]),
            ("c", "1", &["b<2"]),
            ("only-of-2", "1", &["c"]),
        ];
        // What only the first choice needed asks for the other one, and goes with it; then nobody does.
        assert_eq!(run(&["a", "c"], &index).unwrap(), ["a 1", "b 1", "c 1"]);
    }

    #[test]
    fn what_cannot_be_had_together_is_said() {
        let index: [(_, _, &[_]); 4] = [("a", "1", &["c<2"]), ("b", "3", &["c>=2"]), ("c", "1", &[]), ("c", "2", &[])];
        let error = run(&["a", "b"], &index).unwrap_err();
        assert_eq!(error, "no c: a 1 (c<2), b 3 (c>=2), by way of requirements.txt line 1");
        let error = run(&["a @ https://x/a.whl", "a @ https://y/a.whl"], &index).unwrap_err();
        assert!(error.contains("more than one place"), "{error}");
    }

    #[test]
    fn versions_that_change_each_other_come_to_an_end() {
        let index: [(_, _, &[_]); 4] =
            [("a", "2", &["b<2"]), ("a", "1", &["b"]), ("b", "2", &["a<2"]), ("b", "1", &[])];
        let error = run(&["a", "b"], &index);
        assert!(error.is_ok() || error.as_ref().is_err_and(|error| error.contains("no end")), "{error:?}");
    }

    #[test]
    fn constraints_count_for_what_is_needed() {
        let index: [(_, _, &[_]); 3] = [("a", "1", &["b"]), ("b", "1", &[]), ("b", "2", &[])];
        let resolved = run_with(&files(&["a"], &["b<2", "z==1"]), &index, false).unwrap();
        assert_eq!(names(&resolved), ["a 1", "b 1"]);
    }

    #[test]
    fn what_the_runtime_carries_is_not_installed() {
        let index: [(_, _, &[_]); 1] = [("a", "1", &["numpy<2", "azureml-defaults"])];
        let wanted = files(&["numpy==1.26.4", "a"], &[]);
        let resolved = run_with(&wanted, &index, false).unwrap();
        assert_eq!(names(&resolved), ["a 1"]);
        assert_eq!(resolved.from_runtime.len(), 2);
        let warnings: Vec<_> = resolved.warnings.iter().map(ToString::to_string).collect();
        assert!(
            warnings[0].starts_with("requirements.txt line 1 asks for numpy==1.26.4; the runtime carries numpy 2.5.2")
        );
        assert!(
            warnings[1].contains("a 1 asks for numpy<2; ") && warnings[1].contains("a version of a 1 that"),
            "{warnings:?}"
        );
        assert!(run_with(&wanted, &index, true).unwrap_err().contains("numpy==1.26.4"));
    }
}
