//! What the server gives up before it touches a scorer, and the process that seals for it.

use std::env;
use std::ffi::OsStr;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use scorebox_confinement::{Confinement, Profile, Report, is_root};
use scorebox_sandbox::{Cache, CacheError, Launched, SandboxConfig, Sealer, SealerConfig, open_page_map};
use scorebox_telemetry::Otlp;

use crate::args::{CacheArgs, PythonArgs, SealArgs, ServeArgs};
use crate::config::{Config, folder_of};
use crate::failure::Failure;
use crate::renewal;
use crate::scorer;
use crate::settings;
use crate::telemetry;

/// Variables that name files with certificates and keys, which those who connect to others read.
const CERTIFICATES: [&str; 2] = ["SSL_CERT_FILE", SEVERAL];
/// The one that may name several folders, with colons between them.
const SEVERAL: &str = "SSL_CERT_DIR";
/// Of the variables that begin so, those that end so do as well.
const OTLP_PREFIX: &str = "OTEL_EXPORTER_OTLP_";
const OTLP_FILES: [&str; 2] = ["CERTIFICATE", "CLIENT_KEY"];

/// What there is to say where the kernel does not tell which pages a process has written to.
pub(crate) const NO_PAGE_MAP: &str = "the kernel does not say which pages are written to, as Linux 6.7 does: requests to scripts take several times as long";

/// Refuses to serve as root, unless that is asked for.
pub(crate) fn refuse_root(args: &ServeArgs) -> Result<(), Failure> {
    if is_root() && !args.allow_root {
        return Err(Failure::start(
            "the server would run as root, which what breaks out of the sandbox would be then as well; start it as another \
             user, or say --allow-root (SCOREBOX_ALLOW_ROOT=true), in a container that has no other user for instance",
        ));
    }
    Ok(())
}

/// What has been set up before the log, and what is to be said about it then.
pub(crate) struct Prepared {
    pub(crate) cache: Option<Cache>,
    warnings: Vec<String>,
    sealer: Launched,
    readable: Vec<PathBuf>,
    is_confined: bool,
}

/// Opens the cache, starts the sealer, and gives up what the server does not need. To be called while the process has one
/// thread only.
pub(crate) fn prepare(args: &ServeArgs, config: &Config) -> Result<Prepared, Failure> {
    let (cache, warning) = open_cache(&args.cache, args.manage.cache());
    let mut warnings: Vec<_> = warning.into_iter().collect();
    let sealer = launch()?;
    let mut readable = places(config, settings::serves_main(args, config), env::current_dir().ok());
    readable.extend(scorer::find_runtime(args.python.python_runtime.as_deref()));
    let is_confined = !args.no_confinement;
    if is_confined {
        let report = give_up(&confinement(args, config, cache.as_ref(), &readable));
        warnings.extend(report.gaps().map(|(protection, why)| {
            format!("the second wall has a gap: {protection}: {why}; `scorebox doctor` says more")
        }));
    } else {
        warnings.push("--no-confinement: what breaks out of the sandbox has all the rights of this user".to_owned());
    }
    if !open_page_map() {
        warnings.push(NO_PAGE_MAP.to_owned());
    }
    Ok(Prepared { cache, warnings, sealer, readable, is_confined })
}

impl Prepared {
    /// Logs what there is to say.
    pub(crate) fn log(&self) {
        for warning in &self.warnings {
            tracing::warn!("{warning}");
        }
    }

    /// Tells the sealer what it is for.
    pub(crate) fn set_up(self, sandbox: &SandboxConfig, args: &ServeArgs) -> Result<(Option<Cache>, Sealer), Failure> {
        let config = SealerConfig {
            limits: args.seal.limits(),
            cache: self.cache.as_ref().map(|cache| (cache.folder().to_owned(), args.cache.cache_size.as_u64())),
            readable: self.readable,
            confined: self.is_confined,
        };
        let sealer = self.sealer.set_up(sandbox, config).map_err(no_sealer)?;
        Ok((self.cache, sealer))
    }
}

/// A sealer for a command that does one thing and ends. `files` are those of its scorer.
pub(crate) fn sealer(
    sandbox: &SandboxConfig,
    limits: &SealArgs,
    python: &PythonArgs,
    cache: &CacheArgs,
    files: impl IntoIterator<Item = impl AsRef<Path>>,
) -> Result<(Option<Cache>, Sealer), Failure> {
    let (opened, warning) = open_cache(cache, None);
    if let Some(warning) = warning {
        crate::console::note(warning);
    }
    let mut readable: Vec<_> = files.into_iter().map(|path| path.as_ref().to_owned()).collect();
    readable.extend(scorer::find_runtime(python.python_runtime.as_deref()));
    let config = SealerConfig {
        limits: limits.limits(),
        cache: opened.as_ref().map(|opened| (opened.folder().to_owned(), cache.cache_size.as_u64())),
        readable,
        confined: true,
    };
    let sealer = launch()?.set_up(sandbox, config).map_err(no_sealer)?;
    Ok((opened, sealer))
}

fn launch() -> Result<Launched, Failure> {
    Sealer::launch().map_err(no_sealer)
}

#[expect(clippy::needless_pass_by_value, reason = "it is what errors are mapped with")]
fn no_sealer(error: std::io::Error) -> Failure {
    Failure::failed(format!("cannot start the process that compiles scorers: {error}"))
}

/// Opens the cache; without it, what there is to say. The server works as well then, and starts slower.
fn open_cache(args: &CacheArgs, default: Option<PathBuf>) -> (Option<Cache>, Option<String>) {
    if args.no_cache {
        return (None, None);
    }
    let Some(folder) = cache_folder(args, default) else {
        let why = "there is no folder for the cache: give one with --cache-dir; every start compiles the scorer";
        return (None, Some(why.to_owned()));
    };
    let absolute = std::path::absolute(&folder).unwrap_or(folder);
    match Cache::open(absolute, args.cache_size.as_u64()) {
        Ok(cache) => (Some(cache), None),
        Err(error) => (None, Some(going_on_without(&error))),
    }
}

/// Where the cache is: in the folder that the user names, else in this one, else in that of the user's programs.
pub(crate) fn cache_folder(args: &CacheArgs, default: Option<PathBuf>) -> Option<PathBuf> {
    let of_user = || user_cache_folder().map(|folder| folder.join("scorebox"));
    args.cache_dir.clone().or(default).or_else(of_user)
}

fn going_on_without(error: &CacheError) -> String {
    format!("going on without the cache: {error}")
}

/// Where the user's programs keep what they can make again: `$XDG_CACHE_HOME`, else `~/.cache`.
pub(crate) fn user_cache_folder() -> Option<PathBuf> {
    use etcetera::BaseStrategy as _;
    Some(etcetera::choose_base_strategy().ok()?.cache_dir())
}

/// The files and folders of the scorer: what is read when it is deployed, and again when it is reloaded. `here` is the folder
/// in which the server was started.
fn places(config: &Config, has_main: bool, here: Option<PathBuf>) -> Vec<PathBuf> {
    let mut places = Vec::new();
    let root = Path::new("/");
    let script = config.text("AZUREML_ENTRY_SCRIPT").map(|path| here.as_deref().unwrap_or(root).join(path));
    let script = script.as_deref();
    let is_script = script.is_some_and(|path| path.extension().is_some_and(|ending| ending == "py"));
    // What does not lie in a folder of its own is not worth the whole file system.
    let here = here.filter(|folder| folder != root);
    match script {
        Some(folder) if folder.is_dir() => places.push(folder.to_owned()),
        // What is beside a script belongs to it, and a component may be replaced by another file of its name.
        Some(file) => match folder_of(file) {
            folder if folder == root => places.push(file.to_owned()),
            folder => places.push(folder.to_owned()),
        },
        // The script is `main.py` of the app folder.
        None if has_main => places.extend(here.clone()),
        None => {}
    }
    let is_below = |folder: &PathBuf| {
        script.is_some_and(|script| script.canonicalize().unwrap_or_else(|_| script.to_owned()).starts_with(folder))
    };
    // One that is not there is as none.
    match config.text("AML_APP_ROOT").filter(|folder| Path::new(folder).exists()) {
        Some(folder) => places.push(PathBuf::from(folder)),
        // The app folder of a script is then where the server was started, if the script lies below it.
        None if is_script => places.extend(here.filter(is_below)),
        None => {}
    }
    places.extend(config.text("AZUREML_MODEL_DIR").map(PathBuf::from));
    places
}

fn confinement(args: &ServeArgs, config: &Config, cache: Option<&Cache>, readable: &[PathBuf]) -> Confinement {
    let has_telemetry = settings::app_insights(config).is_on()
        || Otlp::from_env(|name| env::var(name).ok()).is_ok_and(|otlp| otlp.is_some());
    let outgoing = has_telemetry || args.tokens.connects();
    let buffer = if has_telemetry { telemetry::buffer(args) } else { None };
    let buffer = buffer.map(|buffer| buffer.folder).inspect(|folder| {
        // For nobody else to read. What cannot be made is said when telemetry starts.
        let _ = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    });
    let certificates = env::vars_os().filter(|(name, _)| outgoing && names_a_file(&name.to_string_lossy()));
    Confinement::new(Profile::Server { outgoing })
        .readable(readable)
        .readable(cache.map(Cache::folder))
        .readable(certificates.flat_map(|(name, value)| paths_in(&name, &value)))
        .readable(args.tls.files().chain(args.tokens.file()).flat_map(renewal::folders))
        .writable(buffer)
        .writable(args.manage.store().into_iter().chain(args.manage.backups()).inspect(|folder| {
            // As above.
            let _ = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        }))
        .ports(settings::addresses(args, config).iter().chain(&args.manage.admin).map(std::net::SocketAddr::port))
}

/// The files and folders that such a variable names.
fn paths_in(variable: &OsStr, value: &OsStr) -> Vec<PathBuf> {
    if variable == SEVERAL { env::split_paths(value).collect() } else { vec![PathBuf::from(value)] }
}

fn names_a_file(variable: &str) -> bool {
    CERTIFICATES.contains(&variable)
        || (variable.starts_with(OTLP_PREFIX) && OTLP_FILES.iter().any(|ending| variable.ends_with(ending)))
}

/// What `scorebox doctor` tries with: a process that has nothing of its own but a folder that it may read.
pub(crate) fn bare(profile: Profile, readable: &Path) -> Report {
    give_up(&Confinement::new(profile).readable([readable]))
}

/// Opens what cannot be opened afterwards, and gives up the rest.
fn give_up(confinement: &Confinement) -> Report {
    open_page_map();
    confinement.apply()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Environment;

    fn places_of(variables: &[(&'static str, &str)], has_main: bool, here: &str) -> Vec<PathBuf> {
        let given: BTreeMap<_, _> = variables.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let config = Config::load(&given, &Environment::from_variables(std::iter::empty()));
        places(&config, has_main, Some(PathBuf::from(here)))
    }

    #[test]
    fn the_folder_of_the_start_is_only_readable_where_a_scorer_lies_in_it() {
        let script = |path| ("AZUREML_ENTRY_SCRIPT", path);
        let none: [&str; 0] = [];
        // Tenants alone.
        assert_eq!(places_of(&[], false, "/srv"), none.map(PathBuf::from));
        assert_eq!(places_of(&[], true, "/srv"), [PathBuf::from("/srv")]);
        assert_eq!(places_of(&[script("/srv/app/score.py")], false, "/srv"), ["/srv/app", "/srv"].map(PathBuf::from));
        assert_eq!(places_of(&[script("/srv/app/score.py")], false, "/home/me"), [PathBuf::from("/srv/app")]);
        assert_eq!(places_of(&[script("/srv/app/model.wasm")], false, "/srv"), [PathBuf::from("/srv/app")]);
        // Started in the root folder, as services are.
        assert_eq!(places_of(&[], true, "/"), none.map(PathBuf::from));
        assert_eq!(places_of(&[script("/srv/app/score.py")], false, "/"), [PathBuf::from("/srv/app")]);
        assert_eq!(places_of(&[script("/score.py")], false, "/"), [PathBuf::from("/score.py")]);
        assert_eq!(
            places_of(&[script("/srv/app/score.py"), ("AML_APP_ROOT", "/etc")], false, "/"),
            ["/srv/app", "/etc"].map(PathBuf::from)
        );
        // An app folder that is not there is as none.
        let missing = ("AML_APP_ROOT", "/srv/app/missing");
        assert_eq!(
            places_of(&[script("/srv/app/score.py"), missing], false, "/srv"),
            ["/srv/app", "/srv"].map(PathBuf::from)
        );
        assert_eq!(places_of(&[script("model.wasm")], false, "/srv/app"), [PathBuf::from("/srv/app")]);
        assert_eq!(places_of(&[script("src/score.py")], false, "/srv"), ["/srv/src", "/srv"].map(PathBuf::from));
    }
}
