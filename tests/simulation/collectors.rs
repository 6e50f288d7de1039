//! Collectors: the real ones, one run after the other. They crash, and run beside each other.

use std::sync::Arc;
use std::time::Duration;

use longshore::app;
use longshore::collector::{Collector, Mode};
use longshore::store::ObjectStore;
use longshore::tasks::Tasks;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::bucket::Role;
use crate::cache::Server;
use crate::network::Connection;
use crate::profile::Caching;
use crate::world::World;

/// Runs a collector again and again, until the world is calm.
pub(crate) async fn collect(world: Arc<World>, cache: Arc<Server>, number: usize) {
    let (least, most) = world.profile.interval;
    sleep(world.profile.collect_from).await;
    for life in 0.. {
        sleep(world.random.between(least, most)).await;
        if world.is_calm() {
            return;
        }
        collect_once(&world, &cache, &format!("collector-{number}.{life}")).await;
    }
}

/// One run, in a process of its own.
pub(crate) async fn collect_once(world: &Arc<World>, cache: &Arc<Server>, process: &str) {
    let (crash, tasks) = (CancellationToken::new(), Tasks::new());
    let store: Arc<dyn ObjectStore> =
        Arc::new(Connection::new(world, Role::Collector, process.to_owned(), crash.clone()));
    let settings = world.profile.settings();
    let shared = match world.profile.caching {
        Caching::None => None,
        Caching::Perfect | Caching::Failing => Some(cache.connect(world, &tasks)),
    };
    let metrics = &world.metrics;
    let registry = app::registry(&settings, store.clone(), shared, metrics, &tasks);
    let registry = registry.expect("good settings");
    let holder = process.to_owned();
    let collector = Collector::new(registry, store, &settings.collection, holder, metrics);
    let collector = collector.expect("good settings");
    tokio::select! {
        biased;
        () = crash.cancelled() => tasks.cancel(),
        collected = collector.run(Mode::Collect) => {
            let outcome = collected.map_or_else(|error| error.to_string(), |_| "done".to_owned());
            world.note(format_args!("{process} {outcome}"));
        }
    }
    tasks.wait().await;
}

/// Lets collectors run until everything that no client can reach has been found: data without a
/// name only when its day is compared again.
pub(crate) async fn finish(world: &Arc<World>, cache: &Arc<Server>) {
    let hours = |hours| Duration::from_hours(hours);
    let pauses = [hours(3); 8].into_iter().chain([hours(96); 10]);
    for (number, pause) in pauses.enumerate() {
        sleep(pause).await;
        collect_once(world, cache, &format!("last-collector.{number}")).await;
    }
}
