//! Answers that are not a scorer's.
//!
//! Whoever finds that a request cannot be answered by a scorer returns an [`Error`]; this is the one place that gives it a
//! status, a message and headers. Statuses and messages are part of the contract of Azure ML's inference server 1.5.1,
//! those marked *own* are Scorebox's. No message holds anything that a scorer said, except where the scorer said it to
//! the client: what went wrong inside is for the log.

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use scorebox_sandbox::Refused;

use crate::ids::IdTooLong;
use crate::input::InputError;
use crate::python_json;
use crate::swagger::SwaggerError;
use crate::tenant;

/// `x-ms-run-function-failed`: whether it was the scorer that failed.
pub(crate) static RUN_FUNCTION_FAILED: HeaderName = HeaderName::from_static("x-ms-run-function-failed");

/// Why a request is not answered by a scorer.
#[derive(Debug)]
pub(crate) enum Error {
    /// No such route.
    NotFound,
    /// The route does not take the method.
    MethodNotAllowed,
    /// The client wants to go on with WebSocket, which no route does.
    WebSocket,
    /// An id is too long.
    Id(IdTooLong),
    /// The request is not what the scorer takes.
    Input(InputError),
    /// There is no such version of the OpenAPI document.
    Swagger(SwaggerError),
    /// The scorer says that the input is wrong.
    BadInput(String),
    /// The scorer says that it does not take this form of input.
    UnsupportedInput(String),
    /// The scorer failed.
    Script,
    /// The scorer wanted to end the process that it is in. The contract has a page of HTML for it, without ids.
    Exit,
    /// The scorer did not end in time.
    Timeout(Duration),
    /// The scorer answered what is no answer in HTTP.
    Internal,
    /// *Own.* The body is over the limit, in bytes.
    BodyTooLarge(u64),
    /// *Own.* The body did not come in time.
    BodyTimeout,
    /// *Own.* The body broke off or is not valid HTTP.
    BodyBroken,
    /// *Own.* Too many bodies, or answers, at the same time.
    BodyBudget,
    /// *Own.* Too many requests at the same time.
    Refused(Refused),
    /// *Own.* Nothing is deployed, or the server is about to end.
    NotReady,
    /// *Own.* A quota of the tenant is used up.
    Quota {
        /// Which one.
        quota: &'static str,
        /// When there is more.
        after: Duration,
    },
    /// *Own.* The deployment is not in memory, and cannot be loaded, or not soon.
    NotLoaded {
        /// When that is tried again.
        after: Duration,
    },
    /// *Own.* No credential was shown, or one that opens nothing.
    Unauthorized,
    /// *Own.* No deployment of the endpoint gets the request.
    NoDeployment,
}

impl Error {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound | Self::NoDeployment | Self::Swagger(_) => StatusCode::NOT_FOUND,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Id(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Input(error) => error.status(),
            Self::WebSocket | Self::BadInput(_) | Self::BodyBroken => StatusCode::BAD_REQUEST,
            Self::UnsupportedInput(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Script | Self::Exit | Self::Timeout(_) | Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::BodyTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::BodyBudget
            | Self::Quota { .. }
            | Self::Refused(
                Refused::Busy { .. } | Refused::CpuSpent { .. } | Refused::MemorySpent { .. } | Refused::WaitedTooLong,
            ) => StatusCode::TOO_MANY_REQUESTS,
            Self::Refused(Refused::Stopping) | Self::NotReady | Self::NotLoaded { .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    fn message(&self) -> Cow<'static, str> {
        match self {
            Self::NotFound => "The requested URL was not found on the server. If you entered the URL manually please \
                               check your spelling and try again."
                .into(),
            Self::MethodNotAllowed => "The method is not allowed for the requested URL.".into(),
            Self::WebSocket => "The browser (or proxy) sent a request that this server could not understand.".into(),
            Self::Id(error) => error.to_string().into(),
            Self::Input(error) => error.to_string().into(),
            Self::Swagger(error) => error.to_string().into(),
            Self::BadInput(message) | Self::UnsupportedInput(message) => message.clone().into(),
            Self::Script | Self::Exit => {
                "An unexpected error occurred in scoring script. Check the logs for more info.".into()
            }
            Self::Timeout(limit) => format!("Scoring timeout after {} ms", limit.as_millis()).into(),
            Self::Internal => "An unexpected internal error occurred. Check the logs for more info.".into(),
            Self::BodyTooLarge(limit) => {
                format!("The request body has more than the {limit} bytes that are allowed.").into()
            }
            Self::BodyTimeout => "The request body did not arrive in time.".into(),
            Self::BodyBroken => "The request body ended early or is not valid.".into(),
            Self::BodyBudget
            | Self::Refused(
                Refused::Busy { .. } | Refused::CpuSpent { .. } | Refused::MemorySpent { .. } | Refused::WaitedTooLong,
            ) => "The server is busy: too many requests at the same time. Try again later.".into(),
            Self::Quota { quota, .. } => {
                format!("The quota of {quota} is used up. Try again in {} s.", self.retry_after()).into()
            }
            Self::Refused(Refused::Stopping) => "The server is shutting down.".into(),
            Self::NotReady => "The server is not ready.".into(),
            Self::NotLoaded { .. } => {
                format!("The deployment is not loaded. Try again in {} s.", self.retry_after().max(1)).into()
            }
            Self::Unauthorized => {
                "Show a key of the endpoint, as `Authorization: Bearer KEY` or `api-key: KEY`.".into()
            }
            Self::NoDeployment => {
                "The endpoint has no deployment for this request: none of that name, or none with traffic.".into()
            }
        }
    }

    /// Whether it is neither the scorer's nor one that the contract knows: the request did not get that far.
    pub(crate) fn is_hosts_own(&self) -> bool {
        matches!(
            self,
            Self::BodyTooLarge(_)
                | Self::BodyTimeout
                | Self::BodyBroken
                | Self::BodyBudget
                | Self::Quota { .. }
                | Self::Refused(_)
                | Self::NotReady
                | Self::NotLoaded { .. }
                | Self::Unauthorized
                | Self::NoDeployment
                | Self::NotFound
        )
    }

    /// What the request is refused for, as a label; none where it is not refused but wrong, or where the scorer failed.
    pub(crate) fn refusal(&self) -> Option<&'static str> {
        Some(match self {
            Self::Quota { quota, .. } => *quota,
            Self::BodyBudget => tenant::BODIES,
            Self::BodyTooLarge(_) => tenant::BODY_SIZE,
            Self::BodyTimeout => tenant::BODY_TIME,
            Self::Refused(Refused::Stopping) => tenant::STOPPING,
            Self::Refused(Refused::WaitedTooLong) => tenant::WAITING,
            Self::Refused(_) => tenant::ALL_REQUESTS,
            Self::NotLoaded { .. } => tenant::LOADING,
            Self::NotReady => tenant::NOTHING,
            _ => return None,
        })
    }

    /// Seconds after which it may be tried again.
    fn retry_after(&self) -> u64 {
        match self {
            Self::Quota { after, .. } | Self::NotLoaded { after } => {
                after.as_secs() + u64::from(after.subsec_nanos() > 0)
            }
            _ => 1,
        }
    }

    fn run_function_failed(&self) -> bool {
        matches!(self, Self::Script | Self::Exit | Self::Timeout(_))
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut body = String::from("{\"message\": ");
        python_json::write_str(&self.message(), &mut body);
        body.push('}');
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(&RUN_FUNCTION_FAILED, python_bool(self.run_function_failed()));
        if matches!(
            self,
            Self::BodyBudget | Self::Quota { .. } | Self::Refused(_) | Self::NotReady | Self::NotLoaded { .. }
        ) {
            headers.insert(RETRY_AFTER, HeaderValue::from(self.retry_after().max(1)));
        }
        if matches!(self, Self::Unauthorized) {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if matches!(self, Self::BodyTooLarge(_) | Self::BodyTimeout | Self::BodyBroken) {
            // What is left of the body would be taken for the next request.
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// `True` or `False`, as the contract writes them.
pub(crate) fn python_bool(value: bool) -> HeaderValue {
    HeaderValue::from_static(if value { "True" } else { "False" })
}
