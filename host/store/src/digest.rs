//! The names of blobs.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

/// The SHA-256 of a blob's content, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of the content.
    pub fn of(content: &[u8]) -> Self {
        Sha256::digest(content).into()
    }
}

impl From<sha2::digest::Output<Sha256>> for Digest {
    fn from(output: sha2::digest::Output<Sha256>) -> Self {
        Self(output.into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is no [`Digest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// It has another length.
    #[error("a SHA-256 has 64 hexadecimal digits, and this has {0} characters")]
    Length(usize),
    /// It has something else than a digit.
    #[error("a SHA-256 is written with 0-9 and a-f, and character {at} is {found:?}")]
    Character {
        /// Which character, counted from 1.
        at: usize,
        /// What it is.
        found: char,
    },
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let length = text.chars().count();
        if length != 64 {
            return Err(DigestError::Length(length));
        }
        let mut bytes = [0; 32];
        for (at, found) in text.chars().enumerate() {
            let digit = match found {
                '0'..='9' => found as u8 - b'0',
                'a'..='f' => found as u8 - b'a' + 10,
                _ => return Err(DigestError::Character { at: at + 1, found }),
            };
            bytes[at / 2] = bytes[at / 2] << 4 | digit;
        }
        Ok(Self(bytes))
    }
}
