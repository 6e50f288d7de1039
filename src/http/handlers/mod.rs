//! One handler for each operation. Above each stands the section of the distribution-spec that it
//! implements.

mod blobs;
mod byteranges;
mod catalog;
mod manifests;
mod page;
mod referrers;
mod support;
mod tags;
mod token;
mod uploads;

use axum::response::Response;

use super::authorized::Authorized;
use super::endpoint::Operation;
use super::error::Error;
use super::pages;

/// Calls the handler of the operation. All but the hottest are boxed: the future of each request is
/// allocated and moved, and is as large as the largest that is not.
pub(super) async fn handle(request: Authorized) -> Result<Response, Error> {
    let Authorized { context: cx, mut body } = request;
    let body = &mut body;
    let response = match &cx.endpoint.operation {
        Operation::ApiVersion => Ok(support::api_version()),
        Operation::ListExtensions => Ok(support::registry_extensions()),
        Operation::ListRepositoryExtensions => Ok(support::repository_extensions()),
        Operation::ListCatalog => Box::pin(catalog::list(&cx)).await,
        Operation::GetBlob(digest) => blobs::get(&cx, digest).await,
        Operation::HeadBlob(digest) => blobs::head(&cx, digest).await,
        Operation::DeleteBlob(digest) => Box::pin(blobs::delete(&cx, digest)).await,
        Operation::GetManifest(reference) | Operation::HeadManifest(reference) => {
            manifests::get(&cx, reference).await
        }
        Operation::PutManifest(reference) => Box::pin(manifests::put(&cx, reference, body)).await,
        Operation::DeleteManifest(reference) => Box::pin(manifests::delete(&cx, reference)).await,
        Operation::ListTags => Box::pin(tags::list(&cx)).await,
        Operation::ListReferrers(subject) => Box::pin(referrers::list(&cx, subject)).await,
        Operation::StartUpload { from } => Box::pin(uploads::start(&cx, from.as_ref(), body)).await,
        Operation::UploadChunk(id) => Box::pin(uploads::chunk(&cx, *id, body)).await,
        Operation::FinishUpload(id) => Box::pin(uploads::finish(&cx, *id, body)).await,
        Operation::UploadStatus(id) => Box::pin(uploads::status(&cx, *id)).await,
        Operation::CancelUpload(id) => Box::pin(uploads::cancel(&cx, *id)).await,
        Operation::Token => Box::pin(token::issue(&cx, body)).await,
        Operation::Page(page) => Box::pin(pages::show(&cx, page)).await,
    };
    if response.as_ref().is_err_and(|error| error.drains_body) {
        // What the handler left of it.
        body.drain().await;
    }
    response
}
