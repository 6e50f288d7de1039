//! One run: frontends, collectors and clients over one store, for some days, and what is left.

use std::sync::{Arc, Once};
use std::time::Duration;

use futures_util::future::join_all;
use longshore::entropy;
use longshore::tasks::Tasks;
use tokio::time::sleep;

use crate::cache::Server;
use crate::client::Client;
use crate::collectors::{collect, finish};
use crate::frontend::Frontend;
use crate::planted::Bug;
use crate::profile::Profile;
use crate::verify::Verifier;
use crate::world::{Outcome, World};

const DAY: Duration = Duration::from_hours(24);
/// After so long no late request is under way any more.
const QUIET: Duration = Duration::from_hours(24 * 7);

/// The first request of a process draws a random number for all of them (`request_id`): this is it,
/// so that each run draws the same, whichever comes first.
fn warm_up() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(async {
        let world = World::new(Profile::of(0), None);
        world.calm_down();
        Verifier::new(&world).get("/v2/").await;
    });
}

/// Runs a profile from its seed.
pub(crate) fn run(profile: Profile, bug: Option<Bug>) -> Outcome {
    static WARM: Once = Once::new();
    WARM.call_once(warm_up);
    let _seeded = entropy::seed_this_thread(profile.seed);
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(async {
        let world = World::new(profile, bug);
        tokio::select! {
            biased;
            () = world.stop.cancelled() => {}
            () = live(&world) => {}
        }
        world.outcome()
    })
}

async fn live(world: &Arc<World>) {
    world.note(format_args!("{:?}", world.profile));
    let cache = Arc::new(Server::default());
    let mut frontends = Vec::new();
    for number in 0..world.profile.frontends {
        frontends.push(Frontend::start(world, &cache, number).await);
    }
    Tasks::new().spawn(cache.clone().fail(world.clone()));
    for number in 0..world.profile.collectors {
        Tasks::new().spawn(collect(world.clone(), cache.clone(), number));
    }
    let client = |name| Client::new(world, &frontends, name);
    let (clients, long) = (world.profile.clients, world.profile.long_uploads);
    tokio::join!(
        join_all((0..clients).map(client).map(Client::live)),
        join_all((clients..clients + long).map(client).map(Client::upload_for_a_week)),
    );
    world.note("the clients are done");
    sleep(DAY).await;
    world.calm_down();
    sleep(QUIET).await;
    let verifier = Verifier::new(world);
    verifier.everything(false).await;
    if world.profile.slow_decisions == 0 {
        verifier.acknowledged_referrers();
    }
    finish(world, &cache).await;
    verifier.everything(true).await;
    verifier.referrers().await;
    let conditional_removal = world.profile.conditional_removal;
    let (garbage, open) =
        (world.bucket().garbage(conditional_removal), world.memory.open_multiparts());
    for key in garbage {
        world.fault(format_args!("I4: {key} is garbage, and stays"));
    }
    if open > 0 {
        world.fault(format_args!("I4: {open} multipart uploads stay open"));
    }
}
