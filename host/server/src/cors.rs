//! Cross-origin resource sharing: which origins may read responses.
//!
//! The rules are those of the contract of Azure ML's inference server 1.5.1, whose CORS is flask-cors with the methods
//! `GET` and `POST`, without credentials, maximal age and exposed headers. They apply to the answers of all routes,
//! errors included, but not to the 404 and 405 of routing.

use http::Method;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY,
};
use regex::{Regex, RegexBuilder};

use crate::ids::{joined, latin1};

/// Bytes that the program of one regular expression may take.
const REGEX_SIZE_LIMIT: usize = 1 << 20;

/// An item with one of these characters is a regular expression.
const REGEX_CHARACTERS: [char; 9] = ['*', '\\', ']', '?', '$', '^', '[', '(', ')'];

static REQUEST_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");
static ALLOW_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// The origins that are allowed, from the value of `AML_CORS_ORIGINS`.
#[derive(Clone, Debug)]
pub struct Cors {
    /// The items as they were given, trimmed.
    items: Vec<String>,
    literals: Vec<Literal>,
    patterns: Vec<Regex>,
    /// Whether `*` is among the items: every origin is allowed.
    any: bool,
    /// Sent when the request has no `Origin`.
    default: Option<HeaderValue>,
    /// Whether the answer depends on the request's origin.
    varies: bool,
}

#[derive(Clone, Debug)]
struct Literal {
    text: String,
    /// For origins that are not ASCII.
    folded: String,
}

/// An item of the list of origins cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CorsError {
    /// The item has a character of regular expressions, and is none.
    #[error(
        "CORS origin {item:?} is not a valid regular expression: {reason} (an origin with one of the characters \
         * \\ ] ? $ ^ [ ( ) is a regular expression; look-around and back references are not supported)"
    )]
    Regex {
        /// The item.
        item: String,
        /// What is wrong with it, in one line.
        reason: String,
    },
    /// The item has a character that no header can carry.
    #[error("CORS origin {item:?} cannot be sent in a header: give it in ASCII, without control characters")]
    Header {
        /// The item.
        item: String,
    },
}

impl Cors {
    /// Reads a comma-separated list of origins: `https://a.com, https://.*\.example\.com`. None when it is empty:
    /// CORS is off.
    ///
    /// An item is `*` for any origin, a regular expression when it has one of the characters `*\]?$^[]()`, else an
    /// origin in full. Letter case does not matter. A regular expression has to match from the start of the origin, but
    /// **not to its end**: `https://.*\.example\.com` admits `https://x.example.com.evil.org`; close it with `$`.
    ///
    /// # Errors
    ///
    /// [`CorsError`] for a regular expression that is invalid, too large, or of a kind that cannot be matched in linear
    /// time, and for an origin that cannot be sent.
    pub fn parse(list: &str) -> Result<Option<Self>, CorsError> {
        if list.is_empty() {
            return Ok(None);
        }
        // An item that is empty stays one: no origin is like it, but it counts, and it is the first in order.
        let items: Vec<String> = list.split(',').map(|item| item.trim().to_owned()).collect();
        let (mut literals, mut patterns, mut any) = (Vec::new(), Vec::new(), false);
        for item in &items {
            if item == "*" || item == ".*" {
                any = true;
            } else if item.contains(REGEX_CHARACTERS) {
                patterns.push(compile(item)?);
            } else {
                literals.push(Literal { text: item.clone(), folded: item.to_lowercase() });
            }
        }
        let default = if any { Some("*") } else { literals.iter().map(|literal| &*literal.text).min() };
        let default = match default.filter(|text| !text.is_empty()) {
            Some(text) => Some(HeaderValue::from_str(text).map_err(|_| CorsError::Header { item: text.to_owned() })?),
            None => None,
        };
        let varies = items.len() > 1 || any || !patterns.is_empty();
        Ok(Some(Self { items, literals, patterns, any, default, varies }))
    }

    /// The items as they were given, for the log: `Enabling CORS for the following origins: a.com, b.com`.
    #[must_use]
    pub fn origins(&self) -> &[String] {
        &self.items
    }

    /// Adds the headers of CORS to a response. A response with an `Access-Control-Allow-Origin` of the scorer's own
    /// is left as it is.
    pub fn apply(&self, request: &Method, request_headers: &HeaderMap, response_headers: &mut HeaderMap) {
        if response_headers.get(ACCESS_CONTROL_ALLOW_ORIGIN).is_some_and(|value| !value.is_empty()) {
            return;
        }
        let origin = joined(request_headers, &ORIGIN).filter(|origin| !origin.is_empty());
        let has_origin = origin.is_some();
        let allowed = match origin {
            Some(origin) => self.allows(&origin).then_some(origin),
            None => self.default.clone(),
        };
        let Some(allowed) = allowed else {
            return;
        };
        response_headers.append(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        if request_headers.get(&REQUEST_PRIVATE_NETWORK).is_some_and(|value| value == "true") {
            response_headers.append(&ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("false"));
        }
        if request == Method::OPTIONS && asks_for_allowed_method(request_headers) {
            if let Some(names) = requested_headers(request_headers) {
                response_headers.append(ACCESS_CONTROL_ALLOW_HEADERS, names);
            }
            response_headers.append(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
        }
        let is_wildcard = self.any && !has_origin;
        if self.varies && !is_wildcard {
            response_headers.append(VARY, HeaderValue::from_static("Origin"));
        }
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        if self.any {
            return true;
        }
        let origin = latin1(origin);
        self.literals.iter().any(|literal| literal.matches(&origin))
            || self.patterns.iter().any(|pattern| pattern.find(&origin).is_some_and(|found| found.start() == 0))
    }
}

impl Literal {
    fn matches(&self, origin: &str) -> bool {
        self.text.eq_ignore_ascii_case(origin) || !origin.is_ascii() && self.folded == origin.to_lowercase()
    }
}

fn compile(item: &str) -> Result<Regex, CorsError> {
    RegexBuilder::new(item)
        .case_insensitive(true)
        .size_limit(REGEX_SIZE_LIMIT)
        .dfa_size_limit(REGEX_SIZE_LIMIT)
        .build()
        .map_err(|error| {
            // The text of a syntax error is a drawing of several lines, the last of which says what is wrong.
            let text = error.to_string();
            let reason = text.lines().next_back().unwrap_or_default().trim();
            let reason = reason.strip_prefix("error: ").unwrap_or(reason).to_owned();
            CorsError::Regex { item: item.to_owned(), reason }
        })
}

/// Whether the request is a preflight for `GET` or `POST`.
fn asks_for_allowed_method(headers: &HeaderMap) -> bool {
    let method = headers.get(ACCESS_CONTROL_REQUEST_METHOD).map(HeaderValue::as_bytes).unwrap_or_default();
    method.eq_ignore_ascii_case(b"GET") || method.eq_ignore_ascii_case(b"POST")
}

/// The names that a preflight asks for, sorted.
fn requested_headers(headers: &HeaderMap) -> Option<HeaderValue> {
    let names = joined(headers, &ACCESS_CONTROL_REQUEST_HEADERS)?;
    let mut names: Vec<&[u8]> = names.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii).collect();
    names.sort_unstable();
    let sorted = names.join(&b", "[..]);
    if sorted.is_empty() {
        return None;
    }
    HeaderValue::from_maybe_shared(bytes::Bytes::from(sorted)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        headers
    }

    fn answer(origins: &str, method: &Method, request: &[(&str, &str)], response: &[(&str, &str)]) -> Vec<String> {
        let mut headers = map(response);
        if let Some(cors) = Cors::parse(origins).unwrap() {
            cors.apply(method, &map(request), &mut headers);
        }
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
    }

    const LIST: &str = "http://a.com, https://b.com";

    #[test]
    fn an_origin_that_is_allowed_is_sent_back_as_it_came() {
        let origin = |origin: &str| format!("access-control-allow-origin: {origin}");
        let vary = || "vary: Origin".to_owned();
        for (origins, request, expected) in [
            (LIST, Some("http://a.com"), vec![origin("http://a.com"), vary()]),
            (LIST, Some("https://b.com"), vec![origin("https://b.com"), vary()]),
            (LIST, Some("HTTP://A.com"), vec![origin("HTTP://A.com"), vary()]),
            (LIST, Some("http://evil.com"), vec![]),
            (LIST, Some("http://a.com.evil.com"), vec![]),
            (LIST, Some("null"), vec![]),
            (LIST, None, vec![origin("http://a.com"), vary()]),
            (LIST, Some(""), vec![origin("http://a.com"), vary()]),
            ("http://z.com,http://a.com", None, vec![origin("http://a.com"), vary()]),
            ("http://a.com", Some("http://a.com"), vec![origin("http://a.com")]),
            ("http://a.com", Some("https://b.com"), vec![]),
            ("http://a.com", None, vec![origin("http://a.com")]),
            ("*", Some("http://evil.com"), vec![origin("http://evil.com"), vary()]),
            ("*", None, vec![origin("*")]),
            ("http://a.com,*", None, vec![origin("*")]),
            ("http://a.com,*", Some("http://b.com"), vec![origin("http://b.com"), vary()]),
            (r"https://.*\.example\.com", Some("https://x.example.com"), vec![origin("https://x.example.com"), vary()]),
            (r"https://.*\.example\.com", Some("https://X.EXAMPLE.com"), vec![origin("https://X.EXAMPLE.com"), vary()]),
            (
                r"https://.*\.example\.com",
                Some("https://x.example.com.evil.org"),
                vec![origin("https://x.example.com.evil.org"), vary()],
            ),
            (r"https://.*\.example\.com$", Some("https://x.example.com.evil.org"), vec![]),
            (r"https://.*\.example\.com", Some("https://example.org"), vec![]),
            (r".\.example\.com", Some("https://x.example.com"), vec![]),
            (r"https://.*\.example\.com", None, vec![]),
            (r"b\.com|(?:x)", Some("zb.com"), vec![]),
            (r"https://.*\.c\.com,http://a.com", None, vec![origin("http://a.com"), vary()]),
            ("www.microsoft.com,  www.bing.com", Some("www.microsoft.com"), vec![origin("www.microsoft.com"), vary()]),
            ("www.microsoft.com,  www.bing.com", Some("https://www.microsoft.com"), vec![]),
        ] {
            let request: Vec<_> = request.map(|origin| ("origin", origin)).into_iter().collect();
            for method in [Method::GET, Method::POST, Method::OPTIONS] {
                assert_eq!(answer(origins, &method, &request, &[]), expected, "{origins} {request:?}");
            }
        }
    }

    #[test]
    fn a_preflight_is_told_the_methods_and_headers() {
        let methods = "access-control-allow-methods: GET, POST";
        for (request, expected) in [
            (vec![("access-control-request-method", "POST")], vec![methods]),
            (vec![("access-control-request-method", "post")], vec![methods]),
            (vec![("access-control-request-method", "GET")], vec![methods]),
            (vec![("access-control-request-method", "PUT")], vec![]),
            (vec![("access-control-request-method", "")], vec![]),
            (
                vec![
                    ("access-control-request-method", "POST"),
                    ("access-control-request-headers", "x-foo,content-type"),
                ],
                vec!["access-control-allow-headers: content-type, x-foo", methods],
            ),
            (vec![("access-control-request-method", "POST"), ("access-control-request-headers", "")], vec![methods]),
            (vec![("access-control-request-method", "PUT"), ("access-control-request-headers", "x-foo")], vec![]),
            (
                vec![("access-control-request-method", "POST"), ("access-control-request-private-network", "true")],
                vec!["access-control-allow-private-network: false", methods],
            ),
        ] {
            let mut lines = vec![("origin", "http://a.com")];
            lines.extend(request);
            let mut all = vec!["access-control-allow-origin: http://a.com"];
            all.extend(expected);
            all.push("vary: Origin");
            assert_eq!(answer(LIST, &Method::OPTIONS, &lines, &[]), all, "{lines:?}");
        }
        let lines = [("origin", "http://evil.com"), ("access-control-request-method", "POST")];
        assert!(answer("http://a.com", &Method::OPTIONS, &lines, &[]).is_empty());
        let lines = [("origin", "http://a.com"), ("access-control-request-method", "POST")];
        assert_eq!(answer("http://a.com", &Method::POST, &lines, &[]), ["access-control-allow-origin: http://a.com"]);
    }

    #[test]
    fn a_header_of_the_scorer_stays_alone() {
        let request = [("origin", "http://a.com")];
        let own = [("access-control-allow-origin", "*"), ("access-control-allow-headers", "A")];
        assert_eq!(
            answer(LIST, &Method::POST, &request, &own),
            ["access-control-allow-origin: *", "access-control-allow-headers: A"]
        );
        assert_eq!(
            answer(LIST, &Method::POST, &request, &[("vary", "Accept")]),
            ["vary: Accept", "vary: Origin", "access-control-allow-origin: http://a.com"]
        );
    }

    #[test]
    fn an_empty_list_is_off_and_an_empty_item_is_one_that_no_origin_is_like() {
        assert!(Cors::parse("").unwrap().is_none());
        assert_eq!(Cors::parse(" a.com ,b.com,").unwrap().unwrap().origins(), ["a.com", "b.com", ""]);
        let origin = [("origin", "http://a.com")];
        let allowed = ["access-control-allow-origin: http://a.com", "vary: Origin"];
        assert_eq!(answer("http://a.com,", &Method::GET, &origin, &[]), allowed);
        assert!(answer("http://a.com,", &Method::GET, &[], &[]).is_empty());
    }

    #[test]
    fn what_cannot_be_used_is_refused_at_the_start() {
        for (list, part) in [
            ("https://[a.com", "unclosed character class"),
            ("http://a.com,*.example.com", "repetition operator missing expression"),
            (r"(?=x)", "look-around"),
            (r"(a)\1", "backreferences are not supported"),
            ("(a{1000}){1000}", "size limit"),
            ("http://a\u{7}b.com", "cannot be sent"),
        ] {
            let message = Cors::parse(list).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
            assert!(!message.contains('\n'), "{message}");
        }
    }
}
