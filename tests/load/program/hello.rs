//! The most that this listener can do: an answer of two bytes that is always the same.

use std::net::SocketAddr;

use bytes::Bytes;
use clap::Args;
use http::{HeaderValue, Response, header};
use http_body_util::Full;

use crate::{Failure, listener};

#[derive(Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    listen: SocketAddr,
}

pub(crate) async fn run(arguments: Arguments) -> Result<String, Failure> {
    listener::serve(arguments.listen, |_| async {
        let mut response = Response::new(Full::new(Bytes::from_static(b"{}")));
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    })
    .await
}
