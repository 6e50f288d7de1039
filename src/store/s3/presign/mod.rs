//! URLs that clients fetch blobs with, signed here instead of by the SDK.
//!
//! A redirect is one signature and nothing else, and the SDK derives its key anew for each and runs
//! a whole request through its machinery first. But the SDK knows where a bucket is and who we are.
//! So one URL in a while comes from the SDK and is learned from: its host, its query, its scope. We
//! sign the same URL, and only if it comes out equal do we sign others by it, until another day
//! begins, the credentials change, or the SDK is to be asked again.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use aws_credential_types::provider::future;
use aws_sdk_s3::config::{Credentials, ProvideCredentials, SharedCredentialsProvider};
use hmac::{Hmac, KeyInit as _, Mac as _};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use time::macros::format_description;
use tokio::time::Instant;

/// How long the SDK is not asked again: it may have got other credentials meanwhile.
const LEARNED_FOR: Duration = Duration::from_secs(60);
/// How long before they expire the SDK gets new credentials.
const EXPIRY_MARGIN: Duration = Duration::from_secs(10);
/// Where the parameters of a signature begin in a URL of the SDK.
const SIGNATURE_PARAMETERS: &str = "&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=";
/// What S3 does not encode in a key.
const KEY_ENCODED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
/// The same for a value in a query.
const VALUE_ENCODED: &AsciiSet = &KEY_ENCODED.add(b'/');

/// The credentials that the SDK used last. It asks for them here.
#[derive(Clone, Debug)]
pub(super) struct Remembering {
    provider: SharedCredentialsProvider,
    last: Arc<ArcSwapOption<Credentials>>,
}

impl Remembering {
    pub(super) fn new(provider: SharedCredentialsProvider) -> Self {
        Self { provider, last: Arc::default() }
    }
}

impl ProvideCredentials for Remembering {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let credentials = self.provider.provide_credentials().await?;
            self.last.store(Some(Arc::new(credentials.clone())));
            Ok(credentials)
        })
    }

    fn fallback_on_interrupt(&self) -> Option<Credentials> {
        self.provider.fallback_on_interrupt()
    }
}

/// Signs URLs, as long as it knows how.
pub(super) struct Presigner {
    credentials: Remembering,
    learned: ArcSwapOption<Learned>,
}

impl fmt::Debug for Presigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presigner").finish_non_exhaustive()
    }
}

/// What all URLs of a day have in common.
struct Learned {
    credentials: Arc<Credentials>,
    until: Instant,
    /// `20261124`.
    day: String,
    /// The URL up to the key.
    base: String,
    /// Where the path begins in it.
    path_at: usize,
    host: String,
    /// The query before the parameters of the signature, as it is sent and as it is signed.
    query: String,
    query_sorted: String,
    /// `<id>/<day>/<region>/s3/aws4_request`, encoded.
    credential: String,
    /// The same without the id, not encoded.
    scope: String,
    token: Option<String>,
    /// Has taken in the key of the day.
    key: Hmac<Sha256>,
}

impl Presigner {
    pub(super) fn new(credentials: Remembering) -> Self {
        Self { credentials, learned: ArcSwapOption::empty() }
    }

    /// The URL of a key, if it is known how to sign it.
    pub(super) fn sign(&self, key: &str, dated: SystemTime, valid_for: Duration) -> Option<String> {
        let learned = self.learned.load();
        let learned = learned.as_ref()?;
        let current = self.credentials.last.load();
        let same = current.as_ref().is_some_and(|now| Arc::ptr_eq(now, &learned.credentials));
        if !same || Instant::now() >= learned.until {
            return None;
        }
        learned.sign(key, &amazon_date(dated)?, valid_for)
    }

    /// Learns from a URL that the SDK signed at `now`. What cannot be learned from stays with it.
    pub(super) fn learn(
        &self,
        url: &str,
        key: &str,
        dated: SystemTime,
        valid_for: Duration,
        now: SystemTime,
    ) {
        let Some(credentials) = self.credentials.last.load_full() else { return };
        let learned = Learned::from(url, key, credentials, now).filter(|learned| {
            let date = amazon_date(dated);
            date.and_then(|date| learned.sign(key, &date, valid_for)).as_deref() == Some(url)
        });
        self.learned.store(learned.map(Arc::new));
    }
}

impl Learned {
    fn from(url: &str, key: &str, credentials: Arc<Credentials>, now: SystemTime) -> Option<Self> {
        let (address, all) = url.split_once('?')?;
        let base = address.strip_suffix(&encoded_key(key))?.to_owned();
        let authority_at = base.find("://")? + "://".len();
        let path_at = authority_at + base.get(authority_at..)?.find('/')?;
        let host = base.get(authority_at..path_at)?.to_owned();
        let (query, signature) = all.split_once(SIGNATURE_PARAMETERS)?;
        let credential = signature.split('&').next()?.to_owned();
        let (_, scope) = credential.split_once("%2F")?;
        let scope = scope.replace("%2F", "/");
        let mut parts = scope.split('/');
        let (day, region, service) = (parts.next()?.to_owned(), parts.next()?, parts.next()?);
        let secret = format!("AWS4{}", credentials.secret_access_key());
        let key = [region, service, "aws4_request"]
            .iter()
            .fold(hmac(secret.as_bytes(), &day)?, |key, part| hmac(&key, part).unwrap_or(key));
        let mut sorted: Vec<&str> = query.split('&').collect();
        sorted.sort_unstable();
        let left = credentials.expiry().map_or(LEARNED_FOR, |expiry| {
            expiry.duration_since(now).unwrap_or_default().saturating_sub(EXPIRY_MARGIN)
        });
        Some(Self {
            until: Instant::now() + left.min(LEARNED_FOR),
            day,
            path_at,
            host,
            query: query.to_owned(),
            query_sorted: sorted.join("&"),
            credential,
            scope,
            token: credentials
                .session_token()
                .map(|token| utf8_percent_encode(token, VALUE_ENCODED).to_string()),
            key: Hmac::new_from_slice(&key).ok()?,
            base,
            credentials,
        })
    }

    /// None for another day, because its key is another one.
    fn sign(&self, key: &str, date: &str, valid_for: Duration) -> Option<String> {
        if !date.starts_with(&self.day) {
            return None;
        }
        let key = encoded_key(key);
        let Self { credential, host, query_sorted, scope, .. } = self;
        let (expires, path) = (valid_for.as_secs(), self.base.get(self.path_at..)?);
        let token = self.token.as_deref().map(|token| ("&X-Amz-Security-Token=", token));
        let (token_name, token) = token.unwrap_or_default();
        let request = format!(
            "GET\n{path}{key}\nX-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={credential}\
             &X-Amz-Date={date}&X-Amz-Expires={expires}{token_name}{token}\
             &X-Amz-SignedHeaders=host&{query_sorted}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD"
        );
        let request = hex::encode(Sha256::digest(request));
        let mut signing = self.key.clone();
        signing.update(format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{request}").as_bytes());
        let signature = hex::encode(signing.finalize().into_bytes());
        let Self { base, query, .. } = self;
        Some(format!(
            "{base}{key}?{query}{SIGNATURE_PARAMETERS}{credential}&X-Amz-Date={date}\
             &X-Amz-Expires={expires}&X-Amz-SignedHeaders=host&X-Amz-Signature={signature}\
             {token_name}{token}"
        ))
    }
}

fn hmac(key: &[u8], text: &str) -> Option<[u8; 32]> {
    let mut hmac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    hmac.update(text.as_bytes());
    Some(hmac.finalize().into_bytes().into())
}

fn encoded_key(key: &str) -> String {
    utf8_percent_encode(key, KEY_ENCODED).to_string()
}

/// `20261124T100531Z`.
fn amazon_date(moment: SystemTime) -> Option<String> {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    OffsetDateTime::from(moment).format(&format).ok()
}

#[cfg(test)]
mod tests;
