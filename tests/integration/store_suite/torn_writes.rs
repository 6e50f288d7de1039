//! A write whose connection breaks in the middle of the body has no effect.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use longshore::config::Flag;
use longshore::oci::UploadId;
use longshore::store::{Deadline, Error};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use super::{bytes_of, unused_key};
use crate::support::app::{s3_store, variable};

/// The part of each connection's requests that reaches the store.
const SEEN_BYTES: usize = 300_000;
const BODY_BYTES: usize = 1_048_576;
/// How long the test waits for a wrong effect after a connection broke.
const AFTERWARDS: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_breaks_off_has_no_effect() {
    let (Some(url), Some(endpoint)) =
        (variable("LONGSHORE_TEST_S3"), variable("AWS_ENDPOINT_URL_S3"))
    else {
        println!("not run: LONGSHORE_TEST_S3 and AWS_ENDPOINT_URL_S3 are not both set");
        return;
    };
    let url = format!("{}/{}", url.trim_end_matches('/'), UploadId::random());
    let (cut, breaks) = cutting_proxy(endpoint.trim_start_matches("http://").to_owned()).await;
    let flags = vec![
        Flag { name: "the proxy", key: "store.s3.endpoint", value: cut },
        Flag { name: "the proxy", key: "store.s3.attempts_max", value: "1".to_owned() },
    ];
    let torn = s3_store(url.clone(), flags).await;
    let whole = s3_store(url, Vec::new()).await;

    for dated in [false, true] {
        let deadline = || {
            dated.then(|| Deadline { leased_at: torn.now(), valid_for: Duration::from_secs(60) })
        };
        let key = unused_key();
        let body = bytes_of(1, BODY_BYTES);
        let created = torn.create(&key, body.clone(), deadline()).await;
        assert!(matches!(created, Err(Error::Unavailable(_))), "{created:?}");
        tokio::time::sleep(AFTERWARDS).await;
        let read = whole.read(&key).await.map(|entry| entry.body.len());
        assert!(matches!(read, Err(Error::NotFound)), "dated: {dated}, {read:?}");

        let version = whole.create(&key, "before".into(), None).await.expect("created");
        let replaced = torn.replace(&key, &version, body, deadline()).await;
        assert!(matches!(replaced, Err(Error::Unavailable(_))), "{replaced:?}");
        tokio::time::sleep(AFTERWARDS).await;
        let read = whole.read(&key).await.expect("read");
        assert_eq!((read.body.len(), read.version), ("before".len(), version), "dated: {dated}");
    }
    assert_eq!(breaks.load(Ordering::SeqCst), 4, "each of the writes was cut");
}

/// Forwards connections to `target`, and breaks each after `SEEN_BYTES`.
async fn cutting_proxy(target: String) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let breaks = Arc::new(AtomicUsize::new(0));
    let counter = breaks.clone();
    let tasks = TaskTracker::new();
    tasks.clone().spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tasks.spawn(pass_on(client, target.clone(), counter.clone()));
        }
    });
    (format!("http://{address}"), breaks)
}

async fn pass_on(client: TcpStream, target: String, breaks: Arc<AtomicUsize>) {
    let Ok(server) = TcpStream::connect(target).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let answers = async { tokio::io::copy(&mut from_server, &mut to_client).await.map(drop) };
    let requests = async {
        let mut buffer = vec![0; 65_536];
        let mut seen = 0;
        loop {
            let read = from_client.read(&mut buffer).await?;
            if read == 0 {
                return Ok(());
            }
            to_server.write_all(&buffer[..read]).await?;
            seen += read;
            if seen > SEEN_BYTES {
                breaks.fetch_add(1, Ordering::SeqCst);
                return Ok::<(), std::io::Error>(());
            }
        }
    };
    // When one direction ends, both connections are closed.
    tokio::select! {
        _ = answers => {}
        _ = requests => {}
    }
}
