//! JSON as Python's `json` module reads and writes it.
//!
//! The contract of Azure ML's inference server 1.5.1 is written in Python, and some of what it promises is Python's:
//! a query parameter is a number when `json.loads` takes it for one, and every JSON text that the server makes looks
//! like `json.dumps` made it. The dialect differs from RFC 8259 in these points:
//!
//! - `NaN`, `Infinity` and `-Infinity` are values, and `1e400` is `Infinity`;
//! - integers are exact whatever their size, up to [`MAX_INT_DIGITS`] digits;
//! - a string may hold half of a surrogate pair (`"\ud800"`);
//! - of two members of the same name the last one wins, in the place of the first one;
//! - output is ASCII with `", "` and `": "` between its parts, floats are written as `repr` writes them.
//!
//! Reading takes time linear in the length of the text and uses no call stack for nested values; writing uses a frame
//! per level, and levels are limited.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::io;

use indexmap::IndexMap;
use serde::Serialize;

/// How deep values may nest in [`parse`], in arrays and objects around a value.
///
/// Python gives up with a `RecursionError` somewhat above this number, depending on the stack of the caller.
pub const MAX_DEPTH: usize = 900;

/// How many digits an integer may have, its sign not counted: Python's `sys.int_info.default_max_str_digits`.
pub const MAX_INT_DIGITS: usize = 4300;

/// Members of an object in the order of their first appearance.
pub type Object = IndexMap<PyStr, Value>;

/// A string of Python, kept in the form in which `json.dumps` writes it, without the quotes.
///
/// The form is canonical: two strings are equal exactly when their forms are. Keeping it means that a string with half
/// of a surrogate pair, which a Rust `str` cannot hold, needs no special care, and that writing is a copy. A name of
/// printable ASCII characters without `"` and `\` is its own form, so members can be looked up by such a name:
///
/// ```
/// # use scorebox_server::python_json::{Value, parse};
/// let Ok(Value::Object(object)) = parse(r#"{"a": 1}"#) else { panic!() };
/// assert_eq!(object.get("a"), Some(&Value::Int("1".into())));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PyStr(Box<str>);

impl PyStr {
    /// The string in the form that stands between quotes in a JSON text.
    #[must_use]
    pub fn as_escaped(&self) -> &str {
        &self.0
    }
}

impl From<&str> for PyStr {
    fn from(text: &str) -> Self {
        match escape(text) {
            Cow::Borrowed(text) => Self(text.into()),
            Cow::Owned(text) => Self(text.into_boxed_str()),
        }
    }
}

impl Borrow<str> for PyStr {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A JSON value as `json.loads` makes it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number without fraction and exponent: its decimal digits, with `-` before them when it is negative.
    Int(Box<str>),
    /// Any other number, `NaN` and the infinities included.
    Float(f64),
    /// A string.
    Str(PyStr),
    /// An array.
    Array(Vec<Value>),
    /// An object.
    Object(Object),
}

impl Value {
    /// A string value.
    #[must_use]
    pub fn string(text: &str) -> Self {
        Self::Str(PyStr::from(text))
    }

    /// Whether Python takes the value for false: `null`, `false`, zero, and whatever is empty.
    #[must_use]
    pub fn is_falsy(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(value) => !value,
            Self::Int(digits) => &**digits == "0",
            Self::Float(value) => *value == 0.0,
            Self::Str(text) => text.0.is_empty(),
            Self::Array(items) => items.is_empty(),
            Self::Object(members) => members.is_empty(),
        }
    }

    /// Appends the value to `out` as `json.dumps` writes it: one line, ASCII.
    pub fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(true) => out.push_str("true"),
            Self::Bool(false) => out.push_str("false"),
            Self::Int(digits) => out.push_str(digits),
            Self::Float(value) => write_float(*value, out),
            Self::Str(text) => write_escaped(text, out),
            Self::Array(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push_str(", ");
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Self::Object(members) => write_object(members, out),
        }
    }
}

/// The text that `json.dumps` writes.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        self.write(&mut out);
        f.write_str(&out)
    }
}

/// Appends an object to `out`, see [`Value::write`].
pub fn write_object(members: &Object, out: &mut String) {
    out.push('{');
    for (index, (name, value)) in members.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        write_escaped(name, out);
        out.push_str(": ");
        value.write(out);
    }
    out.push('}');
}

/// Appends `text` to `out` as a JSON string: quoted and in ASCII.
pub fn write_str(text: &str, out: &mut String) {
    out.push('"');
    out.push_str(&escape(text));
    out.push('"');
}

pub(crate) fn write_escaped(text: &PyStr, out: &mut String) {
    out.push('"');
    out.push_str(&text.0);
    out.push('"');
}

/// Appends a float to `out` as Python's `repr` writes it, with `NaN`, `Infinity` and `-Infinity` for the values that
/// JSON does not know: the shortest digits that give the same number, `1e-07`, `1e+16`, `2.0`, `-0.0`.
pub fn write_float(value: f64, out: &mut String) {
    if value.is_nan() {
        return out.push_str("NaN");
    }
    if value.is_infinite() {
        return out.push_str(if value > 0.0 { "Infinity" } else { "-Infinity" });
    }
    let mut buffer = ryu::Buffer::new();
    let text = buffer.format_finite(value);
    if let Some((mantissa, exponent)) = text.split_once('e') {
        // `1.5e16`, `5e-324`
        let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
        push_exponential(mantissa, sign, digits, out);
    } else if value != 0.0 && value.abs() < 1e-4 {
        // `0.000015`: the only numbers that Python writes with an exponent and ryu without.
        let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
        let digits = digits.trim_start_matches(['0', '.']);
        let (head, tail) = digits.split_at(1);
        let point = if tail.is_empty() { "" } else { "." };
        push_exponential(&[sign, head, point, tail].concat(), '-', "5", out);
    } else {
        out.push_str(text);
    }
}

fn push_exponential(mantissa: &str, sign: char, exponent: &str, out: &mut String) {
    out.push_str(mantissa);
    out.push('e');
    out.push(sign);
    if exponent.len() < 2 {
        out.push('0');
    }
    out.push_str(exponent);
}

/// Anything serde can serialise, in Python's style: the form of [`Value::write`] for a `serde_json::Value`, a struct,
/// a map.
///
/// ```
/// # use scorebox_server::python_json::to_string;
/// let value = serde_json::json!({"message": "né", "data": [1.0, 1e16, null]});
/// assert_eq!(to_string(&value).unwrap(), r#"{"message": "n\u00e9", "data": [1.0, 1e+16, null]}"#);
/// ```
///
/// # Errors
///
/// The error of the value's own `Serialize`, or one about a map whose keys are no strings. A `serde_json::Value` has
/// none of them.
pub fn to_string<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<String> {
    let mut out = Vec::with_capacity(128);
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, PythonFormatter))?;
    String::from_utf8(out).map_err(serde::ser::Error::custom)
}

/// Makes `serde_json` write in Python's style.
struct PythonFormatter;

impl serde_json::ser::Formatter for PythonFormatter {
    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        let mut out = String::with_capacity(24);
        write_float(value, &mut out);
        writer.write_all(out.as_bytes())
    }

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        writer.write_all(escape(fragment).as_bytes())
    }
}

/// The form of a text between quotes, see [`PyStr`].
fn escape(text: &str) -> Cow<'_, str> {
    let Some(first) = text.bytes().position(|byte| !is_plain(byte)) else {
        return Cow::Borrowed(text);
    };
    let mut out = String::with_capacity(text.len() + 16);
    out.push_str(&text[..first]);
    for char in text[first..].chars() {
        push_char(char, &mut out);
    }
    Cow::Owned(out)
}

/// Whether a byte stands for itself in an escaped string.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

fn push_char(char: char, out: &mut String) {
    match char {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        ' '..='~' => out.push(char),
        _ => {
            for unit in char.encode_utf16(&mut [0; 2]) {
                push_unit(*unit, out);
            }
        }
    }
}

/// Appends one UTF-16 code unit as `\uXXXX`.
fn push_unit(unit: u16, out: &mut String) {
    out.push_str("\\u");
    for shift in [12, 8, 4, 0] {
        let digit = u32::from(unit >> shift) & 0xf;
        out.push(char::from_digit(digit, 16).unwrap_or('0'));
    }
}

/// Why a text is not JSON. Its text is that of Python 3.11: `Expecting value: line 1 column 2 (char 1)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    kind: ParseErrorKind,
    /// Characters before the place, lines counted from 1, characters from the line's start counted from 1.
    position: usize,
    line: usize,
    column: usize,
}

/// The kinds of [`ParseError`], each with its text in `Display`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseErrorKind {
    /// The text starts with a byte order mark.
    #[error("Unexpected UTF-8 BOM (decode using utf-8-sig)")]
    ByteOrderMark,
    /// There is no value where one has to be.
    #[error("Expecting value")]
    ExpectedValue,
    /// There is something after the value.
    #[error("Extra data")]
    ExtraData,
    /// No name after `{` or `,`.
    #[error("Expecting property name enclosed in double quotes")]
    ExpectedName,
    /// No `:` after a name.
    #[error("Expecting ':' delimiter")]
    ExpectedColon,
    /// No `,` between two items or members.
    #[error("Expecting ',' delimiter")]
    ExpectedComma,
    /// A string without its end.
    #[error("Unterminated string starting at")]
    UnterminatedString,
    /// A character below U+0020 in a string.
    #[error("Invalid control character at")]
    ControlCharacter,
    /// `\` before a character that cannot be escaped.
    #[error("Invalid \\escape")]
    Escape,
    /// `\u` without four hexadecimal digits.
    #[error("Invalid \\uXXXX escape")]
    UnicodeEscape,
    /// An integer of more than [`MAX_INT_DIGITS`] digits.
    #[error("Exceeds the limit (4300 digits) for integer string conversion")]
    IntTooLong,
    /// Values nested deeper than [`MAX_DEPTH`], or whatever limit was given.
    #[error("Nested too deeply")]
    TooDeep,
}

impl ParseError {
    /// What is wrong.
    #[must_use]
    pub fn kind(&self) -> ParseErrorKind {
        self.kind
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, position, line, column } = self;
        write!(f, "{kind}: line {line} column {column} (char {position})")
    }
}

impl std::error::Error for ParseError {}

/// Reads a text as `json.loads` does, with at most [`MAX_DEPTH`] levels.
///
/// # Errors
///
/// [`ParseError`] for a text that is not JSON in Python's dialect, that nests too deeply or has an integer of more
/// than [`MAX_INT_DIGITS`] digits.
pub fn parse(text: &str) -> Result<Value, ParseError> {
    parse_nested(text, MAX_DEPTH)
}

/// Reads a text as `json.loads` does, with at most `max_depth` levels.
///
/// # Errors
///
/// As [`parse`].
pub fn parse_nested(text: &str, max_depth: usize) -> Result<Value, ParseError> {
    let mut parser = Parser { text, bytes: text.as_bytes(), at: 0 };
    parser.document(max_depth).map_err(|(kind, at)| locate(text, kind, at))
}

/// Gives an error its place as Python counts it, in characters.
fn locate(text: &str, kind: ParseErrorKind, at: usize) -> ParseError {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    ParseError {
        kind,
        position: before.chars().count(),
        line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}

/// Kind of an error and the offset of its place in bytes.
type Failure = (ParseErrorKind, usize);

/// An array or object whose end has not been read.
enum Open {
    Array(Vec<Value>),
    /// The members so far and the name of the next one.
    Object(Object, PyStr),
}

struct Parser<'a> {
    text: &'a str,
    bytes: &'a [u8],
    /// Offset of the next byte.
    at: usize,
}

impl Parser<'_> {
    fn document(&mut self, max_depth: usize) -> Result<Value, Failure> {
        if self.text.starts_with('\u{feff}') {
            return Err((ParseErrorKind::ByteOrderMark, 0));
        }
        self.skip_whitespace();
        let value = self.value(max_depth)?;
        self.skip_whitespace();
        if self.at < self.bytes.len() {
            return Err((ParseErrorKind::ExtraData, self.at));
        }
        Ok(value)
    }

    /// Reads one value. The arrays and objects around the place are on a stack of their own.
    fn value(&mut self, max_depth: usize) -> Result<Value, Failure> {
        let mut stack: Vec<Open> = Vec::new();
        loop {
            // A value starts here.
            let mut value = match self.peek() {
                Some(open @ (b'[' | b'{')) => {
                    if stack.len() >= max_depth {
                        return Err((ParseErrorKind::TooDeep, self.at));
                    }
                    self.at += 1;
                    self.skip_whitespace();
                    if open == b'[' {
                        if self.peek() != Some(b']') {
                            stack.push(Open::Array(Vec::new()));
                            continue;
                        }
                        self.at += 1;
                        Value::Array(Vec::new())
                    } else {
                        if self.peek() != Some(b'}') {
                            let name = self.name()?;
                            stack.push(Open::Object(Object::new(), name));
                            continue;
                        }
                        self.at += 1;
                        Value::Object(Object::new())
                    }
                }
                _ => self.scalar()?,
            };
            // A value ended here. Put it into what is around it, and close that as often as it ends.
            loop {
                let Some(open) = stack.last_mut() else {
                    return Ok(value);
                };
                self.skip_whitespace();
                let next = self.peek();
                match open {
                    Open::Array(items) => {
                        items.push(value);
                        match next {
                            Some(b']') => {}
                            Some(b',') => {
                                self.at += 1;
                                self.skip_whitespace();
                                break;
                            }
                            _ => return Err((ParseErrorKind::ExpectedComma, self.at)),
                        }
                    }
                    Open::Object(members, name) => match next {
                        Some(b'}') => {
                            let name = std::mem::replace(name, PyStr(Box::default()));
                            members.insert(name, value);
                        }
                        Some(b',') => {
                            self.at += 1;
                            self.skip_whitespace();
                            let name = std::mem::replace(name, self.name()?);
                            members.insert(name, value);
                            break;
                        }
                        _ => return Err((ParseErrorKind::ExpectedComma, self.at)),
                    },
                }
                self.at += 1;
                value = match stack.pop() {
                    Some(Open::Array(items)) => Value::Array(items),
                    Some(Open::Object(members, _)) => Value::Object(members),
                    None => return Err((ParseErrorKind::ExpectedValue, self.at)),
                };
            }
        }
    }

    /// Reads the name of a member and the `:` after it, to the start of its value.
    fn name(&mut self) -> Result<PyStr, Failure> {
        if self.peek() != Some(b'"') {
            return Err((ParseErrorKind::ExpectedName, self.at));
        }
        let name = self.string()?;
        self.skip_whitespace();
        if self.peek() != Some(b':') {
            return Err((ParseErrorKind::ExpectedColon, self.at));
        }
        self.at += 1;
        self.skip_whitespace();
        Ok(name)
    }

    fn scalar(&mut self) -> Result<Value, Failure> {
        let rest = &self.bytes[self.at..];
        let literals: [(&[u8], Value); 6] = [
            (b"null", Value::Null),
            (b"true", Value::Bool(true)),
            (b"false", Value::Bool(false)),
            (b"NaN", Value::Float(f64::NAN)),
            (b"Infinity", Value::Float(f64::INFINITY)),
            (b"-Infinity", Value::Float(f64::NEG_INFINITY)),
        ];
        match rest.first() {
            Some(b'"') => self.string().map(Value::Str),
            Some(b'n' | b't' | b'f' | b'N' | b'I' | b'-') => {
                match literals.into_iter().find(|(literal, _)| rest.starts_with(literal)) {
                    Some((literal, value)) => {
                        self.at += literal.len();
                        Ok(value)
                    }
                    None => self.number(),
                }
            }
            _ => self.number(),
        }
    }

    fn number(&mut self) -> Result<Value, Failure> {
        let start = self.at;
        let mut end = start;
        if self.bytes.get(end) == Some(&b'-') {
            end += 1;
        }
        let digits = end;
        end = match self.bytes.get(end) {
            Some(b'0') => end + 1,
            Some(b'1'..=b'9') => self.skip_digits(end),
            _ => return Err((ParseErrorKind::ExpectedValue, start)),
        };
        let int_end = end;
        if self.bytes.get(end) == Some(&b'.') {
            let fraction_end = self.skip_digits(end + 1);
            if fraction_end > end + 1 {
                end = fraction_end;
            }
        }
        if let Some(b'e' | b'E') = self.bytes.get(end) {
            let sign = usize::from(matches!(self.bytes.get(end + 1), Some(b'-' | b'+')));
            let exponent_end = self.skip_digits(end + 1 + sign);
            if exponent_end > end + 1 + sign {
                end = exponent_end;
            }
        }
        self.at = end;
        let text = &self.text[start..end];
        if end > int_end {
            // Rust's grammar of floats includes JSON's; what is too large becomes an infinity in both.
            return text.parse().map(Value::Float).map_err(|_| (ParseErrorKind::ExpectedValue, start));
        }
        if int_end - digits > MAX_INT_DIGITS {
            return Err((ParseErrorKind::IntTooLong, start));
        }
        Ok(Value::Int(if text == "-0" { "0" } else { text }.into()))
    }

    /// The offset of the first byte from `from` that is no digit.
    fn skip_digits(&self, from: usize) -> usize {
        let digits = self.bytes.get(from..).unwrap_or_default().iter();
        from + digits.take_while(|byte| byte.is_ascii_digit()).count()
    }

    /// Reads a string from its first quote.
    fn string(&mut self) -> Result<PyStr, Failure> {
        let quote = self.at;
        self.at += 1;
        let start = self.at;
        // Most strings are their own form.
        while self.peek().is_some_and(is_plain) {
            self.at += 1;
        }
        if self.peek() == Some(b'"') {
            self.at += 1;
            return Ok(PyStr(self.text[start..self.at - 1].into()));
        }
        let mut out = String::with_capacity(self.at - start + 32);
        out.push_str(&self.text[start..self.at]);
        loop {
            let Some(char) = self.text[self.at..].chars().next() else {
                return Err((ParseErrorKind::UnterminatedString, quote));
            };
            match char {
                '"' => {
                    self.at += 1;
                    return Ok(PyStr(out.into_boxed_str()));
                }
                '\\' => self.escape(quote, &mut out)?,
                '\0'..='\x1f' => return Err((ParseErrorKind::ControlCharacter, self.at)),
                _ => {
                    push_char(char, &mut out);
                    self.at += char.len_utf8();
                }
            }
        }
    }

    /// Reads an escape from its backslash, in the string whose first quote is at `quote`.
    fn escape(&mut self, quote: usize, out: &mut String) -> Result<(), Failure> {
        let backslash = self.at;
        let char = match self.bytes.get(backslash + 1) {
            None => return Err((ParseErrorKind::UnterminatedString, quote)),
            Some(b'u') => return self.unicode_escape(out),
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(_) => return Err((ParseErrorKind::Escape, backslash)),
        };
        push_char(char, out);
        self.at += 2;
        Ok(())
    }

    /// Reads `\uXXXX` from its backslash, and its other half when it is the first half of a surrogate pair.
    fn unicode_escape(&mut self, out: &mut String) -> Result<(), Failure> {
        let unit = self.unit()?;
        self.at += 6;
        let is_high = (0xd800..0xdc00).contains(&unit);
        if is_high && self.bytes[self.at..].starts_with(b"\\u") && self.bytes.len() > self.at + 6 {
            let second = self.unit()?;
            if (0xdc00..0xe000).contains(&second) {
                self.at += 6;
                push_unit(unit, out);
                push_unit(second, out);
                return Ok(());
            }
        }
        // A character of one unit has a short form when it is printable; half a pair has none.
        match char::from_u32(u32::from(unit)) {
            Some(char) => push_char(char, out),
            None => push_unit(unit, out),
        }
        Ok(())
    }

    /// The code unit of the `\uXXXX` at the place. Something has to stand after it, if only the quote.
    fn unit(&self) -> Result<u16, Failure> {
        let failure = (ParseErrorKind::UnicodeEscape, self.at + 1);
        let digits = self.bytes.get(self.at + 2..self.at + 6).ok_or(failure)?;
        if self.bytes.len() == self.at + 6 {
            return Err(failure);
        }
        digits.iter().try_fold(0, |unit: u16, digit| {
            let digit = char::from(*digit).to_digit(16).ok_or(failure)?;
            Ok(unit << 4 | u16::try_from(digit).unwrap_or(0))
        })
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_whitespace(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round(text: &str) -> String {
        parse(text).unwrap().to_string()
    }

    #[test]
    fn values_are_written_as_python_writes_them() {
        for (text, expected) in [
            ("null", "null"),
            (" \t\r\n true ", "true"),
            ("[1,2 , 3]", "[1, 2, 3]"),
            ("[ ]", "[]"),
            ("{ }", "{}"),
            (r#"{"x":"y","z":[{}]}"#, r#"{"x": "y", "z": [{}]}"#),
            ("NaN", "NaN"),
            ("[Infinity,-Infinity]", "[Infinity, -Infinity]"),
            ("1e400", "Infinity"),
            ("-1e400", "-Infinity"),
            ("-0", "0"),
            ("-0.0", "-0.0"),
            ("1.0", "1.0"),
            ("1e3", "1000.0"),
            ("1E+3", "1000.0"),
            ("1e-3", "0.001"),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
            ("-12345678901234567890", "-12345678901234567890"),
            (r#""\u4e16""#, r#""\u4e16""#),
            ("\"世😀é\u{7f}\"", r#""\u4e16\ud83d\ude00\u00e9\u007f""#),
            (r#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            (r#""\ud800""#, r#""\ud800""#),
            (r#""\udc00\ud800x""#, r#""\udc00\ud800x""#),
            (r#""\ud800\ud83d\ude00""#, r#""\ud800\ud83d\ude00""#),
            (r#""\uD800\u0041\/""#, r#""\ud800A/""#),
            (r#""\"\\\b\f\n\r\t\u0001""#, r#""\"\\\b\f\n\r\t\u0001""#),
            (r#""\u000a\u0022""#, r#""\n\"""#),
        ] {
            assert_eq!(round(text), expected, "{text}");
        }
    }

    #[test]
    fn floats_are_written_as_repr_writes_them() {
        for (text, expected) in [
            ("1e15", "1000000000000000.0"),
            ("1e16", "1e+16"),
            ("1.5e16", "1.5e+16"),
            ("9999999999999998.0", "9999999999999998.0"),
            ("123456789012345680.0", "1.2345678901234568e+17"),
            ("0.0001", "0.0001"),
            ("0.00012345", "0.00012345"),
            ("0.00001", "1e-05"),
            ("-0.000012345", "-1.2345e-05"),
            ("0.00009999999999999999", "9.999999999999999e-05"),
            ("0.0000012", "1.2e-06"),
            // Halfway between two shortest texts: the even one.
            ("793102221674766.25", "793102221674766.2"),
            ("-73206688046366.125", "-73206688046366.12"),
            ("1e-7", "1e-07"),
            ("12.5e-300", "1.25e-299"),
            ("5e-324", "5e-324"),
            ("2.2250738585072014e-308", "2.2250738585072014e-308"),
            ("1.7976931348623157e308", "1.7976931348623157e+308"),
            ("0.1", "0.1"),
            ("123.456", "123.456"),
            ("100.0", "100.0"),
            ("5.684341886080802e-14", "5.684341886080802e-14"),
            ("-2.5", "-2.5"),
            ("0e5", "0.0"),
        ] {
            assert_eq!(round(text), expected, "{text}");
        }
    }

    #[test]
    fn the_last_of_two_members_wins_in_the_place_of_the_first() {
        assert_eq!(round(r#"{"a": 1, "b": 2, "\u0061": 3}"#), r#"{"a": 3, "b": 2}"#);
    }

    #[test]
    fn errors_have_the_texts_and_places_of_python() {
        for (text, expected) in [
            ("", "Expecting value: line 1 column 1 (char 0)"),
            ("  ", "Expecting value: line 1 column 3 (char 2)"),
            ("abc", "Expecting value: line 1 column 1 (char 0)"),
            ("01", "Extra data: line 1 column 2 (char 1)"),
            ("1.", "Extra data: line 1 column 2 (char 1)"),
            ("1e+", "Extra data: line 1 column 2 (char 1)"),
            (".5", "Expecting value: line 1 column 1 (char 0)"),
            ("-", "Expecting value: line 1 column 1 (char 0)"),
            ("+1", "Expecting value: line 1 column 1 (char 0)"),
            ("nul", "Expecting value: line 1 column 1 (char 0)"),
            ("{x", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
            ("{\"a\": 1,}", "Expecting property name enclosed in double quotes: line 1 column 9 (char 8)"),
            ("{\"a\" 1}", "Expecting ':' delimiter: line 1 column 6 (char 5)"),
            ("{\"a\": }", "Expecting value: line 1 column 7 (char 6)"),
            ("{\"a\": 1 2}", "Expecting ',' delimiter: line 1 column 9 (char 8)"),
            ("[1\n 2]", "Expecting ',' delimiter: line 2 column 2 (char 4)"),
            ("[1,", "Expecting value: line 1 column 4 (char 3)"),
            ("[1,]", "Expecting value: line 1 column 4 (char 3)"),
            ("[", "Expecting value: line 1 column 2 (char 1)"),
            ("\"é\na\"", "Invalid control character at: line 1 column 3 (char 2)"),
            ("[\"世", "Unterminated string starting at: line 1 column 2 (char 1)"),
            ("\"a\\", "Unterminated string starting at: line 1 column 1 (char 0)"),
            ("\"\\x\"", "Invalid \\escape: line 1 column 2 (char 1)"),
            ("\"\\u12g4\"", "Invalid \\uXXXX escape: line 1 column 3 (char 2)"),
            ("\"\\u12", "Invalid \\uXXXX escape: line 1 column 3 (char 2)"),
            ("\u{feff}{}", "Unexpected UTF-8 BOM (decode using utf-8-sig): line 1 column 1 (char 0)"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn integers_are_exact_up_to_4300_digits() {
        let longest = format!("-{}", "9".repeat(MAX_INT_DIGITS));
        assert_eq!(round(&longest), longest);
        let error = parse(&format!("{longest}9")).unwrap_err();
        assert_eq!(error.kind(), ParseErrorKind::IntTooLong);
    }

    #[test]
    fn nesting_is_limited_and_costs_no_stack() {
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(round(&nested(MAX_DEPTH)), nested(MAX_DEPTH));
        for text in [nested(MAX_DEPTH + 1), "[{\"a\":".repeat(1_000_000)] {
            assert_eq!(parse(&text).unwrap_err().kind(), ParseErrorKind::TooDeep);
        }
    }

    #[test]
    fn python_takes_empty_values_for_false() {
        for text in ["null", "false", "0", "-0", "0.0", "-0.0", "\"\"", "[]", "{}"] {
            assert!(parse(text).unwrap().is_falsy(), "{text}");
        }
        for text in ["true", "1", "NaN", "\" \"", "[0]", "{\"a\": 0}"] {
            assert!(!parse(text).unwrap().is_falsy(), "{text}");
        }
    }

    #[test]
    fn serde_values_are_written_in_the_same_style() {
        let value = serde_json::json!({"b": [1.0, 1e-7, 18_446_744_073_709_551_615_u64, -1, null, true], "a": "é\u{7f}\n\"\u{1}😀", "": {}});
        let expected = r#"{"b": [1.0, 1e-07, 18446744073709551615, -1, null, true], "a": "\u00e9\u007f\n\"\u0001\ud83d\ude00", "": {}}"#;
        assert_eq!(to_string(&value).unwrap(), expected);
        assert_eq!(round(expected), expected);
    }

    fn values() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i128>().prop_map(|int| Value::Int(int.to_string().into())),
            any::<f64>().prop_filter("NaN is not equal to itself", |float| !float.is_nan()).prop_map(Value::Float),
            any::<String>().prop_map(|text| Value::string(&text)),
        ];
        scalar.prop_recursive(6, 64, 8, |value| {
            prop_oneof![
                prop::collection::vec(value.clone(), 0..8).prop_map(Value::Array),
                prop::collection::vec((any::<String>(), value), 0..8).prop_map(|members| {
                    Value::Object(members.into_iter().map(|(name, value)| (PyStr::from(&*name), value)).collect())
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(value in values()) {
            let text = value.to_string();
            prop_assert!(text.is_ascii());
            prop_assert_eq!(parse(&text).unwrap(), value);
        }

        #[test]
        fn serde_strings_have_the_same_form(text in any::<String>()) {
            prop_assert_eq!(to_string(&text).unwrap(), Value::string(&text).to_string());
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "[\\[\\]{}\",:\\\\u0-9a-fdD8.eE+NInfinityltrs \u{e9}\u{1}-]{0,40}") {
            let _ = parse(&text).map(|value| value.to_string());
        }
    }
}
