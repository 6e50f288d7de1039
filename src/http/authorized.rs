//! A request whose caller may do what it asks for.

use std::sync::{Arc, OnceLock};

use axum::extract::{FromRequest, Request};
use http::header::CONNECTION;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};

use super::body::RequestBody;
use super::endpoint::{Endpoint, Operation, RouteError};
use super::error::Error;
use super::headers;
use super::layers::RequestInfo;
use super::layers::access_log::LogFields;
use super::layers::peer::Client;
use super::response_budget::Reservation;
use super::state::Api;
use crate::auth::{
    Access, Action, AuthRequest, Caller, ClientCertificate, Denied, FormCredentials, IssueRequest,
    Issued, Resource, absolute_url,
};
use crate::oci::RepositoryName;
use crate::registry::uploads::Claimant;
use crate::telemetry::metrics::{AuthMethod, AuthReason, AuthResult};

/// The extractor that authorizes. Only it makes a [`Context`], which every handler needs, so no
/// handler can be called without it.
pub(super) struct Authorized {
    pub(super) context: Context,
    pub(super) body: RequestBody,
}

/// The head of a request that was authorized.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) api: Arc<Api>,
    pub(super) endpoint: Endpoint,
    pub(super) client: Client,
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    /// The memory that the response may occupy.
    pub(super) reservation: Arc<Reservation>,
    caller: Caller,
    /// The credentials of the head.
    method_of_login: AuthMethod,
    log_fields: Arc<LogFields>,
}

impl FromRequest<Arc<Api>> for Authorized {
    type Rejection = Error;

    /// A refused request is answered at once, and its body drained: a client or a proxy that is
    /// still sending it sees the response.
    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, Error> {
        let (head, body) = request.into_parts();
        let body = RequestBody::new(body);
        match Context::authorized(head, api).await {
            Ok(context) => Ok(Self { context, body }),
            Err(error) => {
                api.tasks.spawn(body.drain_refused());
                Err(error)
            }
        }
    }
}

impl Context {
    /// The only place where a request is authorized, and before anything is looked up: so what is
    /// missing and what is forbidden look the same to a caller that may know neither.
    async fn authorized(mut head: Parts, api: &Arc<Api>) -> Result<Self, Error> {
        if !headers::names_one_host(head.version, &head.headers) {
            let message = "the request must have one Host header";
            return Err(Error::unsupported(StatusCode::BAD_REQUEST, message));
        }
        if !headers::is_framed_plainly(&head.headers) {
            let message = "Transfer-Encoding must be chunked, once";
            let error = Error::unsupported(StatusCode::BAD_REQUEST, message);
            // What follows may be read as another request, or as a part of this one.
            return Err(error.header(CONNECTION, HeaderValue::from_static("close")));
        }
        // The layers have put it there.
        let Some(info) = head.extensions.remove::<RequestInfo>() else {
            return Err(Error::unexpected("a request came past the layers".to_owned()));
        };
        let RequestInfo { client, endpoint, reservation, account, log_fields } = info;
        let reservation = reservation.ok_or_else(Error::too_busy)?;
        account.admit_address(&endpoint)?;
        let endpoint = endpoint?;
        let page = matches!(endpoint.operation, Operation::Page(_));
        if page && !api.settings.pages.enabled {
            return Err(RouteError::Unknown.into());
        }
        let (access, optional_scope) = (endpoint.access(), endpoint.optional_scope());
        let proved = OnceLock::new();
        let attempt = AuthRequest {
            headers: &head.headers,
            certificate: head.extensions.get::<Arc<ClientCertificate>>().map(AsRef::as_ref),
            access: &access,
            optional_scope: optional_scope.as_ref(),
            client: client.address,
            host: headers::host(&head.uri, &head.headers),
            secure: client.secure,
            proved: &proved,
            page,
        };
        let (method, decision) = api.authorizer.authorize(attempt).await;
        // Who asks for a token, the token service decides, because a form may say it.
        let is_decided = endpoint.operation != Operation::Token || decision.is_err();
        if is_decided {
            count(api, method, decision.as_ref());
            let caller = proved.into_inner().or_else(|| decision.as_ref().ok().cloned());
            if let Some(caller) = caller {
                log_fields.caller.get_or_init(|| caller);
            }
        }
        let caller = decision.map_err(|denied| Error::refused(denied, method))?;
        account.admit_caller(&caller, endpoint.operation.row().effect)?;
        endpoint.adds_to().map_or(Ok(()), |name| api.quotas.admit(name))?;
        Ok(Self {
            api: api.clone(),
            endpoint,
            client,
            method: head.method,
            uri: head.uri,
            headers: head.headers,
            reservation,
            caller,
            method_of_login: method,
            log_fields,
        })
    }

    /// The repository of the request. The operations of the registry as a whole have none.
    pub(super) fn repository(&self) -> Result<&RepositoryName, Error> {
        self.endpoint.repository.as_ref().ok_or_else(|| RouteError::Unknown.into())
    }

    /// Whether anonymous callers may read the repository of the request: only then may a cache that
    /// serves several clients keep what the request reads. Some keep it although the request has
    /// credentials.
    pub(super) fn is_public(&self) -> bool {
        let Some(name) = self.endpoint.repository.clone() else { return false };
        let access = Access { resource: Resource::Repository(name), action: Action::Pull };
        self.api.authorizer.may(&Caller::anonymous(), &access)
    }

    /// The value of a `Location` that is a path of this registry, or its URL for clients that
    /// cannot resolve a path.
    pub(super) fn location(&self, path: &str) -> HeaderValue {
        if !self.api.settings.listener.absolute_locations {
            return headers::value(path);
        }
        let host = headers::host(&self.uri, &self.headers);
        headers::value(&absolute_url(path, host, self.client.secure))
    }

    /// Who is calling, as the owner of an upload session.
    pub(super) fn subject(&self) -> String {
        self.caller.subject()
    }

    /// Who has logged in, as the record of a tag says it.
    pub(super) fn user(&self) -> Option<String> {
        self.caller.written_name()
    }

    /// Whose share of the upload memory the body takes.
    pub(super) fn claimant(&self) -> Claimant {
        if self.caller.is_authenticated() {
            Claimant::User(self.caller.subject().into())
        } else {
            Claimant::of_address(self.client.address)
        }
    }

    /// A token of our own service for the caller, or for the one with the credentials of a form.
    pub(super) async fn issue_token(
        &self,
        credentials: Option<FormCredentials<'_>>,
        scopes: &[&str],
        offline: bool,
    ) -> Result<Issued, Error> {
        let authorizer = &self.api.authorizer;
        if !authorizer.has_token_service() {
            return Err(RouteError::Unknown.into());
        }
        let (caller, client, proved) = (&self.caller, self.client.address, &self.log_fields.caller);
        let request = IssueRequest { caller, credentials, scopes, offline, client, proved };
        let issued = authorizer.issue(request).await;
        let method = match credentials {
            None => self.method_of_login,
            Some(FormCredentials::Password { user: "", password: "" }) => AuthMethod::None,
            Some(FormCredentials::Password { .. }) => AuthMethod::Basic,
            Some(FormCredentials::RefreshToken(_)) => AuthMethod::Bearer,
        };
        count(&self.api, method, issued.as_ref());
        issued.map_err(|denied| Error::refused(denied, method))
    }

    /// Whether the caller may do more than what was authorized.
    pub(super) fn may(&self, name: &RepositoryName, action: Action) -> bool {
        let resource = Resource::Repository(name.clone());
        self.api.authorizer.may(&self.caller, &Access { resource, action })
    }
}

/// Counts a decision.
fn count<T>(api: &Api, method: AuthMethod, decision: Result<&T, &Denied>) {
    let (result, reason) = match decision {
        Ok(_) => (AuthResult::Allowed, AuthReason::None),
        Err(denied) => denied.metric_label(),
    };
    api.metrics.auth.inc((method, result, reason));
}
