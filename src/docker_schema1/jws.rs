//! The signatures of a document (RFC 7515, in the spelling of libtrust).

use serde::Deserialize;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::bounded::Bounded;
use super::encoding;
use super::public_key::{Jwk, PublicKey};
use super::{CERTIFICATES_MAX, Error, unverified};
use crate::oci::array_as_object::ObjectOnly;

/// One signature.
#[derive(Debug, Deserialize)]
pub(super) struct Signature {
    header: ObjectOnly<Header>,
    #[serde(rename = "signature")]
    value: String,
    pub(super) protected: String,
}

/// The algorithm and the key, which the document itself contains.
#[derive(Debug, Deserialize)]
struct Header {
    alg: String,
    jwk: Option<ObjectOnly<Jwk>>,
    x5c: Option<Bounded<String, CERTIFICATES_MAX>>,
}

/// Verifies every signature over the payload. One wrong signature refuses the document.
pub(super) fn verify(payload: &[u8], signatures: &[Signature]) -> Result<(), Error> {
    let payload = encoding::encode(payload);
    for Signature { header: ObjectOnly(header), value, protected } in signatures {
        let key = header.key()?;
        let signature = encoding::decode(value, "signature")?;
        let signed = [protected, ".", &payload].concat();
        key.verify(&header.alg, signed.as_bytes(), &signature)?;
    }
    Ok(())
}

impl Header {
    /// The key that verifies the signature: that of the first certificate, or the bare one.
    fn key(&self) -> Result<PublicKey, Error> {
        let bare = self.jwk.as_ref().map(|ObjectOnly(jwk)| jwk.key()).transpose()?;
        let chain = self.x5c.as_ref().map_or(&[][..], |chain| &chain.0);
        match (chained(chain)?, bare) {
            (Some(certified), Some(bare)) if certified != bare => {
                Err(unverified("a signature names two different keys, in x5c and in jwk"))
            }
            (Some(key), _) | (None, Some(key)) => Ok(key),
            (None, None) => Err(unverified("a signature has no key, neither jwk nor x5c")),
        }
    }
}

/// The key of the first certificate of a chain, `None` if there is no chain.
///
/// Each certificate must be signed by the next one (RFC 7515, 4.1.6). The registry decides neither
/// whether the last one is trusted nor whether one has expired: that is up to the client.
fn chained(chain: &[String]) -> Result<Option<PublicKey>, Error> {
    let mut ders = Vec::with_capacity(chain.len());
    for text in chain {
        let der = STANDARD.decode(text);
        ders.push(der.map_err(|error| unverified(format!("a certificate in x5c: {error}")))?);
    }
    let mut certificates = Vec::with_capacity(ders.len());
    for der in &ders {
        match X509Certificate::from_der(der) {
            Ok(([], certificate)) => certificates.push(certificate),
            Ok(_) => return Err(unverified("a certificate in x5c is followed by something else")),
            Err(error) => return Err(unverified(format!("a certificate in x5c: {error}"))),
        }
    }
    check_links(&certificates)?;
    Ok(certificates.first().map(|first| PublicKey::of_certificate(first.public_key())))
}

fn check_links(certificates: &[X509Certificate<'_>]) -> Result<(), Error> {
    for (position, certificate) in certificates.iter().enumerate() {
        let key = certificate.public_key().raw;
        if certificates[..position].iter().any(|before| before.public_key().raw == key) {
            return Err(unverified("the chain of certificates in x5c goes round in a circle"));
        }
    }
    for pair in certificates.windows(2) {
        let [certificate, issuer] = pair else { continue };
        let linked = certificate.issuer().as_raw() == issuer.subject().as_raw()
            && certificate.verify_signature(Some(issuer.public_key())).is_ok();
        if !linked {
            return Err(unverified(
                "a certificate in x5c is not signed by the one that follows it",
            ));
        }
    }
    Ok(())
}
