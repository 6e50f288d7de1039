//! Public keys: as they stand in documents, and what they can verify.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    UnparsedPublicKey, VerificationAlgorithm,
};
use serde::Deserialize;
use serde::de::IgnoredAny;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::encoding;
use super::{Error, invalid, unverified};
use crate::oci::digest::{Algorithm, Digest};
use crate::oci::truncate::truncate;

/// Bytes of the longest modulus: 8192 bits. The algorithms below have the same bound, and 2048
/// bits as the least.
const MODULUS_BYTES_MAX: usize = 1024;
/// Bytes of the longest exponent that anybody uses.
const EXPONENT_BYTES_MAX: usize = 4;

/// The curves of JOSE: name, bytes of a coordinate, and how X.509 begins a key on it.
const CURVES: [(&str, usize, &str); 3] = [
    ("P-256", 32, "3059301306072a8648ce3d020106082a8648ce3d030107034200"),
    ("P-384", 48, "3076301006072a8648ce3d020106052b81040022036200"),
    ("P-521", 66, "30819b301006072a8648ce3d020106052b8104002303818600"),
];
/// `rsaEncryption` without parameters, as X.509 names the algorithm of a key.
const RSA_ALGORITHM: &str = "300d06092a864886f70d0101010500";

/// A key in JSON (RFC 7517).
#[derive(Debug, Deserialize)]
pub(super) struct Jwk {
    kty: String,
    kid: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    /// A private key. A client that sends one has published it.
    d: Option<IgnoredAny>,
}

/// A key that can verify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PublicKey {
    /// The point of an elliptic curve, or an RSA key in the encoding of PKCS #1.
    bits: Vec<u8>,
    /// The whole of it in the encoding of X.509.
    info: Vec<u8>,
}

impl Jwk {
    pub(super) fn key(&self) -> Result<PublicKey, Error> {
        if self.d.is_some() {
            return Err(invalid("jwk is a private key: it must not be published"));
        }
        let key = match self.kty.as_str() {
            "EC" => self.elliptic()?,
            "RSA" => self.rsa()?,
            other => {
                return Err(invalid(format!("jwk: kty {:?} is not EC or RSA", truncate(other))));
            }
        };
        if self.kid.as_ref().is_some_and(|kid| *kid != key.id()) {
            return Err(invalid("jwk: kid is not the fingerprint of the key"));
        }
        Ok(key)
    }

    fn elliptic(&self) -> Result<PublicKey, Error> {
        let crv = given(self.crv.as_ref(), "crv")?;
        let Some((_, size, prefix)) = CURVES.into_iter().find(|(name, ..)| *name == crv) else {
            return Err(invalid(format!("jwk: curve {:?} is not supported", truncate(crv))));
        };
        let mut bits = vec![4];
        for (coordinate, name) in [(&self.x, "x"), (&self.y, "y")] {
            let bytes = encoding::decode(given(coordinate.as_ref(), name)?, name)?;
            if bytes.len() != size {
                return Err(invalid(format!("jwk: {name} must have {size} bytes on {crv}")));
            }
            bits.extend(bytes);
        }
        let info = [constant(prefix), bits.clone()].concat();
        Ok(PublicKey { bits, info })
    }

    fn rsa(&self) -> Result<PublicKey, Error> {
        let number = |text: &Option<String>, name: &str, bytes_max: usize| {
            let bytes = encoding::decode(given(text.as_ref(), name)?, name)?;
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            let bytes = bytes[zeros..].to_vec();
            if bytes.is_empty() || bytes.len() > bytes_max {
                return Err(invalid(format!(
                    "jwk: {name} is zero or longer than {bytes_max} bytes"
                )));
            }
            Ok(unsigned(bytes))
        };
        let n = number(&self.n, "n", MODULUS_BYTES_MAX)?;
        let e = number(&self.e, "e", EXPONENT_BYTES_MAX)?;
        let bits = element(0x30, &[n, e].concat());
        let string = element(0x03, &[vec![0], bits.clone()].concat());
        let info = element(0x30, &[constant(RSA_ALGORITHM), string].concat());
        Ok(PublicKey { bits, info })
    }
}

fn given<'a>(value: Option<&'a String>, name: &str) -> Result<&'a str, Error> {
    value.map(String::as_str).ok_or_else(|| invalid(format!("jwk has no {name}")))
}

impl PublicKey {
    /// The key of a certificate.
    pub(super) fn of_certificate(info: &SubjectPublicKeyInfo<'_>) -> Self {
        Self { bits: info.subject_public_key.data.to_vec(), info: info.raw.to_vec() }
    }

    /// A point of P-256.
    pub(super) fn p256(point: &[u8]) -> Self {
        let [(_, _, prefix), ..] = CURVES;
        Self { bits: point.to_vec(), info: [&constant(prefix), point].concat() }
    }

    /// How libtrust calls a key: the first 240 bits of the hash of its X.509 form, in twelve
    /// groups of base 32.
    pub(super) fn id(&self) -> String {
        const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let hash = Digest::of(Algorithm::Sha256, &self.info);
        let mut id = String::with_capacity(59);
        for (position, five) in hash.as_bytes()[..30].chunks(5).enumerate() {
            let bits = five.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
            for group in 0..8u32 {
                if group % 4 == 0 && (position, group) != (0, 0) {
                    id.push(':');
                }
                let index = usize::try_from(bits >> (35 - 5 * group) & 31).unwrap_or_default();
                id.push(char::from(ALPHABET[index]));
            }
        }
        id
    }

    /// Verifies a signature by the algorithm that its header names. The library refuses points
    /// that are not on the curve of the algorithm, and RSA keys that are not between 2048 and 8192
    /// bits long.
    pub(super) fn verify(&self, alg: &str, signed: &[u8], signature: &[u8]) -> Result<(), Error> {
        let algorithm: &'static dyn VerificationAlgorithm = match alg {
            "ES256" => &ECDSA_P256_SHA256_FIXED,
            "ES384" => &ECDSA_P384_SHA384_FIXED,
            "ES512" => &ECDSA_P521_SHA512_FIXED,
            "RS256" => &RSA_PKCS1_2048_8192_SHA256,
            "RS384" => &RSA_PKCS1_2048_8192_SHA384,
            "RS512" => &RSA_PKCS1_2048_8192_SHA512,
            other => {
                let other = truncate(other);
                return Err(unverified(format!("signatures of {other:?} are not supported")));
            }
        };
        UnparsedPublicKey::new(algorithm, &self.bits)
            .verify(signed, signature)
            .map_err(|_| unverified(format!("a signature ({alg}) does not fit the manifest")))
    }
}

/// One of the constants above as bytes.
fn constant(hexadecimal: &str) -> Vec<u8> {
    hex::decode(hexadecimal).unwrap_or_default()
}

/// A DER integer that is not negative.
fn unsigned(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.first().is_some_and(|first| first & 0x80 != 0) {
        bytes.insert(0, 0);
    }
    element(0x02, &bytes)
}

/// A DER element. None is longer than 65,535 bytes here.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut out = match (high, low) {
        (0, 0..0x80) => vec![tag, low],
        (0, _) => vec![tag, 0x81, low],
        (_, _) => vec![tag, 0x82, high, low],
    };
    out.extend_from_slice(content);
    out
}
