//! Credentials: what a client shows, and whose it is.
//!
//! A key stands for one endpoint; a token, which [`crate::jwt`] checks, for all of a tenant. Of a key the server knows only
//! its SHA-256, under which it is looked up: so how long that takes says nothing about the keys that there are, and who reads
//! the server's state has no key. Keys are made by the operator's side, of 256 random bits, which nobody can try out; for
//! that a hash that is slow to compute would gain nothing.

use std::fmt;
use std::hash::{Hash, Hasher};

use http::{HeaderMap, HeaderName, header};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

static AUTHORIZATION: HeaderName = header::AUTHORIZATION;
/// `api-key`: the other header that a key may come in.
static API_KEY: HeaderName = HeaderName::from_static("api-key");

/// What a key looks like, for people and for programs that search texts for secrets.
const PREFIX: &str = "sbx_";
/// Random bytes of a key.
const RANDOM: usize = 32;
/// Characters that a key which somebody brings must have.
const MIN_LENGTH: usize = 32;
/// Characters that it may have.
const MAX_LENGTH: usize = 512;

/// A key: its text is shown once, to who asked for it, and never logged.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// A new key.
    pub fn random() -> Self {
        let mut bytes = [0; RANDOM];
        // Without randomness there is nothing that a server could do safely.
        getrandom::fill(&mut bytes).expect("the system has randomness");
        let mut text = String::from(PREFIX);
        for byte in bytes {
            fmt::Write::write_fmt(&mut text, format_args!("{byte:02x}")).expect("a text takes all");
        }
        Self(text)
    }

    /// A key that somebody brings: 32 to 512 visible characters of ASCII.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let fits = (MIN_LENGTH..=MAX_LENGTH).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if fits { Ok(Self(text.to_owned())) } else { Err(KeyError) }
    }

    /// The text of the key, to be given to who asked for it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What the server keeps of it.
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(self.0.as_bytes())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// A text that cannot be a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key has {MIN_LENGTH} to {MAX_LENGTH} visible characters of ASCII; leave it out, and one is made")]
pub struct KeyError;

/// SHA-256 of a key, written in hexadecimal.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// That of the text of a key.
    pub fn of(key: &[u8]) -> Self {
        Self(Sha256::digest(key).into())
    }
}

impl PartialEq for KeyHash {
    /// Takes as long whether they are equal or not.
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for KeyHash {}

impl Hash for KeyHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(..)")
    }
}

impl From<KeyHash> for String {
    fn from(hash: KeyHash) -> Self {
        hash.to_string()
    }
}

impl TryFrom<String> for KeyHash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let wrong = "no SHA-256 in hexadecimal";
        let digits = text.as_bytes();
        let mut bytes = [0; 32];
        if digits.len() != 2 * bytes.len() {
            return Err(wrong);
        }
        for (byte, digits) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |digit: u8| char::from(digit).to_digit(16).ok_or(wrong);
            *byte = u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).map_err(|_| wrong)?;
        }
        Ok(Self(bytes))
    }
}

/// What a request shows: the token of `Authorization: Bearer`, else `api-key`.
pub(crate) fn shown(headers: &HeaderMap) -> Option<KeyHash> {
    bearer(headers).or_else(|| Some(headers.get(&API_KEY)?.as_bytes())).map(KeyHash::of)
}

/// Whether a header, whose name is in lower case, is one that credentials are shown in. Such a one is not for the scorer,
/// whether it was looked at or not.
pub(crate) fn is_credential(name: &str, value: &[u8]) -> bool {
    let is_bearer = || {
        let scheme = value.trim_ascii_start().split(u8::is_ascii_whitespace).next();
        scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer"))
    };
    name == API_KEY.as_str() || (name == AUTHORIZATION.as_str() && is_bearer())
}

/// The token of `Authorization: Bearer`.
pub fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer ";
    let value = headers.get(&AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then_some(token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| ((*name).clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn a_key_comes_as_bearer_token_or_in_a_header_of_its_own() {
        let key = Key::random();
        for (name, value) in [
            (&AUTHORIZATION, format!("Bearer {}", key.reveal())),
            (&AUTHORIZATION, format!("bearer   {} ", key.reveal())),
            (&API_KEY, key.reveal().to_owned()),
        ] {
            assert_eq!(shown(&headers(&[(name, &value)])), Some(key.hash()), "{value}");
        }
        for value in ["Basic abc", "Bearer", "Bearerabc", ""] {
            assert_eq!(shown(&headers(&[(&AUTHORIZATION, value)])), None, "{value}");
        }
        assert_eq!(shown(&HeaderMap::new()), None);
    }

    #[test]
    fn whatever_a_credential_may_come_in_is_not_for_the_scorer() {
        for (name, value) in [
            ("api-key", ""),
            ("api-key", "Basic abc"),
            ("authorization", "Bearer abc"),
            ("authorization", " bEARER\tabc"),
            ("authorization", "Bearer"),
        ] {
            assert!(is_credential(name, value.as_bytes()), "{name}: {value}");
        }
        for (name, value) in [
            ("authorization", "Basic abc"),
            ("authorization", "Bearerabc"),
            ("authorization", ""),
            ("x-api-key", "abc"),
            ("proxy-authorization", "Bearer abc"),
        ] {
            assert!(!is_credential(name, value.as_bytes()), "{name}: {value}");
        }
    }

    #[test]
    fn keys_are_long_and_never_the_same() {
        let (one, other) = (Key::random(), Key::random());
        assert_ne!(one, other);
        assert_eq!(Key::parse(one.reveal()), Ok(one));
        let (short, long) = ("a".repeat(31), "a".repeat(513));
        for text in [&*short, &*long, &format!("{short} a"), &format!("{short}ä")] {
            assert_eq!(Key::parse(text), Err(KeyError));
        }
    }

    #[test]
    fn what_is_kept_of_a_key_is_not_the_key() {
        let key = Key::parse("sbx_0123456789abcdef0123456789abcdef").unwrap();
        let written = serde_json::to_string(&key.hash()).unwrap();
        assert_eq!(written, "\"65ad0256fdf23ee60c12b060470de571f097fb9486a00b515828204c8b056f94\"");
        assert_eq!(serde_json::from_str::<KeyHash>(&written).unwrap(), key.hash());
        for wrong in ["\"\"", "\"zz\"", "\"12\"", "1"] {
            assert!(serde_json::from_str::<KeyHash>(wrong).is_err());
        }
        assert!(!format!("{key:?} {:?}", key.hash()).contains("0123"));
    }
}
