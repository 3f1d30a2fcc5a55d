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

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

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
