//! The tests: exchanges at the boundary, in one binary.
//!
//! By default they run against a registry in this process over the memory store.
//!
//! - `LONGSHORE_TEST_STORE=memory | local | s3` chooses the store of that registry. For `s3` the
//!   bucket is named by `LONGSHORE_TEST_S3=s3://bucket/prefix`, endpoint and credentials by the
//!   standard AWS variables.
//! - `REGISTRY_URL=http://host:port` points the exchanges at any running registry instead.

mod auth;
mod store_suite;
mod support;
