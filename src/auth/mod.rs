//! Who asks, and may they.
//!
//! A request is authorized once, from its endpoint, before anything is looked up: so what is
//! missing and what is forbidden look the same to those who may know neither.

use std::fmt;

use async_trait::async_trait;
use http::HeaderMap;

use crate::oci::RepositoryName;

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Ask whether this is a registry.
    Enter,
    /// Read content and lists of a repository.
    Pull,
    /// Add content to a repository.
    Push,
    /// Remove content from a repository.
    Delete,
    /// See which repositories there are.
    Catalog,
}

/// What it is done to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// The registry as a whole.
    Registry,
    /// One repository.
    Repository(RepositoryName),
}

/// One thing that a request needs to be allowed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Access {
    /// What it is done to.
    pub resource: Resource,
    /// What is done.
    pub action: Action,
}

/// Why a request may not go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// It has to say who it is. The challenge is the value of `WWW-Authenticate`.
    #[error("authentication is required")]
    Unauthenticated {
        /// RFC 9110, section 11.6.1.
        challenge: String,
    },
    /// It said who it is, and that is not enough.
    #[error("the caller may not do this")]
    Forbidden,
}

/// Someone whose request was authorized.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// For logs; `anonymous` if nobody logged in.
    pub name: String,
}

/// Decides about requests.
#[async_trait]
pub trait Authorizer: Send + Sync + fmt::Debug {
    /// Decides whether the sender of these headers may do this.
    async fn authorize(&self, headers: &HeaderMap, access: &Access) -> Result<Caller, Denied>;

    /// Whether a caller that was authorized may do something else, too: whether it may read the
    /// source of a mount, or see a repository in the catalog.
    fn may(&self, caller: &Caller, access: &Access) -> bool;
}

/// Allows everything to everybody, without a login.
#[derive(Clone, Copy, Debug, Default)]
pub struct Anyone;

#[async_trait]
impl Authorizer for Anyone {
    async fn authorize(&self, _: &HeaderMap, _: &Access) -> Result<Caller, Denied> {
        Ok(Caller { name: "anonymous".to_owned() })
    }

    fn may(&self, _: &Caller, _: &Access) -> bool {
        true
    }
}
