//! Floats from text, for CPython: correctly rounded, as its own are, and several times as fast.
//!
//! What is long, or too large or too small for a normal float, is left to CPython, which takes note of that in `errno`.

/// Bytes that are looked at. A number of 17 digits with a sign, a point and an exponent fits.
pub const LONGEST: usize = 32;

/// Bytes of an exponent before its first digit.
const EXPONENT: usize = 2;

/// Reads the float that `text` begins with: decimal digits, with a sign, a point and an exponent where there are some. Returns
/// it with the number of bytes that it has. `None` where there is none, where it may go on beyond `text`, or where it
/// overflows or underflows.
pub fn read(text: &[u8]) -> Option<(f64, usize)> {
    let unsigned = text.strip_prefix(b"+").or_else(|| text.strip_prefix(b"-")).unwrap_or(text);
    if !matches!(unsigned, [b'0'..=b'9' | b'.', ..]) {
        return None;
    }
    let (value, length) = fast_float2::parse_partial::<f64, _>(text).ok()?;
    let is_zero = || {
        text[..length].iter().take_while(|byte| !matches!(byte, b'e' | b'E')).all(|byte| !matches!(byte, b'1'..=b'9'))
    };
    (length + EXPONENT < text.len() && (value.is_normal() || is_zero())).then_some((value, length))
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, read};

    fn read_all(text: &str) -> Option<(f64, usize)> {
        let mut bytes = [0; LONGEST];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        read(&bytes)
    }

    #[test]
    fn numbers_end_where_they_end() {
        for (text, value, len) in [
            ("0", 0.0, 1),
            ("12,", 12.0, 2),
            ("-1.5]", -1.5, 4),
            ("+.5", 0.5, 3),
            ("5.", 5.0, 2),
            ("5.e1x", 50.0, 4),
            ("1e5", 1e5, 3),
            ("1e+05 ", 1e5, 5),
            ("1E-2}", 0.01, 4),
            ("1e", 1.0, 1),
            ("1e+,", 1.0, 1),
            ("1.0.5", 1.0, 3),
            ("0.1", 0.1, 3),
            ("0e999", 0.0, 5),
            ("123456789012345678901", 123_456_789_012_345_678_901.0, 21),
            ("2.2250738585072014e-308", f64::MIN_POSITIVE, 23),
            ("1.7976931348623157e308", f64::MAX, 22),
        ] {
            assert_eq!(read_all(text), Some((value, len)), "{text}");
        }
        assert!(read_all("-0.0").unwrap().0.is_sign_negative());
    }

    #[test]
    fn what_is_none_or_needs_care_is_left_alone() {
        for text in [
            "", "-", "+-1", ".", "+.", "e5", "x", " 1", "inf", "-inf", "nan", "infinity", "1e309", "-1e999", "1e-320",
            "2e-324", "1e-400",
        ] {
            assert_eq!(read_all(text), None, "{text}");
        }
        // It may go on.
        for text in ["1", "1.", "1.5", "1e", "1e+", "1e5", "-", "12,"] {
            assert_eq!(read(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn what_is_written_comes_back() {
        let mut state = 1_u64;
        for _ in 0..100_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let value = f64::from_bits(state);
            let text = format!("{value:?}");
            if value.is_normal() && text.len() + 2 < LONGEST {
                assert_eq!(read_all(&text), Some((value, text.len())), "{text}");
            }
        }
    }
}
