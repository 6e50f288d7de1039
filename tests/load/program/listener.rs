//! Accepts connections as the registry does: the same limits, the same timers, no delayed packets.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use crate::Failure;

/// `server.header_timeout` and what `src/server` does with it.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// `HEAD_BYTES_MAX` of `src/server`.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Answers every request with `answer`, until the process is ended.
pub(crate) async fn serve<A, F, B>(address: SocketAddr, answer: A) -> Result<String, Failure>
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = bytes::Bytes, Error = Infallible> + Send + 'static,
{
    let listener = TcpListener::bind(address).await?;
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX);
    let tasks = TaskTracker::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (builder, answer) = (builder.clone(), answer.clone());
        tasks.spawn(async move {
            let service = service_fn(|request| {
                let answered = answer(request);
                async move { Ok::<_, Infallible>(answered.await) }
            });
            // A client that goes away is no failure of the server.
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
