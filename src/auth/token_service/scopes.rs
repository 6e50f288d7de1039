//! Scopes: what a client asks a token for, and what a token grants of it.

use crate::auth::access::{Access, Action, Resource};
use crate::auth::caller::Grant;

/// The most scopes of a request that are read.
const SCOPES_MAX: usize = 64;
/// The most bytes of all scopes together that are read, so that a token fits into a header.
const SCOPES_BYTES_MAX: usize = 4096;

/// What of these scopes a caller may do. What it may not do is left out, and so is what is no
/// scope: a client that may only pull asks for more all the same.
///
/// Distribution registry, "Token Scope Documentation". Several scopes may stand in one text,
/// separated by spaces.
pub(in crate::auth) fn granted(texts: &[&str], may: impl Fn(&Access) -> bool) -> Vec<Grant> {
    let mut grants: Vec<Grant> = Vec::new();
    let mut bytes = 0;
    // A query may spell a space as `+`, which stands in no scope.
    for text in texts.iter().flat_map(|text| text.split([' ', '+'])).take(SCOPES_MAX) {
        bytes += text.len();
        if bytes > SCOPES_BYTES_MAX {
            break;
        }
        let Some((resource, asked)) = parse(text) else { continue };
        let actions = asked.flat_map(|action| actions(&resource, action, &may));
        let (kind, name) = match &resource {
            Resource::Repository(name) => ("repository", name.as_str()),
            Resource::Registry => ("registry", "catalog"),
        };
        let place = grants.iter().position(|grant| grant.kind == kind && grant.name == name);
        let place = place.unwrap_or_else(|| {
            // Also without an action: it says that the client has asked for the resource.
            let (kind, name) = (kind.to_owned(), name.to_owned());
            grants.push(Grant { kind, name, actions: Vec::new() });
            grants.len() - 1
        });
        let known = &mut grants[place].actions;
        for action in actions {
            if !known.iter().any(|one| one == action) {
                known.push(action.to_owned());
            }
        }
    }
    grants
}

/// `type:name:actions`. A name may contain a colon, of a host and a port, and is then none of ours.
fn parse(text: &str) -> Option<(Resource, impl Iterator<Item = &str>)> {
    let (kind, rest) = text.split_once(':')?;
    let (name, actions) = rest.rsplit_once(':')?;
    let resource = match kind.split('(').next() {
        Some("repository") => Resource::Repository(name.parse().ok()?),
        Some("registry") if name == "catalog" => Resource::Registry,
        Some(_) | None => return None,
    };
    Some((resource, actions.split(',')))
}

/// The actions of a token for one action of a scope.
fn actions(
    resource: &Resource,
    asked: &str,
    may: impl Fn(&Access) -> bool,
) -> impl Iterator<Item = &'static str> {
    let may = |action| may(&Access { resource: resource.clone(), action });
    let all = asked == "*";
    let mut granted = Vec::new();
    match resource {
        Resource::Registry => {
            if all && may(Action::Catalog) {
                granted.push("*");
            }
        }
        Resource::Repository(_) => {
            if (all || asked == "pull") && may(Action::Pull) {
                granted.push("pull");
            }
            if all || asked == "push" {
                if may(Action::Push) {
                    granted.push("push");
                } else if may(Action::Create) {
                    granted.push("create");
                }
            }
            if (all || asked == "delete") && may(Action::Delete) {
                granted.push("delete");
            }
        }
    }
    granted.into_iter()
}

/// Grants as the scopes that they are.
pub(super) fn text(grants: &[Grant]) -> String {
    let scope = |Grant { kind, name, actions }: &Grant| {
        (!actions.is_empty()).then(|| format!("{kind}:{name}:{}", actions.join(",")))
    };
    grants.iter().filter_map(scope).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a caller that may pull everything, push to `a/b`, and create tags in `c`.
    fn scopes(texts: &[&str]) -> String {
        let of = |access: &Access, name: &str| match &access.resource {
            Resource::Repository(one) => one.as_str() == name,
            Resource::Registry => false,
        };
        let grants = granted(texts, |access| match access.action {
            Action::Pull | Action::Catalog => true,
            Action::Push => of(access, "a/b"),
            Action::Create => of(access, "a/b") || of(access, "c"),
            _ => false,
        });
        text(&grants)
    }

    #[test]
    fn scopes_are_read_from_one_text_or_many() {
        let expected = "repository:a/b:pull,push repository:c:pull";
        for texts in [
            &["repository:a/b:pull,push", "repository:c:pull"][..],
            &["repository:a/b:pull,push repository:c:pull"],
            &["repository:a/b:pull,push+repository:c:pull"],
            &["repository:a/b:pull", "  repository:a/b:push,delete  repository:c:pull"],
            &["repository(plugin):a/b:push,pull", "repository:a/b:pull", "repository:c:pull"],
        ] {
            let same = scopes(texts).replace("push,pull", "pull,push");
            assert_eq!(same, expected, "{texts:?}");
        }
    }

    #[test]
    fn what_is_no_scope_or_not_allowed_is_left_out() {
        for (text, expected) in [
            ("", ""),
            ("repository", ""),
            ("repository:a", ""),
            ("repository:A:pull", ""),
            ("repository:../a:pull", ""),
            ("repository:localhost:5000/a:pull", ""),
            ("repository:a:", ""),
            ("repository:a:PULL,own", ""),
            ("artifact:a:pull", ""),
            ("registry:catalog:*", "registry:catalog:*"),
            ("registry:catalog:pull", ""),
            ("registry:other:*", ""),
            ("repository:x:*", "repository:x:pull"),
            ("repository:c:*", "repository:c:pull,create"),
            ("repository:a/b:*", "repository:a/b:pull,push"),
            ("repository:c:delete", ""),
        ] {
            assert_eq!(scopes(&[text]), expected, "{text}");
        }
    }

    #[test]
    fn the_scopes_of_a_request_are_limited() {
        let many = (0..1000).map(|number| format!("repository:r{number}:pull")).collect::<Vec<_>>();
        let granted_to = |texts: &[&str]| granted(texts, |_| true).len();
        let texts: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(granted_to(&texts), SCOPES_MAX);
        let name = "a".repeat(200);
        let long = (0..60).map(|number| format!("repository:{name}{number}:*")).collect::<Vec<_>>();
        let texts: Vec<&str> = long.iter().map(String::as_str).collect();
        assert!((10..20).contains(&granted_to(&texts)), "{}", granted_to(&texts));
    }
}
