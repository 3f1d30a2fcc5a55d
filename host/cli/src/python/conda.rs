//! conda's environment file: which packages it asks for.

use std::collections::BTreeMap;

use pep440_rs::VersionSpecifiers;
use saphyr::{LoadableYamlNode as _, MarkedYaml, YamlData};
use saphyr_parser::{Event, Parser};

use super::requirement::{Requirement, Source};

/// conda's names of packages that pip knows by another one.
const OTHER_NAMES: [(&str, &str); 6] = [
    ("matplotlib-base", "matplotlib"),
    ("msgpack-python", "msgpack"),
    ("py-opencv", "opencv-python"),
    ("py-xgboost", "xgboost"),
    ("pytorch", "torch"),
    ("seaborn-base", "seaborn"),
];

/// Lists and mappings within each other that the file may have.
const MAX_DEPTH: usize = 64;

/// What conda needs for itself, or the runtime is.
const OWN: [&str; 2] = ["python", "pip"];

/// What `dependencies:` has, with the lines.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Dependencies {
    /// conda's packages.
    pub(super) conda: Vec<(usize, String)>,
    /// Lines for pip.
    pub(super) pip: Vec<(usize, String)>,
}

/// Reads the file.
pub(super) fn read(text: &str) -> Result<Dependencies, String> {
    check_depth(text)?;
    let documents = MarkedYaml::load_from_str(text).map_err(|error| format!("it is no YAML: {error}"))?;
    let mut result = Dependencies::default();
    let Some(document) = documents.first() else { return Ok(result) };
    let Some(top) = document.data.as_mapping() else {
        return Err("it is no environment file: there are no keys like `dependencies:`".to_owned());
    };
    let Some((_, dependencies)) = top.iter().find(|(key, _)| key.data.as_str() == Some("dependencies")) else {
        return Ok(result);
    };
    for node in items(dependencies, "dependencies")? {
        if let Some(text) = node.data.as_str() {
            result.conda.push((node.span.start.line(), text.to_owned()));
            continue;
        }
        let pip =
            node.data.as_mapping().filter(|mapping| mapping.iter().all(|(key, _)| key.data.as_str() == Some("pip")));
        let Some((_, list)) = pip.and_then(|mapping| mapping.iter().next()) else {
            return Err(format!("line {} is neither a package nor `pip:`", node.span.start.line()));
        };
        for node in items(list, "pip")? {
            let line = node.span.start.line();
            let text =
                node.data.as_str().ok_or_else(|| format!("line {line} is no text; put it into quotation marks"))?;
            result.pip.push((line, text.to_owned()));
        }
    }
    Ok(result)
}

/// Refuses lists and mappings that are nested too deep: they are loaded, gone through and dropped by recursion, which would
/// take all of the stack. What an alias stands for counts where the alias is.
fn check_depth(text: &str) -> Result<(), String> {
    // Of those that have begun: the anchor, and how many levels are in it so far.
    let mut open: Vec<(usize, usize)> = Vec::new();
    let mut levels = BTreeMap::new();
    for event in Parser::new_from_iter(text.chars()) {
        let (event, span) = event.map_err(|error| format!("it is no YAML: {error}"))?;
        let inside = match event {
            Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) => {
                open.push((anchor, 0));
                0
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let (anchor, inside) = open.pop().unwrap_or_default();
                levels.insert(anchor, inside + 1);
                inside + 1
            }
            Event::Alias(anchor) => levels.get(&anchor).copied().unwrap_or_default(),
            _ => 0,
        };
        if open.len() + inside > MAX_DEPTH {
            let line = span.start.line();
            return Err(format!("line {line}: more than {MAX_DEPTH} lists and mappings are within each other"));
        }
        if let Some((_, most)) = open.last_mut() {
            *most = inside.max(*most);
        }
    }
    Ok(())
}

fn items<'a, 'b>(node: &'a MarkedYaml<'b>, name: &str) -> Result<&'a [MarkedYaml<'b>], String> {
    match &node.data {
        YamlData::Sequence(items) => Ok(items),
        data if data.is_null() => Ok(&[]),
        _ => Err(format!("line {}: `{name}:` has no list", node.span.start.line())),
    }
}

/// What one of conda's packages is for pip; none for Python and pip themselves. `channel::name=version=build`, and a space
/// instead of a `=`, are conda's own way to write it.
pub(super) fn requirement(text: &str) -> Result<Option<Requirement>, String> {
    let text = text.trim();
    let text = text.rsplit_once("::").map_or(text, |(_, text)| text);
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_' | '.')).unwrap_or(text.len());
    let (name, versions) = text.split_at(end);
    if name.is_empty() {
        return Err("it does not begin with the name of a package".to_owned());
    }
    if OWN.contains(&name.to_ascii_lowercase().as_str()) {
        return Ok(None);
    }
    let versions = versions.trim();
    if versions.contains(['|', '[', '(']) {
        return Err("only versions like `=1.2`, `==1.2.3` and `>=1,<2` are understood here".to_owned());
    }
    let name = OTHER_NAMES.iter().find(|(conda, _)| *conda == name).map_or(name, |(_, pip)| pip);
    let versions: VersionSpecifiers =
        pip_versions(versions).parse().map_err(|_| format!("`{versions}` is no version"))?;
    let mut requirement: Requirement = name.parse()?;
    requirement.source = Source::Versions(versions);
    Ok(Some(requirement))
}

/// conda's versions as pip writes them.
fn pip_versions(versions: &str) -> String {
    // What follows the version, after a space or another `=`, is the build.
    let parts = versions.split(',').map(|part| {
        let part = part.trim();
        let operator_end = part.find(|c| !matches!(c, '=' | '<' | '>' | '!' | '~')).unwrap_or(part.len());
        let (operator, version) = part.split_at(operator_end);
        let version = version.trim().split(['=', ' ']).next().unwrap_or_default();
        let any = version.strip_suffix(".*").or_else(|| version.strip_suffix('*'));
        match (operator, any) {
            (_, Some("")) => String::new(),
            ("=" | "" | "==", Some(version)) => format!("=={version}.*"),
            // `=1.2` is any 1.2; `==1.2` and a bare `1.2` are 1.2 itself.
            ("=", None) => format!("=={version}.*"),
            ("", None) if version.is_empty() => String::new(),
            ("", None) => format!("=={version}"),
            ("!=", Some(version)) => format!("!={version}.*"),
            (_, Some(version)) => format!("{operator}{version}"),
            (_, None) => format!("{operator}{version}"),
        }
    });
    parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_read_with_their_lines() {
        let text = "dependencies:\n- python=3.9\n- numpy\n- pip:\n  - a==1\n  - 'b'\n";
        let read = read(text).unwrap();
        assert_eq!(read.conda, [(2, "python=3.9".to_owned()), (3, "numpy".to_owned())]);
        assert_eq!(read.pip, [(5, "a==1".to_owned()), (6, "b".to_owned())]);
    }

    #[test]
    fn what_is_no_environment_file_is_refused() {
        assert_eq!(read("").unwrap(), Dependencies::default());
        assert_eq!(read("name: x\n").unwrap(), Dependencies::default());
        assert_eq!(read("dependencies:\n").unwrap(), Dependencies::default());
        for text in
            ["- a\n", "a: [", "dependencies: x\n", "dependencies:\n- {conda: [x]}\n", "dependencies:\n- pip: x\n"]
        {
            assert!(read(text).is_err(), "{text}");
        }
        let laughs = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\n\
                      d: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e]\n";
        assert!(read(laughs).unwrap_err().contains("it is no YAML"));
    }

    #[test]
    fn what_is_nested_too_deep_is_refused_before_it_is_loaded() {
        let list = |depth: usize| format!("dependencies: {}x{}\n", "[".repeat(depth), "]".repeat(depth));
        let aliases = (1..=70).map(|number| format!("a{number}: &a{number} [*a{}]\n", number - 1));
        for text in [
            list(MAX_DEPTH),
            format!("dependencies:\n{}x\n", "- ".repeat(100_000)),
            format!("a0: &a0 [x]\n{}", aliases.collect::<Vec<_>>().concat()),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.contains("more than 64 lists and mappings are within each other"), "{error}");
        }
        let error = read(&list(MAX_DEPTH - 1)).unwrap_err();
        assert!(error.contains("is neither a package nor `pip:`"), "{error}");
    }

    #[test]
    fn versions_are_written_as_pip_writes_them() {
        for (conda, pip) in [
            ("numpy", "numpy"),
            ("numpy=1.21", "numpy==1.21.*"),
            ("numpy=1.21.2=py38_0", "numpy==1.21.2.*"),
            ("numpy==1.21.2", "numpy==1.21.2"),
            ("numpy 1.21.*", "numpy==1.21.*"),
            ("numpy 1.21.2 py38_0", "numpy==1.21.2"),
            ("numpy=1.21.*", "numpy==1.21.*"),
            ("numpy >=1.2,<2", "numpy>=1.2,<2"),
            ("conda-forge::pytorch>=1.9", "torch>=1.9"),
            ("numpy=*", "numpy"),
        ] {
            let requirement = requirement(conda).unwrap_or_else(|error| panic!("{conda}: {error}")).unwrap();
            assert_eq!(requirement.to_string(), pip, "{conda}");
        }
        assert_eq!(requirement("python>=3.8,<3.10"), Ok(None));
        assert_eq!(requirement("pip=22"), Ok(None));
        for text in ["numpy 1.2|1.3", "=1.2", "numpy[version='>=1']", "numpy=x y"] {
            assert!(requirement(text).is_err(), "{text}");
        }
    }
}
