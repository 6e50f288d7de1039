//! Entries are written by one thread, which commits at once whatever has queued up meanwhile.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::database::{Condition, Ledger, Write};
use crate::store::{Deadline, Error, Version};

/// How many writes may wait. Whoever comes later waits for room in the queue.
const QUEUE_WRITES_MAX: usize = 1_024;

/// How much one commit takes from the queue.
const COMMIT_WRITES_MAX: usize = 512;
const COMMIT_BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

type Answer = oneshot::Sender<Result<Version, Error>>;

/// The entries of a folder.
#[derive(Debug)]
pub(super) struct Entries {
    ledger: Arc<Ledger>,
    /// Taken when the folder is closed, which is how the writer learns of it.
    queue: Option<mpsc::Sender<(Write, Answer)>>,
    writer: Option<JoinHandle<()>>,
}

impl Entries {
    /// Opens the database, which locks it against every other process.
    pub(super) fn open(path: PathBuf) -> Result<Self, redb::Error> {
        let ledger = Arc::new(Ledger::open(path)?);
        let (queue, mut queued) = mpsc::channel(QUEUE_WRITES_MAX);
        let own = Arc::clone(&ledger);
        let writer = std::thread::Builder::new()
            .name("longshore-entries".to_owned())
            .spawn(move || {
                while let Some(first) = queued.blocking_recv() {
                    commit(&own, gather(first, &mut queued));
                }
            })
            .map_err(redb::Error::Io)?;
        Ok(Self { ledger, queue: Some(queue), writer: Some(writer) })
    }

    /// What is read needs no queue.
    pub(super) fn ledger(&self) -> Arc<Ledger> {
        Arc::clone(&self.ledger)
    }

    /// Writes an entry and waits until it is on the disk. Once queued it is written even if nobody
    /// waits any more.
    pub(super) async fn write(
        &self,
        key: String,
        condition: Condition,
        body: Bytes,
        deadline: Option<Deadline>,
    ) -> Result<Version, Error> {
        let stopped = || Error::Unavailable("the writer of the local folder has stopped".into());
        let (answer, answered) = oneshot::channel();
        let write = Write { key, condition, body, deadline };
        let queue = self.queue.as_ref().ok_or_else(stopped)?;
        queue.send((write, answer)).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }
}

impl Drop for Entries {
    fn drop(&mut self) {
        drop(self.queue.take());
        if self.writer.take().is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the writer of the local folder had panicked");
        }
        // Closed here and not with the last reader, so that the folder can be opened again at once.
        self.ledger.close();
    }
}

/// Takes from the queue what one commit can carry.
fn gather(
    first: (Write, Answer),
    queued: &mut mpsc::Receiver<(Write, Answer)>,
) -> Vec<(Write, Answer)> {
    let mut body_bytes = first.0.body.len();
    let mut batch = vec![first];
    while batch.len() < COMMIT_WRITES_MAX && body_bytes < COMMIT_BODY_BYTES_MAX {
        let Ok(next) = queued.try_recv() else { break };
        body_bytes += next.0.body.len();
        batch.push(next);
    }
    batch
}

fn commit(ledger: &Ledger, batch: Vec<(Write, Answer)>) {
    let (writes, answers): (Vec<Write>, Vec<Answer>) = batch.into_iter().unzip();
    let outcomes = ledger.commit(&writes).unwrap_or_else(|error| {
        tracing::error!(%error, writes = writes.len(), "entries could not be written");
        writes.iter().map(|_| Err(again(&error))).collect()
    });
    for (answer, outcome) in answers.into_iter().zip(outcomes) {
        // Whoever asked may have gone; the write stands, as with a store far away.
        drop(answer.send(outcome));
    }
}

/// The failure of a commit, for each of those who waited for it.
fn again(error: &Error) -> Error {
    match error {
        Error::Unavailable(why) => Error::Unavailable(why.clone()),
        Error::Refused(why) => Error::Refused(why.clone()),
        Error::Damaged(why) => Error::Damaged(why.clone()),
        other @ (Error::NotFound | Error::Conflict | Error::Expired | Error::BadDigest) => {
            Error::Unavailable(other.to_string())
        }
    }
}
