//! The distribution-spec over HTTP.
//!
//! A request goes one straight way: parse, authorize, act, render. [`Endpoint`] is the parsed
//! question; authorization is one call; the handlers below are thin, and name the section of the
//! spec that they answer.

pub mod admin;
mod body;
mod endpoint;
mod error;
mod handlers;
pub mod headers;
mod layers;
pub mod listener;
mod query;
mod tls;
mod write_timeout;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::X_CONTENT_TYPE_OPTIONS;
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use ipnet::IpNet;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::auth::{Access, Action, AuthRequest, Authorizer, Caller, Resource};
use crate::clock::Clock;
use crate::oci::RepositoryName;
use crate::registry::Registry;
use crate::telemetry::metrics::{AuthReason, AuthResult, Metrics, ServeReason};
use body::RequestBody;
use handlers::{blobs, catalog, manifests, referrers, support, tags, uploads};
use layers::access_log::Exchange;
use layers::trace;

pub use endpoint::{Endpoint, RouteError};
pub use error::{Cause, Error};
pub use layers::access_log::Observed;

/// How the bytes of blobs reach clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Through this process.
    Proxy,
    /// By a redirect to a presigned URL of the store, where it has one.
    Redirect,
    /// By a redirect to clients in these networks, to all others through this process.
    RedirectWithin(Vec<IpNet>),
}

impl Delivery {
    /// Whether this client is to be redirected, and what that depends on. Of one whose address is
    /// not known it is not known either whether it can reach the store.
    fn to(&self, client: Client) -> (bool, ServeReason) {
        match self {
            Self::Proxy => (false, ServeReason::Configured),
            Self::Redirect => (true, ServeReason::Configured),
            Self::RedirectWithin(networks) => {
                let within = client.address.is_some_and(|address| {
                    networks.iter().any(|network| network.contains(&address))
                });
                (within, ServeReason::Network)
            }
        }
    }
}

/// What the operator decides about the API.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How the bytes of blobs reach clients.
    pub delivery: Delivery,
    /// How long a presigned URL is good for, at least.
    pub redirect_ttl: Duration,
    /// How long the URL of one blob stays the same.
    pub redirect_step: Duration,
    /// How long a request body may make no progress.
    pub body_idle: Duration,
    /// Whether tags and manifests may be deleted.
    pub delete_manifests: bool,
    /// Whether blobs may be deleted.
    pub delete_blobs: bool,
    /// Whether the catalog is served.
    pub catalog: bool,
    /// The level of the line that each request has in the log. Nothing: there is none but for
    /// failures.
    pub request_log: Option<tracing::Level>,
}

/// Everything that answering needs.
#[derive(Debug)]
pub struct Api {
    registry: Arc<Registry>,
    authorizer: Arc<dyn Authorizer>,
    clock: Arc<dyn Clock>,
    settings: Settings,
    metrics: Metrics,
    tasks: TaskTracker,
}

/// Where a request comes from, as whoever accepted it found out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// The address of the client, not of a proxy before us that is trusted.
    pub address: Option<IpAddr>,
    /// Whether the client used TLS.
    pub secure: bool,
}

/// One request, after it was authorized.
#[derive(Debug)]
struct Context {
    api: Arc<Api>,
    caller: Caller,
    client: Client,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Context {
    /// Whether the caller may do more than what was authorized.
    fn may(&self, name: &RepositoryName, action: Action) -> bool {
        let resource = Resource::Repository(name.clone());
        self.api.authorizer.may(&self.caller, &Access { resource, action })
    }

    /// Whether the catalog shows the caller a repository.
    fn may_see(&self, name: &RepositoryName) -> bool {
        self.may(name, Action::See)
    }

    /// Whether the caller may read a repository that is not the one it asked about.
    fn may_pull(&self, name: &RepositoryName) -> bool {
        self.may(name, Action::Pull)
    }
}

impl Api {
    /// The API over a registry. Requests that change something run on `tasks`: they are carried
    /// through when their client goes away, and a shutdown waits for them.
    pub fn new(
        registry: Arc<Registry>,
        authorizer: Arc<dyn Authorizer>,
        clock: Arc<dyn Clock>,
        settings: Settings,
        metrics: Metrics,
        tasks: TaskTracker,
    ) -> Self {
        Self { registry, authorizer, clock, settings, metrics, tasks }
    }

    /// Answers one request. Every answer, whatever went wrong, is one of the spec.
    pub async fn answer(self: Arc<Self>, request: Request<Body>) -> http::Response<Observed> {
        let endpoint = Endpoint::parse(request.method(), request.uri());
        let (mut exchange, request) =
            Exchange::begin(&self.metrics, self.settings.request_log, &endpoint, request);
        let client = exchange.client();
        let known = endpoint.as_ref().ok();
        let mut traced = trace::request(known, request.method(), client, request.headers());
        exchange.traced_as(traced.trace_id.take());
        let answer = match endpoint {
            Ok(endpoint) => {
                let answer = self.dispatch(endpoint, request, client, exchange.subject());
                answer.instrument(traced.span()).await
            }
            Err(error) => Err(error.into()),
        };
        let mut response = answer.unwrap_or_else(IntoResponse::into_response);
        let headers = response.headers_mut();
        headers.insert(headers::DOCKER_API_VERSION, HeaderValue::from_static("registry/2.0"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        // The trace first: the exchange takes the cause of a failure away.
        exchange.answered(traced.answered(response))
    }

    async fn dispatch(
        self: Arc<Self>,
        endpoint: Endpoint,
        request: Request<Body>,
        client: Client,
        subject: &mut Option<String>,
    ) -> Result<Response, Error> {
        let (parts, body) = request.into_parts();
        let tasks = self.tasks.clone();
        let (access, optional_scope) = (endpoint.access(), endpoint.optional_scope());
        let attempt = AuthRequest {
            headers: &parts.headers,
            access: &access,
            optional_scope: optional_scope.as_ref(),
            client: client.address,
            host: headers::host(&parts.uri, &parts.headers),
            secure: client.secure,
        };
        // The only place where a request is authorized, and before it is known what there is.
        let (method, decision) = self.authorizer.authorize(attempt).await;
        let caller = match decision {
            Ok(caller) => {
                self.metrics.auth.inc((method, AuthResult::Allowed, AuthReason::None));
                caller
            }
            Err(denied) => {
                let (result, reason) = denied.metric_label();
                self.metrics.auth.inc((method, result, reason));
                tasks.spawn(body::read_on_unasked(body));
                return Err(denied.into());
            }
        };
        *subject = Some(caller.subject());
        let changes = endpoint.changes();
        let context = Context {
            api: self,
            caller,
            client,
            method: parts.method,
            uri: parts.uri,
            headers: parts.headers,
        };
        let act = act(context, endpoint, body);
        if !changes {
            return act.await;
        }
        match tasks.spawn(act.in_current_span()).await {
            Ok(answer) => answer,
            Err(error) => Err(Error::unexpected(error.to_string())),
        }
    }
}

/// The one place from which the handlers are called. Boxed, because the upload arms hold whole
/// sessions.
async fn act(cx: Context, endpoint: Endpoint, body: Body) -> Result<Response, Error> {
    let mut body = RequestBody::new(body, cx.api.settings.body_idle);
    let answer = handle(cx, endpoint, &mut body).await;
    if answer.is_err() {
        // What the handler left of it.
        body.read_on().await;
    }
    answer
}

async fn handle(
    cx: Context,
    endpoint: Endpoint,
    body: &mut RequestBody,
) -> Result<Response, Error> {
    match endpoint {
        Endpoint::Base => Ok(support::get()),
        Endpoint::Extensions(name) => Ok(support::extensions(name.as_ref())),
        Endpoint::GetBlob(name, digest) => blobs::get(&cx, &name, &digest).await,
        Endpoint::HeadBlob(name, digest) => blobs::head(&cx, &name, &digest).await,
        Endpoint::DeleteBlob(name, digest) => blobs::delete(&cx, &name, &digest).await,
        Endpoint::GetManifest(name, reference) | Endpoint::HeadManifest(name, reference) => {
            manifests::get(&cx, &name, &reference).await
        }
        Endpoint::PutManifest(name, reference) => {
            manifests::put(&cx, &name, &reference, body).await
        }
        Endpoint::DeleteManifest(name, reference) => {
            manifests::delete(&cx, &name, &reference).await
        }
        Endpoint::StartUpload { name, from } => {
            Box::pin(uploads::start(&cx, &name, from, body)).await
        }
        Endpoint::GetUpload(name, id) => uploads::status(&cx, name, id).await,
        Endpoint::PatchUpload(name, id) => Box::pin(uploads::patch(&cx, name, id, body)).await,
        Endpoint::PutUpload(name, id) => Box::pin(uploads::put(&cx, name, id, body)).await,
        Endpoint::DeleteUpload(name, id) => uploads::cancel(&cx, name, id).await,
        Endpoint::ListTags(name) => tags::list(&cx, &name).await,
        Endpoint::ListReferrers(name, digest) => referrers::list(&cx, &name, &digest).await,
        Endpoint::Catalog => catalog::list(&cx).await,
    }
}
