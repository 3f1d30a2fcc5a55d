//! Python apps: what is put into the sandbox for a `score.py`.
//!
//! An [`App`] is a set of files. It is read from a folder as it lies there, or from the archive that `scorebox build` made
//! of one, which holds the installed packages as well. What a folder's requirement files ask for is compared with what the
//! runtime carries.

mod app;
mod archive;
mod carried;
mod conda;
mod preload;
mod requirement;
mod requirement_files;

pub(crate) use app::{App, AppError};
pub(crate) use archive::{ARCHIVE_EXTENSION, Archived, Package, Unpacking, archive_component};
pub(crate) use carried::{Carried, Satisfied, Warning, check_requirements, parse_carried, satisfied};
pub(crate) use preload::{imports, preload};
pub(crate) use requirement::{Requirement, Source, normalized};
pub(crate) use requirement_files::{Origin, RequirementFiles, RequirementsError, Wanted, shortened};

/// Version of the runtime's Python, as package indexes select by it.
pub(crate) const PYTHON: &str = "3.15";

/// The script of an app whose configuration names none.
pub(crate) const MAIN_SCRIPT: &str = "main.py";

/// Where the app folder is for the script: what is in the app's files as `app/`.
pub(crate) const GUEST_APP: &str = "/var/azureml-app";

/// Where the model directory is for the script when it lies outside of the app folder: what is in the app's files as
/// `model/`.
pub(crate) const GUEST_MODEL: &str = "/model";
