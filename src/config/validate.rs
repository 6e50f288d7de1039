//! What must hold between settings, each of which is valid by itself.

use super::Settings;
use crate::auth::{Challenge, Subject};
use crate::http::{ClientCertificates, Delivery};
use crate::registry::uploads::TAIL_BYTES_MAX;
use crate::registry::{Collecting, Leases};
use crate::setting::{Choice as _, format_bytes, format_duration};
use crate::store::{StoreUrl, Writers};

/// A condition, and the settings it concerns: the error names the first one that a source has.
pub(super) type Check = (&'static [&'static str], fn(&Settings) -> Result<(), String>);

pub(super) const CHECKS: &[Check] = &[
    (
        &["server.listen", "access.anonymous", "access.htpasswd_file", "access.token.realm"],
        open_only_on_request,
    ),
    (&["admin.listen", "server.listen"], admin_port_differs),
    (
        &["server.tls.certificate_file", "server.tls.key_file", "server.tls.client_ca_file"],
        tls_complete,
    ),
    (&["server.tls.client_certificates", "server.tls.client_crl_file"], clients_have_authorities),
    (
        &[
            "access.token.realm",
            "access.token.service",
            "access.token.issuer",
            "access.token.keys_file",
        ],
        token_server_complete,
    ),
    (&["access.challenge"], challenge_can_be_answered),
    (&["access.issuers"], issuers_differ),
    (&["access.rules"], subjects_can_log_in),
    (&["access.htpasswd_file"], users_may_do_something),
    (&["server.tls.client_ca_file"], clients_may_do_something),
    (&["access.authenticated", "access.rules"], logged_in_rules_need_a_login),
    (
        &["store.s3.access_key_id", "store.s3.secret_access_key", "store.s3.session_token"],
        credentials_complete,
    ),
    (&["uploads.buffer_bytes", "uploads.part_bytes", "uploads.parts_in_flight"], one_upload_fits),
    (&["uploads.equal_parts", "uploads.part_bytes"], tails_fit_into_sessions),
    (&["blobs.delivery", "store.url"], redirect_has_a_target),
    (&["blobs.delivery", "blobs.redirect_networks"], auto_delivery_has_networks),
    (&["blobs.redirect_step", "blobs.redirect_ttl"], step_below_ttl),
    (
        &[
            "collection.grace",
            "collection.write_deadline",
            "collection.clock_skew",
            "collection.quarantine",
            "collection.untagged_after",
        ],
        leases_are_safe,
    ),
    (&["collection.enabled", "store.writers"], collection_has_conditions),
    (
        &[
            "blobs.redirect_ttl",
            "blobs.redirect_step",
            "cache.ttl",
            "cache.local_ttl",
            "collection.clock_skew",
            "collection.quarantine",
        ],
        quarantine_outlasts_readers,
    ),
];

fn open_only_on_request(settings: &Settings) -> Result<(), String> {
    let (listen, access) = (settings.server.listen, &settings.access);
    let is_anonymous = |subject: &Subject| *subject == Subject::Anonymous;
    let named = access.anonymous.is_some()
        || access.rules.iter().any(|rule| rule.subjects.iter().any(is_anonymous));
    if listen.ip().to_canonical().is_loopback() || named || settings.has_login() {
        return Ok(());
    }
    Err(format!(
        "{listen} is reachable from other machines, which could push and pull without a password: \
         set up a login ([access] in `longshore config-reference`); to allow it on purpose, add \
         --anonymous push (or access.anonymous = \"push\", or LONGSHORE_ACCESS_ANONYMOUS=push)"
    ))
}

/// The second listener on a port fails to open, or, if one of the two has a wildcard address, takes
/// some of the connections of the first.
fn admin_port_differs(settings: &Settings) -> Result<(), String> {
    let Some(admin) = settings.admin.listen else { return Ok(()) };
    let main = settings.server.listen;
    let (one, other) = (admin.ip().to_canonical(), main.ip().to_canonical());
    let overlap = one == other || one.is_unspecified() || other.is_unspecified();
    // Port 0 lets the system choose a free one.
    if admin.port() != main.port() || admin.port() == 0 || !overlap {
        return Ok(());
    }
    Err(format!("{admin} is where the registry itself listens ({main}): choose another port"))
}

fn tls_complete(settings: &Settings) -> Result<(), String> {
    let tls = &settings.server.tls;
    let missing = match (&tls.certificate_file, &tls.key_file) {
        (Some(_), Some(_)) => return Ok(()),
        (None, None) if tls.client_ca_file.is_none() => return Ok(()),
        (Some(_), None) => "server.tls.key_file",
        (None, _) => "server.tls.certificate_file",
    };
    Err(format!("TLS is incomplete: {missing} is missing"))
}

fn token_server_complete(settings: &Settings) -> Result<(), String> {
    let token = &settings.access.token;
    let needed = [
        ("access.token.realm", token.realm.is_some()),
        ("access.token.service", token.service.is_some()),
        ("access.token.issuer", token.issuer.is_some()),
        ("access.token.keys_file", token.keys_file.is_some()),
    ];
    let missing: Vec<&str> =
        needed.iter().filter(|(_, given)| !given).map(|(key, _)| *key).collect();
    if missing.is_empty() || missing.len() == needed.len() {
        return Ok(());
    }
    Err(format!("the token server is incomplete: {} missing", missing.join(", ")))
}

fn challenge_can_be_answered(settings: &Settings) -> Result<(), String> {
    let access = &settings.access;
    match access.challenge {
        Challenge::Basic if access.htpasswd_file.is_none() => {
            Err("basic asks for passwords, and there are none: add access.htpasswd_file".to_owned())
        }
        Challenge::Bearer if !settings.has_login() => {
            Err("bearer asks for tokens, and there is no login that they could be for: add \
                 access.htpasswd_file, [access.token], [[access.issuers]] or \
                 server.tls.client_ca_file"
                .to_owned())
        }
        Challenge::Auto | Challenge::Basic | Challenge::Bearer => Ok(()),
    }
}

fn clients_have_authorities(settings: &Settings) -> Result<(), String> {
    let tls = &settings.server.tls;
    let asked = tls.client_certificates == ClientCertificates::Required;
    if tls.client_ca_file.is_some() || !(asked || tls.client_crl_file.is_some()) {
        return Ok(());
    }
    Err("client certificates are incomplete: server.tls.client_ca_file is missing".to_owned())
}

/// Certificates may also stand in front of a registry that is open to all who have one.
fn clients_may_do_something(settings: &Settings) -> Result<(), String> {
    let access = &settings.access;
    let general = access.anonymous.is_some() || access.authenticated.is_some();
    if settings.server.tls.client_ca_file.is_none() || general || !access.rules.is_empty() {
        return Ok(());
    }
    Err("the login is incomplete: no setting says what clients with a certificate may do; add \
         [[access.rules]], or access.authenticated = \"push\""
        .to_owned())
}

/// The name of an issuer chooses the rules, and its address chooses the keys.
fn issuers_differ(settings: &Settings) -> Result<(), String> {
    let issuers = &settings.access.issuers;
    for (index, issuer) in issuers.iter().enumerate() {
        let (name, place) = (issuer.name.as_str(), &issuer.place);
        for other in &issuers[..index] {
            let at = &other.place;
            if other.name == issuer.name {
                return Err(format!("two issuers are called {name}: {at} and {place}"));
            }
            if other.url == issuer.url {
                return Err(format!(
                    "{at} and {place} have the same url: write one issuer with both audiences"
                ));
            }
        }
    }
    Ok(())
}

/// A rule for callers who cannot log in is a mistake, or left over from one.
fn subjects_can_log_in(settings: &Settings) -> Result<(), String> {
    let access = &settings.access;
    if !settings.has_login() {
        // `logged_in_rules_need_a_login` says so.
        return Ok(());
    }
    let subjects = access
        .rules
        .iter()
        .flat_map(|rule| rule.subjects.iter().map(|subject| (rule.place.as_str(), subject)));
    let token_server = access.token.realm.is_some();
    for (place, subject) in subjects {
        let missing = match subject {
            Subject::Anonymous | Subject::Authenticated => None,
            Subject::User(_) => (access.htpasswd_file.is_none() && !token_server)
                .then_some("access.htpasswd_file or [access.token]"),
            Subject::Group(_) => {
                let by_issuer = access.issuers.iter().any(|issuer| issuer.groups_claim.is_some());
                (!token_server && !by_issuer)
                    .then_some("[access.token], or groups_claim in [[access.issuers]]")
            }
            Subject::Claim(..) => (!token_server).then_some("[access.token]"),
            Subject::Certificate(_) => {
                settings.server.tls.client_ca_file.is_none().then_some("server.tls.client_ca_file")
            }
            Subject::Issuer(name, _) => {
                let known = access.issuers.iter().any(|issuer| issuer.name.as_str() == name);
                (!known).then_some("[[access.issuers]] with that name")
            }
        };
        if let Some(missing) = missing {
            return Err(format!(
                "the rule at {place} is for {subject}, and no caller can log in so: add {missing}"
            ));
        }
    }
    Ok(())
}

/// A token server grants permissions itself; for passwords only these settings do.
fn users_may_do_something(settings: &Settings) -> Result<(), String> {
    let access = &settings.access;
    let allowed = access.authenticated.is_some() || !access.rules.is_empty();
    if access.htpasswd_file.is_none() || allowed {
        return Ok(());
    }
    Err("the login is incomplete: no setting says what users may do; add access.authenticated = \
         \"push\", or [[access.rules]]"
        .to_owned())
}

fn logged_in_rules_need_a_login(settings: &Settings) -> Result<(), String> {
    let access = &settings.access;
    let of_logins = |subject: &Subject| *subject != Subject::Anonymous;
    let rules = access.rules.iter().any(|rule| rule.subjects.iter().any(of_logins));
    if settings.has_login() || !(access.authenticated.is_some() || rules) {
        return Ok(());
    }
    Err("the login is incomplete: this is for callers with a login, but no login is configured; \
         add access.htpasswd_file, [access.token], [[access.issuers]] or server.tls.client_ca_file"
        .to_owned())
}

fn credentials_complete(settings: &Settings) -> Result<(), String> {
    let s3 = &settings.store.s3;
    let missing = match (&s3.access_key_id, &s3.secret_access_key, &s3.session_token) {
        (Some(_), Some(_), _) | (None, None, None) => return Ok(()),
        (Some(_), None, _) => "store.s3.secret_access_key",
        (None, _, _) => "store.s3.access_key_id",
    };
    Err(format!("credentials are incomplete: {missing} is missing"))
}

fn one_upload_fits(settings: &Settings) -> Result<(), String> {
    let uploads = &settings.uploads;
    let one_upload = uploads.part_bytes * uploads.parts_in_flight;
    if one_upload <= uploads.buffer_bytes {
        return Ok(());
    }
    Err(format!(
        "{} cannot hold the {} parts of {} that one upload has in flight: {} is the least",
        format_bytes(uploads.buffer_bytes as u64),
        uploads.parts_in_flight,
        format_bytes(uploads.part_bytes as u64),
        format_bytes(one_upload as u64),
    ))
}

/// With equal parts a tail may be almost as long as a part, and lies in the session.
fn tails_fit_into_sessions(settings: &Settings) -> Result<(), String> {
    let uploads = &settings.uploads;
    if !uploads.equal_parts || uploads.part_bytes <= TAIL_BYTES_MAX {
        return Ok(());
    }
    let (part, most) = (uploads.part_bytes as u64, TAIL_BYTES_MAX as u64);
    let (part, most) = (format_bytes(part), format_bytes(most));
    Err(format!("uploads.part_bytes is {part}: equal parts may have {most} at most"))
}

fn redirect_has_a_target(settings: &Settings) -> Result<(), String> {
    match (settings.blobs.delivery, &settings.store.url) {
        (Delivery::Proxy, _) | (Delivery::Redirect | Delivery::Auto, StoreUrl::S3 { .. }) => Ok(()),
        (delivery, url @ (StoreUrl::Folder(_) | StoreUrl::Memory)) => Err(format!(
            "{} needs an S3 store (store.url = \"s3://bucket/prefix\"): no client can fetch \
             from {url}",
            delivery.as_str()
        )),
    }
}

fn auto_delivery_has_networks(settings: &Settings) -> Result<(), String> {
    let blobs = &settings.blobs;
    if blobs.delivery != Delivery::Auto || !blobs.redirect_networks.is_empty() {
        return Ok(());
    }
    Err("auto needs blobs.redirect_networks: the networks whose clients can reach the store"
        .to_owned())
}

fn step_below_ttl(settings: &Settings) -> Result<(), String> {
    let blobs = &settings.blobs;
    if blobs.redirect_step < blobs.redirect_ttl {
        return Ok(());
    }
    Err(format!(
        "{} is not shorter than blobs.redirect_ttl, {}",
        format_duration(blobs.redirect_step),
        format_duration(blobs.redirect_ttl),
    ))
}

fn leases_are_safe(settings: &Settings) -> Result<(), String> {
    Leases::new(&settings.collection).map(drop).map_err(|error| error.to_string())
}

fn collection_has_conditions(settings: &Settings) -> Result<(), String> {
    if settings.collection.enabled != Collecting::On || settings.store.writers == Writers::Many {
        return Ok(());
    }
    Err("garbage collection needs a store with conditional writes, and store.writers = \"single\" \
         is for stores without"
        .to_owned())
}

fn quarantine_outlasts_readers(settings: &Settings) -> Result<(), String> {
    settings.collection.outlasts(settings.data_readers()).map_err(|error| error.to_string())
}
