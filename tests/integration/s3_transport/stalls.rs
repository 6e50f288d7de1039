//! Stalls time out, while slow transfers that make progress continue.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use longshore::store::{BlobStore, ByteStream, Error, Prefix, RecordStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    FOR_EVER, Fake, STALL, answer, date, key, location, now, request, send, upload, within,
};

async fn collect(mut stream: ByteStream) -> (usize, Option<Error>) {
    let mut read = 0;
    while let Some(chunk) = stream.next().await {
        match chunk {
            Ok(chunk) => read += chunk.len(),
            Err(error) => return (read, Some(error)),
        }
    }
    (read, None)
}

/// The header of a record or object of 100 bytes, and its first five bytes.
fn beginning() -> String {
    let date = date(now());
    format!(
        "HTTP/1.1 200 OK\r\nDate: {date}\r\nLast-Modified: {date}\r\nETag: \"x\"\r\n\
         Content-Length: 100\r\n\r\n12345"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_breaks_or_stalls_is_an_error() {
    for stalls in [false, true] {
        let fake = Fake::start(move |_, mut socket| async move {
            request(&mut socket).await;
            send(&mut socket, &beginning()).await;
            if stalls {
                tokio::time::sleep(FOR_EVER).await;
            }
        })
        .await;
        let store = fake.store().await;
        let began = Instant::now();
        let bytes = store.get(&location(&store), None).await.expect("opened");
        let (read, error) = collect(bytes).await;
        assert_eq!(read, 5);
        assert!(matches!(error, Some(Error::Unavailable(_))), "{error:?}");
        assert!(began.elapsed() < STALL * 2, "{:?}", began.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_record_or_list_times_out() {
    let fake = Fake::start(|_, mut socket| async move {
        request(&mut socket).await;
        send(&mut socket, &beginning()).await;
        tokio::time::sleep(FOR_EVER).await;
    })
    .await;
    let store = fake.store().await;
    let listed = Fake::start(|_, mut socket| async move {
        request(&mut socket).await;
        let head =
            "Content-Type: application/xml\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n<?xml\r\n";
        send(&mut socket, &format!("HTTP/1.1 200 OK\r\nDate: {}\r\n{head}", date(now()))).await;
        tokio::time::sleep(FOR_EVER).await;
    })
    .await;
    let lists = listed.store().await;
    let began = Instant::now();
    let the_key = key();
    let (read, list) =
        tokio::join!(store.read(&the_key), lists.list(&Prefix::Repositories, None, 5));
    assert!(matches!(read, Err(Error::Unavailable(_))), "{read:?}");
    assert!(matches!(list, Err(Error::Unavailable(_))), "{list:?}");
    // Three attempts at most.
    assert!(began.elapsed() < STALL * 4, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_reader_does_not_cause_a_timeout() {
    const SIZE: usize = 30_000_000;
    let fake = Fake::start(|_, mut socket| async move {
        request(&mut socket).await;
        send(&mut socket, &format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n")).await;
        let _ = socket.write_all(&vec![1; SIZE]).await;
    })
    .await;
    let store = fake.store().await;
    let mut bytes = store.get(&location(&store), None).await.expect("opened");
    let mut read = 0;
    let mut paused = false;
    while let Some(chunk) = bytes.next().await {
        read += chunk.expect("it goes on").len();
        if read > 10_000_000 && !paused {
            paused = true;
            tokio::time::sleep(STALL + Duration::from_secs(1)).await;
        }
    }
    assert_eq!(read, SIZE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_response_times_out() {
    let fake = Fake::start(|_, mut socket| async move {
        request(&mut socket).await;
        tokio::time::sleep(FOR_EVER).await;
    })
    .await;
    let store = fake.store().await;
    let began = Instant::now();
    let (the_key, other, at) = (key(), key(), location(&store));
    let (read, created, put) = tokio::join!(
        store.read(&the_key),
        store.create(&other, "x".into(), Some(within(60))),
        store.put(&at, Bytes::from(vec![0; 100_000]), None)
    );
    assert!(matches!(read, Err(Error::Unavailable(_))), "{read:?}");
    assert!(matches!(created, Err(Error::Unavailable(_))), "{created:?}");
    assert!(matches!(put, Err(Error::Unavailable(_))), "{put:?}");
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_the_server_does_not_read_times_out() {
    let fake = Fake::start(|_, socket| async move {
        tokio::time::sleep(FOR_EVER).await;
        drop(socket);
    })
    .await;
    let store = fake.store().await;
    let began = Instant::now();
    let part = Bytes::from(vec![0; 64 << 20]);
    let sent = store.put_part(&location(&store), &upload(), 1, part).await;
    assert!(matches!(sent, Err(Error::Unavailable(_))), "{sent:?}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_upload_that_makes_progress_continues() {
    const SIZE: usize = 8 << 20;
    let fake = Fake::start(|_, mut socket| async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.expect("a head"));
        }
        let mut left = SIZE;
        let mut buffer = vec![0; 256 << 10];
        while left > 0 {
            let read = socket.read(&mut buffer).await.expect("a body");
            assert!(read > 0, "it is not cut");
            left -= read;
            tokio::time::sleep(Duration::from_millis(read as u64 / 2_000)).await;
        }
        answer(&mut socket, "200 OK", "ETag: \"x\"\r\n", "").await;
    })
    .await;
    let store = fake.store().await;
    let began = Instant::now();
    let part = Bytes::from(vec![0; SIZE]);
    store.put_part(&location(&store), &upload(), 1, part).await.expect("it moves");
    assert!(began.elapsed() > STALL, "{:?}", began.elapsed());
    assert_eq!(fake.connections(), 1);
}
