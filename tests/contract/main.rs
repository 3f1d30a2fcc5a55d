//! The HTTP contract of Azure ML's inference server 1.5.1, as a client sees it.

mod errors;
mod examples;
mod headers;
mod ids;
mod input;
mod routes;
mod swagger;
mod transport;
