//! What tells processes with different settings apart, without telling the settings.

use super::Settings;
use crate::audit_log::AuditLogSettings;
use crate::http::AdminSettings;
use crate::oci::{Algorithm, Digest};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::{LogSettings, MetricsSettings};

/// Hexadecimal digits: enough to tell settings apart.
const DIGITS: usize = 16;

/// Shows the fingerprint as a metric.
pub fn show_fingerprint(settings: &Settings, metrics: &Metrics) {
    metrics.settings_info.replace([(fingerprint(settings).into(), 1)]);
}

/// The same for all processes that treat requests alike. What belongs to one process is left out:
/// where it listens, its logs, its metrics. Secrets are no part of it: the admin port
/// has no login, and a secret could be guessed by its hash.
fn fingerprint(settings: &Settings) -> String {
    let mut common = settings.clone();
    common.server.listen = Settings::default().server.listen;
    common.admin = AdminSettings::default();
    common.metrics = MetricsSettings::default();
    common.log = LogSettings::default();
    common.audit_log = AuditLogSettings::default();
    // `Debug` writes secrets as `***`, and URLs of Redis without their logins.
    let mut hex = Digest::of(Algorithm::Sha256, format!("{common:?}").as_bytes()).hex();
    hex.truncate(DIGITS);
    hex
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setting::Secret;

    fn of(change: impl FnOnce(&mut Settings)) -> String {
        let mut settings = Settings::default();
        change(&mut settings);
        fingerprint(&settings)
    }

    #[test]
    fn settings_of_requests_count_and_those_of_one_process_do_not() {
        let plain = of(|_| {});
        assert_eq!(plain.len(), DIGITS);
        assert_eq!(plain, of(|settings| settings.server.listen.set_port(1)));
        assert_eq!(plain, of(|settings| settings.admin.listen = "127.0.0.1:1".parse().ok()));
        assert_ne!(plain, of(|settings| settings.lists.page_max = 7));
        assert_ne!(plain, of(|settings| settings.cache.strict_tags = true));
    }

    #[test]
    fn secrets_do_not_count() {
        let with = |secret| {
            of(|settings| {
                settings.cache.redis_password = Some(Secret::new(secret));
                settings.store.s3.secret_access_key = Some(Secret::new(secret));
                let url = format!("redis://user:{secret}@localhost");
                settings.cache.redis = url.parse().ok();
            })
        };
        assert_eq!(with("one"), with("two"));
        assert_ne!(with("one"), of(|_| {}));
    }
}
