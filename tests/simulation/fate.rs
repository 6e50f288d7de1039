//! What becomes of a request between its process and the store.

use std::sync::Arc;
use std::time::Duration;

use longshore::store::Error;
use longshore::tasks::Tasks;
use tokio::time::sleep;

use crate::effects::Effects;

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Fine,
    /// It never reaches the store.
    Lost,
    /// It takes effect, and its answer is lost. The SDK may have repeated it.
    Unanswered {
        repeated: bool,
    },
    /// It is reported as lost, and takes effect later.
    Late(Duration),
    /// It takes effect, and once more later.
    Twice(Duration),
    /// The store is busy with another write to the key.
    Busy {
        applied: bool,
    },
    /// Its body breaks off.
    Broken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    Body,
    Write,
    Record,
    Manifest,
}

pub(crate) fn lost(what: &str) -> Error {
    Error::Unavailable(format!("simulated: {what}"))
}

/// A request reaches the store, or does not.
pub(crate) async fn arrive<T, F>(
    effects: Arc<Effects>,
    fate: Fate,
    act: impl Fn(Arc<Effects>) -> F + Send + Sync + 'static,
) -> Result<T, Error>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Error>> + Send + 'static,
{
    if fate != Fate::Fine {
        effects.world.note(format_args!("{} {fate:?}:", effects.process));
    }
    match fate {
        Fate::Fine => act(effects).await,
        Fate::Lost | Fate::Broken => Err(lost("the request was lost")),
        Fate::Busy { applied: false } => Err(Error::TryAgain),
        Fate::Busy { applied: true } => {
            let _ = act(effects).await;
            Err(Error::TryAgain)
        }
        Fate::Unanswered { repeated } => match act(effects).await {
            Ok(_) if repeated => Err(Error::ConflictAfterRetry),
            _ => Err(lost("the answer was lost")),
        },
        Fate::Late(after) => {
            Tasks::new().spawn(async move {
                sleep(after).await;
                let _ = act(effects).await;
            });
            Err(lost("the request is late"))
        }
        Fate::Twice(after) => {
            let answer = act(effects.clone()).await;
            Tasks::new().spawn(async move {
                sleep(after).await;
                let _ = act(effects).await;
            });
            answer
        }
    }
}
