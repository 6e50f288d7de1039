//! One table of `[[access.issuers]]`.

use std::path::PathBuf;

use super::tables::Table;
use crate::auth::{IssuerSettings, KeysAddress, KeysFrom};

pub(super) fn issuer(table: &mut Table<'_>) -> Option<IssuerSettings> {
    let name = table.value("name");
    let name = table.required("name", name);
    let url = table.value("url");
    let url = table.required("url", url);
    let audiences = table.values("audience");
    let audiences = table.required("audience", audiences);
    let discovered = !table.has("jwks_file") && !table.has("jwks_url");
    if table.has("jwks_file") && table.has("jwks_url") {
        table.wrong("jwks_file", "stands beside jwks_url: write one of them".to_owned());
    }
    let file = table.value::<PathBuf>("jwks_file");
    let address = table.value::<KeysAddress>("jwks_url");
    let keys = match (file, address) {
        (Some(file), _) => KeysFrom::File(file),
        (None, Some(address)) => KeysFrom::Address(address),
        (None, None) => KeysFrom::Discovery,
    };
    let (ca_file, bearer_token_file) = (table.value("ca_file"), table.value("bearer_token_file"));
    let required = table.values("required").unwrap_or_default();
    let subject_claim = table.value("subject_claim").unwrap_or_else(|| "sub".to_owned());
    let (groups_claim, place) = (table.value("groups_claim"), table.place());
    let settings = IssuerSettings {
        name: name?,
        url: url?,
        audiences: audiences?,
        keys,
        ca_file,
        bearer_token_file,
        required,
        subject_claim,
        groups_claim,
        place,
    };
    if discovered && let Err(error) = settings.url.discovery() {
        table.wrong("url", format!("{error}; or name the keys with jwks_file or jwks_url"));
    }
    Some(settings)
}
