//! Everything that speaks HTTP to a client: axum, over connections that hyper serves.
//!
//! Begin with `router.rs`: the routes, and what happens around each request, outermost first. A
//! request is parsed (`endpoint.rs`), authorized (`authorized.rs`), handled (`handlers/`), and what
//! goes wrong becomes a response in `error.rs`.

pub mod admin;
mod audited;
mod authorized;
mod body;
mod connection;
mod cors;
mod endpoint;
mod error;
mod exchange;
mod handlers;
pub mod headers;
mod layers;
mod limits;
pub mod listener;
mod metered_body;
mod moment;
mod pages;
mod query;
mod response_budget;
mod router;
mod settings;
mod state;
mod tls;
mod transfer;

pub use endpoint::{Effect, Endpoint, File, Operation, Page, RouteError, Row, Target};
pub use error::Error;
pub use limits::{KEYS_MAX, Limits};
pub use response_budget::{ResponseBudget, STREAM_BYTES};
pub use router::router;
pub use settings::{
    AdminSettings, BlobSettings, CallerLimitSettings, ClientCertificates, Delivery, LimitSettings,
    ListSettings, ListenerSettings, PageSettings, TlsSettings,
};
pub use state::{Api, Settings};
pub use tls::Tls;
