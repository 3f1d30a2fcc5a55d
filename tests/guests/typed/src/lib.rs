//! Takes all that its schema allows, and gives one of each kind of type that a schema can be derived from.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use schemars::JsonSchema;
use scorebox_guest::{Deployment, Result, Scorer};
use serde::{Deserialize, Serialize};
use serde_json::Value;

struct Typed;

/// What every version of the document has words for: no value that fits it is refused.
#[derive(Deserialize, JsonSchema)]
#[schemars(example = serde_json::json!({"share": 0.5, "kind": "small", "rows": [[1.0, 2.0]], "label": null}))]
struct Input {
    /// A number.
    share: f64,
    kind: Kind,
    rows: Vec<Vec<f64>>,
    label: Option<String>,
    #[serde(default)]
    flag: bool,
    #[serde(default)]
    level: i16,
    #[serde(default)]
    byte: u8,
    #[serde(default)]
    weights: BTreeMap<String, f64>,
    #[serde(default)]
    anything: Value,
    #[serde(default)]
    inner: Inner,
}

/// One of two.
#[derive(Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// Less than one.
    Small,
    Large,
}

#[derive(Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
struct Inner {
    texts: Vec<String>,
    float: f64,
}

#[derive(Serialize, JsonSchema)]
struct Output {
    kind: Kind,
    label: Option<String>,
    rows: usize,
    pair: (String, u8),
    triple: [f64; 3],
    single: f32,
    unsigned: u64,
    signed: i64,
    letter: char,
    tree: Tree,
    shapes: Vec<Shape>,
    events: Vec<Event>,
    either: Either,
    wrapped: Wrapped,
    anything: Value,
    counts: BTreeMap<String, Option<u32>>,
    nothing: (),
    #[serde(skip_serializing_if = "Option::is_none")]
    absent: Option<Inner>,
    #[schemars(range(min = 0.0, max = 1.0), extend("x-unit" = "share"))]
    bounded: f64,
    #[schemars(length(min = 1), regex(pattern = "^[a-z]+$"))]
    pattern: String,
}

/// Has others of its kind within.
#[derive(Serialize, JsonSchema)]
struct Tree {
    value: i32,
    children: Vec<Tree>,
    parent: Option<Box<Tree>>,
}

/// Told apart by the name of its only member.
#[derive(Serialize, JsonSchema)]
enum Shape {
    Nothing,
    Circle(f64),
    Rectangle { width: f64, height: f64 },
    Line(f64, f64),
}

/// Told apart by a member.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "type", deny_unknown_fields)]
enum Event {
    Started { at: u32 },
    Ended { at: u32, why: Option<String> },
}

/// Not told apart.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
enum Either {
    Number(f64),
    Texts(Vec<String>),
}

#[derive(Serialize, JsonSchema)]
struct Wrapped(#[schemars(range(min = 1))] u16);

impl Scorer for Typed {
    type Input = Input;
    type Output = Output;

    fn init(_: &Deployment) -> Result<Self> {
        Ok(Self)
    }

    fn run(&self, input: Input) -> Result<Output> {
        let leaf = |value| Tree { value, children: Vec::new(), parent: None };
        let either = if input.flag { Either::Number(1.5) } else { Either::Texts(input.inner.texts) };
        Ok(Output {
            kind: input.kind,
            label: input.label,
            rows: input.rows.len(),
            pair: ("pair".to_owned(), input.byte),
            triple: [1.0, 2.0, 3.0],
            single: 0.1,
            unsigned: u64::MAX,
            signed: i64::MIN + i64::from(input.level).abs(),
            letter: 'é',
            tree: Tree { value: 1, children: vec![leaf(2), leaf(3)], parent: Some(Box::new(leaf(4))) },
            shapes: vec![
                Shape::Nothing,
                Shape::Circle(0.5),
                Shape::Rectangle { width: 1.0, height: 2.0 },
                Shape::Line(1.0, 2.0),
            ],
            events: vec![Event::Started { at: 1 }, Event::Ended { at: 2, why: None }],
            either,
            wrapped: Wrapped(7),
            anything: input.anything,
            counts: input.weights.into_keys().map(|name| (name, None)).collect(),
            nothing: (),
            absent: None,
            bounded: if input.share > 0.5 && input.inner.float > 0.5 { 1.0 } else { 0.0 },
            pattern: "abc".to_owned(),
        })
    }
}

scorebox_guest::export!(Typed);
