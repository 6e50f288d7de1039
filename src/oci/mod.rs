//! The nouns of the OCI specifications: digests, names, tags, media types, manifests.
//!
//! Everything here is pure. A value of one of these types is proof that some text was checked:
//! [`FromStr`](std::str::FromStr) is the only way in, and serde goes through it as well, so the
//! rest of the program never asks again whether a name is a name.
//!
//! The grammars are those of the [distribution specification] and the [image specification].
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

pub(crate) mod excerpt;
pub(crate) mod object_only;
mod text;

pub use accept::Accept;
pub use descriptor::{Descriptor, Platform};
pub use digest::{Algorithm, AnyDigest, Digest, DigestError};
pub use error_code::ErrorCode;
pub use hasher::{Hasher, HasherStateError};
pub use manifest::{DESCRIPTORS_MAX, Manifest, ManifestError};
pub use media_type::MediaType;
pub use name::{NameError, RepositoryName};
pub use negotiation::{Answer, Negotiation};
pub use reference::{Reference, ReferenceError, Tag, TagError};
pub use upload_id::{UploadId, UploadIdError};
