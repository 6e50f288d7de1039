//! What the benchmark runs beside the registry: a client, a store without a disk, and the limits
//! that the registry is compared with. `tests/load/run` starts them and reads what they print: one
//! line of JSON.

mod bucket;
mod connection;
mod content;
mod delay;
mod direct;
mod docker;
mod hello;
mod images;
mod listener;
mod measure;
mod mixed;
mod popularity;
mod push;
mod requests;
mod store;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The allocator of the registry, so that what is compared differs in nothing else.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
#[command(about = "The load client, the null store and the limits of tests/load/run")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A store that speaks S3 and has no disk.
    Store(store::Arguments),
    /// Makes a server seem far away.
    Delay(delay::Arguments),
    /// A server that always answers the same two bytes.
    Hello(hello::Arguments),
    /// Pushes small images and prints where they are.
    Images(images::Arguments),
    /// The same kind of request, again and again.
    Requests(requests::Arguments),
    /// Pushes blobs.
    Push(push::Arguments),
    /// Pushes or pulls one image as docker does it.
    Docker(docker::Arguments),
    /// Sessions as registries see them: many pulls, a few pushes.
    Mixed(mixed::Arguments),
    /// Puts the blobs that `push` pushes into an S3 store, without a registry.
    Put(direct::PutArguments),
    /// Gets an object from an S3 store, without a registry.
    Get(direct::GetArguments),
    /// Fills a repository with tags, or the catalog with repositories, directly in an S3 store.
    Entries(direct::EntriesArguments),
    /// Writes a bucket with many repositories directly in an S3 store.
    Bucket(bucket::Arguments),
    /// How fast one core hashes.
    Sha256,
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return ended(&Err(error.into())),
    };
    ended(&runtime.block_on(run(command)))
}

async fn run(command: Command) -> Result<String, Failure> {
    match command {
        Command::Store(arguments) => store::run(arguments).await,
        Command::Delay(arguments) => delay::run(arguments).await,
        Command::Hello(arguments) => hello::run(arguments).await,
        Command::Images(arguments) => images::run(arguments).await,
        Command::Requests(arguments) => requests::run(arguments).await,
        Command::Push(arguments) => push::run(arguments).await,
        Command::Docker(arguments) => docker::run(arguments).await,
        Command::Mixed(arguments) => mixed::run(arguments).await,
        Command::Put(arguments) => direct::put(arguments).await,
        Command::Get(arguments) => direct::get(arguments).await,
        Command::Entries(arguments) => direct::entries(arguments).await,
        Command::Bucket(arguments) => bucket::run(arguments).await,
        Command::Sha256 => Ok(content::hash_rate()),
    }
}

fn ended(outcome: &Result<String, Failure>) -> ExitCode {
    // Nothing is left to do if what came of it cannot be written.
    match outcome {
        Ok(said) => {
            let _ = writeln!(std::io::stdout(), "{said}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "load: {failure}");
            ExitCode::FAILURE
        }
    }
}
