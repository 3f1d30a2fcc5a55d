//! A scorer that can be asked.

use crate::limits::Limits;
use crate::seal::SealedModule;

/// A scorer that can be asked: a value that never changes. Whoever holds it keeps it: a request that began on one version ends
/// on it.
#[derive(Debug)]
pub struct Deployment {
    /// Its name.
    pub name: String,
    /// Its version, as the operator wrote it.
    pub version: String,
    /// What each of its instances may use.
    pub limits: Limits,
    /// The scorer, one instant after `init`.
    pub module: SealedModule,
}
