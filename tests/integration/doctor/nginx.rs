//! A real nginx before one process of the registry.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::auth::tls::pair;
use crate::cache::redis_server::free_port;

/// A running nginx with TLS. It is killed when this value is dropped.
pub(super) struct Nginx {
    child: Child,
    port: u16,
    folder: TempDir,
}

/// What docs/production.md wants.
pub(super) const RIGHT: &str = "client_max_body_size 0; proxy_request_buffering off; \
    proxy_buffering off; proxy_http_version 1.1; proxy_set_header Connection ''; \
    proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $remote_addr; \
    proxy_set_header X-Forwarded-Proto $scheme;";

impl Nginx {
    /// Starts nginx before a process, or explains why the test cannot run.
    pub(super) async fn start(registry: SocketAddr, directives: &str) -> Option<Self> {
        if Command::new("nginx").arg("-v").stderr(Stdio::null()).status().is_err() {
            println!(
                "left out: there is no nginx here (tests/support/tools/install puts it there)"
            );
            return None;
        }
        let (folder, port, pair) = (TempDir::new().expect("a folder"), free_port(), pair());
        let at = folder.path();
        std::fs::write(at.join("tls.crt"), pair.certificate).expect("written");
        std::fs::write(at.join("tls.key"), pair.key).expect("written");
        let configuration = configuration(at, port, registry, directives);
        std::fs::write(at.join("nginx.conf"), configuration).expect("written");
        let child = Command::new("nginx")
            .args(["-e", "stderr", "-p"])
            .arg(at)
            .arg("-c")
            .arg(at.join("nginx.conf"))
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx starts");
        let nginx = Self { child, port, folder };
        for _ in 0..200 {
            if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return Some(nginx);
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("nginx does not answer")
    }

    pub(super) fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// The file that makes a client trust it.
    pub(super) fn authority(&self) -> String {
        self.folder.path().join("tls.crt").to_str().expect("text").to_owned()
    }
}

fn configuration(at: &Path, port: u16, registry: SocketAddr, directives: &str) -> String {
    let at = at.display();
    format!(
        "daemon off; master_process off; pid {at}/pid; events {{ }}\n\
         http {{ access_log off; client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;\n\
         fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
         server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {at}/tls.crt;\n\
         ssl_certificate_key {at}/tls.key; {directives}\n\
         location / {{ proxy_pass http://{registry}; }} }} }}\n"
    )
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
