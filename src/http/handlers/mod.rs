//! One handler for each operation. Above each stands the section of the distribution-spec that it
//! implements.

mod blobs;
mod catalog;
mod manifests;
mod page;
mod referrers;
mod support;
mod tags;
mod uploads;

use axum::response::Response;

use super::authorized::Authorized;
use super::endpoint::Operation;
use super::error::Error;

/// Calls the handler of the operation. Those with whole upload sessions in them are boxed, so that
/// the future of every other request stays small.
pub(super) async fn handle(request: Authorized) -> Result<Response, Error> {
    let Authorized { context: cx, mut body } = request;
    let body = &mut body;
    let response = match &cx.endpoint.operation {
        Operation::ApiVersion => Ok(support::api_version()),
        Operation::ListExtensions => Ok(support::registry_extensions()),
        Operation::ListRepositoryExtensions => Ok(support::repository_extensions()),
        Operation::ListCatalog => catalog::list(&cx).await,
        Operation::GetBlob(digest) => blobs::get(&cx, digest).await,
        Operation::HeadBlob(digest) => blobs::head(&cx, digest).await,
        Operation::DeleteBlob(digest) => blobs::delete(&cx, digest).await,
        Operation::GetManifest(reference) | Operation::HeadManifest(reference) => {
            manifests::get(&cx, reference).await
        }
        Operation::PutManifest(reference) => manifests::put(&cx, reference, body).await,
        Operation::DeleteManifest(reference) => manifests::delete(&cx, reference).await,
        Operation::ListTags => tags::list(&cx).await,
        Operation::ListReferrers(subject) => referrers::list(&cx, subject).await,
        Operation::StartUpload { from } => Box::pin(uploads::start(&cx, from.as_ref(), body)).await,
        Operation::UploadChunk(id) => Box::pin(uploads::chunk(&cx, *id, body)).await,
        Operation::FinishUpload(id) => Box::pin(uploads::finish(&cx, *id, body)).await,
        Operation::UploadStatus(id) => uploads::status(&cx, *id).await,
        Operation::CancelUpload(id) => uploads::cancel(&cx, *id).await,
    };
    if response.is_err() {
        // What the handler left of it.
        body.drain().await;
    }
    response
}
