//! One table of `[[access.rules]]`.

use super::tables::Table;
use crate::auth::{Pattern, Permission, Rule, Subject};

pub(super) fn rule(table: &mut Table<'_>) -> Option<Rule> {
    let subjects = table.values::<Subject>("subject");
    let repositories = table.values::<Pattern>("repositories");
    let permissions = table.values::<Permission>("actions");
    // `catalog` concerns no repository in particular.
    let needs_none = permissions.as_deref() == Some(&[Permission::Catalog]);
    let repositories = match repositories {
        None if needs_none => Some(Vec::new()),
        repositories => table.required("repositories", repositories),
    };
    let subjects = table.required("subject", subjects);
    let permissions = table.required("actions", permissions);
    let place = table.place();
    Some(Rule {
        subjects: subjects?,
        repositories: repositories?,
        permissions: permissions?,
        place,
    })
}
