//! `scorebox compile-runtime`: what the first start on a machine would otherwise wait for.
//!
//! The compiled code is kept in the runtime's folder, in a cache of its own. It is used by the user who made it, on
//! processors that have what this one has; others compile again, each into the cache of their own.

use scorebox_sandbox::{Cache, Runtime, Sandbox, SandboxConfig};

use crate::args::CompileRuntimeArgs;
use crate::console::{self, Progress};
use crate::failure::Failure;
use crate::scorer;

/// Compiles the Python runtime into its folder, unless it is there already.
pub(crate) fn compile_runtime(args: &CompileRuntimeArgs) -> Result<(), Failure> {
    let folder = scorer::find_runtime(args.python_runtime.as_deref()).map_err(Failure::failed)?;
    let runtime = Runtime::open(&folder).map_err(Failure::failed)?;
    let cache = Cache::open(runtime.compiled_folder(), u64::MAX).map_err(Failure::failed)?;
    let sandbox = Sandbox::new(&SandboxConfig::default(), Some(cache)).map_err(Failure::failed)?;
    let progress = Progress::new();
    sandbox.compile_runtime(&runtime, &|stage| progress.stage(stage)).map_err(Failure::failed)?;
    drop(progress);
    console::note(format_args!("the runtime in {} is compiled", folder.display()));
    Ok(())
}
