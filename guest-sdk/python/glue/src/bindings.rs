//! The world of the glue as Rust, generated from `wit/`.
#![allow(unsafe_code, missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated code")]

wit_bindgen::generate!({
    path: ["../../../wit", "wit"],
    world: "scorebox:python/glue",
    generate_all,
});
