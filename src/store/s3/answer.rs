//! What every answer of the store has to say, and its clock.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;

use crate::store::Error;

/// The error of an answer that is incomplete.
pub(super) fn lacks(what: &str) -> Error {
    Error::Refused(format!("the store's answer has no {what}"))
}

/// The `Date` of an answer: the store's clock. Of several attempts the last one counts.
#[derive(Clone, Debug, Default)]
pub(super) struct StoreDate(pub(super) Arc<Mutex<Option<SystemTime>>>);

impl StoreDate {
    pub(super) fn get(&self) -> Result<SystemTime, Error> {
        let date = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        date.ok_or_else(|| lacks("Date"))
    }

    /// How long before the answer this time was.
    pub(super) fn since(&self, time: SystemTime) -> Result<Duration, Error> {
        Ok(self.get()?.duration_since(time).unwrap_or_default())
    }
}

#[dyn_dispatch_hint]
impl Intercept for StoreDate {
    fn name(&self) -> &'static str {
        "StoreDate"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = date;
        Ok(())
    }
}
