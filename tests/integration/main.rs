//! The tests: exchanges at the boundary, in one binary.
//!
//! By default they run against a registry in this process over the memory store.
//!
//! - `LONGSHORE_TEST_STORE=memory | local | s3` chooses the store of that registry. For `s3` the
//!   bucket is named by `LONGSHORE_TEST_S3=s3://bucket/prefix`, endpoint and credentials by the
//!   standard AWS variables.
//! - `REGISTRY_URL=http://host:port` points the exchanges at any running registry instead.

#![allow(
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::unchecked_time_subtraction,
    clippy::unused_self,
    clippy::unnested_or_patterns,
    clippy::unwrap_used,
    clippy::too_many_lines,
    clippy::format_collect,
    reason = "tests say what they leave out, and fail loudly where a program must not"
)]

mod auth;
mod cache;
mod catalog;
mod concurrency;
mod delete;
mod delete_blobs;
mod errors;
mod faults;
mod limits;
mod manifests;
mod mount;
mod names;
mod negotiation;
mod processes;
mod pull;
mod push_chunked;
mod push_whole;
mod ranges;
mod redirect;
mod referrers;
mod replicas;
mod request_counts;
mod s3_transport;
mod schema1;
mod store_suite;
mod support;
mod tag_conditions;
mod tags;
mod telemetry;
mod tidy;
