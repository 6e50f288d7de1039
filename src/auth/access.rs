//! Actions on resources: what a request needs permission for.

use crate::oci::RepositoryName;

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Load what is no content and the same for everyone, such as a style sheet.
    Open,
    /// Fetch a token of our own token service, or find out that the credentials are wrong.
    Token,
    /// Check that this is a registry (`GET /v2/`).
    Enter,
    /// Read content and lists of a repository.
    Pull,
    /// Add content and new tags, without moving an existing tag.
    Create,
    /// Move an existing tag. Includes [`Action::Create`].
    Push,
    /// Remove content from a repository.
    Delete,
    /// List the repositories.
    Catalog,
    /// See one repository in that list.
    See,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// The registry as a whole.
    Registry,
    Repository(RepositoryName),
}

/// An action on a resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Access {
    pub resource: Resource,
    pub action: Action,
}
