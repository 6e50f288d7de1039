//! The paths of the pages for people.

use http::Method;

use super::{Endpoint, Operation, RouteError, decode, get};
use crate::oci::Reference;

/// What a path below `/ui/` shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Page {
    /// The repositories.
    Repositories,
    /// The tags of a repository.
    Repository,
    /// The manifests of a repository that no tag names.
    Untagged,
    Manifest(Reference),
    /// Asks for a login, then shows the repositories.
    Login,
    /// Leads to the repository that a form names.
    Go,
    File(File),
}

/// A file that the pages load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    Style,
    Script,
    Icon,
}

impl File {
    /// The file of this name.
    fn named(name: &str) -> Option<Self> {
        match name {
            "style.css" => Some(Self::Style),
            "page.js" => Some(Self::Script),
            "icon.svg" => Some(Self::Icon),
            _ => None,
        }
    }
}

/// A page: its first segment says what it shows, and a name follows.
pub(super) fn parse(method: &Method, path: &str) -> Result<Endpoint, RouteError> {
    let path = path.strip_prefix("/ui").ok_or(RouteError::Unknown)?;
    let path = decode(
        path.strip_prefix('/').or(path.is_empty().then_some("")).ok_or(RouteError::Unknown)?,
    )?;
    let of = |name: &str, page| Ok::<_, RouteError>((Some(name.parse()?), page));
    let (repository, page) = match path.split_once('/').unwrap_or((&path, "")) {
        ("", "") => (None, Page::Repositories),
        ("login", "") => (None, Page::Login),
        ("go", "") => (None, Page::Go),
        ("static", name) => (None, Page::File(File::named(name).ok_or(RouteError::Unknown)?)),
        ("repository", name) => of(name, Page::Repository)?,
        ("untagged", name) => of(name, Page::Untagged)?,
        ("manifest", rest) => {
            let (name, reference) = rest.rsplit_once('/').ok_or(RouteError::Unknown)?;
            of(name, Page::Manifest(reference.parse()?))?
        }
        _ => return Err(RouteError::Unknown),
    };
    Ok(Endpoint { repository, operation: get(method, Operation::Page(page))? })
}
