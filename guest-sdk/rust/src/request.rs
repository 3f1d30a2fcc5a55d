//! What a raw scorer reads of a request.

use serde::de::DeserializeOwned;

use crate::{Request, Result, input};

impl Request {
    /// The first value of a header; `name` in any case.
    ///
    /// ```
    /// # use scorebox_guest::Request;
    /// # fn accepts_text(request: &Request) -> bool {
    /// request.header("accept").is_some_and(|value| value.starts_with(b"text/"))
    /// # }
    /// ```
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|header| header.0.eq_ignore_ascii_case(name)).map(|header| header.1.as_slice())
    }

    /// The body as JSON: an object of the form of `T`.
    ///
    /// # Errors
    ///
    /// [`Fault::BadInput`](crate::Fault::BadInput) when the body is empty, is not JSON, is not an object, or is not of
    /// the form of `T`; the message says where.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        input::parse(&self.body)
    }
}
