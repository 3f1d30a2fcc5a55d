//! Where Application Insights is, and which resource telemetry is for.

use std::fmt;

use http::Uri;
use uuid::Uuid;

use crate::error::ConfigError;

/// The endpoint when none is configured.
const DEFAULT_ENDPOINT: &str = "https://dc.services.visualstudio.com";

/// The path of the service, as Azure ML's inference server 1.5.1 uses it.
const TRACK: &str = "/v2.1/track";

/// Which Application Insights resource telemetry goes to, and where.
#[derive(Clone, PartialEq, Eq)]
pub struct AppInsights {
    /// The instrumentation key: a UUID in lower case.
    pub(crate) key: String,
    /// The URL that items are posted to.
    pub(crate) track: Uri,
}

impl fmt::Debug for AppInsights {
    /// The key is what lets anybody write to the resource, so it is not shown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("AppInsights").field("track", &self.track).finish_non_exhaustive()
    }
}

impl AppInsights {
    /// Reads the settings.
    ///
    /// * `key`: `AML_APP_INSIGHTS_KEY`, a UUID in any letter case. Empty for the key of the connection string;
    ///   otherwise it wins over that.
    /// * `endpoint`: `AML_APP_INSIGHTS_ENDPOINT`, a base (`https://host`) or a whole URL (`https://host/v2/track`).
    /// * `connection_string`: `APPLICATIONINSIGHTS_CONNECTION_STRING`,
    ///   `InstrumentationKey=…;IngestionEndpoint=https://…`, or `EndpointSuffix` and `Location` in place of the
    ///   endpoint. Its endpoint wins over `endpoint`.
    ///
    /// Without an endpoint it is `https://dc.services.visualstudio.com`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for a key that is no UUID, a connection string that is none, and an endpoint that is no URL. No
    /// error holds a key.
    pub fn new(key: &str, endpoint: Option<&str>, connection_string: Option<&str>) -> Result<Self, ConfigError> {
        let connection = match connection_string.map(str::trim).filter(|text| !text.is_empty()) {
            Some(text) => ConnectionString::parse(text)?,
            None => ConnectionString::default(),
        };
        let key = match (key.trim(), &connection.key) {
            ("", Some(key)) => uuid(key).ok_or(ConfigError::ConnectionStringKey)?,
            (key, _) => uuid(key).ok_or(ConfigError::Key)?,
        };
        let endpoint = endpoint.map(str::trim).filter(|endpoint| !endpoint.is_empty());
        let track = match (connection.endpoint, endpoint) {
            (Some(endpoint), _) => track("APPLICATIONINSIGHTS_CONNECTION_STRING", &endpoint)?,
            (None, Some(endpoint)) => track("AML_APP_INSIGHTS_ENDPOINT", endpoint)?,
            (None, None) => track("the default", DEFAULT_ENDPOINT)?,
        };
        Ok(Self { key, track })
    }

    /// The URL that items are posted to.
    pub fn endpoint(&self) -> &Uri {
        &self.track
    }
}

/// A UUID with hyphens, in lower case: the service's exporters know no other form.
fn uuid(key: &str) -> Option<String> {
    Uuid::try_parse(key.trim()).ok().map(|uuid| uuid.hyphenated().to_string())
}

/// The URL to post to, from a base or from a URL with the path of any version of the service.
fn track(setting: &'static str, endpoint: &str) -> Result<Uri, ConfigError> {
    let error = |reason| ConfigError::Endpoint { setting, reason };
    let endpoint = if endpoint.contains("://") { endpoint.to_owned() } else { format!("https://{endpoint}") };
    let base = endpoint.trim_end_matches('/');
    let base = base.strip_suffix("/v2/track").or_else(|| base.strip_suffix(TRACK)).unwrap_or(base);
    let url = format!("{}{TRACK}", base.trim_end_matches('/'));
    let uri: Uri = url.parse().map_err(|_| error("it is no URL"))?;
    check_url(&uri).map_err(error)?;
    Ok(uri)
}

/// What is wrong with a URL that telemetry is to be sent to.
pub(crate) fn check_url(uri: &Uri) -> Result<(), &'static str> {
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err("its scheme is neither https nor http");
    }
    match uri.authority() {
        None => Err("it names no host"),
        Some(authority) if authority.as_str().contains('@') => Err("it has a user name or password"),
        Some(_) if uri.query().is_some() => Err("it has a query"),
        Some(_) => Ok(()),
    }
}

/// What a connection string says.
#[derive(Default)]
struct ConnectionString {
    key: Option<String>,
    endpoint: Option<String>,
}

impl ConnectionString {
    /// Reads `name=value;name=value`. Letter case of names does not matter, unknown names are left alone.
    fn parse(text: &str) -> Result<Self, ConfigError> {
        let (mut key, mut endpoint, mut suffix, mut location) = (None, None, None, None);
        for field in text.split(';').map(str::trim).filter(|field| !field.is_empty()) {
            let (name, value) = field.split_once('=').ok_or(ConfigError::ConnectionString)?;
            let value = Some(value.trim().to_owned()).filter(|value| !value.is_empty());
            match name.trim().to_ascii_lowercase().as_str() {
                "instrumentationkey" => key = value,
                "ingestionendpoint" => endpoint = value,
                "endpointsuffix" => suffix = value,
                "location" => location = value,
                "authorization" if value.as_deref().is_some_and(|value| !value.eq_ignore_ascii_case("ikey")) => {
                    return Err(ConfigError::Authorization);
                }
                _ => (),
            }
        }
        let regional = |suffix: String| match &location {
            Some(location) => format!("https://{location}.dc.{suffix}"),
            None => format!("https://dc.{suffix}"),
        };
        Ok(Self { key, endpoint: endpoint.or_else(|| suffix.map(regional)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "22222222-2222-2222-2222-222222222222";
    const OTHER: &str = "InstrumentationKey=11111111-1111-1111-1111-111111111111;\
                         IngestionEndpoint=http://127.0.0.1:5998/;LiveEndpoint=http://127.0.0.1:5998/";

    fn url(key: &str, endpoint: Option<&str>, connection_string: Option<&str>) -> String {
        AppInsights::new(key, endpoint, connection_string).unwrap().track.to_string()
    }

    #[test]
    fn the_endpoint_is_the_connection_strings_else_the_settings_else_the_services() {
        let base = "https://dc.services.visualstudio.com/v2.1/track";
        assert_eq!(url(KEY, None, None), base);
        assert_eq!(url(KEY, Some(" "), Some("")), base);
        assert_eq!(url(KEY, None, Some(OTHER)), "http://127.0.0.1:5998/v2.1/track");
        assert_eq!(url(KEY, Some("http://a"), Some(OTHER)), "http://127.0.0.1:5998/v2.1/track");
        assert_eq!(url(KEY, Some("http://a"), Some("InstrumentationKey=x")), "http://a/v2.1/track");
        let suffix = "EndpointSuffix=ai.contoso.com";
        assert_eq!(url(KEY, None, Some(suffix)), "https://dc.ai.contoso.com/v2.1/track");
        let regional = "EndpointSuffix=ai.contoso.com;Location=westus2;Unknown=a=b;";
        assert_eq!(url(KEY, None, Some(regional)), "https://westus2.dc.ai.contoso.com/v2.1/track");
    }

    #[test]
    fn an_endpoint_may_be_a_base_or_the_whole_url() {
        for endpoint in [
            "https://a.b",
            "https://a.b/",
            "https://a.b/v2/track",
            "https://a.b/v2.1/track",
            "https://a.b//v2/track/",
            "a.b",
        ] {
            assert_eq!(url(KEY, Some(endpoint), None), "https://a.b/v2.1/track", "{endpoint}");
        }
        assert_eq!(url(KEY, Some("http://a:1/proxy/v2/track"), None), "http://a:1/proxy/v2.1/track");
        for (endpoint, part) in [
            ("ftp://a", "scheme"),
            ("https://", "no URL"),
            ("https://user:secret@a", "user name"),
            ("https://a/?x=1", "no URL"),
            ("https://a b", "no URL"),
        ] {
            let message = AppInsights::new(KEY, Some(endpoint), None).map(|_| ()).unwrap_err().to_string();
            assert!(message.contains("AML_APP_INSIGHTS_ENDPOINT"), "{message}");
            assert!(message.contains(part) || endpoint.contains('?'), "{endpoint}: {message}");
            assert!(!message.contains("secret"), "{message}");
        }
    }

    #[test]
    fn the_key_is_a_uuid_in_any_letter_case_and_wins() {
        let upper = AppInsights::new("ABCDEF00-2222-2222-2222-222222222222", None, None).unwrap();
        assert_eq!(upper.key, "abcdef00-2222-2222-2222-222222222222");
        assert_eq!(AppInsights::new(KEY, None, Some(OTHER)).unwrap().key, KEY);
        assert_eq!(AppInsights::new("", None, Some(OTHER)).unwrap().key, "11111111-1111-1111-1111-111111111111");
        for (key, connection) in [("", None), ("secret-key", None), ("secret-key", Some(OTHER))] {
            let message = AppInsights::new(key, None, connection).unwrap_err().to_string();
            assert!(message.contains("AML_APP_INSIGHTS_KEY") && !message.contains("secret"), "{message}");
        }
        for text in ["InstrumentationKey=secret", "secret", "Authorization=aad;InstrumentationKey=secret"] {
            let message = AppInsights::new("", None, Some(text)).unwrap_err().to_string();
            assert!(message.contains("APPLICATIONINSIGHTS_CONNECTION_STRING"), "{message}");
            assert!(!message.contains("secret"), "{message}");
        }
    }

    #[test]
    fn the_key_is_not_shown() {
        let shown = format!("{:?}", AppInsights::new(KEY, None, None).unwrap());
        assert!(!shown.contains("2222") && shown.contains("visualstudio"), "{shown}");
    }
}
