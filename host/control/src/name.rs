//! Names of tenants, endpoints and deployments.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Characters of a name: as many as fit into a label of a host name.
const MAX_LENGTH: usize = 63;

/// A name: 1 to 63 lower-case letters, digits and hyphens, with no hyphen at either end. It is a label of a host name
/// (RFC 1123), and stands for itself in a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", example = "iris")]
pub struct Name(String);

/// A text that is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no name; use 1 to {MAX_LENGTH} lower-case letters, digits and hyphens, with no hyphen at either end")]
pub struct NameError(String);

impl Name {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        let fits = (1..=MAX_LENGTH).contains(&text.len()) && !text.starts_with('-') && !text.ends_with('-');
        if is_plain && fits { Ok(Self(text.to_owned())) } else { Err(NameError(text.chars().take(80).collect())) }
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An endpoint: that of a tenant's that has this name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointPath {
    /// The tenant.
    pub tenant: Name,
    /// The endpoint.
    pub endpoint: Name,
}

impl fmt::Display for EndpointPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.endpoint)
    }
}

/// A text that is no path to an endpoint or a deployment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Too few names, or too many.
    #[error("{found:?} is no {what}; write {form}")]
    Form {
        /// What was found.
        found: String,
        /// What it should be.
        what: &'static str,
        /// How that is written.
        form: &'static str,
    },
    /// One of them is no name.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl FromStr for EndpointPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split('/').collect::<Vec<_>>()[..] {
            [tenant, endpoint] => Ok(Self { tenant: tenant.parse()?, endpoint: endpoint.parse()? }),
            _ => Err(PathError::Form { found: text.to_owned(), what: "endpoint", form: "TENANT/ENDPOINT" }),
        }
    }
}

impl FromStr for DeploymentPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split('/').collect::<Vec<_>>()[..] {
            [tenant, endpoint, deployment] => Ok(Self {
                endpoint: EndpointPath { tenant: tenant.parse()?, endpoint: endpoint.parse()? },
                deployment: deployment.parse()?,
            }),
            _ => {
                Err(PathError::Form { found: text.to_owned(), what: "deployment", form: "TENANT/ENDPOINT/DEPLOYMENT" })
            }
        }
    }
}

impl EndpointPath {
    /// One of its deployments.
    pub fn deployment(&self, name: &Name) -> DeploymentPath {
        DeploymentPath { endpoint: self.clone(), deployment: name.clone() }
    }
}

/// A deployment of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeploymentPath {
    /// The endpoint.
    pub endpoint: EndpointPath,
    /// The deployment.
    pub deployment: Name,
}

impl fmt::Display for DeploymentPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.endpoint, self.deployment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels_of_host_names() {
        let longest = "a".repeat(63);
        for name in ["a", "0", "iris-2", &longest] {
            assert_eq!(name.parse::<Name>().unwrap().as_str(), name);
        }
        let too_long = "a".repeat(64);
        for text in ["", "-a", "a-", "Iris", "a_b", "a/b", "..", "a.b", "ä", "a b", &too_long] {
            assert!(text.parse::<Name>().is_err(), "{text}");
        }
    }
}
