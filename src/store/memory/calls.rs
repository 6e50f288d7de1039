//! Counts the calls a store was asked to serve: what an operation costs is a contract.

/// The kinds of call an [`ObjectStore`](crate::store::ObjectStore) serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Reading an entry.
    Read,
    /// Creating an entry.
    Create,
    /// Replacing an entry.
    Replace,
    /// One page of a listing.
    List,
    /// Writing bytes whole.
    Put,
    /// Opening bytes.
    Get,
    /// Removing bytes.
    Delete,
    /// Making a URL. Costs no request on S3, and is counted all the same.
    Presign,
    /// Beginning a multipart upload.
    Start,
    /// Sending one part.
    PutPart,
    /// Completing a multipart upload.
    Complete,
    /// Giving up a multipart upload.
    Abort,
    /// Asking whether a multipart upload is open.
    IsOpen,
}

/// How many calls of each kind were made, failed ones included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// See [`Operation::Read`].
    pub read: u64,
    /// See [`Operation::Create`].
    pub create: u64,
    /// See [`Operation::Replace`].
    pub replace: u64,
    /// See [`Operation::List`].
    pub list: u64,
    /// See [`Operation::Put`].
    pub put: u64,
    /// See [`Operation::Get`].
    pub get: u64,
    /// See [`Operation::Delete`].
    pub delete: u64,
    /// See [`Operation::Presign`].
    pub presign: u64,
    /// See [`Operation::Start`].
    pub start: u64,
    /// See [`Operation::PutPart`].
    pub put_part: u64,
    /// See [`Operation::Complete`].
    pub complete: u64,
    /// See [`Operation::Abort`].
    pub abort: u64,
    /// See [`Operation::IsOpen`].
    pub is_open: u64,
}

impl Calls {
    /// All calls that would be a request to S3: everything but the making of URLs.
    pub fn total(&self) -> u64 {
        self.read
            + self.create
            + self.replace
            + self.list
            + self.put
            + self.get
            + self.delete
            + self.start
            + self.put_part
            + self.complete
            + self.abort
            + self.is_open
    }

    /// What was called after `earlier` was taken.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            read: self.read - earlier.read,
            create: self.create - earlier.create,
            replace: self.replace - earlier.replace,
            list: self.list - earlier.list,
            put: self.put - earlier.put,
            get: self.get - earlier.get,
            delete: self.delete - earlier.delete,
            presign: self.presign - earlier.presign,
            start: self.start - earlier.start,
            put_part: self.put_part - earlier.put_part,
            complete: self.complete - earlier.complete,
            abort: self.abort - earlier.abort,
            is_open: self.is_open - earlier.is_open,
        }
    }

    pub(super) fn count(&mut self, operation: Operation) {
        let counter = match operation {
            Operation::Read => &mut self.read,
            Operation::Create => &mut self.create,
            Operation::Replace => &mut self.replace,
            Operation::List => &mut self.list,
            Operation::Put => &mut self.put,
            Operation::Get => &mut self.get,
            Operation::Delete => &mut self.delete,
            Operation::Presign => &mut self.presign,
            Operation::Start => &mut self.start,
            Operation::PutPart => &mut self.put_part,
            Operation::Complete => &mut self.complete,
            Operation::Abort => &mut self.abort,
            Operation::IsOpen => &mut self.is_open,
        };
        *counter += 1;
    }
}
