//! What a client certificate says of its client.

use std::time::{Duration, SystemTime};

use serde_json::Map;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use super::caller::{Caller, Login};
use crate::setting::choice;

/// Bytes of a name. A SPIFFE id has up to so many.
const NAME_BYTES_MAX: usize = 2048;

choice! {
    /// Which name in a client certificate says who the client is.
    pub enum CertificateName {
        /// The common name of the subject.
        CommonName = "common_name",
        /// The DNS name among the alternative names.
        Dns = "dns",
        /// The mail address among the alternative names.
        Email = "email",
        /// The URI among the alternative names, such as a SPIFFE id.
        Uri = "uri",
    }
}

/// A client certificate that a TLS handshake of this process has verified. It is read once for each
/// connection.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientCertificate {
    caller: Caller,
    /// The first moment at which it is no longer valid.
    end: SystemTime,
}

impl ClientCertificate {
    /// Reads a certificate that was verified. An error says why it names no client.
    ///
    /// A certificate with two names of this kind names none: which of them counts would depend on
    /// who reads it, and a SPIFFE id is the only URI of its certificate.
    pub fn read(der: &[u8], kind: CertificateName) -> Result<Self, &'static str> {
        let (_, certificate) = x509_parser::parse_x509_certificate(der)
            .map_err(|_| "the client certificate cannot be read")?;
        let names = names(&certificate, kind)?;
        let [name] = names[..] else {
            return Err("the client certificate does not have exactly one name of \
                        server.tls.client_name");
        };
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
            return Err("the name in the client certificate is empty, too long or unprintable");
        }
        let not_after = u64::try_from(certificate.validity().not_after.timestamp());
        // It is valid for the whole of its last second.
        let end = Duration::from_secs(not_after.unwrap_or_default() + 1);
        let login = Login::Certificate(name.to_owned());
        let caller = Caller::logged_in(login, Vec::new(), Map::new()).until(end.as_secs_f64());
        Ok(Self { caller, end: SystemTime::UNIX_EPOCH + end })
    }

    /// Who sends the requests of the connection that have no `Authorization` header.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The first moment at which the certificate is no longer valid.
    pub fn end(&self) -> SystemTime {
        self.end
    }

    pub fn is_valid_at(&self, now: SystemTime) -> bool {
        now < self.end
    }
}

/// All names of this kind. One that cannot be read is empty.
fn names<'a>(
    certificate: &'a X509Certificate<'_>,
    kind: CertificateName,
) -> Result<Vec<&'a str>, &'static str> {
    if kind == CertificateName::CommonName {
        let names = certificate.subject().iter_common_name();
        return Ok(names.map(|name| name.as_str().unwrap_or_default()).collect());
    }
    let alternatives = certificate
        .subject_alternative_name()
        .map_err(|_| "the alternative names of the client certificate cannot be read")?;
    let names = alternatives.iter().flat_map(|extension| &extension.value.general_names);
    Ok(names
        .filter_map(|name| match (name, kind) {
            (GeneralName::DNSName(name), CertificateName::Dns)
            | (GeneralName::RFC822Name(name), CertificateName::Email)
            | (GeneralName::URI(name), CertificateName::Uri) => Some(*name),
            (GeneralName::Invalid(..), _) => Some(""),
            _ => None,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn der(common_name: &str, alternatives: Vec<SanType>) -> Vec<u8> {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, common_name);
        parameters.subject_alt_names = alternatives;
        let key = KeyPair::generate().expect("a key");
        parameters.self_signed(&key).expect("a certificate").der().to_vec()
    }

    fn ia5(text: &str) -> rcgen::string::Ia5String {
        text.try_into().expect("ASCII")
    }

    #[test]
    fn the_only_name_of_the_kind_counts() {
        let der = der(
            "ci",
            vec![
                SanType::DnsName(ia5("ci.example.com")),
                SanType::Rfc822Name(ia5("ci@example.com")),
                SanType::URI(ia5("spiffe://example.org/ns/ci/sa/runner")),
            ],
        );
        for (kind, name) in [
            (CertificateName::CommonName, "ci"),
            (CertificateName::Dns, "ci.example.com"),
            (CertificateName::Email, "ci@example.com"),
            (CertificateName::Uri, "spiffe://example.org/ns/ci/sa/runner"),
        ] {
            let read = ClientCertificate::read(&der, kind).expect("a name");
            assert_eq!(read.caller().subject(), format!("certificate:{name}"));
            assert!(read.is_valid_at(read.end() - Duration::from_millis(1)));
            assert!(!read.is_valid_at(read.end()));
        }
    }

    #[test]
    fn a_certificate_without_one_printable_name_names_no_client() {
        let uris = vec![SanType::URI(ia5("spiffe://a/b")), SanType::URI(ia5("spiffe://a/c"))];
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        for (der, kind) in [
            (der("ci", uris), CertificateName::Uri),
            (der("ci", Vec::new()), CertificateName::Dns),
            (der("", Vec::new()), CertificateName::CommonName),
            (der("a\nb", Vec::new()), CertificateName::CommonName),
            (der(&long, Vec::new()), CertificateName::CommonName),
            (b"rubbish".to_vec(), CertificateName::CommonName),
        ] {
            ClientCertificate::read(&der, kind).expect_err("no name");
        }
    }
}
