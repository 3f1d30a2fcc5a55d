//! From a Rust project to a component.
//!
//! 1. Find a toolchain that compiles for WebAssembly: the user's own when its target is installed, else Debian's, which
//!    compiles the standard library first.
//! 2. `cargo rustc`, with its output passed through, and ask it for the module that it made.
//! 3. Make a component of the module, if it is none yet, by the types that the SDK left in it.
//! 4. Put it in place with a rename, so that a reader sees the old file or the new one.

use std::ffi::OsString;
use std::fmt::{self, Display};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::str::FromStr;

use serde::Deserialize;

use super::{folder, write_atomically};

/// Where Debian's packages put their programs. A toolchain of that kind is looked for nowhere else.
const DEBIAN_BIN: &str = "/usr/bin";

/// What a project is compiled for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Target {
    /// `wasm32-unknown-unknown`: the scorer can reach nothing but its own world.
    #[default]
    Unknown,
    /// `wasm32-wasip2`: the standard library's files, clocks and streams work, through WASI 0.2.
    Wasip2,
}

impl Target {
    /// The name that Rust's tools know.
    pub(crate) fn triple(self) -> &'static str {
        match self {
            Self::Unknown => "wasm32-unknown-unknown",
            Self::Wasip2 => "wasm32-wasip2",
        }
    }
}

impl Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.triple())
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Unknown, Self::Wasip2]
            .into_iter()
            .find(|target| target.triple() == text)
            .ok_or_else(|| format!("`{text}` is no target of a scorer; use {} or {}", Self::Unknown, Self::Wasip2))
    }
}

/// What was built, and how.
#[derive(Debug)]
pub(crate) struct BuildReport {
    /// The component.
    pub output: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// The toolchain that compiled it, in words.
    pub toolchain: String,
    /// What it was compiled for.
    pub target: Target,
}

/// Why there is no component. The output file is as it was before.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    /// The folder is no cargo project.
    #[error("{} is no Rust project: it has no Cargo.toml. Give the folder of a crate that uses scorebox-guest", .0.display())]
    NoProject(PathBuf),
    /// The folder holds a workspace without a crate of its own.
    #[error("{} is a workspace without a crate of its own. Give the folder of one of its crates", .0.display())]
    NoPackage(PathBuf),
    /// The crate is not compiled to a module.
    #[error(
        "the crate `{package}` in {} is no cdylib, so there is no module to make a component of. \
         Add to its Cargo.toml:\n\n    [lib]\n    crate-type = [\"cdylib\"]\n",
        .manifest.display()
    )]
    NoCdylib {
        /// Name of the crate.
        package: String,
        /// Its Cargo.toml.
        manifest: PathBuf,
    },
    /// No toolchain can compile for the target.
    #[error("{}", no_toolchain(*.target, *.rust_found))]
    NoToolchain {
        /// What was to be compiled for.
        target: Target,
        /// A Rust toolchain is there, though not for the target.
        rust_found: bool,
    },
    /// A program of the toolchain could not be started.
    #[error("cannot start `{program}`: {source}")]
    Start {
        /// Its name or path.
        program: String,
        /// What the system says.
        source: io::Error,
    },
    /// Cargo could not read the project. What it had to say is part of the message.
    #[error("cargo cannot read the project:\n{0}")]
    Metadata(String),
    /// Compiling failed. Cargo has said why on the standard error.
    #[error("cargo could not compile the project ({0}); its messages are above")]
    Compile(ExitStatus),
    /// Cargo's output is of a form that is not known.
    #[error("cargo's output cannot be understood: {0}. Is the toolchain's cargo newer than this program?")]
    CargoOutput(String),
    /// The module has no types from which to make a component.
    #[error("the module {} does not say that it is a scorer: does the crate use scorebox_guest::export!?", .0.display())]
    NotAScorer(PathBuf),
    /// The module cannot be made a component.
    #[error(
        "the module {} cannot be made a component: {reason}. \
         A scorer can import nothing but what the SDK declares: look for a dependency that expects JavaScript \
         (wasm-bindgen, a `js` feature) or a C library",
        .module.display()
    )]
    Componentize {
        /// The module.
        module: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("cannot {action} {}: {source}", .path.display())]
    File {
        /// `read` or `write`.
        action: &'static str,
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// What is built, and how.
#[derive(Debug)]
pub(super) struct RustProject {
    /// Folder of the crate.
    pub(crate) folder: PathBuf,
    /// What it is compiled for.
    pub(crate) target: Target,
    /// Bytes of its stack in linear memory. They are part of what each fresh instance starts with, so less is faster.
    pub(crate) stack: u64,
    /// Write the module as it is, for a part of a component that is put together elsewhere.
    pub(crate) core_module: bool,
}

/// Compiles a crate and writes it as a component to `output`, whose folder has to exist already. Cargo's progress and
/// messages go to the standard error; what it makes goes to its usual target folder.
pub(crate) fn build(project: &RustProject, output: &Path) -> Result<BuildReport, BuildError> {
    let target = project.target;
    let manifest = project.folder.join("Cargo.toml");
    if !manifest.is_file() {
        return Err(BuildError::NoProject(project.folder.clone()));
    }
    let manifest = manifest.canonicalize().map_err(|source| BuildError::File {
        action: "read",
        path: manifest.clone(),
        source,
    })?;
    if !folder(output).is_dir() {
        let source = io::Error::new(io::ErrorKind::NotFound, "its folder does not exist; create it first");
        return Err(BuildError::File { action: "write", path: output.to_owned(), source });
    }
    let toolchain = Toolchain::find(target, &manifest)?;
    check_project(&toolchain, &manifest)?;
    let module = compile(&toolchain, &manifest, project)?;
    let component = if project.core_module { read(&module)? } else { componentize(&module)? };
    write_atomically(output, &component).map_err(|source| BuildError::File {
        action: "write",
        path: output.to_owned(),
        source,
    })?;
    Ok(BuildReport {
        output: output.to_owned(),
        bytes: component.len() as u64,
        toolchain: toolchain.to_string(),
        target,
    })
}

/// A way to compile for WebAssembly.
#[derive(Debug, PartialEq, Eq)]
enum Toolchain {
    /// What `cargo` and `rustc` are for the project's folder, with the target installed.
    Installed { sysroot: PathBuf },
    /// Debian's packages rustc-web, cargo-web, rust-web-src and lld: they compile the standard library, too.
    Debian { linker: PathBuf },
}

impl Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Installed { sysroot } => write!(f, "the Rust toolchain in {}", sysroot.display()),
            Self::Debian { linker } => write!(f, "Debian's Rust packages with {}", linker.display()),
        }
    }
}

impl Toolchain {
    fn find(target: Target, manifest: &Path) -> Result<Self, BuildError> {
        // Asked in the project's folder: a rust-toolchain.toml there decides.
        let sysroot = sysroot(Command::new("rustc").current_dir(folder(manifest)));
        if let Some(sysroot) = &sysroot
            && has_std(sysroot, target)
        {
            return Ok(Self::Installed { sysroot: sysroot.clone() });
        }
        // That way has no WASI: its standard library needs a C library that Debian does not have.
        if target == Target::Unknown
            && let Some(linker) = debian_linker()
        {
            return Ok(Self::Debian { linker });
        }
        Err(BuildError::NoToolchain { target, rust_found: sysroot.is_some() })
    }

    /// `cargo` as this toolchain starts it, in the project's folder.
    fn cargo(&self, manifest: &Path) -> Command {
        let mut cargo = match self {
            Self::Installed { .. } => Command::new("cargo"),
            Self::Debian { linker } => {
                let mut cargo = Command::new(Path::new(DEBIAN_BIN).join("cargo"));
                debian_environment(&mut cargo);
                cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
                cargo
            }
        };
        cargo.current_dir(folder(manifest));
        cargo
    }
}

/// Keeps rustup's programs of the same names, and its choice of a toolchain, away from Debian's.
fn debian_environment(command: &mut Command) {
    let mut path = OsString::from(DEBIAN_BIN);
    if let Some(rest) = std::env::var_os("PATH") {
        path.push(":");
        path.push(rest);
    }
    command
        .env("PATH", path)
        .env("RUSTC", Path::new(DEBIAN_BIN).join("rustc"))
        .env("RUSTC_BOOTSTRAP", "1")
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO");
}

/// The folder of the toolchain that `rustc` is part of; none when it cannot be run.
fn sysroot(rustc: &mut Command) -> Option<PathBuf> {
    let output = rustc.args(["--print", "sysroot"]).stderr(Stdio::null()).output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(path.trim_end()))
}

/// Whether a sysroot has the compiled standard library of a target.
fn has_std(sysroot: &Path, target: Target) -> bool {
    let libraries = sysroot.join("lib/rustlib").join(target.triple()).join("lib");
    let Ok(entries) = libraries.read_dir() else { return false };
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
}

/// The linker of Debian's toolchain; none unless all its packages are there.
fn debian_linker() -> Option<PathBuf> {
    let bin = Path::new(DEBIAN_BIN);
    let mut rustc = Command::new(bin.join("rustc"));
    debian_environment(&mut rustc);
    // /usr/bin/rustc can be rustup's as well: then its sysroot is elsewhere.
    let sysroot = sysroot(&mut rustc).filter(|sysroot| bin.starts_with(sysroot))?;
    let sources = sysroot.join("lib/rustlib/src/rust/library/std/Cargo.toml");
    if !bin.join("cargo").is_file() || !sources.is_file() {
        return None;
    }
    let names = bin.read_dir().ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    newest_linker(names).map(|name| bin.join(name))
}

/// `wasm-ld-22` rather than `wasm-ld-19`, and either rather than `wasm-ld`, which may be of any version.
fn newest_linker(names: impl Iterator<Item = String>) -> Option<String> {
    names
        .filter_map(|name| {
            let version = match name.strip_prefix("wasm-ld")? {
                "" => 0,
                suffix => suffix.strip_prefix('-')?.parse::<u32>().ok()?,
            };
            Some((version, name))
        })
        .max()
        .map(|(_, name)| name)
}

fn no_toolchain(target: Target, rust_found: bool) -> String {
    let found = if rust_found { "the Rust toolchain here has no standard library" } else { "there is no toolchain" };
    let rustup = format!("    rustup target add {target}");
    match target {
        Target::Unknown => format!(
            "{found} for {target}. Get one in either way:\n\n{rustup}\n    \
             apt-get install rustc-web cargo-web rust-web-src lld-22   # Debian and its descendants\n",
        ),
        Target::Wasip2 => {
            format!("{found} for {target}. Get one, or build for {} instead:\n\n{rustup}\n", Target::Unknown)
        }
    }
}

/// The part of `cargo metadata` that is looked at.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    targets: Vec<CargoTarget>,
}

#[derive(Deserialize)]
struct CargoTarget {
    crate_types: Vec<String>,
}

impl CargoTarget {
    fn is_cdylib(&self) -> bool {
        self.crate_types.iter().any(|kind| kind == "cdylib")
    }
}

/// Finds out before a long compilation whether it can end in a module.
fn check_project(toolchain: &Toolchain, manifest: &Path) -> Result<(), BuildError> {
    let mut cargo = toolchain.cargo(manifest);
    cargo.args(["metadata", "--no-deps", "--format-version=1"]).arg("--manifest-path").arg(manifest);
    let output = cargo.output().map_err(|source| cannot_start(&cargo, source))?;
    if !output.status.success() {
        return Err(BuildError::Metadata(String::from_utf8_lossy(&output.stderr).trim_end().to_owned()));
    }
    check_metadata(&output.stdout, manifest)
}

fn check_metadata(json: &[u8], manifest: &Path) -> Result<(), BuildError> {
    let metadata: Metadata =
        serde_json::from_slice(json).map_err(|error| BuildError::CargoOutput(error.to_string()))?;
    let Some(package) = metadata.packages.into_iter().find(|package| package.manifest_path == manifest) else {
        return Err(BuildError::NoPackage(folder(manifest).to_owned()));
    };
    if package.targets.iter().any(CargoTarget::is_cdylib) {
        Ok(())
    } else {
        Err(BuildError::NoCdylib { package: package.name, manifest: manifest.to_owned() })
    }
}

/// Runs `cargo rustc` and returns the path of the module that it made.
fn compile(toolchain: &Toolchain, manifest: &Path, project: &RustProject) -> Result<PathBuf, BuildError> {
    let target = project.target;
    let mut cargo = toolchain.cargo(manifest);
    cargo.args(["rustc", "--lib", "--release", "--message-format=json-render-diagnostics"]);
    cargo.args(["--target", target.triple()]).arg("--manifest-path").arg(manifest);
    if let Toolchain::Debian { .. } = toolchain {
        cargo.arg("-Zbuild-std=std,panic_abort");
    }
    cargo.arg("--").arg(format!("-Clink-arg=-zstack-size={}", project.stack));
    let mut child = cargo.stdout(Stdio::piped()).spawn().map_err(|source| cannot_start(&cargo, source))?;
    let mut module = Ok(None);
    if let Some(messages) = child.stdout.take() {
        module = find_module(BufReader::new(messages), manifest);
    }
    let status = child.wait().map_err(|source| cannot_start(&cargo, source))?;
    if !status.success() {
        return Err(BuildError::Compile(status));
    }
    module?.ok_or_else(|| BuildError::CargoOutput("it names no module that it made".to_owned()))
}

/// One of cargo's messages, as far as it is looked at.
#[derive(Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
enum Message {
    CompilerArtifact {
        manifest_path: PathBuf,
        target: CargoTarget,
        filenames: Vec<PathBuf>,
    },
    #[serde(other)]
    Other,
}

/// Reads all of cargo's messages, for cargo waits for that, and finds the module of the crate with this manifest.
fn find_module(messages: impl BufRead, manifest: &Path) -> Result<Option<PathBuf>, BuildError> {
    let mut module = None;
    for line in messages.lines() {
        let line = line.map_err(|error| BuildError::CargoOutput(error.to_string()))?;
        // A build script or a macro may print to the same place what is no message.
        let Ok(Message::CompilerArtifact { manifest_path, target, filenames }) = serde_json::from_str(&line) else {
            continue;
        };
        if manifest_path == manifest && target.is_cdylib() {
            module = filenames.into_iter().find(|file| file.extension().is_some_and(|extension| extension == "wasm"));
        }
    }
    Ok(module)
}

fn read(path: &Path) -> Result<Vec<u8>, BuildError> {
    std::fs::read(path).map_err(|source| BuildError::File { action: "read", path: path.to_owned(), source })
}

/// The bytes of the module as a component.
fn componentize(path: &Path) -> Result<Vec<u8>, BuildError> {
    let module = read(path)?;
    if wasmparser::Parser::is_component(&module) {
        return Ok(module);
    }
    if !has_component_type(&module) {
        return Err(BuildError::NotAScorer(path.to_owned()));
    }
    wit_component::ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| BuildError::Componentize { module: path.to_owned(), reason: format!("{error:#}") })
}

/// Whether bindings left a description of their world in the module.
fn has_component_type(module: &[u8]) -> bool {
    wasmparser::Parser::new(0).parse_all(module).map_while(Result::ok).any(|payload| {
        matches!(payload, wasmparser::Payload::CustomSection(section) if section.name().starts_with("component-type"))
    })
}

fn cannot_start(command: &Command, source: io::Error) -> BuildError {
    BuildError::Start { program: command.get_program().to_string_lossy().into_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "/project/Cargo.toml";

    fn project(folder: &Path) -> RustProject {
        RustProject { folder: folder.to_owned(), target: Target::Unknown, stack: 128 * 1024, core_module: false }
    }

    #[test]
    fn a_target_is_read_by_the_name_that_it_is_written_with() {
        for target in [Target::Unknown, Target::Wasip2] {
            assert_eq!(target.to_string().parse(), Ok(target));
        }
        assert_eq!(
            "x86_64".parse::<Target>(),
            Err("`x86_64` is no target of a scorer; use wasm32-unknown-unknown or wasm32-wasip2".to_owned()),
        );
    }

    #[test]
    fn the_newest_linker_is_taken() {
        let newest = |names: &[&str]| newest_linker(names.iter().map(|&name| name.to_owned()));
        assert_eq!(newest(&["wasm-ld-9", "wasm-ld-22", "wasm-ld", "wasm-ld-x"]).as_deref(), Some("wasm-ld-22"));
        assert_eq!(newest(&["wasm-ld", "ld"]).as_deref(), Some("wasm-ld"));
        assert_eq!(newest(&["ld.lld-22", "wasm-ldx"]), None);
    }

    #[test]
    fn the_module_is_that_of_the_crate_and_no_dependency() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","manifest_path":"/other/Cargo.toml","target":{"crate_types":["cdylib"]},"filenames":["/t/other.wasm"]}"#,
            "\nprinted by a build script\n",
            r#"{"reason":"build-script-executed","package_id":"x"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","manifest_path":"/project/Cargo.toml","target":{"crate_types":["bin"]},"filenames":["/t/build"]}"#,
            "\n",
            r#"{"reason":"compiler-artifact","manifest_path":"/project/Cargo.toml","target":{"crate_types":["cdylib","rlib"]},"filenames":["/t/libp.rlib","/t/p.wasm"]}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        let module = find_module(messages.as_bytes(), Path::new(MANIFEST));
        assert_eq!(module.expect("the messages are good"), Some(PathBuf::from("/t/p.wasm")));
    }

    #[test]
    fn a_project_without_a_cdylib_is_refused_with_what_to_add() {
        let metadata = |kind: &str| {
            let json = format!(
                r#"{{"packages":[{{"name":"p","manifest_path":"{MANIFEST}","targets":[{{"crate_types":["{kind}"]}}]}}]}}"#
            );
            check_metadata(json.as_bytes(), Path::new(MANIFEST))
        };
        assert!(metadata("cdylib").is_ok());
        let message = metadata("lib").expect_err("a lib is no cdylib").to_string();
        assert!(message.contains("`p`") && message.contains("crate-type = [\"cdylib\"]"), "{message}");
    }

    #[test]
    fn a_workspace_without_a_crate_is_refused() {
        let checked = check_metadata(br#"{"packages":[]}"#, Path::new(MANIFEST));
        assert!(matches!(checked, Err(BuildError::NoPackage(folder)) if folder == Path::new("/project")));
    }

    #[test]
    fn a_folder_without_a_manifest_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let built = build(&project(folder.path()), &folder.path().join("model.wasm"));
        assert!(matches!(built, Err(BuildError::NoProject(path)) if path == folder.path()));
    }

    #[test]
    fn an_output_folder_that_is_not_there_is_refused_before_anything_is_compiled() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("Cargo.toml"), "").expect("the manifest is written");
        let output = folder.path().join("missing/model.wasm");
        let message = build(&project(folder.path()), &output).expect_err("there is no folder").to_string();
        assert_eq!(message, format!("cannot write {}: its folder does not exist; create it first", output.display()));
    }

    #[test]
    fn a_module_without_the_bindings_is_no_scorer_and_leaves_the_output_alone() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let module = folder.path().join("empty.wasm");
        std::fs::write(&module, b"\0asm\x01\0\0\0").expect("the module is written");
        assert!(matches!(componentize(&module), Err(BuildError::NotAScorer(path)) if path == module));
    }

    #[test]
    fn a_component_is_taken_as_it_is() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let component = folder.path().join("empty.wasm");
        std::fs::write(&component, b"\0asm\x0d\0\x01\0").expect("the component is written");
        assert_eq!(componentize(&component).expect("it is a component"), b"\0asm\x0d\0\x01\0");
    }

    #[test]
    fn a_missing_toolchain_is_reported_with_both_ways_to_get_one() {
        let message = BuildError::NoToolchain { target: Target::Unknown, rust_found: true }.to_string();
        assert!(message.contains("rustup target add wasm32-unknown-unknown"), "{message}");
        assert!(message.contains("apt-get install rustc-web cargo-web rust-web-src lld-22"), "{message}");
        let message = BuildError::NoToolchain { target: Target::Wasip2, rust_found: false }.to_string();
        assert!(message.contains("rustup target add wasm32-wasip2"), "{message}");
    }
}
