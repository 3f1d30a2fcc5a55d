//! Many endpoints of many tenants, managed while they are served.
//!
//! A **tenant** has **endpoints**, an endpoint has **deployments**, and a deployment has **revisions**, of which one answers.
//! The traffic of an endpoint says which deployment gets how many of its requests. [`Control`] checks changes, writes them to
//! the store, and lets requests see them; [`api`] is the way to it by HTTP, for people with the console,
//! a page in the browser.

pub mod api;
mod console;
mod control;
mod deployer;
mod error;
mod name;
pub mod resource;
mod state;
mod text;

pub use control::{Control, EndpointPut, Precondition, Put, check_store};
pub use deployer::ReadBundle;
pub use error::ControlError;
pub use name::{DeploymentPath, EndpointPath, Name, NameError, PathError};
pub use state::Versioned;
