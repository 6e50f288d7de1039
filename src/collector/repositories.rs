//! What repositories hold: links, the tag index and referrers that nothing needs any more.

use std::time::SystemTime;

use super::manifests::Contents;
use super::rows::{Row, Rows, Scope};
use super::salted::SaltedSet;
use super::state::State;
use super::{Class, Cutoff, Error, Fate, Run};
use crate::layout::encoding::is_tombstone;
use crate::oci::RepositoryName;
use crate::store::{Kind, Prefix, RecordKey, RecordPages};

/// The records of all repositories, by kind.
#[derive(Debug)]
pub(super) struct Lists {
    pub(super) manifests: Rows,
    pub(super) links: Rows,
    pub(super) tags: Rows,
    pub(super) tag_indexes: Rows,
    pub(super) referrers: Rows,
}

impl Lists {
    fn after(name: Option<&RepositoryName>) -> Self {
        let rows = |kind| Rows::of(kind, name);
        Self {
            manifests: rows(Kind::Manifests),
            links: rows(Kind::Links),
            tags: rows(Kind::Tags),
            tag_indexes: rows(Kind::TagIndexes),
            referrers: rows(Kind::Referrers),
        }
    }

    fn all(&mut self) -> [&mut Rows; 5] {
        let Self { manifests, links, tags, tag_indexes, referrers } = self;
        [manifests, links, tags, tag_indexes, referrers]
    }

    /// The next repository in the order of the keys, which is that of its name and a slash.
    async fn next_repository(&mut self, run: &Run) -> Result<Option<RepositoryName>, Error> {
        let mut first: Option<RepositoryName> = None;
        for rows in self.all() {
            if let Some(name) = rows.repository(run).await?
                && first.as_ref().is_none_or(|first| Prefix::rank(name) < Prefix::rank(first))
            {
                first = Some(name.clone());
            }
        }
        Ok(first)
    }

    /// The store's clock at the first listing of all.
    fn began(&mut self) -> Option<SystemTime> {
        self.all().iter().filter_map(|rows| rows.began()).min()
    }
}

impl Run {
    pub(super) async fn collect_repositories(&self, state: &mut State) -> Result<(), Error> {
        let mut lists = Lists::after(state.cursor());
        let mut next = lists.next_repository(self).await?;
        let cutoff = self.cutoff(lists.began());
        let scope = Scope { cutoff, seen: self.repositories_seen(cutoff).await? };
        while let Some(name) = next {
            self.paced.begin(format!("repository {name}"));
            self.collect_repository(&mut lists, &name, &scope).await?;
            next = lists.next_repository(self).await?;
            state.finished_repository(name).await?;
        }
        Ok(())
    }

    async fn collect_repository(
        &self,
        lists: &mut Lists,
        name: &RepositoryName,
        scope: &Scope,
    ) -> Result<(), Error> {
        let mut contents = Contents::default();
        self.read_manifests(&mut lists.manifests, name, scope, &mut contents).await?;
        self.collect_links(&mut lists.links, name, scope, &contents).await?;
        let tags = self.read_tags(&mut lists.tags, name, scope, &mut contents).await?;
        self.collect_tag_indexes(&mut lists.tag_indexes, name, scope, &tags).await?;
        self.collect_referrers(&mut lists.referrers, name, scope, &contents).await?;
        self.delete_untagged(name, &contents).await
    }

    /// The repositories with candidates of an earlier run.
    async fn repositories_seen(&self, cutoff: Cutoff) -> Result<SaltedSet, Error> {
        let mut seen = SaltedSet::new();
        let mut pages = RecordPages::of(Prefix::Seen);
        while let Some(page) = pages.next(self.paced.as_ref()).await? {
            let mut tombstones = Vec::new();
            for listed in page.rows {
                let Ok(key @ RecordKey::Seen(_)) = listed.key.parse() else { continue };
                if is_tombstone(listed.size) {
                    tombstones.push(Row { key, listed });
                } else {
                    seen.insert(&key.to_string());
                }
            }
            self.remove_tombstones(tombstones, cutoff).await?;
        }
        Ok(seen)
    }

    pub(super) fn count_young(&self, class: Class) {
        self.count(class, Fate::Grace);
    }
}
