//! Settings that are one of a few words.

/// A closed set of words.
pub(super) trait Choice: Copy + PartialEq + 'static {
    /// Each value and its word.
    const WORDS: &'static [(&'static str, Self)];

    fn as_str(self) -> &'static str {
        let found = Self::WORDS.iter().find(|(_, value)| *value == self);
        found.expect("WORDS holds every value").0
    }

    fn parse(text: &str) -> Result<Self, String> {
        if let Some((_, value)) = Self::WORDS.iter().find(|(word, _)| *word == text) {
            return Ok(*value);
        }
        let words: Vec<&str> = Self::WORDS.iter().map(|(word, _)| *word).collect();
        Err(format!("{text:?} is not {}", words.join(" or ")))
    }
}

impl Choice for bool {
    const WORDS: &'static [(&'static str, Self)] = &[("true", true), ("false", false)];
}

/// How a blob reaches the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The registry streams it.
    Proxy,
    /// The client fetches it from the store with a presigned URL.
    Redirect,
    /// It depends on the network of the client.
    Auto,
}

impl Choice for Delivery {
    const WORDS: &'static [(&'static str, Self)] =
        &[("proxy", Self::Proxy), ("redirect", Self::Redirect), ("auto", Self::Auto)];
}

/// What a manifest may name although the repository does not have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sparse {
    /// Nothing.
    None,
    /// An index may name manifests that are not there.
    Indexes,
    /// An image may name blobs that are not there, too.
    All,
}

impl Choice for Sparse {
    const WORDS: &'static [(&'static str, Self)] =
        &[("none", Self::None), ("indexes", Self::Indexes), ("all", Self::All)];
}

/// How Redis is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedisTopology {
    /// One server.
    Single,
    /// Sentinels that know which server is the primary.
    Sentinel,
    /// A cluster.
    Cluster,
}

impl Choice for RedisTopology {
    const WORDS: &'static [(&'static str, Self)] =
        &[("single", Self::Single), ("sentinel", Self::Sentinel), ("cluster", Self::Cluster)];
}

/// Whose rules manifests are served by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManifestMode {
    /// Those of the distribution-spec.
    Oci,
    /// Those of Docker's registry 2.x.
    DockerLegacy,
}

impl Choice for ManifestMode {
    const WORDS: &'static [(&'static str, Self)] =
        &[("oci", Self::Oci), ("docker-legacy", Self::DockerLegacy)];
}

/// The checksum that goes with an upload to S3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// None with a custom endpoint, CRC32 otherwise.
    Auto,
    Crc32,
    None,
}

impl Choice for Checksum {
    const WORDS: &'static [(&'static str, Self)] =
        &[("auto", Self::Auto), ("crc32", Self::Crc32), ("none", Self::None)];
}

/// What may be done in all repositories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GeneralAccess {
    /// Read, lists included.
    Pull,
    /// Everything.
    Push,
}

impl Choice for GeneralAccess {
    const WORDS: &'static [(&'static str, Self)] = &[("pull", Self::Pull), ("push", Self::Push)];
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

impl Choice for LogFormat {
    const WORDS: &'static [(&'static str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}

/// At which level requests are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestLog {
    Info,
    Debug,
    Off,
}

impl Choice for RequestLog {
    const WORDS: &'static [(&'static str, Self)] =
        &[("info", Self::Info), ("debug", Self::Debug), ("off", Self::Off)];
}
