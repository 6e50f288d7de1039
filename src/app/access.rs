//! `longshore access`: which rule decides about a caller, and whether the answers are the expected
//! ones.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use super::Output;
use super::auth::{by_rules, by_token, is_open};
use super::token_keys::KnownKeys;
use crate::auth::{
    Access, AccessSettings, Caller, Decided, NoCaller, Permission, PolicyAuthorizer, Resource,
    Subject,
};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{Expected, Settings};
use crate::http::Tls;
use crate::oci::RepositoryName;
use crate::setting::{Secret, read_secret};
use crate::tasks::Tasks;
use crate::telemetry::error_chain;
use crate::telemetry::metrics::Metrics;

/// Who the caller of a request is.
#[derive(Debug, Clone)]
pub enum Who {
    /// A caller who is all of these.
    Subjects(Vec<Subject>),
    Token(Secret),
    TokenFile(PathBuf),
    CertificateFile(PathBuf),
}

/// What is decided about a caller.
#[derive(Debug)]
pub struct Explanation {
    who: String,
    /// The caller that a token or a certificate has proved.
    caller: Option<Caller>,
    repository: Option<RepositoryName>,
    actions: Vec<(Permission, Decided)>,
}

/// What `check_file` has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    pub answers: usize,
    pub differing: usize,
}

/// What is decided about a caller and one action, or all of them.
pub async fn explain(
    settings: &Settings,
    who: &Who,
    repository: Option<&RepositoryName>,
    action: Option<Permission>,
) -> Result<Explanation, NoCaller> {
    let access = &settings.access;
    let caller = caller(settings, who).await?;
    let policy = by_rules(access);
    let of = |permission: Permission| {
        let wanted = wanted(permission, repository);
        let decided = match (who, &caller) {
            _ if is_open(access) => open(),
            (_, Some(caller)) => policy.explain(caller, &wanted),
            (Who::Subjects(subjects), None) => assumed(access, &policy, subjects, &wanted),
            (_, None) => policy.explain(&Caller::anonymous(), &wanted),
        };
        (permission, decided)
    };
    let all = Permission::WORDS.map(|(_, permission)| permission);
    let actions = action.map_or_else(|| all.map(of).into(), |action| vec![of(action)]);
    let subject = |caller: &Caller| printable(&caller.subject());
    let who = match who {
        Who::Subjects(subjects) => joined(subjects),
        _ => caller.as_ref().map_or_else(String::new, subject),
    };
    Ok(Explanation { who, caller, repository: repository.cloned(), actions })
}

/// The caller of a token or of a certificate.
async fn caller(settings: &Settings, who: &Who) -> Result<Option<Caller>, NoCaller> {
    let token = match who {
        Who::Subjects(_) => return Ok(None),
        Who::CertificateFile(path) => {
            let unreadable = |error| NoCaller::Unknown(format!("{}: {error}", path.display()));
            let pem = std::fs::read(path).map_err(unreadable)?;
            let client = Tls::client_of(&settings.server.tls, &pem, SystemClock.now())?;
            return Ok(Some(client.caller().clone()));
        }
        Who::Token(token) => token.expose().to_owned(),
        Who::TokenFile(path) => read_secret(path).map_err(NoCaller::Unknown)?,
    };
    let unknown = |error: super::StartError| NoCaller::Unknown(error_chain(&error));
    let policy = by_token(settings, &Metrics::default()).map_err(unknown)?;
    if policy.is_for_token_service(&token)
        && let Some(service) = &policy.service
    {
        let keys = KnownKeys::of(settings).await.map_err(unknown)?;
        service.connect(Arc::new(keys), &Tasks::new());
    }
    policy.bearer(&token).await.map(Some)
}

fn wanted(permission: Permission, repository: Option<&RepositoryName>) -> Access {
    let resource = match (permission, repository) {
        (Permission::Catalog, _) | (_, None) => Resource::Registry,
        (_, Some(name)) => Resource::Repository(name.clone()),
    };
    Access { resource, action: permission.action() }
}

fn open() -> Decided {
    let why = "there is no login and no rule, so every client may do everything";
    Decided { allowed: true, why: why.to_owned() }
}

/// What is decided about a caller who is all of these subjects.
fn assumed(
    settings: &AccessSettings,
    policy: &PolicyAuthorizer,
    subjects: &[Subject],
    wanted: &Access,
) -> Decided {
    let rules = &policy.rules;
    let by_tokens = settings.token.realm.is_some() && rules.allowing_anonymous(wanted).is_none();
    if let Some(rule) = rules.allowing_subjects(subjects, wanted) {
        let also =
            if by_tokens { "; the list of the caller's token has to allow it as well" } else { "" };
        return Decided { allowed: true, why: format!("{rule}{also}") };
    }
    let known = subjects.iter().any(|subject| *subject != Subject::Anonymous);
    if by_tokens && known && !rules.restrict_authenticated() {
        let why = "the list of the caller's token decides: no rule is for callers with a login";
        return Decided { allowed: true, why: why.to_owned() };
    }
    Decided { allowed: false, why: rules.none_lets(&joined(subjects), wanted) }
}

/// Compares what is decided with what the rows expect, and prints each difference.
pub fn check_answers(
    settings: &Settings,
    rows: &[Expected],
    as_json: bool,
    output: &mut Output<'_>,
) -> Result<Checked, String> {
    let (access, policy) = (&settings.access, by_rules(&settings.access));
    let certificates = settings.server.tls.client_ca_file.is_some();
    let (mut lines, mut impossible) = (Vec::new(), Vec::new());
    let mut answers = 0;
    for row in rows {
        for permission in &row.actions {
            answers += 1;
            let wanted = wanted(*permission, row.repository.as_ref());
            let decided = match row.caller.caller(access, certificates, &wanted) {
                Err(NoCaller::Unknown(why)) => {
                    impossible.push(format!("{}: {why}", row.place));
                    break;
                }
                _ if is_open(access) => open(),
                Ok(caller) => policy.explain(&caller, &wanted),
                Err(NoCaller::Refused(why)) => {
                    Decided { allowed: false, why: format!("the token is refused: {why}") }
                }
            };
            let other_rule = row.rule.as_ref().is_some_and(|rule| !names(&decided.why, rule));
            if decided.allowed != row.allowed || other_rule {
                lines.push(difference(row, *permission, &decided, as_json));
            }
        }
    }
    if !impossible.is_empty() {
        return Err(impossible.join("\n"));
    }
    for line in &lines {
        output(line);
    }
    let differing = lines.len();
    output(&if as_json {
        format!("{}\n", json!({ "summary": { "answers": answers, "differing": differing } }))
    } else {
        format!("answers: {answers}, differing: {differing}\n")
    });
    Ok(Checked { answers, differing })
}

/// Whether a rule, as messages show it, has this part: `line 3` is none of `line 30`.
fn names(shown: &str, part: &str) -> bool {
    let ends = |(at, _): (usize, &str)| {
        !shown[at + part.len()..].starts_with(|next: char| next.is_alphanumeric())
    };
    shown.match_indices(part).any(ends)
}

fn difference(row: &Expected, action: Permission, decided: &Decided, as_json: bool) -> String {
    let caller = row.caller.login.to_string();
    let (expected, found) = (word(row.allowed), word(decided.allowed));
    let (place, why) = (&row.place, &decided.why);
    let repository = row.repository.as_ref().map(ToString::to_string);
    if as_json {
        let found = json!({
            "place": place, "caller": caller, "repository": repository,
            "action": action.to_string(), "expected": expected, "expected_rule": row.rule,
            "found": found, "why": why,
        });
        return format!("{found}\n");
    }
    let to = repository.map_or_else(String::new, |name| format!(" {name}"));
    let rule = row.rule.as_ref().map_or_else(String::new, |rule| format!(" by {rule:?}"));
    format!(
        "{place}: {caller} {action}{to}: expected {expected}{rule}, is {found}: {}\n",
        printable(why)
    )
}

fn word(allowed: bool) -> &'static str {
    if allowed { "allowed" } else { "denied" }
}

impl Explanation {
    /// Why the one action that was asked for is denied.
    pub fn denial(&self) -> Option<String> {
        let [(_, decided)] = &self.actions[..] else { return None };
        (!decided.allowed).then(|| format!("denied: {}", printable(&decided.why)))
    }

    pub fn to_json(&self) -> Value {
        let action = |(action, decided): &(Permission, Decided)| {
            json!({
                "action": action.to_string(), "allowed": decided.allowed, "why": decided.why,
            })
        };
        let caller = self.caller.as_ref().map(|caller| {
            let (groups, claims) = caller.shown_to_rules();
            json!({ "login": caller.credential(), "groups": groups, "claims": claims })
        });
        json!({
            "subject": self.who,
            "caller": caller,
            "repository": self.repository.as_ref().map(ToString::to_string),
            "actions": self.actions.iter().map(action).collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(caller) = &self.caller {
            writeln!(formatter, "caller: {}, by {}", self.who, caller.credential())?;
            let (groups, claims) = caller.shown_to_rules();
            for group in groups {
                writeln!(formatter, "group: {}", printable(group))?;
            }
            for (name, value) in claims {
                writeln!(
                    formatter,
                    "claim: {}={}",
                    printable(&name),
                    printable(&value.to_string())
                )?;
            }
        }
        match &self.actions[..] {
            [(_, Decided { allowed: true, why })] => {
                writeln!(formatter, "allowed: {}", printable(why))
            }
            [_] => Ok(()),
            all => all.iter().try_for_each(|(action, Decided { allowed, why })| {
                let action = action.to_string();
                writeln!(formatter, "{action:<8} {:<8} {}", word(*allowed), printable(why))
            }),
        }
    }
}

fn joined(subjects: &[Subject]) -> String {
    subjects.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Text from a token, without what would move the cursor of a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
