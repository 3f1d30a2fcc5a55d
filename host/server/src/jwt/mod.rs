//! JSON Web Tokens (RFC 7519) as credentials: somebody else says for how long who is which tenant, and signs it.
//!
//! A token is taken that is signed with one of the keys (a JWKS, RFC 7517), by an algorithm that this key is for, comes from
//! the issuer, is meant for the audience, is not out of date, and names a tenant in a claim. The algorithm is never the
//! token's choice: `none` and those with a secret (HMAC) are no choice at all.

mod signature;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use jsonwebtoken::errors::{Error as JwtError, ErrorKind};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, Validation, decode, decode_header};
use serde_json::{Map, Value};

/// Seconds by which the clock of who issues tokens may differ from this one's.
const LEEWAY: u64 = 30;
/// Bytes that the modulus of an RSA key may have.
const MODULUS: std::ops::RangeInclusive<usize> = 2048 / 8..=8192 / 8;

/// What a token has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRules {
    /// Who issues tokens: the claim `iss`.
    pub issuer: String,
    /// Whom they are for: one of the claim `aud`.
    pub audience: String,
    /// Name of the claim with the tenant.
    pub tenant_claim: String,
}

/// Checks tokens.
pub struct Tokens {
    rules: TokenRules,
    keys: RwLock<Arc<[Key]>>,
    on_unknown_key: Box<dyn Fn() + Send + Sync>,
}

/// A key that tokens are signed with.
struct Key {
    id: Option<String>,
    decoding: DecodingKey,
    validation: Validation,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("rules", &self.rules).finish_non_exhaustive()
    }
}

/// Keys that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// They are no JWKS.
    #[error("it is no JWKS: {0}")]
    Json(#[from] serde_json::Error),
    /// None of them is for signatures that are known.
    #[error("none of its {0} keys can be used: RSA of 2048 to 8192 bits, P-256, P-384 and Ed25519 can, for signatures")]
    NoneFits(usize),
}

/// How many keys there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyCount {
    /// Keys that tokens are checked with.
    pub used: usize,
    /// Keys that are for something else, or of a kind that is not known.
    pub left_out: usize,
}

/// Why a token is not taken.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("it is no token")]
    NoToken,
    #[error("its header has extensions that have to be understood")]
    Critical,
    #[error("it is signed with a key that is not known")]
    UnknownKey,
    #[error("{0}")]
    Invalid(JwtError),
    #[error("it names no tenant")]
    NoTenant,
}

impl From<JwtError> for Refusal {
    fn from(error: JwtError) -> Self {
        match error.kind() {
            // They quote what they could not read.
            ErrorKind::Base64(_) | ErrorKind::Json(_) | ErrorKind::Utf8(_) => Self::NoToken,
            _ => Self::Invalid(error),
        }
    }
}

impl Tokens {
    /// Checks tokens by these rules, with no keys yet. `on_unknown_key` is told of each token that is signed with a key that
    /// is not known; it must not block, and clients decide how often that is.
    pub fn new(rules: TokenRules, on_unknown_key: impl Fn() + Send + Sync + 'static) -> Self {
        signature::install();
        Self { rules, keys: RwLock::default(), on_unknown_key: Box::new(on_unknown_key) }
    }

    /// Checks tokens with the keys of this JWKS from now on, and with no others. If none can be used, all stays as it is.
    pub fn set_keys(&self, jwks: &[u8]) -> Result<KeyCount, KeysError> {
        let JwkSet { keys: given } = serde_json::from_slice(jwks)?;
        let keys: Arc<[Key]> = given.iter().filter_map(|jwk| Key::new(jwk, &self.rules)).collect();
        if keys.is_empty() {
            return Err(KeysError::NoneFits(given.len()));
        }
        let count = KeyCount { used: keys.len(), left_out: given.len() - keys.len() };
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(count)
    }

    /// The tenant that a token names, if the token is taken.
    pub(crate) fn tenant(&self, token: &[u8]) -> Option<String> {
        let tenant = self.check(token);
        if let Err(why) = &tenant {
            tracing::debug!("a token is not taken: {why}");
        }
        tenant.ok()
    }

    fn check(&self, token: &[u8]) -> Result<String, Refusal> {
        let header = decode_header(token)?;
        if header.crit.is_some() {
            return Err(Refusal::Critical);
        }
        let keys = Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner));
        // Without a name there has to be no choice.
        let may_be = |key: &&Key| if header.kid.is_some() { key.id == header.kid } else { keys.len() == 1 };
        let mut refusal = None;
        for Key { decoding, validation, .. } in keys.iter().filter(may_be) {
            match decode::<Map<String, Value>>(token, decoding, validation) {
                Ok(token) => {
                    let tenant = token.claims.get(&self.rules.tenant_claim).and_then(Value::as_str);
                    return tenant.map(str::to_owned).ok_or(Refusal::NoTenant);
                }
                Err(error) => refusal = Some(error),
            }
        }
        if let Some(error) = refusal {
            return Err(error.into());
        }
        (self.on_unknown_key)();
        Err(Refusal::UnknownKey)
    }
}

impl Key {
    /// A key of a JWKS; none where it is not for signatures that are known.
    fn new(jwk: &Jwk, rules: &TokenRules) -> Option<Self> {
        let common = &jwk.common;
        if common.public_key_use.as_ref().is_some_and(|purpose| *purpose != PublicKeyUse::Signature)
            || common.key_operations.as_ref().is_some_and(|operations| !operations.contains(&KeyOperations::Verify))
        {
            return None;
        }
        let mut algorithms = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => AlgorithmFamily::Rsa.algorithms().to_vec(),
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => vec![Algorithm::ES256],
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => vec![Algorithm::ES384],
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => vec![Algorithm::EdDSA],
            _ => return None,
        };
        if let Some(only) = common.key_algorithm {
            let only = Algorithm::try_from(only).ok()?;
            algorithms.retain(|algorithm| *algorithm == only);
        }
        let key = DecodingKey::from_jwk(jwk).ok()?;
        if let DecodingKeyKind::RsaModulusExponent { n, .. } = key.kind()
            && !MODULUS.contains(&n.len())
        {
            return None;
        }
        let mut validation = Validation::new(*algorithms.first()?);
        validation.algorithms = algorithms;
        validation.leeway = LEEWAY;
        validation.validate_nbf = true;
        validation.set_issuer(&[&rules.issuer]);
        validation.set_audience(&[&rules.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        Some(Self { id: common.key_id.clone(), decoding: key, validation })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Checks tokens with a key that nobody has the other half of.
    fn tokens() -> Tokens {
        let rules = TokenRules { issuer: "issuer".into(), audience: "audience".into(), tenant_claim: "tenant".into() };
        let tokens = Tokens::new(rules, || ());
        let jwks = br#"{"keys": [
            {"kty": "OKP", "crv": "Ed25519", "kid": "1", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
            {"kty": "oct", "kid": "2", "k": "c2VjcmV0"},
            {"kty": "EC", "crv": "secp256k1", "kid": "3", "x": "AA", "y": "AA"},
            {"kty": "RSA", "kid": "4", "n": "AQAB", "e": "AQAB"},
            {"kty": "new", "kid": "5"}
        ]}"#;
        assert_eq!(tokens.set_keys(jwks).expect("one can be used"), KeyCount { used: 1, left_out: 4 });
        tokens
    }

    #[test]
    fn keys_that_cannot_be_used_leave_those_before() {
        let tokens = tokens();
        for jwks in ["", "[]", "{}", r#"{"keys": []}"#, r#"{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}"#] {
            assert!(tokens.set_keys(jwks.as_bytes()).is_err(), "{jwks}");
        }
        assert_eq!(tokens.keys.read().expect("nobody panics with it").len(), 1);
    }

    proptest! {
        #[test]
        fn whatever_is_shown_is_no_token(token: Vec<u8>) {
            prop_assert_eq!(tokens().tenant(&token), None);
        }

        #[test]
        fn whatever_is_signed_with_nothing_is_no_token(claims in "[A-Za-z0-9_-]{0,60}", signature in "[A-Za-z0-9_-]{0,90}") {
            // {"alg":"EdDSA","kid":"1"}
            let token = format!("eyJhbGciOiJFZERTQSIsImtpZCI6IjEifQ.{claims}.{signature}");
            prop_assert_eq!(tokens().tenant(token.as_bytes()), None);
        }
    }
}
