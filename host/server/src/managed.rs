//! Answers as managed online endpoints of Azure ML give them, which stand between clients and the inference server.
//!
//! An endpoint does not pass on that a model failed: it answers with 424, and says in two headers what the model's server
//! said. 408 is for a model that took too long. That too many requests are answered with 429 is a matter of capacity: an
//! endpoint takes twice as many as are scored at the same time. Source: "HTTP status codes" in the troubleshooting guide
//! for online endpoints, <https://learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints>.

use axum::response::{IntoResponse as _, Response};
use http::{HeaderName, HeaderValue, StatusCode};

use crate::error::Error;

static MODEL_ERROR_STATUS: HeaderName = HeaderName::from_static("ms-azureml-model-error-statuscode");
static MODEL_ERROR_REASON: HeaderName = HeaderName::from_static("ms-azureml-model-error-reason");

/// What an endpoint makes of an answer on `/score`.
pub(crate) fn response(answer: Result<Response, Error>) -> Response {
    let (mut response, is_hosts_own) = match answer {
        Ok(response) => (response, false),
        Err(Error::Timeout(limit)) => {
            let mut response = Error::Timeout(limit).into_response();
            *response.status_mut() = StatusCode::REQUEST_TIMEOUT;
            return response;
        }
        Err(error) => {
            let is_hosts_own = error.is_hosts_own();
            (error.into_response(), is_hosts_own)
        }
    };
    let status = response.status();
    if is_hosts_own || status.is_success() {
        return response;
    }
    *response.status_mut() = StatusCode::FAILED_DEPENDENCY;
    let headers = response.headers_mut();
    headers.insert(&MODEL_ERROR_STATUS, HeaderValue::from(status.as_u16()));
    headers.insert(&MODEL_ERROR_REASON, HeaderValue::from_static("model_error"));
    response
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::body::Body;
    use scorebox_sandbox::Refused;

    use super::*;

    fn translated(answer: Result<u16, Error>) -> (u16, Option<String>) {
        let answer = answer.map(|status| http::Response::builder().status(status).body(Body::empty()).unwrap());
        let response = response(answer);
        let model = response.headers().get(&MODEL_ERROR_STATUS).map(|value| value.to_str().unwrap().to_owned());
        (response.status().as_u16(), model)
    }

    #[test]
    fn what_the_model_gets_wrong_is_a_failed_dependency() {
        assert_eq!(translated(Ok(200)), (200, None));
        assert_eq!(translated(Ok(201)), (201, None));
        assert_eq!(translated(Ok(404)), (424, Some("404".to_owned())));
        assert_eq!(translated(Err(Error::Script)), (424, Some("500".to_owned())));
        assert_eq!(translated(Err(Error::BadInput(String::new()))), (424, Some("400".to_owned())));
    }

    #[test]
    fn time_and_capacity_are_the_endpoints_own() {
        assert_eq!(translated(Err(Error::Timeout(Duration::from_secs(1)))), (408, None));
        assert_eq!(translated(Err(Error::BodyTooLarge(1))), (413, None));
        assert_eq!(translated(Err(Error::Refused(Refused::Stopping))), (503, None));
        assert_eq!(translated(Err(Error::NotFound)), (404, None));
    }
}
