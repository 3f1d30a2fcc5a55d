//! Paths as clients write them.

use std::borrow::Cow;

/// The path that a request is routed by, where it is another one than was sent: slashes in a row are one, and
/// percent-encoded characters are themselves. `None` where it is the same, or where it does not name a route anyway.
pub(crate) fn normalized(path: &str) -> Option<Cow<'_, str>> {
    if !path.contains('%') && !path.contains("//") {
        return None;
    }
    let mut normal = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => {
                let (high, low) = (hex(bytes.next()?)?, hex(bytes.next()?)?);
                high * 16 + low
            }
            byte => byte,
        };
        if byte != b'/' || normal.last() != Some(&b'/') {
            normal.push(byte);
        }
    }
    // No route has other characters than these, and they need no encoding.
    let plain = normal.iter().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(byte));
    plain.then(|| String::from_utf8_lossy(&normal).into_owned().into())
}

/// Tenant and endpoint that a path names, `/TENANT/ENDPOINT/...`, and the rest of it, which begins with `/`.
pub(crate) fn of_endpoint(path: &str) -> Option<(&str, &str, &str)> {
    let (tenant, rest) = path.strip_prefix('/')?.split_once('/')?;
    let end = rest.find('/').unwrap_or(rest.len());
    let (endpoint, path) = rest.split_at(end);
    if tenant.is_empty() || endpoint.is_empty() {
        return None;
    }
    Some((tenant, endpoint, if path.is_empty() { "/" } else { path }))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    #[test]
    fn the_path_of_an_endpoint_has_a_tenant_and_a_name() {
        assert_eq!(of_endpoint("/acme/iris"), Some(("acme", "iris", "/")));
        assert_eq!(of_endpoint("/acme/iris/"), Some(("acme", "iris", "/")));
        assert_eq!(of_endpoint("/acme/iris/score"), Some(("acme", "iris", "/score")));
        assert_eq!(of_endpoint("/acme/iris/score/"), Some(("acme", "iris", "/score/")));
        for path in ["/", "", "/acme", "/acme/", "//iris/score", "acme/iris"] {
            assert_eq!(of_endpoint(path), None, "{path}");
        }
    }

    use proptest::prelude::*;

    use super::*;

    /// Paths of the contract, and such as are none.
    const PATHS: [&str; 8] = ["/", "/score", "/swagger.json", "/livez", "/readyz", "/Score", "/score/", "/scor"];

    /// A path with some of its characters encoded, and with more slashes.
    fn written(path: &str, choices: &[u8]) -> String {
        let mut written = String::new();
        for (char, choice) in path.chars().zip(choices.iter().cycle()) {
            let slashes = if char == '/' { choice >> 4 & 3 } else { 0 };
            for choice in (0..=slashes).map(|more| choice >> more) {
                match choice & 3 {
                    1 => write!(written, "%{:02x}", u32::from(char)).unwrap(),
                    2 => write!(written, "%{:02X}", u32::from(char)).unwrap(),
                    _ => written.push(char),
                }
            }
        }
        written
    }

    proptest! {
        #[test]
        fn however_a_path_is_written_it_is_the_same_path(index in 0..PATHS.len(), choices: [u8; 14]) {
            let written = written(PATHS[index], &choices);
            let path = normalized(&written);
            prop_assert_eq!(path.as_deref().unwrap_or(&written), PATHS[index], "{}", written);
        }

        #[test]
        fn what_is_normal_is_left_as_it_is(path in "[/%a-f0-9.~_ -]{0,24}") {
            if let Some(normal) = normalized(&path) {
                prop_assert_eq!(normalized(&normal), None, "{}", normal);
                prop_assert!(!normal.contains("//") && !normal.contains('%'));
            }
        }
    }

    #[test]
    fn slashes_and_encoded_characters_lead_to_the_same_route() {
        let cases = [
            ("/score", None),
            ("//score", Some("/score")),
            ("/%73core", Some("/score")),
            ("///", Some("/")),
            ("/%2Fscore", Some("/score")),
            ("/score/", None),
            ("/%zz", None),
            ("/%", None),
            ("/%0d%0a", None),
            ("/%20", None),
        ];
        for (sent, expected) in cases {
            assert_eq!(normalized(sent).as_deref(), expected, "{sent}");
        }
    }
}
