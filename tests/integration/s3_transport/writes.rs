//! Conditional writes with a deadline, whose responses are lost, late or errors.

use std::time::Duration;

use longshore::store::{Deadline, Error, RecordStore, Version};
use tokio::io::AsyncReadExt as _;

use super::{Fake, answer, date, error, key, now, request, send, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_response_is_lost_is_retried() {
    let fake = Fake::start(|number, mut socket| async move {
        request(&mut socket).await;
        match number {
            0 => {}
            1 => answer(&mut socket, "503 Slow Down", "", &error("SlowDown")).await,
            _ => answer(&mut socket, "200 OK", "ETag: \"x\"\r\n", "").await,
        }
    })
    .await;
    let store = fake.store().await;
    let expected = Version("\"abc\"".to_owned());
    let written = store.replace(&key(), &expected, "hello".into(), Some(within(60))).await;
    assert_eq!(written.expect("written"), Version("\"x\"".to_owned()));
    assert_eq!(fake.connections(), 3);
}

/// An attempt whose response was lost may have succeeded, so the expiry of its repetition proves
/// nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_expired_only_if_no_attempt_can_have_succeeded() {
    let fake = Fake::start(|number, mut socket| async move {
        request(&mut socket).await;
        if number > 0 {
            let body = error("AccessDenied").replace("scripted", "Request has expired");
            answer(&mut socket, "403 Forbidden", "", &body).await;
        }
    })
    .await;
    let store = fake.store().await;
    let first = store.create(&key(), "hello".into(), Some(within(60))).await;
    assert!(matches!(first, Err(Error::Unavailable(_))), "{first:?}");
    let second = store.create(&key(), "hello".into(), Some(within(60))).await;
    assert!(matches!(second, Err(Error::Expired)), "{second:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_403_after_the_deadline_by_the_store_clock_is_expired() {
    let fake = Fake::start(|_, mut socket| async move {
        request(&mut socket).await;
        let later = date(now() + Duration::from_secs(3_600));
        let head = "Content-Length: 0\r\n\r\n";
        send(&mut socket, &format!("HTTP/1.1 403 Forbidden\r\nDate: {later}\r\n{head}")).await;
    })
    .await;
    let store = fake.store().await;
    let written = store.create(&key(), "hello".into(), Some(within(60))).await;
    assert!(matches!(written, Err(Error::Expired)), "{written:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_not_retried_after_its_deadline() {
    let fake = Fake::start(|_, mut socket| async move {
        request(&mut socket).await;
        answer(&mut socket, "503 Slow Down", "", &error("SlowDown")).await;
    })
    .await;
    let store = fake.store().await;
    let minute = Duration::from_secs(60);
    let past = Deadline { leased_at: now() - minute, valid_for: Duration::from_secs(1) };
    let late = store.create(&key(), "hello".into(), Some(past)).await;
    assert!(matches!(late, Err(Error::Unavailable(_))), "{late:?}");
    assert_eq!(fake.connections(), 1);
    let in_time = store.create(&key(), "hello".into(), Some(within(60))).await;
    assert!(matches!(in_time, Err(Error::Unavailable(_))), "{in_time:?}");
    assert_eq!(fake.connections(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_409_of_the_store_decides_nothing() {
    let fake = Fake::start(|_, mut socket| async move {
        request(&mut socket).await;
        answer(&mut socket, "409 Conflict", "", &error("ConditionalRequestConflict")).await;
    })
    .await;
    let store = fake.store().await;
    for deadline in [None, Some(within(60))] {
        let written = store.create(&key(), "hello".into(), deadline).await;
        assert!(matches!(written, Err(Error::TryAgain)), "{written:?}");
    }
}

/// The store refuses the condition without reading the body, and closes: no response arrives.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_without_a_response_is_found_by_a_head() {
    let fake = Fake::start(|_, mut socket| async move {
        let mut start = [0; 4];
        if socket.read_exact(&mut start).await.is_ok() && &start == b"HEAD" {
            request(&mut socket).await;
            answer(&mut socket, "200 OK", "ETag: \"now\"\r\n", "").await;
        }
    })
    .await;
    let store = fake.store().await;
    let body = bytes::Bytes::from(vec![7; 8 * 1024 * 1024]);
    let replace = async |version: &str, body: &bytes::Bytes, deadline| {
        store.replace(&key(), &Version(version.to_owned()), body.clone(), deadline).await
    };
    for deadline in [None, Some(within(60))] {
        let created = store.create(&key(), body.clone(), deadline).await;
        assert!(matches!(created, Err(Error::ConflictAfterRetry)), "{created:?}");
        let stale = replace("\"before\"", &body, deadline).await;
        assert!(matches!(stale, Err(Error::ConflictAfterRetry)), "{stale:?}");
        // The condition holds for these writes, so the store has failed.
        let current = replace("\"now\"", &body, deadline).await;
        assert!(matches!(current, Err(Error::Unavailable(_))), "{current:?}");
        let small = replace("\"before\"", &body.slice(..1_000), deadline).await;
        assert!(matches!(small, Err(Error::Unavailable(_))), "{small:?}");
    }
}
