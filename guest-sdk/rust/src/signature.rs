//! What a scorer says about its input and output.

use schemars::JsonSchema;
use schemars::generate::{Contract, SchemaSettings};

use crate::{InputMode, Signature};

impl Signature {
    /// The body as its bytes, every method, and nothing said about input and output.
    pub fn raw() -> Self {
        Self { mode: InputMode::Raw, input: None, output: None, versions: Vec::new() }
    }

    /// A JSON object of the form of `I` in, JSON of the form of `O` out.
    ///
    /// The schemas are written as `OpenAPI` 3.0 has them, without references unless a type contains itself. The first
    /// example that `#[schemars(example = ...)]` gives becomes `example`.
    pub fn json<I: JsonSchema, O: JsonSchema>() -> Self {
        Self {
            mode: InputMode::Json,
            input: Some(json_schema::<I>(Contract::Deserialize)),
            output: Some(json_schema::<O>(Contract::Serialize)),
            versions: Vec::new(),
        }
    }
}

fn json_schema<T: JsonSchema>(contract: Contract) -> String {
    let mut settings = SchemaSettings::openapi3();
    settings.contract = contract;
    settings.inline_subschemas = true;
    settings.meta_schema = None;
    settings.into_generator().into_root_schema_for::<T>().as_value().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};

    /// Rows to score.
    #[derive(Deserialize, JsonSchema)]
    #[schemars(example = serde_json::json!({"zone": null, "rows": [{"area": 1.5}]}))]
    struct Input {
        #[expect(dead_code, reason = "only its schema is looked at")]
        zone: Option<String>,
        #[expect(dead_code, reason = "only its schema is looked at")]
        rows: Vec<Row>,
    }

    #[derive(Deserialize, Serialize, JsonSchema)]
    struct Row {
        area: f64,
    }

    #[test]
    fn a_schema_is_inline_in_the_order_of_declaration_and_has_its_example() {
        let signature = Signature::json::<Input, Row>();
        assert_eq!(
            signature.input.as_deref(),
            Some(concat!(
                r#"{"type":"object","properties":{"#,
                r#""zone":{"type":"string","nullable":true},"#,
                r#""rows":{"type":"array","items":{"type":"object","properties":{"#,
                r#""area":{"type":"number","format":"double"}},"required":["area"]}}},"#,
                r#""required":["rows"],"description":"Rows to score.","title":"Input","#,
                r#""example":{"zone":null,"rows":[{"area":1.5}]}}"#,
            )),
        );
        assert_eq!(
            signature.output.as_deref(),
            Some(concat!(
                r#"{"type":"object","properties":{"area":{"type":"number","format":"double"}},"#,
                r#""required":["area"],"title":"Row"}"#,
            )),
        );
    }
}
