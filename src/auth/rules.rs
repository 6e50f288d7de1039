//! Access rules: which subjects may do what in which repositories. Access without a rule is denied.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use super::access::{Access, Action, Resource};
use super::caller::Caller;
use super::pattern::Pattern;

/// A set of callers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Every caller, with or without credentials.
    Anonymous,
    /// Every caller who has logged in.
    Authenticated,
    User(String),
    /// Callers whose token lists this group.
    Group(String),
    /// Callers whose token has a claim with this value, or with a list that contains it.
    Claim(String, String),
}

/// What a rule allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Read content and lists of a repository.
    Pull,
    /// Add content, and move tags.
    Push,
    /// Add content, and set tags that are not there yet.
    Create,
    /// Remove tags, manifests and blobs.
    Delete,
    /// List the repositories; it shows those that the caller may pull.
    Catalog,
}

/// One rule: each of these subjects may do each of these things to each of these repositories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub subjects: Vec<Subject>,
    pub repositories: Vec<Pattern>,
    pub permissions: Vec<Permission>,
    /// The place in the configuration, for messages.
    pub place: String,
}

/// Why a text is not a subject or not a permission.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    #[error(
        "{0:?} is not a subject: write user:NAME, group:NAME, claim:NAME=VALUE, authenticated or \
         anonymous"
    )]
    Subject(String),
    #[error("{0:?} is not an action: actions are pull, push, create, delete and catalog")]
    Permission(String),
}

impl FromStr for Subject {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let bad = || RuleError::Subject(text.chars().take(80).collect());
        let named = |name: &str| {
            let printable = !name.is_empty() && !name.chars().any(char::is_control);
            if printable { Ok(name.to_owned()) } else { Err(bad()) }
        };
        match text.split_once(':') {
            None if text == "anonymous" => Ok(Self::Anonymous),
            None if text == "authenticated" => Ok(Self::Authenticated),
            Some(("user", name)) => Ok(Self::User(named(name)?)),
            Some(("group", name)) => Ok(Self::Group(named(name)?)),
            Some(("claim", claim)) => {
                let (name, value) = claim.split_once('=').ok_or_else(bad)?;
                Ok(Self::Claim(named(name)?, named(value)?))
            }
            Some(_) | None => Err(bad()),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("anonymous"),
            Self::Authenticated => f.write_str("authenticated"),
            Self::User(name) => write!(f, "user:{name}"),
            Self::Group(name) => write!(f, "group:{name}"),
            Self::Claim(name, value) => write!(f, "claim:{name}={value}"),
        }
    }
}

impl Permission {
    /// Every permission with its text.
    pub const WORDS: [(&'static str, Self); 5] = [
        ("pull", Self::Pull),
        ("push", Self::Push),
        ("create", Self::Create),
        ("delete", Self::Delete),
        ("catalog", Self::Catalog),
    ];

    /// Whether the permission includes the action.
    fn covers(self, action: Action) -> bool {
        match self {
            Self::Pull => matches!(action, Action::Pull | Action::See),
            Self::Push => matches!(action, Action::Push | Action::Create),
            Self::Create => action == Action::Create,
            Self::Delete => action == Action::Delete,
            Self::Catalog => action == Action::Catalog,
        }
    }

    /// The strongest action that the permission includes.
    pub fn action(self) -> Action {
        match self {
            Self::Pull => Action::Pull,
            Self::Push => Action::Push,
            Self::Create => Action::Create,
            Self::Delete => Action::Delete,
            Self::Catalog => Action::Catalog,
        }
    }
}

impl FromStr for Permission {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let found = Self::WORDS.iter().find(|(word, _)| *word == text);
        let bad = || RuleError::Permission(text.chars().take(80).collect());
        found.map(|(_, permission)| *permission).ok_or_else(bad)
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = Self::WORDS.iter().find(|(_, permission)| permission == self);
        f.write_str(found.map_or("", |(word, _)| word))
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subjects, repositories, permissions, place } = self;
        let (subjects, permissions) = (comma_separated(subjects), comma_separated(permissions));
        write!(f, "{place} lets {subjects} {permissions}")?;
        if repositories.is_empty() {
            Ok(())
        } else {
            write!(f, " in {}", comma_separated(repositories))
        }
    }
}

fn comma_separated(items: &[impl fmt::Display]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Subject {
    fn includes(&self, caller: &Caller) -> bool {
        match self {
            Self::Anonymous => true,
            Self::Authenticated => caller.name().is_some(),
            Self::User(name) => caller.name() == Some(name.as_str()),
            Self::Group(name) => caller.groups().contains(name),
            Self::Claim(name, value) => caller.claim(name).is_some_and(|claim| has(claim, value)),
        }
    }
}

/// Whether a claim equals the value, or is a list that contains it.
fn has(claim: &Value, value: &str) -> bool {
    match claim {
        Value::String(text) => text == value,
        Value::Array(values) => values.iter().any(|one| one.as_str() == Some(value)),
        Value::Bool(flag) => value == if *flag { "true" } else { "false" },
        Value::Number(number) => number.to_string() == value,
        Value::Null | Value::Object(_) => false,
    }
}

impl Rule {
    /// A rule for all repositories.
    pub fn everywhere(subject: Subject, permissions: Vec<Permission>, place: &str) -> Self {
        Self {
            subjects: vec![subject],
            repositories: vec![Pattern::everything()],
            permissions,
            place: place.to_owned(),
        }
    }

    fn allows(&self, access: &Access) -> bool {
        let covered = self.permissions.iter().any(|one| one.covers(access.action));
        covered
            && match &access.resource {
                Resource::Registry => true,
                Resource::Repository(name) => self.repositories.iter().any(|one| one.matches(name)),
            }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(pub Vec<Rule>);

impl Rules {
    /// The first rule that allows this to the caller.
    pub fn allowing(&self, caller: &Caller, access: &Access) -> Option<&Rule> {
        self.first(access, |subject| subject.includes(caller))
    }

    /// The first rule that allows this to anonymous callers, and therefore to everyone.
    pub fn allowing_anonymous(&self, access: &Access) -> Option<&Rule> {
        self.first(access, |subject| *subject == Subject::Anonymous)
    }

    /// The first rule that allows this to a caller who is all of these subjects.
    pub fn allowing_subjects(&self, subjects: &[Subject], access: &Access) -> Option<&Rule> {
        let known = subjects.iter().any(|subject| *subject != Subject::Anonymous);
        self.first(access, |subject| match subject {
            Subject::Anonymous => true,
            Subject::Authenticated => known,
            Subject::User(_) | Subject::Group(_) | Subject::Claim(..) => subjects.contains(subject),
        })
    }

    fn first(&self, access: &Access, is: impl Fn(&Subject) -> bool) -> Option<&Rule> {
        self.0.iter().find(|rule| rule.subjects.iter().any(&is) && rule.allows(access))
    }

    /// Whether any rule is about authenticated callers. Only then do rules restrict tokens.
    pub fn restrict_authenticated(&self) -> bool {
        let authenticated = |subject: &Subject| *subject != Subject::Anonymous;
        self.0.iter().any(|rule| rule.subjects.iter().any(authenticated))
    }
}
