//! What clients have asked for, and what they were told: every change in the bucket must be
//! explained by a request that was under way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::bucket::{Bucket, Name, Role, manifest_key};
use crate::content::{CONTENT, TAGS};
use crate::profile::{CLOCK_SKEW, GRACE};
use crate::timeline::Span;

/// How long a request goes on after its client has given it up, where nothing is late.
const UNKNOWN_FOR: Duration = Duration::from_mins(1);
/// A run of a collector whose requests stall takes no longer.
const RUN_MAX: Duration = Duration::from_hours(10 * 24);

/// What a request asks for. Repository first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Pushing a blob, mounting it, or asking for it before a push.
    PushBlob(String, String),
    DeleteBlob(String, String),
    Push {
        repository: String,
        digest: String,
        tags: Vec<String>,
    },
    DeleteTag(String, String),
    DeleteManifest(String, String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Acknowledged,
    /// It was refused, and has changed nothing.
    Refused,
    /// The client does not know what has become of it: it may still happen.
    Unknown,
}

#[derive(Clone, Debug)]
struct Asked {
    act: Act,
    begin: Duration,
    end: Option<(Duration, Outcome)>,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger(Vec<Asked>);

impl Ledger {
    pub(crate) fn begin(&mut self, at: Duration, act: Act) -> usize {
        self.0.push(Asked { act, begin: at, end: None });
        self.0.len() - 1
    }

    pub(crate) fn end(&mut self, number: usize, at: Duration, outcome: Outcome) {
        self.0[number].end = Some((at, outcome));
    }

    /// When the earliest request began that was not answered at this time and may change the
    /// repository: until it is answered, caches may show what was there before.
    pub(crate) fn unanswered_since(&self, at: Duration, repository: &str) -> Duration {
        let concerns = |act: &Act| match act {
            Act::PushBlob(name, _)
            | Act::DeleteBlob(name, _)
            | Act::DeleteTag(name, _)
            | Act::DeleteManifest(name, _)
            | Act::Push { repository: name, .. } => name == repository,
        };
        // A request that its client has given up goes on for a while.
        let ended = |asked: &Asked| match asked.end {
            Some((end, Outcome::Unknown)) => end + UNKNOWN_FOR < at,
            Some((end, _)) => end < at,
            None => false,
        };
        let open = self
            .0
            .iter()
            .filter(|asked| asked.begin <= at && !ended(asked) && concerns(&asked.act));
        open.map(|asked| asked.begin).min().unwrap_or(at)
    }

    /// The manifests whose last push was acknowledged: repository and digest.
    pub(crate) fn acknowledged_pushes(&self) -> BTreeSet<(String, String)> {
        let mut pushes = BTreeMap::new();
        for asked in &self.0 {
            if let Act::Push { repository, digest, .. } = &asked.act {
                let told = matches!(asked.end, Some((_, Outcome::Acknowledged)));
                pushes.insert((repository.clone(), digest.clone()), told);
            }
        }
        pushes.into_iter().filter(|(_, told)| *told).map(|(push, _)| push).collect()
    }

    /// Whether the last push of this tag was acknowledged.
    pub(crate) fn was_tagged(&self, repository: &str, tag: &str) -> bool {
        let sets = |asked: &&Asked| {
            matches!(&asked.act, Act::Push { repository: r, tags, .. }
                if r == repository && tags.iter().any(|set| set == tag))
        };
        let unknown = |asked: &Asked| !matches!(asked.end, Some((_, Outcome::Acknowledged)));
        self.0.iter().any(|asked| sets(&asked)) && !self.0.iter().filter(sets).any(unknown)
    }

    /// Whether a request may still point this tag at the manifest, or delete the manifest.
    pub(crate) fn is_contested(
        &self,
        at: Duration,
        (repository, digest): (&str, &str),
        tag: &str,
    ) -> bool {
        self.is_open(at, |act| match act {
            Act::Push { repository: r, digest: d, tags } => {
                r == repository && d == digest && tags.iter().any(|set| set == tag)
            }
            Act::DeleteManifest(r, d) => r == repository && d == digest,
            _ => false,
        })
    }

    /// Whether such a request may change something at this time.
    fn is_open(&self, at: Duration, matches: impl Fn(&Act) -> bool) -> bool {
        self.0.iter().any(|asked| {
            let ended = |(end, outcome)| outcome != Outcome::Unknown && end < at;
            asked.begin <= at && !asked.end.is_some_and(ended) && matches(&asked.act)
        })
    }

    /// Whether a client may rely on a blob, because it was told less than half a grace ago that the
    /// blob is there.
    fn is_leased(&self, at: Duration, act: &Act) -> bool {
        self.0.iter().any(|asked| {
            let told = matches!(asked.end, Some((_, Outcome::Acknowledged)));
            told && asked.act == *act && asked.begin + GRACE / 2 > at
        })
    }

    /// Whether a collector may delete a manifest because it has no tag: nothing needs it, and no
    /// push has named it for long. Its record may be older than such a push by half of the grace.
    fn may_go(
        &self,
        at: Duration,
        (repository, digest): (&str, &str),
        bucket: &mut Bucket,
        untagged_after: Duration,
    ) -> bool {
        let is_tagged = TAGS.iter().any(|tag| bucket.target(repository, tag) == Some(digest));
        let number = CONTENT.documents.iter().position(|document| document.digest == digest);
        let Some(number) = number else { return false };
        let is_child = CONTENT.documents.iter().any(|document| {
            document.children.contains(&number) && bucket.is_visible(repository, &document.digest)
        });
        // Whoever pushes a subject takes no lease on what belongs to it.
        let subject = CONTENT.documents[number].subject.map(|of| &CONTENT.documents[of].digest);
        let recently = Span { from: at.saturating_sub(RUN_MAX), to: at };
        let belongs = subject.is_some_and(|subject| {
            !bucket.timeline(&manifest_key(repository, subject)).had(None, recently)
        });
        let named = |pushed: &str| {
            let children = CONTENT.document(pushed).map(|document| &document.children);
            pushed == digest || children.is_some_and(|children| children.contains(&number))
        };
        let was_named = self.0.iter().any(|asked| {
            let told = matches!(asked.end, Some((_, Outcome::Acknowledged)));
            let young = asked.begin + untagged_after > at + GRACE / 2 + CLOCK_SKEW;
            told && young
                && matches!(&asked.act, Act::Push { repository: r, digest: pushed, .. }
                    if r == repository && named(pushed))
        });
        !is_tagged && !is_child && !belongs && !was_named
    }

    /// Whether requests that were under way explain the last write of a record.
    pub(crate) fn explains(
        &self,
        at: Duration,
        role: Role,
        key: &str,
        bucket: &mut Bucket,
        untagged_after: Option<Duration>,
    ) -> Result<(), String> {
        let name = Name::of(key);
        if !matches!(name, Name::Tag(..) | Name::Manifest(..) | Name::Link(..)) {
            return Ok(());
        }
        let (before, after) = bucket.timeline(key).last_two();
        if before == after {
            return Ok(());
        }
        let explained = match (&name, &after) {
            (Name::Link(repository, digest), Some(_)) => {
                let act = Act::PushBlob(repository.clone(), digest.clone());
                self.is_open(at, |open| *open == act)
            }
            (Name::Link(repository, digest), None) if role == Role::Collector => {
                !self.is_leased(at, &Act::PushBlob(repository.clone(), digest.clone()))
            }
            (Name::Link(repository, digest), None) => {
                let act = Act::DeleteBlob(repository.clone(), digest.clone());
                self.is_open(at, |open| *open == act)
            }
            (Name::Manifest(repository, digest), Some(_)) => self.is_open(at, |open| {
                matches!(open, Act::Push { repository: r, digest: d, .. }
                    if r == repository && d == digest)
            }),
            (Name::Manifest(repository, digest), None) => {
                let act = Act::DeleteManifest(repository.clone(), digest.clone());
                let untagged = |after| self.may_go(at, (repository, digest), bucket, after);
                self.is_open(at, |open| *open == act)
                    || (role == Role::Collector && untagged_after.is_some_and(untagged))
            }
            (Name::Tag(repository, tag), Some(digest)) => self.is_open(at, |open| {
                matches!(open, Act::Push { repository: r, digest: d, tags }
                    if r == repository && d == digest && tags.contains(tag))
            }),
            (Name::Tag(repository, tag), None) => {
                let untag = Act::DeleteTag(repository.clone(), tag.clone());
                let delete = before
                    .as_ref()
                    .map(|digest| Act::DeleteManifest(repository.clone(), digest.clone()));
                self.is_open(at, |open| *open == untag || Some(open) == delete.as_ref())
            }
            _ => true,
        };
        if explained {
            return Ok(());
        }
        Err(format!("{key} went from {before:?} to {after:?}, and no request under way wants that"))
    }
}
