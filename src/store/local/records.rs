//! One thread writes the records, and commits all queued writes together.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::database::{Condition, Database, Write};
use crate::store::{Deadline, Error, Version};

/// How many writes may be queued; further callers wait for space in the queue.
const QUEUE_WRITES_MAX: usize = 1_024;

/// How many queued writes one commit contains.
const COMMIT_WRITES_MAX: usize = 512;
const COMMIT_BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

type Answer = oneshot::Sender<Result<Version, Error>>;

/// The records of a folder.
#[derive(Debug)]
pub(super) struct Records {
    database: Arc<Database>,
    /// Dropped when the folder is closed, which ends the writer thread.
    queue: Option<mpsc::Sender<(Write, Answer)>>,
    writer: Option<JoinHandle<()>>,
}

impl Records {
    /// Opens the database, which locks it against every other process.
    pub(super) fn open(path: PathBuf) -> Result<Self, redb::Error> {
        let database = Arc::new(Database::open(path)?);
        let (queue, mut queued) = mpsc::channel(QUEUE_WRITES_MAX);
        let own = Arc::clone(&database);
        let writer = std::thread::Builder::new()
            .name("longshore-entries".to_owned())
            .spawn(move || {
                while let Some(first) = queued.blocking_recv() {
                    commit(&own, gather(first, &mut queued));
                }
            })
            .map_err(redb::Error::Io)?;
        Ok(Self { database, queue: Some(queue), writer: Some(writer) })
    }

    /// The database, for reads: they need no queue.
    pub(super) fn database(&self) -> Arc<Database> {
        Arc::clone(&self.database)
    }

    /// Writes a record, or removes it if there is no body, and waits until that is on the disk. A
    /// queued write happens even if its caller is dropped.
    pub(super) async fn write(
        &self,
        key: String,
        condition: Condition,
        body: Option<Bytes>,
        deadline: Option<Deadline>,
    ) -> Result<Version, Error> {
        let stopped =
            || Error::Unavailable("the writer thread of the local store has stopped".into());
        let (answer, answered) = oneshot::channel();
        let write = Write { key, condition, body, deadline };
        let queue = self.queue.as_ref().ok_or_else(stopped)?;
        queue.send((write, answer)).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        drop(self.queue.take());
        if self.writer.take().is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the writer thread of the local store panicked");
        }
        // Closed here and not by the last reader, so that the folder can be reopened at once.
        self.database.close();
    }
}

/// Takes the writes of one commit from the queue.
fn gather(
    first: (Write, Answer),
    queued: &mut mpsc::Receiver<(Write, Answer)>,
) -> Vec<(Write, Answer)> {
    let length = |write: &Write| write.body.as_ref().map_or(0, Bytes::len);
    let mut body_bytes = length(&first.0);
    let mut batch = vec![first];
    while batch.len() < COMMIT_WRITES_MAX && body_bytes < COMMIT_BODY_BYTES_MAX {
        let Ok(next) = queued.try_recv() else { break };
        body_bytes += length(&next.0);
        batch.push(next);
    }
    batch
}

fn commit(database: &Database, batch: Vec<(Write, Answer)>) {
    let (writes, answers): (Vec<Write>, Vec<Answer>) = batch.into_iter().unzip();
    let outcomes = database.commit(&writes).unwrap_or_else(|error| {
        tracing::error!(%error, writes = writes.len(), "local store: commit of records failed");
        writes.iter().map(|_| Err(again(&error))).collect()
    });
    for (answer, outcome) in answers.into_iter().zip(outcomes) {
        // The caller may be gone; the write happened nevertheless, as with a remote store.
        drop(answer.send(outcome));
    }
}

/// The failure of a commit, for each of its writes.
fn again(error: &Error) -> Error {
    match error {
        Error::Unavailable(why) => Error::Unavailable(why.clone()),
        Error::Refused(why) => Error::Refused(why.clone()),
        Error::Damaged(why) => Error::Damaged(why.clone()),
        other @ (Error::NotFound
        | Error::Conflict
        | Error::ConflictAfterRetry
        | Error::TryAgain
        | Error::Expired
        | Error::BadDigest) => Error::Unavailable(other.to_string()),
    }
}
