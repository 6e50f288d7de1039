//! The timeout and the count of request bodies.

use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;

use crate::http::metered_body::{MeteredBody, Received};

/// Has the body of each request fail when nothing arrives for `idle`. It may take as long as it
/// likes otherwise.
pub(in crate::http) fn bound(idle: Duration) -> impl Fn(Request) -> Request + Clone {
    move |mut request: Request| {
        if request.body().is_end_stream() {
            return request;
        }
        let received = Received::default();
        request.extensions_mut().insert(received.clone());
        request.map(|body| Body::new(MeteredBody::new(body, received).with_timeout(idle)))
    }
}
