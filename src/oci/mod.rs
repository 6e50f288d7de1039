//! The types of the OCI specifications: digests, names, tags, media types, manifests.
//!
//! Nothing here does I/O. A value of one of these types has been checked:
//! [`FromStr`](std::str::FromStr) is the only constructor, and serde uses it as well, so no other
//! module checks a name again.
//!
//! The grammars come from the [distribution specification] and the [image specification].
//!
//! [distribution specification]: https://github.com/opencontainers/distribution-spec
//! [image specification]: https://github.com/opencontainers/image-spec

pub(crate) mod digest;
mod hasher;
pub(crate) mod name;
pub(crate) mod reference;
mod upload_id;

mod accept;
pub(crate) mod media_type;

pub(crate) mod descriptor;
pub(crate) mod manifest;
mod negotiation;

mod error_code;

pub(crate) mod array_as_object;
pub(crate) mod truncate;

pub use accept::Accept;
pub use descriptor::{DESCRIPTORS_MAX, Descriptor, Platform};
pub use digest::{Algorithm, AnyDigest, Digest, DigestError};
pub use error_code::ErrorCode;
pub use hasher::{Hasher, HasherStateError};
pub use manifest::{Manifest, ManifestError};
pub use media_type::MediaType;
pub use name::{NameError, RepositoryName};
pub use negotiation::{Answer, Negotiation};
pub use reference::{Reference, ReferenceError, Tag, TagError};
pub use upload_id::{NewSession, UploadId, UploadIdError, UploadSegment};
