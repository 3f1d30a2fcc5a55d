//! Texts in the form in which Python shows its values (`repr`), for the property `custom_dimensions`.

use std::fmt::Write as _;

/// Writes a text as Python's `repr` does: in single quotes, or in double quotes when it has single ones only.
pub(crate) fn text(value: &str, output: &mut String) {
    let quote = if value.contains('\'') && !value.contains('"') { '"' } else { '\'' };
    output.push(quote);
    for character in value.chars() {
        match character {
            '\\' => output.push_str("\\\\"),
            '\n' => output.push_str("\\n"),
            '\r' => output.push_str("\\r"),
            '\t' => output.push_str("\\t"),
            _ if character == quote => {
                output.push('\\');
                output.push(character);
            }
            ' '..='~' => output.push(character),
            _ if is_printable(character) => output.push(character),
            _ => {
                let code = u32::from(character);
                // Writing to a text never fails.
                let _ = match code {
                    0..=0xff => write!(output, "\\x{code:02x}"),
                    0x100..=0xffff => write!(output, "\\u{code:04x}"),
                    _ => write!(output, "\\U{code:08x}"),
                };
            }
        }
    }
    output.push(quote);
}

/// Whether Python shows the character as it is. Rust's table for debug output has the same categories (others and
/// separators, but for the space, are escaped). A character that extends the one before it is escaped at the start
/// only.
fn is_printable(character: char) -> bool {
    let mut buffer = [b'a'; 5];
    let length = 1 + character.encode_utf8(&mut buffer[1..]).len();
    let after_letter = std::str::from_utf8(&buffer[..length]).unwrap_or_default();
    after_letter.escape_debug().nth(1) == Some(character)
}

/// Writes a tuple of texts: `('a', 'b')`, `('a',)`, `()`.
fn tuple(values: &[String], output: &mut String) {
    output.push('(');
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            output.push_str(", ");
        }
        text(value, output);
    }
    if values.len() == 1 {
        output.push(',');
    }
    output.push(')');
}

/// A dictionary that is written entry by entry.
#[derive(Debug)]
pub(crate) struct Dictionary(String);

impl Dictionary {
    pub(crate) fn new() -> Self {
        Self(String::from("{"))
    }

    fn name(&mut self, name: &str) {
        if self.0.len() > 1 {
            self.0.push_str(", ");
        }
        text(name, &mut self.0);
        self.0.push_str(": ");
    }

    pub(crate) fn text(mut self, name: &str, value: &str) -> Self {
        self.name(name);
        text(value, &mut self.0);
        self
    }

    pub(crate) fn tuple(mut self, name: &str, values: &[String]) -> Self {
        self.name(name);
        tuple(values, &mut self.0);
        self
    }

    pub(crate) fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_shown_as_python_shows_them() {
        for (value, expected) in [
            ("", "''"),
            ("a b", "'a b'"),
            ("it's", r#""it's""#),
            (r#"say "it""#, r#"'say "it"'"#),
            (r#"it's "it""#, r#"'it\'s "it"'"#),
            ("a\\b", r"'a\\b'"),
            ("\n\r\t\0\u{7f}", r"'\n\r\t\x00\x7f'"),
            ("\u{a0}\u{ad}", r"'\xa0\xad'"),
            ("äé日😀", "'äé日😀'"),
            ("e\u{301}", "'e\u{301}'"),
            ("\u{200b}\u{2028}\u{e000}", r"'\u200b\u2028\ue000'"),
            ("\u{e0001}", r"'\U000e0001'"),
            ("\"{\\\"op\\\"}\"", r#"'"{\\"op\\"}"'"#),
        ] {
            let mut output = String::new();
            text(value, &mut output);
            assert_eq!(output, expected);
        }
    }

    #[test]
    fn dictionaries_and_tuples_are_shown_as_python_shows_them() {
        let models = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            Dictionary::new().text("a", "b").tuple("m", &names).finish()
        };
        assert_eq!(models(&[]), "{'a': 'b', 'm': ()}");
        assert_eq!(models(&["x:1"]), "{'a': 'b', 'm': ('x:1',)}");
        assert_eq!(models(&["x:1", "y:2"]), "{'a': 'b', 'm': ('x:1', 'y:2')}");
    }
}
