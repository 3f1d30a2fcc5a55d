//! The document of the API, made from what the handlers say of themselves.

use axum::response::{IntoResponse as _, Response};
use http::header::CONTENT_TYPE;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{bundles, resources, trial};

#[derive(OpenApi)]
#[openapi(
    info(title = "Scorebox", description = "Tenants, endpoints and deployments, managed while they are served."),
    servers((url = "/admin/v1")),
    modifiers(&Token),
    security(("token" = [])),
    paths(
        resources::tenants, resources::tenant, resources::put_tenant, resources::delete_tenant,
        resources::endpoints, resources::endpoint, resources::put_endpoint, resources::delete_endpoint,
        resources::put_key, resources::put_traffic, trial::test, trial::swagger,
        resources::deployments, resources::deployment, resources::put_deployment, resources::put_current,
        resources::delete_deployment, resources::logs,
        resources::put_backup,
        bundles::list, bundles::show, bundles::upload,
    )
)]
struct Document;

/// That each request shows the token.
struct Token;

impl Modify for Token {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme =
            HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("The operator's token")).build();
        document.components.get_or_insert_default().add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// Answers with the document.
pub(super) async fn document() -> Response {
    let json = Document::openapi().to_json().expect("a document can be written as JSON");
    ([(CONTENT_TYPE, "application/json")], json).into_response()
}
