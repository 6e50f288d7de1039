//! The router: every request comes through here.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::HttpBody;
use axum::extract::{FromRequest as _, Request, State};
use axum::handler::Handler as _;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tower::{Service, ServiceBuilder};
use tracing::Instrument as _;

use super::audited::Audited;
use super::authorized::Authorized;
use super::cors::Cors;
use super::endpoint::{Effect, Endpoint};
use super::error::Error;
use super::layers::access_log::{AccessLog, LogFields};
use super::layers::metrics::RequestMetrics;
use super::layers::pieces::InPieces;
use super::layers::{RequestInfo, Watch, peer, request_id, trace, watch};
use super::metered_body::Received;
use super::state::Api;
use super::transfer::Transfer;
use super::{handlers, headers, metered_body, pages};

/// The registry as a service. The listener serves it, and has what needs a connection: the limits
/// of connections and of request heads, the deadlines of connections and responses, and TLS.
///
/// The layers stand around the `Router` and not in it: `Router::layer` would box the stack and its
/// response for each request.
pub fn router(
    api: &Arc<Api>,
) -> impl Service<
    Request,
    Response = Response<impl HttpBody<Data = Bytes, Error = axum::Error> + Send + Unpin + use<>>,
    Error = Infallible,
    Future: Send,
> + Clone
+ Send
+ Sync
+ use<> {
    let watched = api.clone();
    ServiceBuilder::new()
        // A body that stops arriving fails. The count of its bytes is for the next layer.
        .map_request(metered_body::bound(api.settings.listener.body_idle_timeout))
        // Everything that is known of a request and recorded of it.
        .layer(watch(move |request: &mut Request| begin(&watched, request)))
        // The watch counts what the transport takes, piece by piece.
        .layer(InPieces)
        // Whatever went wrong, the response is one of a registry.
        .map_response(with_standard_headers)
        // No routes: axum matches from the left, and the names of repositories contain slashes.
        // `Endpoint::parse` reads the path from the right, and knows every 404 and 405.
        .service(Router::new().fallback_service(dispatch.with_state(api.clone())))
}

/// What happens to each request before anything is done for it.
fn begin(api: &Api, request: &mut Request) -> Box<Watch> {
    let settings = &api.settings;
    // The client's address, which the log, the login limit and redirects depend on.
    let client = peer::identify(request, &settings.listener.trusted_proxies);
    // An id before anything can fail, so that every response has one.
    let log_fields = Arc::new(LogFields::new(request_id::of(request.headers())));
    // The operation, parsed once: it names the request in everything below.
    let endpoint = Endpoint::parse(request.method(), request.uri());
    // Memory for the response.
    let reservation = api.responses.admit(client.address).map(Arc::new);
    // What the caller has used of its limits.
    let account = api.limits.account(client.address);
    let received: Option<Received> = request.extensions().get().cloned();
    if let Some(received) = &received {
        received.charge_to(account.clone());
    }
    let info = RequestInfo { client, endpoint, reservation, account, log_fields };
    let watch = Watch {
        begun: Instant::now(),
        received,
        account: info.account.clone(),
        transfer: Transfer::of(request.extensions()),
        _reservation: info.reservation.clone(),
        metrics: RequestMetrics::begin(&api.metrics, request.method(), &info),
        log: AccessLog::begin(settings.access_log.level(), request, &info),
        // Last, so that the span covers the work and not the bookkeeping.
        span: trace::open(request, &info),
    };
    request.extensions_mut().insert(info);
    Box::new(watch)
}

/// Answers what needs no caller, and all else once the caller is authorized.
async fn dispatch(State(api): State<Arc<Api>>, request: Request) -> Response {
    let cors = Cors::of(&api.settings.listener.cors_origins, &request);
    let path = request.uri().path();
    let mut response = if let Some(preflight) = cors.preflight() {
        preflight
    } else if path == "/" && [Method::GET, Method::HEAD].contains(request.method()) {
        root(&api, request.headers())
    } else if api.settings.pages.enabled && pages::is_page(path) {
        page(&api, request).await
    } else {
        authorized(&api, request).await.unwrap_or_else(IntoResponse::into_response)
    };
    cors.allow(response.headers_mut());
    response
}

/// A page for people, whose errors are pages, too.
async fn page(api: &Arc<Api>, request: Request) -> Response {
    let host = headers::host(request.uri(), request.headers()).unwrap_or_default().to_owned();
    authorized(api, request).await.unwrap_or_else(|error| pages::error(api, host, error))
}

/// For load balancers that probe the port of the traffic and want a 200: it says no more than that
/// the process listens and is not being shut down. A browser is led to the pages.
fn root(api: &Api, headers: &HeaderMap) -> Response {
    let draining = api.readiness.is_draining();
    if !draining && api.settings.pages.enabled && pages::is_browser(headers) {
        return pages::lead_to_root();
    }
    let status = if draining { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (status, [(CACHE_CONTROL, "no-store")]).into_response()
}

/// Authorizes a request and handles it. What may change something is a task of its own, which goes
/// on when the client leaves; a read ends with its client.
async fn authorized(api: &Arc<Api>, request: Request) -> Result<Response, Error> {
    let audited = Audited::begin(api, &request);
    let request = audited.admit(Authorized::from_request(request, api).await).await?;
    let effect = request.context.endpoint.operation.row().effect;
    let reservation = request.context.reservation.clone();
    // In a box, because axum copies the future of a handler several times.
    let handled = Box::pin(handlers::handle(request));
    match effect {
        Effect::Reads => {
            let covered = |response: Response| {
                let whole = response.body().size_hint().exact().unwrap_or_default();
                if reservation.cover_whole(whole) { Ok(response) } else { Err(Error::too_busy()) }
            };
            audited.ended(handled.await.and_then(covered)).await
        }
        Effect::Mutates => {
            let recorded = audited.clone();
            let work = async move { recorded.ended(handled.await).await };
            match api.tasks.spawn(work.in_current_span()).await {
                Ok(response) => response,
                Err(error) => audited.ended(Err(Error::unexpected(error.to_string()))).await,
            }
        }
    }
}

fn with_standard_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(headers::DOCKER_API_VERSION, HeaderValue::from_static("registry/2.0"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
