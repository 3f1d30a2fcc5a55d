//! What is done to CPython beyond what it does by itself: floats are read by other code, and modules come as bytecode.

use serde_json::{Value, json};

use crate::{answer, start};

/// Floats whose text is hard to read right: half-way between two, at the ends of the range, long.
const HARD: &[&str] = &[
    "0.0",
    "-0.0",
    "0.1",
    "1e23",
    "9007199254740993.0",
    "9007199254740992.999999999999999999999999999",
    "9007199254740993.000000000000000000000000001",
    "8.5e22",
    "5e-324",
    "2.4703282292062327e-324",
    "2.4703282292062328e-324",
    "2.2250738585072011e-308",
    "2.2250738585072014e-308",
    "1.7976931348623157e308",
    "1.7976931348623158e+308",
    "6929495644600919.5",
    "3.1415926535897932384626433832795028841971693993751",
    "1E5",
    "1e-400",
];

#[test]
fn floats_are_read_as_they_are_correctly_rounded() {
    let mut state = 1_u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state
    };
    let mut floats: Vec<_> = HARD.iter().map(|text| (*text).to_owned()).collect();
    while floats.len() < 5000 {
        let (any, small) = (f64::from_bits(random()), (random() >> 11) as f64 / (1_u64 << 53) as f64);
        if any.is_finite() {
            floats.push(format!("{any:?}"));
        }
        floats.push(format!("{small:?}"));
        floats.push(format!("{:.3}", small * 1e6));
    }
    let expected: Vec<_> =
        floats.iter().map(|text| text.parse::<f64>().expect("a float").to_bits().to_string()).collect();
    let others = ["1_000.5", " 2.5 ", "1e400", "-1e400", "inf", "-nan", "1.5x", "", "1e", "0x1p3"];
    let server = start("interpreter");
    let answer = answer(&server, &json!({ "floats": floats, "others": others }));
    assert_eq!(answer["json"], json!(expected));
    assert_eq!(answer["float"], json!(expected));
    let no_float = |text| format!("ValueError: could not convert string to float: {text}");
    assert_eq!(
        answer["others"],
        json!([
            "1000.5",
            "2.5",
            "inf",
            "-inf",
            "inf",
            "nan",
            no_float("'1.5x'"),
            no_float("''"),
            no_float("'1e'"),
            no_float("'0x1p3'"),
        ])
    );
    // What overflows is CPython's to tell.
    assert!(answer["pickle"].as_str().is_some_and(|error| error.starts_with("OverflowError: ")), "{answer}");
    assert_eq!(answer["complex"], "(1500-2.5j)");
}

#[test]
fn packages_and_the_runner_are_imported_as_bytecode_that_names_their_source() {
    let server = start("interpreter");
    let answer = answer(&server, &json!({ "floats": [], "others": [] }));
    let bytecode = |path: &str| Value::from(format!("/usr/local/lib/scorebox.zip/{path}"));
    assert_eq!(answer["files"], json!([bytecode("flask/__init__.pyc"), bytecode("scorebox_runner/door.pyc")]));
    assert_eq!(answer["line"], bytecode("scorebox_runner/door.py"));
}
