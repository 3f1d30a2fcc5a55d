//! The bindings of the world `scorer`, generated from `wit/`.
#![allow(
    unsafe_code,
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::mem_forget,
    clippy::undocumented_unsafe_blocks
)]

wit_bindgen::generate!({
    path: "../../wit",
    world: "scorer",
    pub_export_macro: true,
    export_macro_name: "__export_scorer_impl",
    default_bindings_module: "scorebox_guest::bindings",
    additional_derives: [PartialEq, Eq],
});
