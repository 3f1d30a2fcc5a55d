//! Answers with all that it is told: of the deployment and of the request.

use scorebox_guest::{Deployment, RawScorer, Request, Response, Result};
use serde_json::{Value, json};

struct Echo {
    deployment: Value,
}

impl RawScorer for Echo {
    fn init(deployment: &Deployment) -> Result<Self> {
        let files: Vec<_> =
            deployment.files.iter().map(|file| json!({"path": file.path, "bytes": file.contents.len()})).collect();
        Ok(Self { deployment: json!({"name": deployment.name, "version": deployment.version, "files": files}) })
    }

    fn run(&self, request: Request) -> Result<Response> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers: Vec<_> = request.headers.iter().map(|(name, value)| json!([name, text(value)])).collect();
        Response::json(&json!({
            "deployment": self.deployment,
            "id": request.id,
            "client_request_id": request.client_request_id,
            "method": request.method,
            "scheme": request.scheme,
            "path": request.path,
            "query": request.query,
            "headers": headers,
            "client_address": request.client_address,
            "body": text(&request.body),
            "body_bytes": request.body.len(),
        }))
    }
}

scorebox_guest::export!(Echo);
