//! The ids of a request, and how they are echoed.
//!
//! The rule is that of the contract of Azure ML's inference server 1.5.1 (G is a fresh id, a lower-case UUID of
//! version 4):
//!
//! | request: `x-request-id` | `x-ms-request-id` | `x-ms-client-request-id` | response: `x-request-id` | `x-ms-request-id` | `x-ms-client-request-id` |
//! |---|---|---|---|---|---|
//! | - | - | - | G | G | - |
//! | A | - | - | A | A | - |
//! | - | B | - | G | B | B |
//! | - | - | C | G | C | C |
//! | A | B | - | A | B | B |
//! | - | B | C | G | B | C |
//! | A | - | C | A | C | C |
//! | A | B | C | A | B | C |
//!
//! An empty `x-request-id` is an id: none is made in its place, and none is sent back. The other two are absent when
//! they are empty. Lines of the same name are one value, joined with `,`. `TraceId` is sent back as it came.

use std::borrow::Cow;
use std::fmt;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

/// Characters that an id may have.
pub const MAX_LENGTH: usize = 100;

/// What to log, at level warning, for a request of which [`RequestIds::deprecated_header_used`] is true.
pub const DEPRECATION_WARNING: &str = "x-ms-request-id header has been deprecated and will be removed from future \
     versions of the server. Please use x-ms-client-request-id.";

/// `x-request-id`
pub static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// `x-ms-request-id`: in requests the deprecated name of `x-ms-client-request-id`.
pub static X_MS_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");
/// `x-ms-client-request-id`
pub static X_MS_CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");
/// `TraceId`
pub static TRACE_ID: HeaderName = HeaderName::from_static("traceid");

/// The ids of one request: what identifies it in logs, and the headers that its response carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestIds {
    /// `x-request-id` of the response. Empty: not sent.
    request: HeaderValue,
    /// `x-ms-request-id` of the response. Empty: not sent.
    legacy: HeaderValue,
    /// `x-ms-client-request-id` of the response. Empty: not sent.
    client: HeaderValue,
    trace: Option<HeaderValue>,
    deprecated_header_used: bool,
}

impl RequestIds {
    /// The ids for a request with these headers.
    ///
    /// # Errors
    ///
    /// [`IdTooLong`] when an id has more than [`MAX_LENGTH`] characters. The request is answered with 431, by whatever
    /// route it came, and with the headers that the error says.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, IdTooLong> {
        let mut ids = Self {
            request: EMPTY,
            legacy: EMPTY,
            client: EMPTY,
            trace: joined(headers, &TRACE_ID),
            deprecated_header_used: false,
        };
        let request = joined(headers, &X_REQUEST_ID).unwrap_or_else(fresh);
        if request.len() > MAX_LENGTH {
            return Err(IdTooLong::new(TooLong::RequestId, ids));
        }
        ids.request = request;
        let legacy = joined(headers, &X_MS_REQUEST_ID).unwrap_or(EMPTY);
        let client = joined(headers, &X_MS_CLIENT_REQUEST_ID).unwrap_or(EMPTY);
        ids.deprecated_header_used = !legacy.is_empty();
        if legacy.len() > MAX_LENGTH || client.len() > MAX_LENGTH {
            return Err(IdTooLong::new(TooLong::ClientRequestId, ids));
        }
        (ids.legacy, ids.client) = match (legacy.is_empty(), client.is_empty()) {
            (true, true) => (ids.request.clone(), EMPTY),
            (true, false) => (client.clone(), client),
            (false, true) => (legacy.clone(), legacy),
            (false, false) => (legacy, client),
        };
        Ok(ids)
    }

    /// The id of the request, at most [`MAX_LENGTH`] characters: the client's `x-request-id`, which may be empty, or a
    /// fresh one. Bytes above 127 are Latin-1.
    #[must_use]
    pub fn request_id(&self) -> Cow<'_, str> {
        latin1(&self.request)
    }

    /// The id that the client gave the request for its own purposes, 1 to [`MAX_LENGTH`] characters. Bytes above 127
    /// are Latin-1.
    #[must_use]
    pub fn client_request_id(&self) -> Option<Cow<'_, str>> {
        (!self.client.is_empty()).then(|| latin1(&self.client))
    }

    /// Whether the request has an `x-ms-request-id`, which is worth a [`DEPRECATION_WARNING`].
    #[must_use]
    pub fn deprecated_header_used(&self) -> bool {
        self.deprecated_header_used
    }

    /// Writes the ids into the headers of the response, in the order of the contract; they are its last headers.
    ///
    /// An id replaces one that the scorer set. Where there is no id to send, the scorer's stays. `TraceId` is added to
    /// what is there.
    pub fn write_headers(&self, headers: &mut HeaderMap) {
        for (name, id) in
            [(&X_REQUEST_ID, &self.request), (&X_MS_REQUEST_ID, &self.legacy), (&X_MS_CLIENT_REQUEST_ID, &self.client)]
        {
            if !id.is_empty() {
                headers.insert(name, id.clone());
            }
        }
        if let Some(trace) = &self.trace {
            headers.append(&TRACE_ID, trace.clone());
        }
    }
}

/// An id has more than [`MAX_LENGTH`] characters. `Display` is the message of the answer, whose status is 431.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdTooLong(Box<(TooLong, RequestIds)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TooLong {
    RequestId,
    ClientRequestId,
}

impl IdTooLong {
    fn new(which: TooLong, ids: RequestIds) -> Self {
        Self(Box::new((which, ids)))
    }

    /// The ids that the answer carries nevertheless: `TraceId` always, `x-request-id` when another id is too long. Of
    /// these ids [`RequestIds::request_id`] is empty when it was the one too long.
    #[must_use]
    pub fn ids(&self) -> &RequestIds {
        &self.0.1
    }
}

impl fmt::Display for IdTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0.0 {
            TooLong::RequestId => "x-request-id must not exceed 100 characters",
            TooLong::ClientRequestId => "x-ms-request-id and x-ms-client-request-id must not exceed 100 characters",
        })
    }
}

impl std::error::Error for IdTooLong {}

/// Costs no allocation.
const EMPTY: HeaderValue = HeaderValue::from_static("");

fn fresh() -> HeaderValue {
    let mut buffer = Uuid::encode_buffer();
    let id: &str = Uuid::new_v4().hyphenated().encode_lower(&mut buffer);
    HeaderValue::from_str(id).unwrap_or(EMPTY)
}

/// The value of a header as one value: that of the only line, or of all lines joined with `,`.
pub(crate) fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next()?;
    let mut lines = lines.peekable();
    if lines.peek().is_none() {
        return Some(first.clone());
    }
    let mut value = first.as_bytes().to_vec();
    for line in lines {
        value.push(b',');
        value.extend_from_slice(line.as_bytes());
    }
    // Header values and commas make a header value.
    HeaderValue::from_maybe_shared(bytes::Bytes::from(value)).ok()
}

/// The characters of a header value, as Python's WSGI reads them.
pub(crate) fn latin1(value: &HeaderValue) -> Cow<'_, str> {
    match value.to_str() {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(value.as_bytes().iter().copied().map(char::from).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    fn written(ids: &RequestIds) -> Vec<(String, String)> {
        let mut headers = HeaderMap::new();
        ids.write_headers(&mut headers);
        headers.iter().map(|(name, value)| (name.to_string(), latin1(value).into_owned())).collect()
    }

    /// What is sent back for a request with these headers; `G` stands for a fresh id.
    #[track_caller]
    fn check(request: &[(&str, &str)], expected: &[(&str, &str)]) -> RequestIds {
        let ids = RequestIds::from_headers(&headers(request)).unwrap();
        let actual = written(&ids);
        let is_fresh = !request.iter().any(|(name, _)| name.eq_ignore_ascii_case("x-request-id"));
        if is_fresh {
            let id = Uuid::parse_str(&ids.request_id()).unwrap();
            assert_eq!(id.get_version_num(), 4);
            assert_eq!(id.hyphenated().to_string(), ids.request_id());
        }
        let expected: Vec<_> = expected
            .iter()
            .map(|(name, value)| {
                let value = if *value == "G" { ids.request_id().into_owned() } else { (*value).to_owned() };
                ((*name).to_owned(), value)
            })
            .collect();
        assert_eq!(actual, expected);
        ids
    }

    #[test]
    #[expect(clippy::many_single_char_names, reason = "as in the table")]
    fn ids_are_echoed_as_the_table_says() {
        let (r, m, k) = ("x-request-id", "x-ms-request-id", "x-ms-client-request-id");
        let (a, b, c) = ((r, "AAA"), (m, "BBB"), (k, "CCC"));
        check(&[], &[(r, "G"), (m, "G")]);
        check(&[a], &[(r, "AAA"), (m, "AAA")]);
        check(&[b], &[(r, "G"), (m, "BBB"), (k, "BBB")]);
        check(&[c], &[(r, "G"), (m, "CCC"), (k, "CCC")]);
        check(&[a, b], &[(r, "AAA"), (m, "BBB"), (k, "BBB")]);
        check(&[b, c], &[(r, "G"), (m, "BBB"), (k, "CCC")]);
        check(&[a, c], &[(r, "AAA"), (m, "CCC"), (k, "CCC")]);
        check(&[a, b, c], &[(r, "AAA"), (m, "BBB"), (k, "CCC")]);
    }

    #[test]
    fn an_empty_request_id_counts_as_given_and_an_empty_client_id_as_absent() {
        let (r, m, k) = ("x-request-id", "x-ms-request-id", "x-ms-client-request-id");
        assert_eq!(check(&[(r, "")], &[]).request_id(), "");
        check(&[(r, ""), (k, "CCC")], &[(m, "CCC"), (k, "CCC")]);
        assert_eq!(check(&[(k, "")], &[(r, "G"), (m, "G")]).client_request_id(), None);
        assert!(!check(&[(m, "")], &[(r, "G"), (m, "G")]).deprecated_header_used());
        check(&[(m, ""), (k, "CCC")], &[(r, "G"), (m, "CCC"), (k, "CCC")]);
    }

    #[test]
    fn names_have_no_case_and_lines_are_joined() {
        check(&[("X-REQUEST-ID", "AAA")], &[("x-request-id", "AAA"), ("x-ms-request-id", "AAA")]);
        check(
            &[("x-request-id", "A1"), ("X-Request-Id", "A2")],
            &[("x-request-id", "A1,A2"), ("x-ms-request-id", "A1,A2")],
        );
        check(&[("x-request-id", ""), ("x-request-id", "")], &[("x-request-id", ","), ("x-ms-request-id", ",")]);
        check(
            &[("x_request_id", "A"), ("x-client-request-id", "A")],
            &[("x-request-id", "G"), ("x-ms-request-id", "G")],
        );
    }

    #[test]
    fn only_trace_id_is_echoed_even_when_it_is_empty_or_long() {
        let long = "t".repeat(5000);
        for value in ["", "trace-1", &long] {
            check(&[("TraceId", value)], &[("x-request-id", "G"), ("x-ms-request-id", "G"), ("traceid", value)]);
        }
        check(&[("trace-id", "t"), ("traceparent", "t")], &[("x-request-id", "G"), ("x-ms-request-id", "G")]);
    }

    #[test]
    fn latin_1_is_echoed_as_it_came() {
        let mut request = HeaderMap::new();
        request.insert(&X_REQUEST_ID, HeaderValue::from_bytes(b"caf\xe9").unwrap());
        let ids = RequestIds::from_headers(&request).unwrap();
        assert_eq!(ids.request_id(), "café");
        let mut response = HeaderMap::new();
        ids.write_headers(&mut response);
        assert_eq!(response[&X_REQUEST_ID].as_bytes(), b"caf\xe9");
        // A character is a byte here: a hundred of them are allowed.
        request.insert(&X_REQUEST_ID, HeaderValue::from_bytes(&[0xe9; 100]).unwrap());
        assert!(RequestIds::from_headers(&request).is_ok());
    }

    #[test]
    fn the_warning_has_the_words_of_the_contract() {
        assert_eq!(
            DEPRECATION_WARNING,
            [
                "x-ms-request-id header has been deprecated and will be removed from future versions of the server.",
                "Please use x-ms-client-request-id."
            ]
            .join(" ")
        );
    }

    #[test]
    fn ids_of_more_than_100_characters_are_refused() {
        let (r, m, k) = ("x-request-id", "x-ms-request-id", "x-ms-client-request-id");
        let (max, long) = ("a".repeat(100), "a".repeat(101));
        let request_id = "x-request-id must not exceed 100 characters";
        let client_id = "x-ms-request-id and x-ms-client-request-id must not exceed 100 characters";
        let trace = ("TraceId", "t");
        check(&[(r, &max), (m, &max), (k, &max)], &[(r, &max), (m, &max), (k, &max)]);
        for (request, message, names, deprecated) in [
            (vec![(r, &*long), trace], request_id, vec!["traceid"], false),
            (vec![(r, &*long), (m, "B")], request_id, vec![], false),
            (vec![(m, &*long), trace], client_id, vec![r, "traceid"], true),
            (vec![(k, &*long)], client_id, vec![r], false),
            (vec![(r, "A"), (m, &*long)], client_id, vec![r], true),
            (vec![(m, &*long), (k, "C")], client_id, vec![r], true),
            (vec![(r, ""), (k, &*long)], client_id, vec![], false),
            (vec![(r, &*max), (r, "")], request_id, vec![], false),
        ] {
            let error = RequestIds::from_headers(&headers(&request)).unwrap_err();
            assert_eq!(error.to_string(), message);
            let actual: Vec<_> = written(error.ids()).into_iter().map(|(name, _)| name).collect();
            assert_eq!(actual, names, "{request:?}");
            assert_eq!(error.ids().deprecated_header_used(), deprecated, "{request:?}");
            assert_eq!(error.ids().client_request_id(), None);
        }
    }

    #[test]
    fn ids_replace_those_of_the_scorer_and_only_where_there_are_any() {
        let scorer = [
            ("x-request-id", "mine"),
            ("x-ms-request-id", "mine"),
            ("x-ms-client-request-id", "mine"),
            ("x-ms-client-request-id", "too"),
            ("traceid", "mine"),
        ];
        let values = |headers: &HeaderMap, name: &HeaderName| -> Vec<String> {
            headers.get_all(name).iter().map(|value| latin1(value).into_owned()).collect()
        };
        let mut response = headers(&scorer);
        RequestIds::from_headers(&headers(&[("x-request-id", "A"), ("TraceId", "t")]))
            .unwrap()
            .write_headers(&mut response);
        assert_eq!(values(&response, &X_REQUEST_ID), ["A"]);
        assert_eq!(values(&response, &X_MS_REQUEST_ID), ["A"]);
        assert_eq!(values(&response, &X_MS_CLIENT_REQUEST_ID), ["mine", "too"]);
        assert_eq!(values(&response, &TRACE_ID), ["mine", "t"]);
        let mut response = headers(&scorer);
        RequestIds::from_headers(&headers(&[("x-ms-client-request-id", "C")])).unwrap().write_headers(&mut response);
        assert_eq!(values(&response, &X_MS_CLIENT_REQUEST_ID), ["C"]);
    }

    /// What a header can carry, of any length about the limit.
    fn id() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![Just(b'\t'), b' '..=b'~', 0x80..=0xff_u8];
        prop_oneof![prop::collection::vec(byte.clone(), 0..4), prop::collection::vec(byte, 96..105)]
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(
            lines in prop::collection::vec((0..5_usize, prop::collection::vec(any::<u8>(), 0..120)), 0..6),
        ) {
            let names = [&X_REQUEST_ID, &X_MS_REQUEST_ID, &X_MS_CLIENT_REQUEST_ID, &TRACE_ID, &http::header::HOST];
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                if let Ok(value) = HeaderValue::from_bytes(&value) {
                    headers.append(names[name], value);
                }
            }
            let mut response = HeaderMap::new();
            match RequestIds::from_headers(&headers) {
                Ok(ids) => {
                    prop_assert!(ids.request_id().chars().count() <= MAX_LENGTH);
                    let client_id_length = ids.client_request_id().map_or(1, |id| id.chars().count());
                    prop_assert!((1..=MAX_LENGTH).contains(&client_id_length));
                    ids.write_headers(&mut response);
                }
                Err(error) => error.ids().write_headers(&mut response),
            }
            prop_assert_eq!(joined(&response, &TRACE_ID), joined(&headers, &TRACE_ID));
        }

        #[test]
        fn any_bytes_are_echoed_by_the_rules_of_the_table(
            lines in prop::collection::vec((0..4_usize, id()), 0..6),
        ) {
            let names = [&X_REQUEST_ID, &X_MS_REQUEST_ID, &X_MS_CLIENT_REQUEST_ID, &TRACE_ID];
            let mut headers = HeaderMap::new();
            let mut values: [Option<Vec<u8>>; 4] = [const { None }; 4];
            for (name, value) in &lines {
                headers.append(names[*name], HeaderValue::from_bytes(value).unwrap());
                let before = values[*name].take();
                values[*name] = Some(before.map_or_else(|| value.clone(), |before| [&before, &b","[..], value].concat()));
            }
            let [request, legacy, client, trace] = values;
            let (legacy, client) = (legacy.unwrap_or_default(), client.unwrap_or_default());
            let is_long = |id: &[u8]| id.len() > MAX_LENGTH;
            let result = RequestIds::from_headers(&headers);
            let (ids, expected) = match &result {
                Err(error) => {
                    let of_request = request.as_deref().is_some_and(is_long);
                    prop_assert!(of_request || is_long(&legacy) || is_long(&client));
                    prop_assert_eq!(of_request, error.to_string().starts_with("x-request-id"));
                    let request = if of_request { Vec::new() } else { request.unwrap_or(b"G".to_vec()) };
                    (error.ids(), [request, Vec::new(), Vec::new()])
                }
                Ok(ids) => {
                    prop_assert!(!request.as_deref().is_some_and(is_long) && !is_long(&legacy) && !is_long(&client));
                    prop_assert_eq!(ids.deprecated_header_used(), !legacy.is_empty());
                    let request = request.unwrap_or(b"G".to_vec());
                    // Each stands for the one before it where there is none.
                    let of_client = if client.is_empty() { legacy.clone() } else { client };
                    let of_legacy = [&legacy, &of_client, &request].into_iter().find(|id| !id.is_empty()).cloned();
                    (ids, [request.clone(), of_legacy.unwrap_or_default(), of_client])
                }
            };
            let mut response = HeaderMap::new();
            ids.write_headers(&mut response);
            let fresh = ids.request_id().into_owned();
            for (name, expected) in names.into_iter().zip(expected) {
                let expected = if expected == b"G" { fresh.clone().into_bytes() } else { expected };
                let found = response.get(name).map(HeaderValue::as_bytes);
                prop_assert_eq!(found, Some(&*expected).filter(|id| !id.is_empty()), "{}", name);
            }
            prop_assert_eq!(response.get(&TRACE_ID).map(HeaderValue::as_bytes), trace.as_deref());
        }
    }
}
