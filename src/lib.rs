//! Longshore, an OCI container registry whose only state is a bucket.
//!
//! The rooms, in reading order. Which may use which is a table in `tests/it/tidy.rs`, and each
//! only looks upwards:
//!
//! - [`oci`]: the nouns of the specifications. Pure.
//! - [`clock`]: what time it is, as an argument.
//! - [`watched`]: files whose change is noticed.
//! - [`store`]: the object store, its guarantees, and three implementations.
//! - [`auth`]: who asks, and may they.
//! - [`registry`]: what a registry does, in terms of the store.
//! - [`api`]: the distribution-spec over HTTP.
//! - `server`: sockets.
//! - [`telemetry`]: what the process tells about itself.
//! - [`config`] and [`command_line`]: what the operator decides.
//! - [`wiring`]: from settings to a running registry.

pub mod oci;

pub mod clock;

pub mod watched;

pub mod store;

pub mod cache;

pub mod auth;

pub mod registry;

pub mod api;

pub mod server;

pub mod telemetry;

pub mod config;

pub mod command_line;

pub mod wiring;
