//! What the audit log says of a request: gathered from its head, from its caller and from its
//! response.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use http::header::{CONTENT_LENGTH, USER_AGENT};
use http::{HeaderMap, Method, StatusCode};

use super::authorized::Authorized;
use super::endpoint::{Effect, Endpoint, Operation, Target};
use super::error::{Error, Failure};
use super::headers::{self, DOCKER_CONTENT_DIGEST, DOCKER_UPLOAD_UUID};
use super::layers::RequestInfo;
use super::layers::access_log::LogFields;
use super::layers::peer::Client;
use super::query::Query;
use super::state::Api;
use crate::audit_log::{Entry, Outcome, TagChange, Text, Who};
use crate::auth::{Access, Action, Caller};
use crate::oci::{Digest, Reference, RepositoryName, Tag};
use crate::telemetry::metrics::{AuthMethod, AuthReason, Label as _};

/// What a handler has changed, as far as the head of its response does not say it: an extension of
/// the response.
#[derive(Clone, Debug, Default)]
pub(super) struct Changed {
    /// Bytes of the content, or of the upload so far.
    pub(super) size: Option<u64>,
    pub(super) tags: Vec<TagChange>,
    pub(super) mounted_from: Option<RepositoryName>,
}

/// A request that may have a line in the audit log, as far as it is known before it is handled.
#[derive(Clone, Debug)]
pub(super) struct Audited(Option<Arc<Known>>);

#[derive(Debug)]
struct Known {
    api: Arc<Api>,
    client: Client,
    fields: Arc<LogFields>,
    endpoint: Endpoint,
    method: Method,
    /// The tags that it names.
    tags: Vec<Tag>,
    /// The digest that it names.
    digest: Option<Digest>,
    user_agent: Option<Text>,
}

/// What a client gets, as far as the line says it.
#[derive(Debug)]
struct Answer {
    outcome: Outcome,
    status: StatusCode,
    failure: Option<Failure>,
    digest: Option<Digest>,
    upload: Option<String>,
    changed: Changed,
}

impl Audited {
    /// Takes from the head what a line says. Nothing where there is no audit log, and for requests
    /// that are no operation.
    pub(super) fn begin(api: &Arc<Api>, request: &Request) -> Self {
        if !api.audit_log.is_on() {
            return Self(None);
        }
        let Some(info) = request.extensions().get::<RequestInfo>() else { return Self(None) };
        let Some(endpoint) = info.endpoint() else { return Self(None) };
        let query = Query::of_upload(request.uri());
        let named = ["digest", "mount"].into_iter().find_map(|key| query.one(key)?.parse().ok());
        let user_agent = request.headers().get(USER_AGENT);
        let user_agent = user_agent.map(|agent| String::from_utf8_lossy(agent.as_bytes()));
        Self(Some(Arc::new(Known {
            api: api.clone(),
            client: info.client,
            fields: info.log_fields.clone(),
            endpoint: endpoint.clone(),
            method: request.method().clone(),
            tags: tags(&endpoint.operation, &query),
            digest: endpoint.operation.target().digest().copied().or(named),
            user_agent: user_agent.map(|agent| Text::from(&*agent)),
        })))
    }

    /// Lets a request begin that was authorized, unless it is a change that could not be recorded.
    /// Records one that is refused.
    pub(super) async fn admit(
        &self,
        authorized: Result<Authorized, Error>,
    ) -> Result<Authorized, Error> {
        let Some(known) = &self.0 else { return authorized };
        let error = match authorized {
            Ok(request) if known.is_change() && !known.api.audit_log.admits_changes() => {
                known.api.tasks.spawn(request.body.drain_refused());
                Error::unaudited()
            }
            Ok(request) => return Ok(request),
            Err(error) => error,
        };
        if known.is_recorded() || is_failed_login(&error) {
            known.write(Answer::of_error(Outcome::Refused, &error)).await;
        }
        Err(error)
    }

    /// Records how a request ended that was handled.
    pub(super) async fn ended(&self, ended: Result<Response, Error>) -> Result<Response, Error> {
        let Some(known) = &self.0 else { return ended };
        // Who asks for a token by a form logs in with it.
        if !known.is_recorded() && !ended.as_ref().is_err_and(is_failed_login) {
            return ended;
        }
        let answer = match &ended {
            Ok(response) => Answer::of_response(response),
            Err(error) => Answer::of_error(outcome(error.status()), error),
        };
        Box::pin(known.write(answer)).await;
        ended
    }
}

/// The tags that a request names.
fn tags(operation: &Operation, query: &Query<'_>) -> Vec<Tag> {
    match (operation.target(), operation) {
        (Target::Reference(Reference::Tag(tag)), _) => vec![tag.clone()],
        (_, Operation::PutManifest(_)) => {
            query.all("tag").filter_map(|tag| tag.parse().ok()).collect()
        }
        _ => Vec::new(),
    }
}

/// Whether the request was refused because its credentials prove nothing.
fn is_failed_login(error: &Error) -> bool {
    error.auth().is_some_and(proves_nothing)
}

/// Whether credentials were sent that prove nothing.
fn proves_nothing(reason: AuthReason) -> bool {
    !matches!(
        reason,
        AuthReason::None | AuthReason::NoCredentials | AuthReason::TokenScope | AuthReason::NoRule
    )
}

/// What the status says of a request that was authorized and not carried out.
fn outcome(status: StatusCode) -> Outcome {
    match status {
        StatusCode::UNAUTHORIZED
        | StatusCode::FORBIDDEN
        | StatusCode::METHOD_NOT_ALLOWED
        | StatusCode::PRECONDITION_FAILED
        | StatusCode::TOO_MANY_REQUESTS => Outcome::Refused,
        _ => Outcome::Failed,
    }
}

impl Answer {
    fn of_error(outcome: Outcome, error: &Error) -> Self {
        Self {
            outcome,
            status: error.status(),
            failure: error.failure(),
            digest: None,
            upload: None,
            changed: Changed::default(),
        }
    }

    fn of_response(response: &Response) -> Self {
        let headers = response.headers();
        let changed = response.extensions().get::<Changed>().cloned();
        let mut changed = changed.unwrap_or_default();
        if response.status() == StatusCode::OK {
            let length = headers::text(headers, &CONTENT_LENGTH);
            changed.size = changed.size.or_else(|| length?.parse().ok());
        }
        Self {
            outcome: Outcome::Done,
            status: response.status(),
            failure: None,
            digest: read(headers, &DOCKER_CONTENT_DIGEST),
            upload: headers::text(headers, &DOCKER_UPLOAD_UUID).map(str::to_owned),
            changed,
        }
    }
}

fn read(headers: &HeaderMap, name: &http::HeaderName) -> Option<Digest> {
    headers::text(headers, name)?.parse().ok()
}

impl Known {
    fn is_change(&self) -> bool {
        self.endpoint.operation.row().effect == Effect::Mutates
    }

    /// Whether each such request has a line. A failed login always has one.
    fn is_recorded(&self) -> bool {
        let is_pull = || {
            let target = &self.endpoint.operation;
            matches!(
                target,
                Operation::GetManifest(_)
                    | Operation::HeadManifest(_)
                    | Operation::GetBlob(_)
                    | Operation::HeadBlob(_)
            )
        };
        self.is_change() || (self.api.audit_log.has_pulls() && is_pull())
    }

    /// Writes the line, and returns when it is written or counted as missing.
    async fn write(&self, answer: Answer) {
        let entry = self.entry(answer);
        let log = self.api.audit_log.clone();
        // A task of its own: the client may leave, and the line is written or counted all the same.
        let _ = self.api.tasks.spawn(async move { log.write(&entry).await }).await;
    }

    fn entry(&self, answer: Answer) -> Entry {
        let Answer { outcome, status, failure, digest, upload, changed } = answer;
        let Changed { size, tags, mounted_from } = changed;
        let caller = self.fields.caller.get();
        let auth = failure.as_ref().and_then(|failure| failure.auth);
        let rule = match (outcome, caller) {
            (Outcome::Done | Outcome::Failed, Some(caller)) => self.rule(caller, &tags),
            _ => None,
        };
        let upload = upload.or_else(|| match self.endpoint.operation.target() {
            Target::Upload(id) => Some(id.to_string()),
            _ => None,
        });
        let named = |tag: &Tag| TagChange { tag: tag.clone(), before: None, after: None };
        let tags = if tags.is_empty() { self.tags.iter().map(named).collect() } else { tags };
        Entry {
            time: self.api.clock.now(),
            request_id: self.fields.request_id.to_str().unwrap_or_default().into(),
            who: who(caller, failure.as_ref()),
            client: self.client.address,
            operation: self.endpoint.operation.row().label.as_str(),
            method: self.method.as_str().into(),
            repository: self.endpoint.repository.clone(),
            upload,
            digest: digest.or(self.digest),
            tags: tags.into(),
            size,
            mounted_from,
            outcome,
            status: status.as_u16(),
            rule: rule.map(|rule| rule.as_str().into()),
            code: failure.as_ref().map(|failure| failure.code.as_str()),
            auth: auth.map(AuthReason::as_str),
            reason: failure.map(|failure| failure.reason.as_str().into()),
            user_agent: self.user_agent.clone(),
        }
    }

    /// The rule that has allowed the request. Moving a tag needs more than what was authorized.
    fn rule(&self, caller: &Caller, tags: &[TagChange]) -> Option<String> {
        let mut access: Access = self.endpoint.access();
        if tags.iter().any(TagChange::moved) {
            access.action = Action::Push;
        }
        self.api.authorizer.rule(caller, &access)
    }
}

/// Who has called, or by what it has tried to prove that.
fn who(caller: Option<&Caller>, failure: Option<&Failure>) -> Who {
    let failed = failure.filter(|failure| failure.auth.is_some_and(proves_nothing));
    let anonymous = Caller::anonymous();
    let caller = match (caller, failed.and_then(|failure| failure.tried)) {
        (Some(caller), _) => caller,
        (None, Some(method)) => return Who { subject: None, credential: tried(method).into() },
        (None, None) => &anonymous,
    };
    let (subject, credential) = (caller.subject(), caller.credential());
    Who { subject: Some(subject.as_str().into()), credential: credential.as_str().into() }
}

/// The credentials of a login that has failed, as [`Caller::credential`] calls them.
fn tried(method: AuthMethod) -> &'static str {
    match method {
        AuthMethod::None => "anonymous",
        AuthMethod::Basic => "password",
        AuthMethod::Bearer => "token",
        AuthMethod::Certificate => "certificate",
        AuthMethod::Other => "other",
    }
}
