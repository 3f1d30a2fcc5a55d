//! `docs/conformance.md`, written from the cases, the differences and the locked versions.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use scorebox_tests::fixtures::workspace;

use crate::cases::Group;
use crate::differences::Differences;

/// The packages whose versions a reader may want to know.
const PACKAGES: [&str; 10] = [
    "azureml-inference-server-http",
    "flask",
    "werkzeug",
    "flask-cors",
    "gunicorn",
    "pydantic",
    "pydantic-settings",
    "inference-schema",
    "numpy",
    "pandas",
];

/// The version of Python that the recordings were made with.
pub const PYTHON: &str = "3.11";

/// Where the report is.
pub fn path() -> PathBuf {
    workspace().join("docs/conformance.md")
}

/// What became of the cases of a group.
#[derive(Debug, Default, Clone, Copy)]
struct Count {
    cases: usize,
    intended: usize,
    gaps: usize,
}

impl Count {
    fn add(&mut self, other: Self) {
        self.cases += other.cases;
        self.intended += other.intended;
        self.gaps += other.gaps;
    }
}

/// The report, if exactly the cases differ that are known to.
pub fn report(groups: &[Group], differences: &Differences) -> String {
    let mut text = String::from(INTRODUCTION);
    text += "\n## Versions\n\n";
    text += &versions();
    text += "\n## Results\n\n";
    text += &results(groups, differences);
    text += "\n## Intended differences\n\n";
    text += &intended(differences);
    text += "\n## Gaps\n\n";
    text += &gaps(differences);
    text += "\n## The real server's own tests\n\n";
    text += &crate::read(&crate::source("upstream.md"));
    text
}

const INTRODUCTION: &str = "\
# Conformance

Scorebox answers as Azure ML's inference server does. What that server does was recorded as cases: a server's set-up, a
request, and the response with all of its headers, its body byte by byte and its lines in the log; or a start, with its exit
code and what it says. [`tests/conformance`](../tests/conformance/README.md) has the cases and their form.

`make conformance` installs the real server, replays every case against both servers side by side, says where one of them
differs from what was recorded, and writes this file. `make test` replays the cases against Scorebox alone, and fails where a
case differs that is not listed here, where one that is listed does not, and where this file is not what the cases and the
differences make of it.

Not compared: `Date`, `Server`, `Connection`, `Content-Length` and `Transfer-Encoding`, the reason phrase, the order of
headers of different names, and the lines of a log that other loggers than `azmlinfsrv` wrote.
";

fn versions() -> String {
    let lock = crate::read(&crate::source("requirements.lock"));
    let mut text = format!("| package | version |\n|---|---|\n| Python | {PYTHON} |\n");
    for package in PACKAGES {
        let version = lock.lines().find_map(|line| line.strip_prefix(package)?.strip_prefix("==")?.split(' ').next());
        let version = version.unwrap_or_else(|| panic!("requirements.lock has no {package}"));
        writeln!(text, "| {package} | {version} |").expect("a string takes all");
    }
    text
}

fn results(groups: &[Group], differences: &Differences) -> String {
    let mut counts = BTreeMap::<&str, Count>::new();
    for group in groups {
        for name in group.servers.iter().flat_map(crate::cases::Setup::case_names) {
            let known = differences.of(&name);
            counts.entry(&group.name).or_default().add(Count {
                cases: 1,
                intended: usize::from(known.is_some_and(|difference| !difference.is_gap())),
                gaps: usize::from(known.is_some_and(crate::differences::Difference::is_gap)),
            });
        }
    }
    let mut text = String::from("| group | cases | pass | intended difference | gap |\n|---|---:|---:|---:|---:|\n");
    let mut all = Count::default();
    let mut row = |name: &str, count: Count| {
        let pass = count.cases - count.intended - count.gaps;
        writeln!(text, "| {name} | {} | {pass} | {} | {} |", count.cases, count.intended, count.gaps)
            .expect("a string takes all");
    };
    for (name, count) in counts {
        all.add(count);
        row(name, count);
    }
    row("all", all);
    text
}

fn intended(differences: &Differences) -> String {
    let mut kinds = BTreeMap::<&str, Vec<(&str, &str)>>::new();
    for (name, difference) in differences.iter().filter(|(_, difference)| !difference.is_gap()) {
        kinds.entry(&difference.kind).or_default().push((name, &difference.reason));
    }
    if kinds.is_empty() {
        return "None.\n".into();
    }
    let mut text = String::from("| kind | case | reason |\n|---|---|---|\n");
    for (kind, cases) in kinds {
        for (name, reason) in cases {
            writeln!(text, "| {kind} | `{name}` | {reason} |").expect("a string takes all");
        }
    }
    text
}

fn gaps(differences: &Differences) -> String {
    let mut text = String::new();
    for (name, difference) in differences.iter().filter(|(_, difference)| difference.is_gap()) {
        writeln!(text, "- `{name}`: {}", difference.reason).expect("a string takes all");
    }
    if text.is_empty() { "None.\n".into() } else { text }
}
