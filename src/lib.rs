//! Longshore, an OCI container registry whose only state is a bucket.
//!
//! The modules, from the bottom up. A module may use only modules above it in this list;
//! `tests/integration/tidy/directions.rs` has the exact table and checks it.

pub mod setting;

pub mod entropy;

pub mod tasks;

pub mod oci;

pub mod docker_schema1;

pub mod clock;

pub mod http_proxy;

pub mod client_network;

pub mod telemetry;

pub mod reloaded_file;

pub mod layout;

pub mod store;

pub mod walk;

pub mod shared_cache;

pub mod auth;

pub mod audit_log;

pub mod registry;

pub mod collector;

pub mod usage;

pub mod quota;

pub mod audit;

pub mod inspect;

pub mod doctor;

pub mod credential_provider;

pub mod http;

pub mod config;

pub mod cli;

pub mod app;
