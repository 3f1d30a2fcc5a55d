//! What OpenTelemetry's environment variables say about export by OTLP.
//!
//! Reading them is ours, though the exporter's crate reads them too: a value that cannot be used is an error here, not
//! a default, and no header's value is shown.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};
use percent_encoding::percent_decode_str;

use crate::app_insights::check_url;
use crate::error::ConfigError;

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const RESOURCE_ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";

/// How long an export may take, unless a variable says otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where spans and log records go by OTLP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Otlp {
    pub(crate) traces: Option<Signal>,
    pub(crate) logs: Option<Signal>,
    /// Attributes of the resource, `service.name` among them if it is set.
    pub(crate) resource: Vec<(String, String)>,
}

/// Where one kind of telemetry goes.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Signal {
    pub(crate) url: Uri,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) timeout: Duration,
    pub(crate) encoding: Encoding,
    pub(crate) gzip: bool,
    /// A file of certificates to trust in place of the system's, and the variable that names it.
    pub(crate) certificate: Option<(String, PathBuf)>,
}

impl fmt::Debug for Signal {
    /// Headers hold credentials, so their values are not shown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        formatter
            .debug_struct("Signal")
            .field("url", &self.url)
            .field("headers", &headers)
            .field("timeout", &self.timeout)
            .field("encoding", &self.encoding)
            .field("gzip", &self.gzip)
            .field("certificate", &self.certificate)
            .finish()
    }
}

/// How messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// `http/protobuf`
    Protobuf,
    /// `http/json`
    Json,
}

impl Otlp {
    /// Reads the variables through `get`, which gives a variable's value (`|name| std::env::var(name).ok()`):
    ///
    /// * `OTEL_EXPORTER_OTLP_ENDPOINT`, to which `/v1/traces` and `/v1/logs` are added, and
    ///   `OTEL_EXPORTER_OTLP_{TRACES,LOGS}_ENDPOINT`, which are whole URLs. Without any of them there is no export:
    ///   None.
    /// * `OTEL_EXPORTER_OTLP_[TRACES_|LOGS_]{HEADERS,TIMEOUT,PROTOCOL,COMPRESSION,CERTIFICATE}`. Timeouts are in
    ///   milliseconds, 10000 by default; protocols `http/protobuf` (default) and `http/json`; compressions `gzip` and
    ///   `none` (default).
    /// * `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`.
    /// * `OTEL_SDK_DISABLED=true`: None. `OTEL_{TRACES,LOGS}_EXPORTER=none`: not that one.
    ///
    /// An empty variable counts as not set.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for a value that cannot be used, such as the protocol `grpc`.
    pub fn from_env(get: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, ConfigError> {
        let environment =
            Environment(|name: &str| get(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty()));
        if environment.get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let traces = environment.signal("TRACES", "v1/traces")?;
        let logs = environment.signal("LOGS", "v1/logs")?;
        if traces.is_none() && logs.is_none() {
            return Ok(None);
        }
        Ok(Some(Self { traces, logs, resource: environment.resource()? }))
    }
}

/// The variables, of which empty ones are left out.
struct Environment<G>(G);

impl<G: Fn(&str) -> Option<String>> Environment<G> {
    fn get(&self, name: &str) -> Option<String> {
        (self.0)(name)
    }

    /// The variable of a signal, or else the one for all signals, with its name.
    fn of_signal(&self, signal: &str, name: &str) -> Option<(String, String)> {
        [format!("OTEL_EXPORTER_OTLP_{signal}_{name}"), format!("OTEL_EXPORTER_OTLP_{name}")]
            .into_iter()
            .find_map(|variable| self.get(&variable).map(|value| (variable, value)))
    }

    fn signal(&self, signal: &str, path: &str) -> Result<Option<Signal>, ConfigError> {
        if self.get(&format!("OTEL_{signal}_EXPORTER")).is_some_and(|value| value == "none") {
            return Ok(None);
        }
        let own = format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT");
        let (variable, url) = match (self.get(&own), self.get(ENDPOINT)) {
            (Some(url), _) => (own, url),
            (None, Some(base)) => (ENDPOINT.to_owned(), format!("{}/{path}", base.trim_end_matches('/'))),
            (None, None) => return Ok(None),
        };
        let of_signal = |name| self.of_signal(signal, name);
        Ok(Some(Signal {
            url: parse_url(variable, &url)?,
            headers: of_signal("HEADERS").map_or(Ok(Vec::new()), |(variable, list)| parse_headers(&variable, &list))?,
            timeout: of_signal("TIMEOUT")
                .map_or(Ok(DEFAULT_TIMEOUT), |(variable, value)| parse_timeout(variable, &value))?,
            encoding: of_signal("PROTOCOL")
                .map_or(Ok(Encoding::Protobuf), |(variable, value)| parse_protocol(variable, &value))?,
            gzip: of_signal("COMPRESSION")
                .map_or(Ok(false), |(variable, value)| parse_compression(variable, &value))?,
            certificate: of_signal("CERTIFICATE").map(|(variable, path)| (variable, PathBuf::from(path))),
        }))
    }

    fn resource(&self) -> Result<Vec<(String, String)>, ConfigError> {
        let mut attributes = match self.get(RESOURCE_ATTRIBUTES) {
            Some(list) => parse_pairs(RESOURCE_ATTRIBUTES, &list)?,
            None => Vec::new(),
        };
        if let Some(name) = self.get("OTEL_SERVICE_NAME") {
            attributes.retain(|(attribute, _)| attribute != "service.name");
            attributes.push(("service.name".to_owned(), name));
        }
        Ok(attributes)
    }
}

fn unusable(variable: impl Into<String>, reason: impl Into<String>) -> ConfigError {
    ConfigError::Variable { variable: variable.into(), reason: reason.into() }
}

fn parse_url(variable: String, url: &str) -> Result<Uri, ConfigError> {
    let example = "write it as http://host:4318";
    let uri: Uri = url.parse().map_err(|_| unusable(&*variable, format!("it is no URL; {example}")))?;
    check_url(&uri).map_err(|reason| unusable(variable, format!("{reason}; {example}")))?;
    Ok(uri)
}

/// Reads `name=value,name=value`, with values percent-encoded. Errors name a part by its number: what is mistyped may have a
/// credential where the name should be.
fn parse_pairs(variable: &str, list: &str) -> Result<Vec<(String, String)>, ConfigError> {
    let pairs = list.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    pairs
        .enumerate()
        .map(|(at, pair)| {
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| unusable(variable, format!("its part {} is not of the form name=value", at + 1)))?;
            let value = percent_decode_str(value.trim())
                .decode_utf8()
                .map_err(|_| unusable(variable, format!("the value of its part {} is not UTF-8", at + 1)))?;
            Ok((name.trim().to_owned(), value.into_owned()))
        })
        .collect()
}

fn parse_headers(variable: &str, list: &str) -> Result<Vec<(HeaderName, HeaderValue)>, ConfigError> {
    parse_pairs(variable, list)?
        .into_iter()
        .enumerate()
        .map(|(at, (name, value))| {
            let wrong = |what| unusable(variable, format!("its part {} has no valid header {what}", at + 1));
            let name = name.parse().map_err(|_| wrong("name"))?;
            let mut value = HeaderValue::from_str(&value).map_err(|_| wrong("value"))?;
            value.set_sensitive(true);
            Ok((name, value))
        })
        .collect()
}

fn parse_timeout(variable: String, value: &str) -> Result<Duration, ConfigError> {
    match value.parse() {
        Ok(milliseconds) if milliseconds > 0 => Ok(Duration::from_millis(milliseconds)),
        _ => Err(unusable(variable, format!("{value:?} is no number of milliseconds over 0"))),
    }
}

fn parse_protocol(variable: String, value: &str) -> Result<Encoding, ConfigError> {
    match value {
        "http/protobuf" => Ok(Encoding::Protobuf),
        "http/json" => Ok(Encoding::Json),
        "grpc" => Err(unusable(
            variable,
            "grpc is not supported; use http/protobuf, which collectors take on port 4318, or http/json",
        )),
        _ => Err(unusable(variable, format!("{value:?} is not known; use http/protobuf or http/json"))),
    }
}

fn parse_compression(variable: String, value: &str) -> Result<bool, ConfigError> {
    match value {
        "gzip" => Ok(true),
        "none" => Ok(false),
        _ => Err(unusable(variable, format!("{value:?} is not known; use gzip or none"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Otlp>, ConfigError> {
        Otlp::from_env(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn without_an_endpoint_there_is_no_export() {
        assert_eq!(read(&[]).unwrap(), None);
        assert_eq!(read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " "), ("OTEL_SERVICE_NAME", "a")]).unwrap(), None);
        let on = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4318");
        assert_eq!(read(&[on, ("OTEL_SDK_DISABLED", "TRUE")]).unwrap(), None);
        let neither = [on, ("OTEL_TRACES_EXPORTER", "none"), ("OTEL_LOGS_EXPORTER", "none")];
        assert_eq!(read(&neither).unwrap(), None);
    }

    #[test]
    fn a_signals_variable_wins() {
        let otlp = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4318/base/"),
            ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "https://b/logs"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-key = se%20cret , other=1"),
            ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "a=b"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2000"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", "none"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/etc/ca.pem"),
        ])
        .unwrap()
        .unwrap();
        let (traces, logs) = (otlp.traces.unwrap(), otlp.logs.unwrap());
        assert_eq!(traces.url, "http://a:4318/base/v1/traces");
        assert_eq!(logs.url, "https://b/logs");
        assert_eq!(traces.headers[0], (HeaderName::from_static("x-key"), HeaderValue::from_static("se cret")));
        assert_eq!((traces.headers.len(), logs.headers.len()), (2, 1));
        assert_eq!(traces.timeout, Duration::from_secs(2));
        assert_eq!((traces.encoding, logs.encoding), (Encoding::Json, Encoding::Protobuf));
        assert_eq!((traces.gzip, logs.gzip), (true, false));
        assert_eq!(logs.certificate.unwrap().1, PathBuf::from("/etc/ca.pem"));
    }

    #[test]
    fn the_service_has_the_name_of_its_variable() {
        let resource = |extra: &[(&str, &str)]| {
            let mut variables = vec![
                ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://a/v1/traces"),
                ("OTEL_RESOURCE_ATTRIBUTES", "service.name=attribute,zone=a%2Cb"),
            ];
            variables.extend(extra);
            let otlp = read(&variables).unwrap().unwrap();
            assert_eq!(otlp.logs, None);
            otlp.resource
        };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(resource(&[]), [pair("service.name", "attribute"), pair("zone", "a,b")]);
        let named = resource(&[("OTEL_SERVICE_NAME", "variable")]);
        assert_eq!(named, [pair("zone", "a,b"), pair("service.name", "variable")]);
    }

    #[test]
    fn what_cannot_be_used_is_an_error_that_names_the_variable() {
        let on = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4318");
        for (variable, value, part) in [
            ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "a:4318", "scheme"),
            ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://user:secret@a", "user name"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "thrift", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "milliseconds"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "0", "milliseconds"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "gzip"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=b,secret", "part 2"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=secret%0A", "part 1 has no valid header value"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=secret%ff", "part 1 is not UTF-8"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=b, Authorization: Basic secret=", "part 2 has no valid header name"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization: Basic secret=%0A", "part 1 has no valid header name"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization: Basic secret=%ff", "part 1 is not UTF-8"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "secret=%0A", "part 1 has no valid header value"),
            ("OTEL_RESOURCE_ATTRIBUTES", "a", "part 1"),
            ("OTEL_RESOURCE_ATTRIBUTES", "secret=%ff", "part 1 is not UTF-8"),
        ] {
            let message = read(&[on, (variable, value)]).unwrap_err().to_string();
            assert!(message.starts_with(variable) && message.contains(part), "{message}");
            assert!(!message.contains("secret"), "{message}");
        }
    }

    #[test]
    fn headers_are_not_shown() {
        let otlp = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4318"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20secret"),
        ]);
        let shown = format!("{otlp:?}");
        assert!(shown.contains("authorization") && !shown.contains("secret"), "{shown}");
    }
}
