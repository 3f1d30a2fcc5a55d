//! How a raw scorer makes its answer.

use serde::Serialize;

use crate::{Response, Result};

impl Response {
    /// A response with status 200, of this content type.
    ///
    /// ```
    /// # use scorebox_guest::Response;
    /// let response = Response::new("text/plain", "3 of 4").with_status(206).with_header("x-model", "v2");
    /// assert_eq!(response.body, b"3 of 4");
    /// ```
    pub fn new(content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, headers: vec![("content-type".to_owned(), content_type.into())], body: body.into() }
    }

    /// A response with status 200 and `value` as JSON.
    ///
    /// A float is written with as many digits as it takes to read the same float again. JSON has no NaN and no
    /// infinity: they are written as `null`.
    ///
    /// # Errors
    ///
    /// `value` cannot be written as JSON: a map with keys that are no strings, or an error of its `Serialize`.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self> {
        Ok(Self::new("application/json", serde_json::to_vec(value)?))
    }

    /// The same response with another status, 200 to 999.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// The same response with one more header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_float_is_written_so_that_it_reads_back_the_same() {
        for value in [0.1 + 0.2, 1.0 / 3.0, 5e-324, f64::MAX, -0.0, 1e21] {
            let response = Response::json(&value).unwrap_or_else(|fault| panic!("{fault}"));
            let text = String::from_utf8_lossy(&response.body);
            assert_eq!(text.parse().map(f64::to_bits), Ok(value.to_bits()), "{text}");
        }
    }
}
