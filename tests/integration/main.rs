//! The integration tests: HTTP exchanges with a registry, in one binary. The list of modules below
//! says where the test of a feature is.
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
#![allow(
    clippy::duplicate_mod,
    reason = "some tests run over two stores: s3_scripted/same_tests.rs"
)]

use support::test_store::StoreKind;

/// The store of the tests that `s3_scripted::same_tests` repeats over another one.
const STORE: StoreKind = StoreKind::Memory;

// Protocol: what clients see.

/// What answers have besides their content: locations, caching, CORS, the root.
mod answers;
/// The list of repositories.
mod catalog;
/// Garbage collection.
mod collector;
/// Deletion of manifests and tags.
mod delete;
/// Deletion of blobs.
mod delete_blobs;
/// Lists with many deleted rows.
mod deleted_rows;
/// The error envelope, unknown paths and methods.
mod errors;
/// The five types, what they name, their limits.
mod manifests;
/// Mounts of a blob from another repository.
mod mount;
/// Grammar of names, tags and digests.
mod names;
/// Which manifest a client gets.
mod negotiation;
/// The pages for people with a browser.
mod pages;
/// GET and HEAD of a blob.
mod pull;
/// Pushes of a blob in chunks: sessions, order, races, resumption.
mod push_chunked;
/// Pushes of a blob in one request.
mod push_whole;
/// `Range` requests.
mod ranges;
/// Redirects to presigned URLs.
mod redirect;
/// Manifests that name a subject.
mod referrers;
/// Signed Docker schema 1.
mod schema1;
/// Several tags in a push, If-Match, If-None-Match.
mod tag_conditions;
/// The list of tags and its pages.
mod tags;

// Stores and faults: what the registry relies on.

/// The read cache with a real Redis: stopped, killed, full.
mod cache;
/// Many clients at once.
mod concurrency;
/// Deadlines of connections, slow readers, the memory of responses.
mod connections;
/// A store that fails at any call.
mod faults;
/// Slow clients, too many uploads, memory.
mod limits;
/// Storage quotas of namespaces.
mod quotas;
/// Three processes over one store.
mod replicas;
/// Requests to the store for each operation.
mod request_counts;
/// An S3 server that loses, delays or repeats single requests.
mod s3_scripted;
/// An S3 server that stalls, cuts off or answers wrongly.
mod s3_transport;
/// What a simulation needs: runs that repeat from a seed, crashes between two requests.
mod simulation;
/// Buckets without conditional writes, which one process uses.
mod single_writer;
/// The guarantees of a store, for each implementation.
mod store_suite;

// Operations: what the operator sees.

/// `longshore audit`, `scrub`, `usage` and `inspect`.
mod audit;
/// The audit log: its lines, a full disk, rotation.
mod audit_log;
/// Passwords, tokens, rules, TLS.
mod auth;
/// `longshore doctor`: faults of proxies, logins, clocks, Redis and the store.
mod doctor;
/// The program: start, SIGTERM, kill -9, command line, traces.
mod processes;
/// What the tests are written with.
mod support;
/// Metrics, health, access log, usage scan.
mod telemetry;
/// Rules for the code and the documentation.
mod tidy;
