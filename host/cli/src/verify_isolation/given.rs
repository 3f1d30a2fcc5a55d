//! A scorer that the auditor gives: it is not known to look for anything, so what it answers and logs, and the memory that it
//! leaves, are looked at by the host alone.

use super::drive::{Ask, Ending, Findings, Input, Scanner};
use super::secret::Secrets;

/// In the body that the auditor gives, what the secret takes the place of.
const PLACE: &[u8] = b"CANARY";
/// The header with the secret that each request has, whatever its body.
const HEADER: &str = "x-scorebox-canary";

/// Makes requests for a scorer that is given.
#[derive(Debug)]
pub(super) struct Given {
    /// Their body; without one it is a JSON object with the secret.
    pub(super) body: Option<Vec<u8>>,
    pub(super) content_type: String,
}

impl Scanner for Given {
    fn request(&self, secrets: &Secrets, number: u64, ask: Ask) -> Option<(Input, Ending)> {
        let secret = secrets.text(number);
        let body = match (&self.body, ask) {
            (_, Ask::Hold) => return None,
            (Some(body), _) => replace(body, PLACE, secret.as_bytes()),
            (None, _) => format!("{{\"canary\": \"{secret}\"}}").into_bytes(),
        };
        let headers = vec![
            ("content-type".to_owned(), self.content_type.clone().into_bytes()),
            (HEADER.to_owned(), secret.into_bytes()),
        ];
        Some((Input { body, headers }, Ending::Any))
    }

    fn report(&self, _: &[u8]) -> Result<Findings, String> {
        // Its body and a header, wherever the scorer puts them.
        Ok(Findings { planted: 1, ..Findings::default() })
    }
}

fn replace(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(from.len()).position(|window| window == from) {
        replaced.extend_from_slice(&rest[..at]);
        replaced.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    replaced.extend_from_slice(rest);
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_takes_its_place_in_the_body_that_is_given() {
        let secrets = Secrets::new();
        let given =
            Given { body: Some(br#"{"a": "CANARY", "b": [1], "c": "CANARY"}"#.to_vec()), content_type: String::new() };
        let (input, _) = given.request(&secrets, 3, Ask::Any).unwrap();
        let secret = secrets.text(3);
        assert_eq!(input.body, format!(r#"{{"a": "{secret}", "b": [1], "c": "{secret}"}}"#).into_bytes());
    }
}
