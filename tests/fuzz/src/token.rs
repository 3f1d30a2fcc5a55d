//! Bearer tokens (JWT), and the keys that they are checked with (JWKS).

use scorebox_server::fuzz::tenant;
use scorebox_server::jwt::{TokenRules, Tokens};
use serde_json::Value;

use crate::texts;

/// Algorithms with which a token may be signed.
const ALGORITHMS: [&str; 9] = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

/// A JWKS and a token.
pub fn check(data: &[u8]) {
    let rules = TokenRules { issuer: "issuer".into(), audience: "audience".into(), tenant_claim: "tenant".into() };
    let tokens = Tokens::new(rules, || ());
    let [jwks, token] = texts(data);
    assert_eq!(tenant(&tokens, token.as_bytes()), None, "there are no keys");
    if tokens.set_keys(jwks.as_bytes()).is_err() {
        assert_eq!(tenant(&tokens, token.as_bytes()), None, "there are no keys that can be used");
        return;
    }
    let Some(named) = tenant(&tokens, token.as_bytes()) else { return };

    // Where it is taken, it says all that it has to say.
    let parts: Vec<_> = token.split('.').collect();
    let [header, claims, signature] = parts[..] else { panic!("{token:?} has no three parts") };
    let read = |part: &str| -> Value {
        let bytes = decoded(part).unwrap_or_else(|| panic!("{part:?} is no base64url"));
        serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{part:?} is no JSON: {error}"))
    };
    let (header, claims_said) = (read(header), read(claims));
    assert!(header["alg"].as_str().is_some_and(|algorithm| ALGORITHMS.contains(&algorithm)), "{header}");
    assert!(header.get("crit").is_none_or(Value::is_null), "{header}");
    assert_eq!(claims_said["tenant"], *named, "{claims_said}");
    assert!(is_or_has(&claims_said["iss"], "issuer") && is_or_has(&claims_said["aud"], "audience"), "{claims_said}");
    assert!(claims_said["exp"].is_number(), "{claims_said}");
    assert!(!signature.is_empty());

    // It is signed: nothing of it can be replaced.
    for (place, old) in token.bytes().enumerate().filter(|(_, byte)| *byte != b'.') {
        let mut other = token.clone().into_bytes();
        other[place] = if old == b'A' { b'B' } else { b'A' };
        // Of the last character of a part not all bits are used; others than zero are no base64url.
        assert_eq!(tenant(&tokens, &other), None, "{} is taken as well", String::from_utf8_lossy(&other));
    }
}

fn is_or_has(value: &Value, text: &str) -> bool {
    value == text || value.as_array().is_some_and(|values| values.iter().any(|value| value == text))
}

/// Bytes in base64url without padding, decoded in the plainest way.
fn decoded(text: &str) -> Option<Vec<u8>> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for byte in text.bytes() {
        let digit = DIGITS.iter().position(|digit| *digit == byte)?;
        bits = (bits << 6 | digit as u32) & 0xffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Some(bytes)
}
