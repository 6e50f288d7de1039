//! An HTTP proxy in this process: it passes every request and every tunnel on to one server,
//! whatever the address in it, and remembers what it was asked.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::header::{HOST, PROXY_AUTHORIZATION};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

type Body = BoxBody<Bytes, hyper::Error>;

/// See the [module documentation](self).
#[derive(Debug)]
pub(crate) struct ForwardProxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Where requests go: a port of this machine.
    server: u16,
    /// The same for tunnels.
    tunnels: u16,
    /// The `Proxy-Authorization` that it wants.
    login: Option<&'static str>,
    asked: Mutex<Vec<String>>,
    tasks: TaskTracker,
}

impl ForwardProxy {
    /// A proxy before a server, and before another one for tunnels.
    pub(crate) async fn start(server: u16, tunnels: u16, login: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let tasks = TaskTracker::new();
        let asked = Mutex::default();
        let shared = Arc::new(Shared { server, tunnels, login, asked, tasks });
        let serving = shared.clone();
        shared.tasks.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let shared = serving.clone();
                let service = service_fn(move |request| shared.clone().serve(request));
                let connection = http1::Builder::new()
                    .serve_connection(TokioIo::new(socket), service)
                    .with_upgrades();
                // An error is a client that has gone away.
                serving.tasks.spawn(async move { drop(connection.await) });
            }
        });
        Self { port, shared }
    }

    /// Its `host:port`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The methods and addresses of all requests so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.shared.asked.lock().expect("no panic").clone()
    }
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed());
    *response.status_mut() = status;
    response
}

impl Shared {
    async fn serve(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        let line = format!("{} {}", request.method(), request.uri());
        self.asked.lock().expect("no panic").push(line);
        let login = request.headers().get(PROXY_AUTHORIZATION);
        if self.login.is_some_and(|wanted| login.is_none_or(|login| login != wanted)) {
            return Ok(empty(StatusCode::PROXY_AUTHENTICATION_REQUIRED));
        }
        if request.method() == Method::CONNECT {
            let port = self.tunnels;
            self.tasks.spawn(async move {
                let client = hyper::upgrade::on(request).await.expect("a tunnel");
                let mut server = TcpStream::connect(("127.0.0.1", port)).await.expect("a server");
                // An error is a side that has gone away.
                let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut server).await;
            });
            return Ok(empty(StatusCode::OK));
        }
        Ok(self.pass_on(request).await.unwrap_or_else(|_| empty(StatusCode::BAD_GATEWAY)))
    }

    async fn pass_on(
        &self,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, hyper_util::client::legacy::Error> {
        assert!(request.headers().contains_key(HOST));
        request.headers_mut().remove(PROXY_AUTHORIZATION);
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let address = format!("http://127.0.0.1:{}{path}", self.server);
        *request.uri_mut() = address.parse::<Uri>().expect("an address");
        let client = Client::builder(TokioExecutor::new()).build_http::<Incoming>();
        Ok(client.request(request).await?.map(BodyExt::boxed))
    }
}
