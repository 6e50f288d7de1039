//! Responses that must not be taken at face value.

use longshore::store::{BlobStore, Error, Prefix, RecordStore, Version};

use super::{Fake, answer, date, error, key, location, now, parts, request, send, upload, within};

/// A proxy that does not know the bucket must not make content unknown.
#[tokio::test(flavor = "multi_thread")]
async fn a_404_that_is_not_from_s3_is_an_outage() {
    for (headers, body) in [("Content-Type: text/html\r\n", "<html>nginx</html>"), ("", "")] {
        let fake = Fake::start(move |_, mut socket| async move {
            request(&mut socket).await;
            answer(&mut socket, "404 Not Found", headers, body).await;
        })
        .await;
        let store = fake.store().await;
        assert!(matches!(store.read(&key()).await, Err(Error::Unavailable(_))));
        let bytes = store.get(&location(&store), None).await;
        assert!(matches!(bytes.err(), Some(Error::Unavailable(_))));
        let list = store.list(&Prefix::Repositories, None, 10).await;
        assert!(matches!(list, Err(Error::Unavailable(_))));
        for deadline in [None, Some(within(60))] {
            let created = store.create(&key(), "x".into(), deadline).await;
            assert!(matches!(created, Err(Error::Unavailable(_))), "{created:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_of_a_captive_portal_is_an_outage() {
    let fake = Fake::start(|_, mut socket| async move {
        request(&mut socket).await;
        answer(&mut socket, "200 OK", "", "<html>captive portal</html>").await;
    })
    .await;
    let store = fake.store().await;
    assert!(store.read(&key()).await.is_err());
    assert!(store.list(&Prefix::Repositories, None, 10).await.is_err());
    assert!(store.create(&key(), "x".into(), None).await.is_err());
    assert!(store.create(&key(), "x".into(), Some(within(60))).await.is_err());
    assert!(store.start(&location(&store)).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completion_with_status_200_and_an_error_body_fails() {
    let fake = Fake::start(|_, mut socket| async move {
        let head = request(&mut socket).await.unwrap_or_default();
        if head.starts_with("POST") {
            answer(&mut socket, "200 OK", "", &error("InternalError")).await;
        } else {
            answer(&mut socket, "404 Not Found", "", "").await;
        }
    })
    .await;
    let store = fake.store().await;
    let completed = store.complete(&location(&store), &upload(), &parts(5)).await;
    assert!(matches!(completed, Err(Error::Unavailable(_))), "{completed:?}");
}

/// The response is lost, and the second attempt finds no upload: the size of the object at the
/// location decides.
#[tokio::test(flavor = "multi_thread")]
async fn a_completion_whose_response_is_lost_is_recognized() {
    let fake = Fake::start(|number, mut socket| async move {
        let head = request(&mut socket).await.unwrap_or_default();
        if number == 0 {
            return;
        }
        if head.starts_with("POST") {
            answer(&mut socket, "404 Not Found", "", &error("NoSuchUpload")).await;
        } else {
            let date = date(now());
            let head = "Content-Length: 5\r\nETag: \"of-1\"\r\nConnection: close\r\n\r\n";
            send(&mut socket, &format!("HTTP/1.1 200 OK\r\nDate: {date}\r\n{head}")).await;
        }
    })
    .await;
    let store = fake.store().await;
    let at = location(&store);
    let version = store.complete(&at, &upload(), &parts(5)).await.expect("it had succeeded");
    assert_eq!(version, Version("\"of-1\"".to_owned()));
    assert_eq!(fake.connections(), 3);
    let other = store.complete(&at, &upload(), &parts(6)).await;
    assert!(matches!(other, Err(Error::NotFound)), "{other:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_retried_and_404_is_not() {
    let fake = Fake::start(|number, mut socket| async move {
        request(&mut socket).await;
        match number {
            0 => answer(&mut socket, "500 x", "", &error("InternalError")).await,
            1 => {}
            _ => answer(&mut socket, "404 Not Found", "", &error("NoSuchKey")).await,
        }
    })
    .await;
    let store = fake.store().await;
    assert!(matches!(store.read(&key()).await, Err(Error::NotFound)));
    assert_eq!(fake.connections(), 3);
}

fn text_of<T>(result: Result<T, Error>) -> String {
    result.err().expect("it fails").to_string()
}

/// One line tells the operator which request failed, where it was sent and how often.
#[tokio::test(flavor = "multi_thread")]
async fn an_error_names_the_operation_the_address_and_the_attempts() {
    let busy = Fake::start(|_, mut socket| async move {
        request(&mut socket).await;
        answer(&mut socket, "503 Slow Down", "", &error("SlowDown")).await;
    })
    .await;
    let (store, url) = (busy.store().await, busy.url());
    let (at, id, deadline) = (location(&store), upload(), Some(within(60)));
    for (operation, text) in [
        ("get_object", text_of(store.read(&key()).await)),
        ("get_object", text_of(store.get(&at, None).await)),
        ("put_object", text_of(store.create(&key(), "x".into(), None).await)),
        ("put_object", text_of(store.create(&key(), "x".into(), deadline).await)),
        ("list_objects", text_of(store.list(&Prefix::Repositories, None, 10).await)),
        ("create_multipart", text_of(store.start(&at).await)),
        ("upload_part", text_of(store.put_part(&at, &id, 1, "x".into()).await)),
        ("abort_multipart", text_of(store.abort(&at, &id).await)),
    ] {
        let expected = format!(
            "store operation {operation} at {url} failed after 3 attempts: 503 SlowDown: scripted"
        );
        assert_eq!(text, expected);
    }

    let nowhere = Fake::nowhere().await;
    let store = nowhere.store().await;
    for deadline in [None, Some(within(60))] {
        let text = text_of(store.create(&key(), "x".into(), deadline).await);
        let start = format!("store operation put_object at {} failed after 3 ", nowhere.url());
        assert!(text.starts_with(&start) && text.contains("tcp connect error"), "{text}");
        for secret in ["?", "X-Amz", "K1K1", "SECRET12"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_reused() {
    let fake = Fake::start(|_, mut socket| async move {
        while request(&mut socket).await.is_some() {
            let written = date(now() - std::time::Duration::from_secs(100));
            let head = format!(
                "HTTP/1.1 200 OK\r\nDate: {}\r\nLast-Modified: {written}\r\nETag: \"x\"\r\n\
                 Content-Length: 2\r\n\r\nhi",
                date(now())
            );
            send(&mut socket, &head).await;
        }
    })
    .await;
    let store = fake.store().await;
    for _ in 0..20 {
        let age = store.read(&key()).await.expect("read").age.as_secs();
        assert!((99..=101).contains(&age), "{age}");
    }
    store.create(&key(), "x".into(), Some(within(60))).await.expect("created");
    assert!(fake.connections() <= 3, "{}", fake.connections());
}
