//! Memory for the response of a request, reserved before anything is done for it.

use std::sync::Arc;

use axum::extract::Request;
use http::Extensions;

use super::peer::Client;
use crate::http::error::Error;
use crate::http::metered_body::Observer;
use crate::http::response_budget::{Reservation, ResponseBudget};

/// What a request has reserved until its response has left; nothing if it is refused.
#[derive(Clone, Debug)]
pub(in crate::http) struct Admission(Option<Arc<Reservation>>);

impl Observer for Admission {}

impl Admission {
    /// The reservation of a request, or its refusal.
    pub(in crate::http) fn take(extensions: &mut Extensions) -> Result<Arc<Reservation>, Error> {
        let admission = extensions.remove::<Self>();
        admission.and_then(|Self(reservation)| reservation).ok_or_else(Error::too_busy)
    }
}

pub(in crate::http) fn admit(
    budget: Arc<ResponseBudget>,
) -> impl Fn(&mut Request) -> Admission + Clone {
    move |request: &mut Request| {
        let client = request.extensions().get::<Client>().copied().unwrap_or_default();
        let admission = Admission(budget.admit(client.address).map(Arc::new));
        request.extensions_mut().insert(admission.clone());
        admission
    }
}
