//! What a package is asked for with: a requirement as PEP 508 writes it, and markers as they are true in the runtime.
//!
//! Versions are those of PEP 440, which the crate `pep440_rs` knows. The requirement around them is parsed here: the crate
//! for it brings a licence that is not allowed in this project.

use std::fmt::{self, Display};
use std::str::FromStr;

use pep440_rs::{Version, VersionSpecifiers};

use super::PYTHON;

/// Brackets within brackets that a marker may have.
const MAX_DEPTH: usize = 32;
/// Comparisons that a marker may have: each may be within the one before it, and all of them are gone through by recursion.
const MAX_COMPARISONS: usize = 256;

/// A package that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Requirement {
    /// The name as it is written.
    pub(crate) name: String,
    /// The optional parts that are asked for too, normalised.
    pub(crate) extras: Vec<String>,
    /// Which of the package's versions will do, or where it is.
    pub(crate) source: Source,
    /// When it is needed.
    marker: Option<Marker>,
}

/// Where a package comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// From an index, in one of these versions.
    Versions(VersionSpecifiers),
    /// From this URL or path.
    Place(String),
}

impl Requirement {
    /// A requirement on what is at a URL or path.
    pub(crate) fn at(name: &str, place: &str) -> Self {
        Self { name: name.to_owned(), extras: Vec::new(), source: Source::Place(place.to_owned()), marker: None }
    }

    /// The name as indexes compare it.
    pub(crate) fn key(&self) -> String {
        normalized(&self.name)
    }

    /// Whether it is needed in the runtime, when of the package that has it the optional part `extra` is asked for, or the
    /// package itself if that is empty.
    pub(crate) fn applies(&self, extra: &str) -> bool {
        self.marker.as_ref().is_none_or(|marker| marker.applies(extra))
    }

    /// Whether a version will do. A place has but the one that is there.
    pub(crate) fn accepts(&self, version: &Version) -> bool {
        match &self.source {
            Source::Versions(versions) => versions.contains(version),
            Source::Place(_) => true,
        }
    }
}

/// What is asked for, without the condition.
impl Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if !self.extras.is_empty() {
            write!(f, "[{}]", self.extras.join(","))?;
        }
        match &self.source {
            Source::Versions(versions) => write_versions(f, versions),
            Source::Place(place) => write!(f, " @ {place}"),
        }
    }
}

fn write_versions(f: &mut fmt::Formatter<'_>, versions: &VersionSpecifiers) -> fmt::Result {
    for (index, version) in versions.iter().enumerate() {
        write!(f, "{}{version}", if index == 0 { "" } else { "," })?;
    }
    Ok(())
}

/// The name of a package as indexes compare it: `Scikit_Learn` is `scikit-learn`.
pub(crate) fn normalized(name: &str) -> String {
    let mut result = String::with_capacity(name.len());
    for part in name.split(['-', '_', '.']).filter(|part| !part.is_empty()) {
        if !result.is_empty() {
            result.push('-');
        }
        result.push_str(&part.to_ascii_lowercase());
    }
    result
}

impl FromStr for Requirement {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut rest = text.trim();
        let name = take_while(&mut rest, is_in_identifier);
        if !is_identifier(name) {
            return Err("it does not begin with the name of a package".to_owned());
        }
        rest = rest.trim_start();
        let mut extras = Vec::new();
        if let Some(list) = rest.strip_prefix('[') {
            let (list, after) = list.split_once(']').ok_or("a `]` is missing")?;
            if !list.trim().is_empty() {
                for extra in list.split(',').map(str::trim) {
                    if !is_identifier(extra) {
                        return Err(format!("`{}` is no name of an optional part", extra.escape_debug()));
                    }
                    extras.push(normalized(extra));
                }
            }
            extras.sort_unstable();
            extras.dedup();
            rest = after.trim_start();
        }
        let (source, marker) = if let Some(place) = rest.strip_prefix('@') {
            // A `;` may be part of the URL: only one with a space before it begins a condition.
            let place = place.trim_start();
            let (place, marker) = match place.find(|c: char| c.is_whitespace()) {
                Some(end) => (&place[..end], place[end..].trim_start()),
                None => (place, ""),
            };
            if place.is_empty() {
                return Err("there is no URL after `@`".to_owned());
            }
            (Source::Place(place.to_owned()), marker)
        } else {
            let (versions, marker) = rest.find(';').map_or((rest, ""), |at| rest.split_at(at));
            let versions = versions.trim();
            let inside = versions.strip_prefix('(').and_then(|inside| inside.strip_suffix(')')).unwrap_or(versions);
            if !inside.is_empty() && !inside.starts_with(['=', '<', '>', '!', '~']) {
                return Err(format!("`{inside}` is neither a version like `==1.2` nor a URL after `@`"));
            }
            let versions = inside.parse().map_err(|error| first_line(&error))?;
            (Source::Versions(versions), marker)
        };
        let marker = match marker.strip_prefix(';') {
            Some(marker) => Some(marker.trim().parse()?),
            None if marker.is_empty() => None,
            None => return Err(format!("`{marker}` is out of place")),
        };
        Ok(Self { name: name.to_owned(), extras, source, marker })
    }
}

fn is_in_identifier(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

/// Whether it may be the name of a package or of one of its optional parts, by PEP 508.
fn is_identifier(text: &str) -> bool {
    text.chars().all(is_in_identifier)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
}

fn first_line(error: &impl Display) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

fn take_while<'a>(rest: &mut &'a str, wanted: impl Fn(char) -> bool) -> &'a str {
    let (taken, left) = rest.split_at(rest.find(|c| !wanted(c)).unwrap_or(rest.len()));
    *rest = left;
    taken
}

/// A condition on the Python that the package is for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Marker {
    And(Box<(Marker, Marker)>),
    Or(Box<(Marker, Marker)>),
    Compare { left: Operand, operator: String, right: Operand },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Operand {
    /// A variable that all of this runtime's instances have the same value of.
    Variable(&'static str),
    /// The optional part that is asked for.
    Extra,
    Text(String),
}

/// What the runtime says of itself: `os.name`, `sys.platform`, and so on.
const ENVIRONMENT: [(&str, &str); 11] = [
    ("implementation_name", "cpython"),
    ("implementation_version", "3.15.0"),
    ("os_name", "posix"),
    ("platform_machine", "wasm32"),
    ("platform_python_implementation", "CPython"),
    ("platform_release", "0.0.0"),
    ("platform_system", "wasi"),
    ("platform_version", "0.0.0"),
    ("python_full_version", "3.15.0"),
    ("python_version", PYTHON),
    ("sys_platform", "wasi"),
];

/// Names from before PEP 508 that packages still use.
const OLD_NAMES: [(&str, &str); 6] = [
    ("os.name", "os_name"),
    ("platform.machine", "platform_machine"),
    ("platform.python_implementation", "platform_python_implementation"),
    ("platform.version", "platform_version"),
    ("python_implementation", "platform_python_implementation"),
    ("sys.platform", "sys_platform"),
];

impl Marker {
    fn applies(&self, extra: &str) -> bool {
        match self {
            Self::And(both) => both.0.applies(extra) && both.1.applies(extra),
            Self::Or(both) => both.0.applies(extra) || both.1.applies(extra),
            Self::Compare { left, operator, right } => {
                let of_extra = *left == Operand::Extra || *right == Operand::Extra;
                let is_version = |operand: &Operand| matches!(operand, Operand::Variable(name) if name.ends_with("version") && *name != "platform_version");
                let by_version = is_version(left) || is_version(right);
                let value = |operand: &Operand| match operand {
                    Operand::Variable(name) => {
                        ENVIRONMENT.iter().find(|(key, _)| key == name).map(|(_, value)| (*value).to_owned())
                    }
                    Operand::Extra => Some(extra.to_owned()),
                    Operand::Text(text) if of_extra => Some(normalized(text)),
                    Operand::Text(text) => Some(text.clone()),
                };
                let (Some(left), Some(right)) = (value(left), value(right)) else { return false };
                compare(&left, operator, &right, by_version)
            }
        }
    }
}

fn compare(left: &str, operator: &str, right: &str, by_version: bool) -> bool {
    match operator {
        "in" => return right.contains(left),
        "not in" => return !right.contains(left),
        _ => {}
    }
    if by_version
        && let (Ok(versions), Ok(version)) =
            (format!("{operator}{right}").parse::<VersionSpecifiers>(), left.parse::<Version>())
    {
        return versions.contains(&version);
    }
    match operator {
        "==" | "===" => left == right,
        "!=" => left != right,
        "<" => left < right,
        "<=" => left <= right,
        ">" => left > right,
        ">=" => left >= right,
        _ => false,
    }
}

impl FromStr for Marker {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut rest = text;
        let mut allowed = MAX_COMPARISONS;
        let marker = either(&mut rest, 0, &mut allowed)?;
        let rest = rest.trim_start();
        if rest.is_empty() { Ok(marker) } else { Err(format!("`{rest}` is out of place in the condition")) }
    }
}

/// Reads a marker in which `depth` brackets are open and `allowed` more comparisons may come.
fn either(rest: &mut &str, depth: usize, allowed: &mut usize) -> Result<Marker, String> {
    let mut marker = both(rest, depth, allowed)?;
    while take_word(rest, "or") {
        marker = Marker::Or(Box::new((marker, both(rest, depth, allowed)?)));
    }
    Ok(marker)
}

fn both(rest: &mut &str, depth: usize, allowed: &mut usize) -> Result<Marker, String> {
    let mut marker = single(rest, depth, allowed)?;
    while take_word(rest, "and") {
        marker = Marker::And(Box::new((marker, single(rest, depth, allowed)?)));
    }
    Ok(marker)
}

fn single(rest: &mut &str, depth: usize, allowed: &mut usize) -> Result<Marker, String> {
    *rest = rest.trim_start();
    if let Some(inside) = rest.strip_prefix('(') {
        if depth == MAX_DEPTH {
            return Err("the condition has too many brackets within brackets".to_owned());
        }
        *rest = inside;
        let marker = either(rest, depth + 1, allowed)?;
        *rest = rest.trim_start().strip_prefix(')').ok_or("a `)` is missing in the condition")?;
        return Ok(marker);
    }
    *allowed =
        allowed.checked_sub(1).ok_or_else(|| format!("the condition has more than {MAX_COMPARISONS} comparisons"))?;
    let left = operand(rest)?;
    let operator = operator(rest)?;
    let right = operand(rest)?;
    Ok(Marker::Compare { left, operator, right })
}

fn operator(rest: &mut &str) -> Result<String, String> {
    if take_word(rest, "in") {
        return Ok("in".to_owned());
    }
    if take_word(rest, "not") {
        return if take_word(rest, "in") { Ok("not in".to_owned()) } else { Err("`not` without `in`".to_owned()) };
    }
    *rest = rest.trim_start();
    let operator = take_while(rest, |c| matches!(c, '=' | '<' | '>' | '!' | '~'));
    if ["==", "===", "!=", "<", "<=", ">", ">=", "~="].contains(&operator) {
        Ok(operator.to_owned())
    } else {
        Err(format!("`{operator}{rest}` does not begin with a comparison"))
    }
}

fn operand(rest: &mut &str) -> Result<Operand, String> {
    *rest = rest.trim_start();
    for quote in ['"', '\''] {
        if let Some(text) = rest.strip_prefix(quote) {
            let (text, after) = text.split_once(quote).ok_or("a quotation mark is missing in the condition")?;
            *rest = after;
            return Ok(Operand::Text(text.to_owned()));
        }
    }
    let word = take_while(rest, |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'));
    if word == "extra" {
        return Ok(Operand::Extra);
    }
    let name = OLD_NAMES.iter().find(|(old, _)| *old == word).map_or(word, |(_, name)| name);
    match ENVIRONMENT.iter().find(|(key, _)| *key == name) {
        Some((key, _)) => Ok(Operand::Variable(key)),
        None => Err(format!("the condition has `{word}{rest}` where a name or a quoted text is expected")),
    }
}

/// Takes a word that is not only the beginning of a longer one.
fn take_word(rest: &mut &str, word: &str) -> bool {
    let Some(after) = rest.trim_start().strip_prefix(word) else { return false };
    let ends = !after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    if ends {
        *rest = after;
    }
    ends
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn applies(marker: &str) -> bool {
        marker.parse::<Marker>().unwrap_or_else(|error| panic!("{marker}: {error}")).applies("")
    }

    #[test]
    fn requirements_are_read_as_they_are_written() {
        for (text, written) in [
            ("numpy", "numpy"),
            (" numpy == 1.26.4 ", "numpy==1.26.4"),
            ("pandas[Excel,aws] >=2,<3 ; python_version>'3.8'", "pandas[aws,excel]>=2,<3"),
            ("requests (>=2.0)", "requests>=2.0"),
            ("a.b_c-d~=1.4.2", "a.b_c-d~=1.4.2"),
            ("x==1.*", "x==1.*"),
            ("x [ ] >1", "x>1"),
            ("x[ A_b , c ]", "x[a-b,c]"),
            (
                "own @ https://host/own-1.0-py3-none-any.whl ; extra == 'x'",
                "own @ https://host/own-1.0-py3-none-any.whl",
            ),
        ] {
            assert_eq!(
                text.parse::<Requirement>().unwrap_or_else(|error| panic!("{text}: {error}")).to_string(),
                written
            );
        }
        assert_eq!("Foo__Bar.baz".parse::<Requirement>().unwrap().key(), "foo-bar-baz");
    }

    #[test]
    fn what_is_no_requirement_is_refused_with_the_reason() {
        for text in [
            "",
            "==1.0",
            "numpy 1.0",
            "numpy==",
            "numpy[x",
            "numpy[x,]",
            "numpy[x @ y]",
            "numpy[\0]",
            "numpy>=1 extra",
            "a @",
            "numpy; python_version",
            "-x",
        ] {
            let error = text.parse::<Requirement>().unwrap_err();
            assert!(!error.is_empty() && !error.contains('\n'), "{text}: {error}");
        }
    }

    #[test]
    fn a_condition_has_no_more_comparisons_than_can_be_gone_through() {
        let condition = |comparisons: usize| "''<''or".repeat(comparisons - 1) + "''<''";
        assert!(!applies(&condition(MAX_COMPARISONS)));
        for comparisons in [MAX_COMPARISONS + 1, 500_000] {
            let error = condition(comparisons).parse::<Marker>().unwrap_err();
            assert_eq!(error, "the condition has more than 256 comparisons");
        }
    }

    #[test]
    fn markers_are_those_of_the_runtime() {
        for marker in [
            "python_version >= '3.10'",
            "python_version=='3.15'",
            "'3.9' < python_version",
            "python_version < '4'",
            "sys_platform == 'wasi' and os_name == 'posix'",
            "sys_platform == 'win32' or (platform_python_implementation == \"CPython\" and sys_platform != 'win32')",
            "python_version not in '2.7 3.6'",
            "python_full_version >= '3.15.0'",
            "os.name == 'posix'",
            "platform_machine != 'x86_64'",
        ] {
            assert!(applies(marker), "{marker}");
        }
        for marker in
            ["python_version < '3.9'", "sys_platform == 'linux'", "extra == 'test'", "python_version ~= '2.7'"]
        {
            assert!(!applies(marker), "{marker}");
        }
        let extra: Marker = "extra == 'Dev_Tools'".parse().unwrap();
        assert!(extra.applies("dev-tools"));
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in "[a-z0-9 ()\\[\\]=<>!~@;,.'\"_-]{0,60}") {
            if let Ok(requirement) = text.parse::<Requirement>() {
                let again: Requirement = requirement.to_string().parse().unwrap();
                prop_assert_eq!(again.to_string(), requirement.to_string());
                requirement.applies("");
            }
        }
    }
}
