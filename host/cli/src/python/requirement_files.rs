//! The files in which an app says what packages it needs: `requirements.txt` and conda's environment file.
//!
//! A `requirements.txt` is read as pip reads it: comments, lines that go on, `${VARIABLES}`, `-r` and `-c`, hashes, and
//! pip's own options, which are kept for pip.

use std::fmt::{self, Display};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::conda;
use super::requirement::{Requirement, Source};

/// What pip calls its file.
const PIP_FILE: &str = "requirements.txt";
/// What conda's file is called, in the order in which one is looked for.
const CONDA_FILES: [&str; 6] =
    ["conda.yml", "conda.yaml", "conda_env.yml", "conda_env.yaml", "environment.yml", "environment.yaml"];
/// Files that may be read by way of others.
const MAX_FILES: usize = 100;
/// Bytes that such a file may have.
const MAX_BYTES: u64 = 4 << 20;

/// pip's options that have a value and go to pip as they are.
const VALUE_OPTIONS: [(&str, &[&str]); 4] = [
    ("--index-url", &["-i", "--pypi-url"]),
    ("--extra-index-url", &[]),
    ("--trusted-host", &[]),
    ("--find-links", &["-f"]),
];
/// pip's options without a value that go to pip as they are.
const FLAG_OPTIONS: [&str; 3] = ["--no-index", "--pre", "--prefer-binary"];

/// Where something is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The file.
    pub(crate) file: PathBuf,
    /// Its line, from 1.
    pub(crate) line: usize,
}

impl Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} line {}", self.file.display(), self.line)
    }
}

/// Why requirement files cannot be read, or cannot be met.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequirementsError {
    /// The system refused something.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The file is too large, or there are too many of them.
    #[error("{} is {what}; take out what is not needed", path.display())]
    TooMuch {
        /// The file.
        path: PathBuf,
        /// What is too much.
        what: &'static str,
    },
    /// A line that cannot be understood.
    #[error("{origin}: cannot read `{}`: {}", shortened(text), shortened(reason))]
    Line {
        /// Where it is.
        origin: Origin,
        /// The line.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Conda's file is not what conda reads.
    #[error("cannot read {}: {reason}", path.display())]
    Conda {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Packages that the runtime does not carry, and nobody has installed.
    #[error(
        "the app needs packages that the runtime does not carry:\n{}\nbuild it together with them, and serve what was \
         built: `scorebox build {}`",
        list(unmet), folder.display()
    )]
    Unmet {
        /// What is asked for, and where.
        unmet: Vec<(Origin, String)>,
        /// The app folder.
        folder: PathBuf,
    },
}

/// A text of a size that can be read: the beginning and the end of a longer one.
pub(crate) fn shortened(text: &str) -> String {
    const LONGEST: usize = 400;
    match text.char_indices().nth(LONGEST) {
        None => text.to_owned(),
        Some((at, _)) => {
            let half = LONGEST / 2;
            let begin: String = text[..at].chars().take(half).collect();
            let end: String = text.chars().skip(text.chars().count() - half).collect();
            format!("{begin} … {end}")
        }
    }
}

fn list(unmet: &[(Origin, String)]) -> String {
    let lines: Vec<_> = unmet.iter().map(|(origin, text)| format!("  {origin} asks for {text}")).collect();
    lines.join("\n")
}

/// A package that a file asks for.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// The package.
    pub(crate) requirement: Requirement,
    /// Who asks.
    pub(crate) origin: Origin,
    /// The only archives of it that will do, as `sha256:…`; any if there are none.
    pub(crate) hashes: Vec<String>,
}

/// What an app's requirement files say.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequirementFiles {
    /// The files that were read, in this order, with their text.
    pub(crate) files: Vec<(PathBuf, String)>,
    /// What is asked for.
    pub(crate) wanted: Vec<Wanted>,
    /// What is asked of packages in case that they are needed: `-c`.
    pub(crate) constraints: Vec<Wanted>,
    /// pip's options, ready for its command line.
    pub(crate) options: Vec<String>,
    /// Whether every package has to have a hash.
    pub(crate) require_hashes: bool,
}

impl RequirementFiles {
    /// Whether a folder has such files.
    pub(crate) fn are_in(folder: &Path) -> bool {
        std::iter::once(&PIP_FILE).chain(&CONDA_FILES).any(|name| folder.join(name).is_file())
    }

    /// Reads those of a folder: pip's file, then conda's, as far as they are there.
    pub(crate) fn read(folder: &Path) -> Result<Self, RequirementsError> {
        let mut files = Self::default();
        let conda = CONDA_FILES.iter().map(|name| folder.join(name)).find(|path| path.is_file());
        for path in std::iter::once(folder.join(PIP_FILE)).filter(|path| path.is_file()).chain(conda) {
            files.file(&path)?;
        }
        Ok(files)
    }

    /// Reads one that lies anywhere: conda's by its ending, else pip's.
    pub(crate) fn read_file(path: &Path) -> Result<Self, RequirementsError> {
        let mut files = Self::default();
        files.file(path)?;
        Ok(files)
    }

    fn file(&mut self, path: &Path) -> Result<(), RequirementsError> {
        if has_ending(path, "yml") || has_ending(path, "yaml") {
            self.conda_file(path)?;
        } else {
            self.pip_file(path, false)?;
        }
        self.require_hashes |= self.wanted.iter().any(|wanted| !wanted.hashes.is_empty());
        Ok(())
    }

    /// The text of a file that has not been read before.
    fn text(&mut self, path: &Path) -> Result<Option<String>, RequirementsError> {
        if self.files.iter().any(|(read, _)| read == path) {
            return Ok(None);
        }
        let failed = |source| RequirementsError::Read { path: path.to_owned(), source };
        if self.files.len() == MAX_FILES {
            return Err(RequirementsError::TooMuch { path: path.to_owned(), what: "one requirement file too many" });
        }
        let data = fs::metadata(path).map_err(failed)?;
        // Reading a pipe or a device may never end.
        if !data.is_file() {
            return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "it is no file")));
        }
        if data.len() > MAX_BYTES {
            return Err(RequirementsError::TooMuch { path: path.to_owned(), what: "too large for a requirement file" });
        }
        let text = fs::read_to_string(path).map_err(failed)?;
        self.files.push((path.to_owned(), text.clone()));
        Ok(Some(text))
    }

    fn pip_file(&mut self, path: &Path, constraints: bool) -> Result<(), RequirementsError> {
        let Some(text) = self.text(path)? else { return Ok(()) };
        for (line, text) in logical_lines(&text) {
            self.pip_line(&Origin { file: path.to_owned(), line }, &text, constraints)?;
        }
        Ok(())
    }

    fn conda_file(&mut self, path: &Path) -> Result<(), RequirementsError> {
        let Some(text) = self.text(path)? else { return Ok(()) };
        let failed = |reason| RequirementsError::Conda { path: path.to_owned(), reason };
        let dependencies = conda::read(&text).map_err(failed)?;
        for (line, text) in dependencies.conda {
            let origin = Origin { file: path.to_owned(), line };
            match conda::requirement(&text) {
                Ok(Some(requirement)) => self.wanted.push(Wanted { requirement, origin, hashes: Vec::new() }),
                Ok(None) => {}
                Err(reason) => return Err(RequirementsError::Line { origin, text, reason }),
            }
        }
        for (line, text) in dependencies.pip {
            for (_, text) in logical_lines(&text) {
                self.pip_line(&Origin { file: path.to_owned(), line }, &text, false)?;
            }
        }
        Ok(())
    }

    /// Reads a line of pip's file that is neither empty nor a comment.
    fn pip_line(&mut self, origin: &Origin, text: &str, constraints: bool) -> Result<(), RequirementsError> {
        let wrong = |reason: String| RequirementsError::Line { origin: origin.clone(), text: text.to_owned(), reason };
        if !text.starts_with('-') {
            let wanted = wanted(origin, text).map_err(wrong)?;
            let list = if constraints { &mut self.constraints } else { &mut self.wanted };
            list.push(wanted);
            return Ok(());
        }
        let beside = |name: &str| origin.file.parent().unwrap_or(Path::new("")).join(name);
        let no_url = |name: &str| {
            if name.contains("://") {
                return Err(wrong("files on the network are not read; put a copy beside it".to_owned()));
            }
            Ok(beside(name))
        };
        if let Some(name) = value(text, &["--requirement", "-r"]).map_err(wrong)? {
            return self.pip_file(&no_url(name)?, constraints);
        }
        if let Some(name) = value(text, &["--constraint", "-c"]).map_err(wrong)? {
            return self.pip_file(&no_url(name)?, true);
        }
        if value(text, &["--editable", "-e"]).map_err(wrong)?.is_some() {
            return Err(wrong(
                "there are no editable packages in the sandbox. The app folder's own modules can be imported as they \
                 are; build a wheel of any other project and name its file"
                    .to_owned(),
            ));
        }
        for (name, others) in VALUE_OPTIONS {
            let names: Vec<_> = std::iter::once(name).chain(others.iter().copied()).collect();
            if let Some(value) = value(text, &names).map_err(wrong)? {
                let folder = beside(value);
                let value = if name == "--find-links" && folder.exists() {
                    std::path::absolute(&folder).unwrap_or(folder).to_string_lossy().into_owned()
                } else {
                    value.to_owned()
                };
                self.options.push(format!("{name}={value}"));
                return Ok(());
            }
        }
        if FLAG_OPTIONS.contains(&text) {
            self.options.push(text.to_owned());
        } else if text == "--require-hashes" {
            self.require_hashes = true;
        } else if value(text, &["--only-binary", "--no-binary", "--use-feature"]).map_err(wrong)?.is_none() {
            // Those three are about how pip does it, which is not up to the file here.
            return Err(wrong("this option is not known here; take the line out".to_owned()));
        }
        Ok(())
    }
}

/// The value of an option, if the line is that option: `-r x`, `-rx`, `--requirement x`, `--requirement=x`.
fn value<'a>(text: &'a str, names: &[&str]) -> Result<Option<&'a str>, String> {
    for name in names {
        let Some(rest) = text.strip_prefix(name) else { continue };
        let long = name.starts_with("--");
        if long && !rest.is_empty() && !rest.starts_with(|c: char| c == '=' || c.is_whitespace()) {
            continue;
        }
        let value = rest.strip_prefix('=').filter(|_| long).unwrap_or(rest).trim();
        let value = value.trim_matches(|c| matches!(c, '"' | '\''));
        return if value.is_empty() { Err(format!("{name} has no value")) } else { Ok(Some(value)) };
    }
    Ok(None)
}

/// The lines as pip sees them, with the number of the first line of each: those that end with `\` go on, comments and
/// empty lines are left out, variables are replaced.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let (number, mut joined) = open.take().unwrap_or((index + 1, String::new()));
        let is_comment = line.trim_start().starts_with('#');
        match line.strip_suffix('\\') {
            Some(part) if !is_comment => {
                joined.push_str(part);
                open = Some((number, joined));
            }
            _ => {
                joined.push_str(if is_comment { "" } else { line });
                lines.push((number, joined));
            }
        }
    }
    lines.extend(open);
    lines
        .into_iter()
        .map(|(number, line)| (number, with_variables(without_comment(&line).trim())))
        .filter(|(_, line)| !line.is_empty())
        .collect()
}

/// A `#` begins a comment at the start of a line and after a space: elsewhere it is part of a URL.
fn without_comment(line: &str) -> &str {
    let begins = |(at, _): &(usize, &str)| line[..*at].chars().next_back().is_none_or(char::is_whitespace);
    line.match_indices('#').find(begins).map_or(line, |(at, _)| &line[..at])
}

/// Replaces `${NAME}`, as pip does: names in capital letters, of variables that there are.
fn with_variables(line: &str) -> String {
    let mut result = String::new();
    let mut rest = line;
    while let Some((before, from)) = rest.split_once("${") {
        result.push_str(before);
        // A `}` is looked for only where the name ends: there may be as many `${` as there is room for, and no `}`.
        let is_in_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        let (name, after) = from.split_at(from.find(|c| !is_in_name(c)).unwrap_or(from.len()));
        if let Some(after) = after.strip_prefix('}')
            && !name.is_empty()
            && let Ok(value) = std::env::var(name)
        {
            result.push_str(&value);
            rest = after;
        } else {
            result.push_str("${");
            rest = from;
        }
    }
    result.push_str(rest);
    result
}

/// Reads a line that asks for a package, with its hashes.
fn wanted(origin: &Origin, text: &str) -> Result<Wanted, String> {
    let mut hashes = Vec::new();
    let mut words = text;
    // Options of a line come after the requirement.
    if let Some(at) = text.match_indices("--").map(|(at, _)| at).find(|&at| text[..at].ends_with(char::is_whitespace)) {
        let options;
        (words, options) = text.split_at(at);
        let mut options = options.split_whitespace();
        while let Some(option) = options.next() {
            let hash = match option.strip_prefix("--hash") {
                Some("") => options.next().unwrap_or_default(),
                Some(rest) => rest.strip_prefix('=').unwrap_or_default(),
                None => return Err(format!("the option {option} is not known here; take it out")),
            };
            hashes.push(hash.to_ascii_lowercase());
        }
        if !hashes.iter().any(|hash| hash.starts_with("sha256:")) {
            return Err("none of its hashes is one of sha256, the only kind that is compared here".to_owned());
        }
    }
    let words = words.trim();
    let requirement = if is_place(words) { place(words)? } else { words.parse()? };
    Ok(Wanted { requirement: absolute(origin, requirement), origin: origin.clone(), hashes })
}

/// Whether a line is a URL or a path instead of a name.
fn is_place(text: &str) -> bool {
    let word = text.split_whitespace().next().unwrap_or_default();
    let begins_with_name = word.starts_with(|c: char| c.is_ascii_alphanumeric());
    let named =
        text.contains(" @ ") || word.contains('@') && !word.split('@').next().unwrap_or("").contains(['/', ':']);
    !named
        && (word.contains("://")
            || word.starts_with(['.', '/'])
            || begins_with_name && (word.contains('/') || has_ending(word, "whl")))
}

fn has_ending(place: impl AsRef<Path>, ending: &str) -> bool {
    place.as_ref().extension().is_some_and(|found| found.eq_ignore_ascii_case(ending))
}

fn place(text: &str) -> Result<Requirement, String> {
    let (place, marker) = text.split_once(" ;").map_or((text, None), |(place, marker)| (place, Some(marker)));
    let (address, fragment) = place.split_once('#').unwrap_or((place, ""));
    let address = address.split_once('?').map_or(address, |(address, _)| address);
    let file = address.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let egg = fragment.split('&').find_map(|part| part.strip_prefix("egg="));
    let name = match egg {
        Some(egg) => egg.split('[').next().unwrap_or(egg),
        None if has_ending(file, "whl") => file.split('-').next().unwrap_or_default(),
        None => {
            return Err(
                "it does not say which package that is; write `NAME @ URL`, or name the file of a wheel".to_owned()
            );
        }
    };
    match marker {
        Some(marker) => format!("{name} @ {place} ; {marker}").parse(),
        None if name.parse::<Requirement>()?.name == name => Ok(Requirement::at(name, place.trim())),
        None => Err(format!("`{name}` is no name of a package")),
    }
}

/// Makes a path one that does not depend on the current directory: it is relative to the file that has it.
fn absolute(origin: &Origin, mut requirement: Requirement) -> Requirement {
    if let Source::Place(place) = &mut requirement.source
        && !place.contains("://")
        && !place.starts_with("file:")
    {
        let path = origin.file.parent().unwrap_or(Path::new("")).join(&*place);
        *place = std::path::absolute(&path).unwrap_or(path).to_string_lossy().into_owned();
    }
    requirement
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)]) -> Result<RequirementFiles, RequirementsError> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        RequirementFiles::read(folder.path())
    }

    fn asked(files: &RequirementFiles) -> Vec<String> {
        files
            .wanted
            .iter()
            .map(|wanted| {
                let file = wanted.origin.file.file_name().unwrap().to_str().unwrap();
                format!("{file}:{} {}", wanted.origin.line, wanted.requirement)
            })
            .collect()
    }

    #[test]
    fn a_wheel_whose_name_is_none_is_refused() {
        for text in ["lib/own\u{3}-1.0-py3-none-any.whl\n", "./own==1-py3-none-any.whl\n", "./-1.0-py3-none-any.whl\n"]
        {
            assert!(read(&[("requirements.txt", text)]).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_has_no_end_is_not_read() {
        let error = read(&[("requirements.txt", "-r /dev/zero\n")]).unwrap_err();
        assert!(error.to_string().ends_with("it is no file"), "{error}");
    }

    #[test]
    fn a_file_is_read_as_pip_reads_it() {
        let text = "\u{feff}# a comment\n\
                    numpy==1.26.4  # another\n\n\
                    --index-url https://host/simple#part\n\
                    humanize \\\n    >=4 \\\n    --hash=sha256:AB --hash sha512:cd\n\
                    -r more.txt\n-c limits.txt\n\
                    tomli; python_version < '3.11'\n\
                    --pre\n--no-binary :all:\n";
        let more = "-r requirements.txt\npandas\n";
        let files = read(&[("requirements.txt", text), ("more.txt", more), ("limits.txt", "six<2\n")]).unwrap();
        assert_eq!(
            asked(&files),
            [
                "requirements.txt:2 numpy==1.26.4",
                "requirements.txt:5 humanize>=4",
                "more.txt:2 pandas",
                "requirements.txt:10 tomli"
            ]
        );
        assert_eq!(files.wanted[1].hashes, ["sha256:ab", "sha512:cd"]);
        assert_eq!(files.options, ["--index-url=https://host/simple#part", "--pre"]);
        assert_eq!(files.constraints[0].requirement.to_string(), "six<2");
        assert!(files.require_hashes);
        assert_eq!(files.files.len(), 3);
    }

    #[test]
    fn urls_and_paths_have_names() {
        let text = "https://host/dist/own-1.0-py3-none-any.whl\n\
                    ./wheels/own_tools-2.0-py3-none-any.whl\n\
                    git+https://host/repo.git@main#egg=repo\n\
                    named @ https://host/named-1.0.tar.gz\n";
        let files = read(&[("requirements.txt", text)]).unwrap();
        let names: Vec<_> = files.wanted.iter().map(|wanted| wanted.requirement.key()).collect();
        assert_eq!(names, ["own", "own-tools", "repo", "named"]);
        let Source::Place(place) = &files.wanted[1].requirement.source else { panic!("a path is a place") };
        assert!(Path::new(place).is_absolute() && place.ends_with("wheels/own_tools-2.0-py3-none-any.whl"), "{place}");
    }

    #[test]
    fn what_cannot_be_read_is_said_with_its_place() {
        for (text, reason) in [
            ("numpy\nnumpy 1.0\n", "line 2: cannot read `numpy 1.0`"),
            ("-e .\n", "no editable packages"),
            ("-r https://host/x.txt\n", "put a copy beside it"),
            ("-r\n", "-r has no value"),
            ("--frobnicate\n", "this option is not known"),
            ("https://host/x.tar.gz\n", "NAME @ URL"),
            ("numpy --hash=md5:aa\n", "one of sha256"),
            ("numpy --config-settings=x\n", "take it out"),
        ] {
            let error = read(&[("requirements.txt", text)]).unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains("requirements.txt line"), "{text}: {error}");
        }
        let error = read(&[("requirements.txt", "-r absent.txt\n")]).unwrap_err().to_string();
        assert!(error.contains("cannot read") && error.contains("absent.txt"), "{error}");
    }

    #[test]
    fn condas_file_gives_its_packages_and_pips() {
        let text = "name: x\nchannels: [conda-forge]\ndependencies:\n  - python=3.8\n  - conda-forge::scikit-learn=1.2\n  \
                    - pip\n  - pip:\n      - humanize==4.0 # why\n      - --extra-index-url https://host/simple\n";
        let files = read(&[("conda.yml", text)]).unwrap();
        assert_eq!(asked(&files), ["conda.yml:5 scikit-learn==1.2.*", "conda.yml:8 humanize==4.0"]);
        assert_eq!(files.options, ["--extra-index-url=https://host/simple"]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("other.YAML");
        fs::write(&path, text).unwrap();
        assert_eq!(RequirementFiles::read_file(&path).unwrap().wanted.len(), 2);
        assert!(matches!(RequirementFiles::read_file(folder.path()), Err(RequirementsError::Read { .. })));
    }

    #[test]
    fn variables_are_replaced_when_there_are_any() {
        let path = std::env::var("PATH").unwrap();
        assert_eq!(
            with_variables("a${PATH}b${NO_SUCH_VARIABLE_X}c${x}$"),
            format!("a{path}b${{NO_SUCH_VARIABLE_X}}c${{x}}$")
        );
        assert_eq!(with_variables("${}${${PATH}${PATH"), format!("${{}}${{{path}${{PATH"));
        // In time that grows with the length alone.
        let many = "${".repeat(1_000_000) + "}";
        assert!(with_variables(&many) == many);
    }

    #[test]
    fn of_a_line_that_is_too_long_the_beginning_and_the_end_are_said() {
        let line = format!("numpy; {}''<''\n", "''<''or".repeat(500_000));
        let error = read(&[("requirements.txt", &line)]).unwrap_err().to_string();
        assert!(
            error.contains("cannot read `numpy; ''<''or") && error.contains("more than 256 comparisons"),
            "{error}"
        );
        assert!(error.len() < 1000, "{} bytes", error.len());
    }
}
