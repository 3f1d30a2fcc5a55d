//! The WIT world `scorer` as Rust types, generated from `wit/`.
#![allow(missing_docs, unsafe_code, clippy::pedantic, reason = "generated code")]

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "scorer",
    exports: { default: async },
    additional_derives: [PartialEq],
});
