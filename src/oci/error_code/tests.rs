use super::*;

#[test]
fn codes_are_spelled_as_in_the_specification() {
    // distribution-spec, "Error codes", in its order.
    let table = [
        (ErrorCode::BlobUnknown, "BLOB_UNKNOWN"),
        (ErrorCode::BlobUploadInvalid, "BLOB_UPLOAD_INVALID"),
        (ErrorCode::BlobUploadUnknown, "BLOB_UPLOAD_UNKNOWN"),
        (ErrorCode::DigestInvalid, "DIGEST_INVALID"),
        (ErrorCode::ManifestBlobUnknown, "MANIFEST_BLOB_UNKNOWN"),
        (ErrorCode::ManifestInvalid, "MANIFEST_INVALID"),
        (ErrorCode::ManifestUnknown, "MANIFEST_UNKNOWN"),
        (ErrorCode::NameInvalid, "NAME_INVALID"),
        (ErrorCode::NameUnknown, "NAME_UNKNOWN"),
        (ErrorCode::SizeInvalid, "SIZE_INVALID"),
        (ErrorCode::Unauthorized, "UNAUTHORIZED"),
        (ErrorCode::Denied, "DENIED"),
        (ErrorCode::Unsupported, "UNSUPPORTED"),
        (ErrorCode::TooManyRequests, "TOOMANYREQUESTS"),
    ];
    for (code, text) in table {
        assert_eq!(code.to_string(), text);
        assert_eq!(serde_json::to_string(&code).expect("serializes"), format!("\"{text}\""));
    }
}
