//! Multipart uploads that a request completed whose process died before it heard so.

use longshore::config::Settings;

use crate::support::scripted_s3::{Match, Operation, ScriptedS3};
use crate::support::{App, bytes, sha256};

const MIB: usize = 1024 * 1024;

/// versitygw answers a repeated completion with the `ETag` of the parts that it names. The part of
/// the tail cannot be sent again, so they are not those of the object.
#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_commit_records_the_etag_of_the_object() {
    for answered in [false, true] {
        let s3 = ScriptedS3::start().await;
        s3.answer_repeated_completions(answered);
        let mut settings = Settings::default();
        settings.uploads.part_bytes = 5 * MIB;
        let (content, first) = (bytes(1, 12 * MIB), App::over_s3(&s3, settings.clone()).await);
        let digest = sha256(&content);
        let begun = first.request("POST", "/v2/a/blobs/uploads/").send().await.expect(202);
        let chunk = first.request("PATCH", &begun.location()).body(content.clone()).send().await;
        let close = format!("{}?digest={digest}", chunk.expect(202).location());
        let completed = s3.hold_response(Match::of(Operation::CompleteMultipart, "v1/d/"));
        let putting = async {
            let _unanswered = first.request("PUT", &close).try_send().await;
        };
        let dying = async {
            completed.reached().await;
            first.crash().await;
        };
        tokio::join!(putting, dying);
        let second = App::over_s3(&s3, settings).await;
        second.request("PUT", &close).send().await.expect(201);
        second.assert_blob("a", &digest, &content).await;
        let data = s3.keys("v1/d/");
        let etag = s3.etag(&data[0]).expect("the data");
        for record in [s3.keys("v1/p/"), s3.keys("v1/l/")].concat() {
            let body = s3.object(&record).expect("it was listed");
            let body = String::from_utf8_lossy(&body);
            assert!(body.contains(etag.trim_matches('"')), "{record}: {body}, not {etag}");
        }
    }
}
