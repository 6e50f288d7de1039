//! What an audit or a scrub finds.

use serde::Serialize;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Clients get a wrong answer or an error, or will.
    Damage,
    /// Nothing is wrong.
    Information,
}

/// Declares the classes of findings, from the worst on.
macro_rules! classes {
    ($($class:ident $name:literal $level:ident $advice:literal,)+) => {
        /// What kind of finding it is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Class {
            $($class,)+
        }

        impl Class {
            pub const ALL: &'static [Self] = &[$(Self::$class,)+];

            /// The name in reports and in the documentation.
            pub fn name(self) -> &'static str {
                match self { $(Self::$class => $name,)+ }
            }

            pub fn level(self) -> Level {
                match self { $(Self::$class => Level::$level,)+ }
            }

            /// What the operator can do.
            pub fn advice(self) -> &'static str {
                match self { $(Self::$class => $advice,)+ }
            }
        }
    };
}

classes! {
    MissingData "missing-data" Damage
        "restore the object from a backup, or push the blob again to this repository",
    WrongSize "wrong-size" Damage
        "restore the object from a backup, or remove it by hand and push the blob again",
    OtherEtag "other-etag" Damage
        "run `longshore scrub`: the content changed, or the bucket was copied",
    WrongContent "wrong-content" Damage
        "restore it from a backup, or remove it by hand and push it again",
    DamagedRecord "damaged-record" Damage
        "restore the record from a backup, or delete the object by hand and push again",
    DanglingPointer "dangling-pointer" Damage
        "run with --repair; a push of the blob then stores its bytes again",
    UnpointedLink "unpointed-link" Damage
        "push the blob again to this repository: its data is not safe from collection",
    MissingReference "missing-reference" Damage
        "push the missing blob or manifest again to this repository",
    DeletedReference "deleted-reference" Damage
        "push what the manifest names again, or delete the manifest, too",
    DanglingTag "dangling-tag" Damage
        "push the manifest again, or delete the tag",
    WrongTag "wrong-tag" Damage
        "push the manifest again under this tag",
    MissingTagIndex "missing-tag-index" Damage
        "run with --repair: until then a deletion of the manifest leaves the tag",
    MissingReferrer "missing-referrer" Damage
        "run with --repair: until then the list of referrers lacks the manifest",
    StaleReferrer "stale-referrer" Damage
        "push the manifest again, or wait: garbage collection removes the row",
    MissingRepository "missing-repository" Damage
        "run with --repair: until then the catalog lacks the repository",
    HalfDeleted "half-deleted" Damage
        "run with --repair, or repeat the deletion",
    SparseManifest "sparse-manifest" Information
        "nothing, if it was pushed so: manifests.sparse allows it",
    OtherMediaType "other-media-type" Information
        "nothing: the same bytes were pushed with another type since",
    ExternalLayer "external-layer" Information
        "nothing: clients get the layer from its URLs",
    OtherBucket "other-bucket" Information
        "use the release that wrote the record: this one cannot read the data",
    NewerRecord "newer-record" Information
        "audit with the newest release that writes to the bucket",
    UnnamedData "unnamed-data" Information
        "nothing: garbage collection frees it",
    ForeignKey "foreign-key" Information
        "nothing: Longshore does not use the object, and never removes it",
}

/// What became of a repair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "repair", content = "why")]
pub enum Repair {
    Done,
    /// Another writer has changed the record meanwhile.
    NotNeeded,
    Failed(String),
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub class: Class,
    pub level: Level,
    /// The key of the record or data object that is wrong.
    pub key: String,
    /// What is wrong, in a sentence.
    pub what: String,
    pub advice: &'static str,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub repair: Option<Repair>,
}

impl Finding {
    pub(super) fn new(
        class: Class,
        key: &(impl ToString + ?Sized),
        what: impl Into<String>,
    ) -> Self {
        let (level, advice) = (class.level(), class.advice());
        Self { class, level, key: key.to_string(), what: what.into(), advice, repair: None }
    }
}

/// Takes findings as they are found.
pub type Sink<'a> = dyn FnMut(Finding) + Send + 'a;
