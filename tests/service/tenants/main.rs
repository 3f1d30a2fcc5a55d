//! Many endpoints of many tenants: who gets which answer, and what is managed while that goes on.

mod api;
mod apply;
mod command_line;
mod deploying;
mod jwt;
mod metrics;
mod parking;
mod quotas;
mod serving;
mod state;

// For the modules.
use scorebox_tests::host::{API, Host, TOKEN, address, last, put_request, score_request, serve, sha256};
