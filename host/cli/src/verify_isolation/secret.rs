//! The secrets that requests carry, and the search for them.

use uuid::Uuid;

/// Bytes of the part that is the same in all secrets of a run.
const PREFIX: usize = 16;
/// Bytes of a secret.
const LENGTH: usize = PREFIX + size_of::<u64>();
/// What secrets are given to a scanner with: exclusive or, word by word. A scanner that holds the words of a secret in
/// memory only masked finds no secret of its own.
const MASK: u64 = 0x5bd1_e995_a5a5_a5a5;

/// The secrets of one run: 16 bytes that nobody guesses, then the number of the request, little-endian. So a search for one
/// text of 16 bytes finds whichever there is, and says of which request it is.
#[derive(Debug)]
pub(super) struct Secrets {
    prefix: [u8; PREFIX],
    needles: [Needle; 2],
}

impl Secrets {
    pub(super) fn new() -> Self {
        let prefix = Uuid::new_v4().into_bytes();
        Self { needles: [Needle::new(&prefix), Needle::new(hexadecimal(&prefix).as_bytes())], prefix }
    }

    /// The secret of a request.
    pub(super) fn bytes(&self, number: u64) -> [u8; LENGTH] {
        let mut secret = [0; LENGTH];
        secret[..PREFIX].copy_from_slice(&self.prefix);
        secret[PREFIX..].copy_from_slice(&number.to_le_bytes());
        secret
    }

    /// The same in hexadecimal digits, for what has to be text.
    pub(super) fn text(&self, number: u64) -> String {
        hexadecimal(&self.bytes(number))
    }

    /// The secret as scanners are given it.
    pub(super) fn masked(&self, number: u64) -> [u8; LENGTH] {
        let mut secret = self.bytes(number);
        for (byte, mask) in secret.iter_mut().zip(MASK.to_le_bytes().into_iter().cycle()) {
            *byte ^= mask;
        }
        secret
    }

    /// Finds all secrets in `bytes`, in either form, and tells where each begins and its number: a wrong one where only a part
    /// is left.
    pub(super) fn find(&self, bytes: &[u8], mut found: impl FnMut(usize, u64)) {
        let [binary, text] = &self.needles;
        binary.find(bytes, |at, rest| {
            found(at, rest.first_chunk().map_or(u64::MAX, |number| u64::from_le_bytes(*number)));
        });
        text.find(bytes, |at, rest| {
            let digits = rest.get(..16).and_then(|digits| str::from_utf8(digits).ok());
            let number = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
            // The digits are those of the bytes, the lowest first.
            found(at, number.map_or(u64::MAX, u64::swap_bytes));
        });
    }

    /// Bytes of a secret in the longer form.
    pub(super) const LONGEST: usize = 2 * LENGTH;
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A text that is searched for, with how far to go on by the last byte that was looked at (Horspool's algorithm).
#[derive(Debug)]
struct Needle {
    bytes: Vec<u8>,
    skip: [u8; 256],
}

impl Needle {
    fn new(bytes: &[u8]) -> Self {
        let last = bytes.len() - 1;
        let mut skip = [bytes.len() as u8; 256];
        for (at, byte) in bytes[..last].iter().enumerate() {
            skip[usize::from(*byte)] = (last - at) as u8;
        }
        Self { bytes: bytes.to_vec(), skip }
    }

    /// Tells each place at which the text is, and what follows it.
    fn find(&self, bytes: &[u8], mut found: impl FnMut(usize, &[u8])) {
        let (length, mut at) = (self.bytes.len(), 0);
        while let Some(window) = bytes.get(at..at + length) {
            if *window == self.bytes[..] {
                found(at, &bytes[at + length..]);
            }
            at += usize::from(self.skip[usize::from(window[length - 1])]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn numbers(secrets: &Secrets, bytes: &[u8]) -> Vec<u64> {
        let mut numbers = Vec::new();
        secrets.find(bytes, |_, number| numbers.push(number));
        numbers
    }

    #[test]
    fn a_secret_is_found_in_both_forms_and_not_when_it_is_masked() {
        let secrets = Secrets::new();
        assert_eq!(numbers(&secrets, &secrets.bytes(7)), [7]);
        assert_eq!(numbers(&secrets, secrets.text(0x0102_0304).as_bytes()), [0x0102_0304]);
        assert!(numbers(&secrets, &secrets.masked(7)).is_empty());
        assert_eq!(numbers(&secrets, &secrets.bytes(7)[..20]), [u64::MAX], "a part of one");
        assert!(numbers(&Secrets::new(), &secrets.bytes(7)).is_empty(), "a secret of another run");
    }

    proptest! {
        #[test]
        fn secrets_are_found_wherever_they_are(before in 0..200_usize, between in 0..200_usize, fill: u8) {
            let secrets = Secrets::new();
            let mut bytes = vec![fill; before];
            bytes.extend(secrets.bytes(1));
            bytes.extend(vec![fill; between]);
            bytes.extend(secrets.bytes(2));
            prop_assert_eq!(numbers(&secrets, &bytes), [1, 2]);
        }
    }
}
