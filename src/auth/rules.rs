//! Access rules: which subjects may do what in which repositories. Access without a rule is denied.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use super::access::{Access, Action, Resource};
use super::caller::{Caller, Login};
use super::pattern::{Pattern, TextPattern};
use crate::setting::shown;

/// A set of callers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Every caller, with or without credentials.
    Anonymous,
    /// Every caller who has logged in.
    Authenticated,
    /// The user with this name, who has a password or a token of the external token server.
    User(String),
    /// Callers whose token lists this group.
    Group(String),
    /// Callers with a token of the external token server that has a claim with this value, or with
    /// a list that contains it.
    Claim(String, String),
    /// Callers with an identity token of this issuer, in which each of these claims matches.
    Issuer(String, Vec<(String, TextPattern)>),
    /// Callers whose client certificate has a name that matches.
    Certificate(TextPattern),
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
        "{0:?} is not a subject: write user:NAME, group:NAME, claim:NAME=VALUE, \
         issuer:NAME CLAIM=PATTERN..., certificate:PATTERN, authenticated or anonymous"
    )]
    Subject(String),
    #[error("{0:?} is not an action: actions are pull, push, create, delete and catalog")]
    Permission(String),
}

impl FromStr for Subject {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let bad = || RuleError::Subject(shown(text));
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
            Some(("issuer", issuer)) => {
                let mut words = issuer.split_ascii_whitespace();
                let name = named(words.next().unwrap_or_default())?;
                let claims = words.map(|claim| {
                    let (name, pattern) = claim.split_once('=').ok_or_else(bad)?;
                    Ok((named(name)?, pattern.parse().map_err(|_| bad())?))
                });
                Ok(Self::Issuer(name, claims.collect::<Result<_, RuleError>>()?))
            }
            Some(("certificate", pattern)) => {
                Ok(Self::Certificate(pattern.parse().map_err(|_| bad())?))
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
            Self::Issuer(name, claims) => {
                write!(f, "issuer:{name}")?;
                claims.iter().try_for_each(|(name, pattern)| write!(f, " {name}={pattern}"))
            }
            Self::Certificate(pattern) => write!(f, "certificate:{pattern}"),
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
        let bad = || RuleError::Permission(shown(text));
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
            Self::Authenticated => caller.is_authenticated(),
            Self::User(name) => match caller.login() {
                Login::Password(user) | Login::TokenServer(Some(user)) => user == name,
                Login::Anonymous
                | Login::TokenServer(None)
                | Login::Issuer { .. }
                | Login::Certificate(_) => false,
            },
            Self::Group(name) => caller.groups().contains(name),
            // The operator of an issuer can put any claim into its tokens, so the claims of one
            // issuer are never taken for those of another.
            Self::Claim(name, value) => {
                matches!(caller.login(), Login::TokenServer(_))
                    && caller.claim(name).is_some_and(|claim| has(claim, |text| text == value))
            }
            Self::Issuer(name, claims) => {
                let matches = |(name, pattern): &(String, TextPattern)| {
                    caller.claim(name).is_some_and(|claim| has(claim, |text| pattern.matches(text)))
                };
                matches!(caller.login(), Login::Issuer { issuer, .. } if issuer == name)
                    && claims.iter().all(matches)
            }
            Self::Certificate(pattern) => {
                matches!(caller.login(), Login::Certificate(name) if pattern.matches(name))
            }
        }
    }
}

/// Whether the text of a claim, or of an element of its list, is right.
pub(super) fn has(claim: &Value, right: impl Fn(&str) -> bool) -> bool {
    match claim {
        Value::String(text) => right(text),
        Value::Array(values) => values.iter().filter_map(Value::as_str).any(right),
        Value::Bool(flag) => right(if *flag { "true" } else { "false" }),
        Value::Number(number) => right(&number.to_string()),
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

    /// The rule that decides for this caller: what everyone may do needs no other.
    pub fn deciding(&self, caller: &Caller, access: &Access) -> Option<&Rule> {
        self.allowing_anonymous(access).or_else(|| self.allowing(caller, access))
    }

    /// The first rule that allows this to a caller who is all of these subjects.
    pub fn allowing_subjects(&self, subjects: &[Subject], access: &Access) -> Option<&Rule> {
        let known = subjects.iter().any(|subject| *subject != Subject::Anonymous);
        self.first(access, |subject| match subject {
            Subject::Anonymous => true,
            Subject::Authenticated => known,
            Subject::User(_)
            | Subject::Group(_)
            | Subject::Claim(..)
            | Subject::Issuer(..)
            | Subject::Certificate(_) => subjects.contains(subject),
        })
    }

    fn first(&self, access: &Access, is: impl Fn(&Subject) -> bool) -> Option<&Rule> {
        self.0.iter().find(|rule| rule.subjects.iter().any(&is) && rule.allows(access))
    }

    /// The groups and the claims that rules name: all that a token of ours has to say of those of
    /// its bearer.
    pub(super) fn named(&self) -> (HashSet<&str>, HashSet<&str>) {
        let (mut groups, mut claims) = (HashSet::new(), HashSet::new());
        for subject in self.0.iter().flat_map(|rule| &rule.subjects) {
            match subject {
                Subject::Group(group) => drop(groups.insert(group.as_str())),
                Subject::Claim(claim, _) => drop(claims.insert(claim.as_str())),
                Subject::Issuer(_, named) => claims.extend(named.iter().map(|(name, _)| &**name)),
                Subject::Anonymous
                | Subject::Authenticated
                | Subject::User(_)
                | Subject::Certificate(_) => {}
            }
        }
        (groups, claims)
    }

    /// Whether any rule is about authenticated callers. Only then do rules restrict tokens.
    pub fn restrict_authenticated(&self) -> bool {
        let authenticated = |subject: &Subject| *subject != Subject::Anonymous;
        self.0.iter().any(|rule| rule.subjects.iter().any(authenticated))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    fn issuer(issuer: &str, claims: &Value) -> Caller {
        let login = Login::Issuer { issuer: issuer.to_owned(), subject: "ci".to_owned() };
        let claims = claims.as_object().expect("claims are an object").clone();
        Caller::logged_in(login, Vec::new(), claims)
    }

    fn includes(subject: &str, caller: &Caller) -> bool {
        subject.parse::<Subject>().expect("a subject").includes(caller)
    }

    #[test]
    fn an_issuer_is_matched_with_all_of_the_claims() {
        let caller = issuer("github", &json!({"repository": "acme/app", "run": 7, "aud": ["a"]}));
        for (subject, expected) in [
            ("issuer:github", true),
            ("issuer:gitlab", false),
            ("issuer:github repository=acme/*", true),
            ("issuer:github repository=acme", false),
            ("issuer:github repository=acme/* run=7 aud=a", true),
            ("issuer:github repository=acme/* run=8", false),
            ("issuer:github missing=**", false),
            ("authenticated", true),
            ("anonymous", true),
        ] {
            assert_eq!(includes(subject, &caller), expected, "{subject}");
        }
    }

    #[test]
    fn logins_of_one_kind_are_not_taken_for_those_of_another() {
        let by_issuer = issuer("github", &json!({"team": "ops"}));
        let by_server = Caller::token(
            Some("ci".to_owned()),
            Vec::new(),
            json!({"team": "ops"}).as_object().expect("an object").clone(),
            Vec::new(),
        );
        let by_certificate =
            Caller::logged_in(Login::Certificate("ci".to_owned()), Vec::new(), Map::new());
        for (subject, expected) in [
            // By issuer, by token server, by password, by certificate.
            ("user:ci", [false, true, true, false]),
            ("claim:team=ops", [false, true, false, false]),
            ("issuer:github team=ops", [true, false, false, false]),
            ("certificate:c*", [false, false, false, true]),
            ("authenticated", [true; 4]),
        ] {
            let callers = [&by_issuer, &by_server, &Caller::user("ci"), &by_certificate];
            assert_eq!(callers.map(|caller| includes(subject, caller)), expected, "{subject}");
        }
        let subjects = [&by_issuer, &by_server, &by_certificate].map(Caller::subject);
        assert_eq!(subjects, ["issuer:github:ci", "user:ci", "certificate:ci"]);
    }

    #[test]
    fn what_is_no_subject_is_refused() {
        for text in ["", "issuer:", "issuer:a b", "issuer:a =x", "issuer:a b=", "certificate:"] {
            assert!(text.parse::<Subject>().is_err(), "{text}");
        }
        let text = "issuer:github repository=acme/* ref=refs/heads/**";
        assert_eq!(text.parse::<Subject>().expect("a subject").to_string(), text);
    }
}
