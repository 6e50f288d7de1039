//! The command line. Its help is the first documentation that an operator reads.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::auth::{Permission, Subject};
use crate::config::{Errors, Flag, Sources};
use crate::inspect::Target;
use crate::layout::RecordKey;
use crate::oci::RepositoryName;
use crate::setting::{parse_bytes, parse_duration};

/// A container registry whose only state is a bucket.
#[derive(Debug, Parser)]
#[command(name = "longshore", version, propagate_version = true)]
#[command(after_help = "`longshore serve --help` shows how to begin.")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the registry.
    #[command(long_about = SERVE_ABOUT, after_long_help = SERVE_EXAMPLES)]
    Serve(ServeArguments),
    /// Check the configuration, the store and Redis, then exit.
    #[command(long_about = CHECK_ABOUT)]
    Check(ServeArguments),
    /// Ask a registry on this machine whether it is alive; exit with 1 if it is not.
    #[command(long_about = HEALTHCHECK_ABOUT)]
    Healthcheck(ServeArguments),
    /// Explain the access rules.
    #[command(subcommand)]
    Access(AccessCommand),
    /// Collect garbage once: free the space of what was deleted, then exit.
    #[command(long_about = GC_ABOUT)]
    Gc(GcArguments),
    /// Show or change the settings that all processes on one bucket share.
    #[command(subcommand)]
    Settings(SettingsCommand),
    /// Check that everything the bucket says is true, without reading blobs.
    #[command(long_about = AUDIT_ABOUT)]
    Audit(AuditArguments),
    /// Hash the content in the bucket again.
    #[command(long_about = SCRUB_ABOUT)]
    Scrub(ScrubArguments),
    /// Explain every byte of the bucket.
    #[command(long_about = USAGE_ABOUT)]
    Usage(UsageArguments),
    /// Show what the store says of a tag, manifest, blob, repository or key.
    #[command(long_about = INSPECT_ABOUT)]
    Inspect(InspectArguments),
    /// Print every setting with its default and its meaning, as a configuration file.
    ConfigReference(ReferenceArguments),
    /// Print every metric with its labels and its meaning, in Markdown.
    MetricsReference,
}

#[derive(Debug, Subcommand)]
pub enum AccessCommand {
    /// Print which rule decides about a request; exit with 1 if it is denied.
    #[command(long_about = EXPLAIN_ABOUT)]
    Explain(ExplainArguments),
}

#[derive(Debug, Subcommand)]
pub enum SettingsCommand {
    /// Print what the bucket holds, beside the values of this configuration.
    #[command(long_about = SETTINGS_SHOW_ABOUT)]
    Show(ServeArguments),
    /// Change what the bucket holds.
    #[command(long_about = SETTINGS_SET_ABOUT)]
    Set(SetArguments),
}

/// What `gc` takes.
#[derive(Debug, Clone, Args)]
pub struct GcArguments {
    /// Read and decide, and change nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub settings: ServeArguments,
}

/// What `settings set` takes.
#[derive(Debug, Clone, Args)]
pub struct SetArguments {
    /// The settings and their new values, such as collection.grace=4d
    #[arg(value_name = "KEY=VALUE", required = true, value_parser = change)]
    pub changes: Vec<(String, String)>,

    #[command(flatten)]
    pub settings: ServeArguments,
}

fn change(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("is not KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// The actions that need a repository.
const WITH_REPOSITORY: [(&str, &str); 4] =
    [("action", "pull"), ("action", "push"), ("action", "create"), ("action", "delete")];

/// What `access explain` takes.
#[derive(Debug, Clone, Args)]
pub struct ExplainArguments {
    /// The caller: anonymous, user:NAME, group:NAME or claim:NAME=VALUE
    ///
    /// Repeat it for a caller with several: a user and the groups in their token.
    #[arg(long, value_name = "SUBJECT", required = true)]
    pub subject: Vec<Subject>,

    /// The repository
    #[arg(long, value_name = "NAME", required_if_eq_any = WITH_REPOSITORY)]
    pub repository: Option<RepositoryName>,

    /// The action: pull, push, create, delete or catalog
    #[arg(long, value_name = "ACTION")]
    pub action: Permission,

    #[command(flatten)]
    pub settings: ServeArguments,
}

/// What `serve` and `check` take.
///
/// Values are text here: `config` parses them, so that mistakes in flags, file and environment are
/// reported together.
#[derive(Debug, Clone, Default, Args)]
pub struct ServeArguments {
    /// Address and port to listen on [default: 127.0.0.1:5000]
    ///
    /// An address other than loopback also needs a login, or `--anonymous`.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,

    /// Address and port of /livez, /readyz and /metrics [default: none]
    ///
    /// This port has no authentication: expose it to your monitoring only.
    #[arg(long, value_name = "ADDRESS")]
    pub admin_listen: Option<String>,

    /// Where the registry keeps everything [default: longshore-data]
    ///
    /// A folder, which is created if it is missing and which only one process at a time can use;
    /// `s3://bucket` or `s3://bucket/prefix`, which any number of processes may share; or `memory`,
    /// which loses everything when the process ends.
    #[arg(long, value_name = "FOLDER | s3://BUCKET/PREFIX | memory")]
    pub store: Option<String>,

    /// How blobs reach the clients: proxy or redirect [default: proxy]
    ///
    /// `proxy` streams them through the registry. `redirect` sends clients to the S3 server with a
    /// presigned URL, so clients must be able to reach that server.
    #[arg(long, value_name = "proxy | redirect")]
    pub delivery: Option<String>,

    /// Redis, a read cache that several processes share: redis://HOST:PORT
    #[arg(long, value_name = "URL")]
    pub redis: Option<String>,

    /// What clients may do without a password: pull, or push, which is everything
    ///
    /// Without it and without a login the registry listens on loopback addresses only, so that you
    /// cannot open it to the network by accident.
    #[arg(long, value_name = "pull | push")]
    pub anonymous: Option<String>,

    /// A configuration file in TOML (also `LONGSHORE_CONFIG`)
    ///
    /// `longshore config-reference` prints one with every setting.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// What `audit` takes.
#[derive(Debug, Clone, Args)]
pub struct AuditArguments {
    /// Mend what can be mended without losing anything
    #[arg(long)]
    pub repair: bool,

    #[command(flatten)]
    pub reading: ReadingArguments,
}

/// What `scrub` takes.
#[derive(Debug, Clone, Args)]
pub struct ScrubArguments {
    /// Hash no more than so many bytes in a second
    #[arg(long, value_name = "BYTES", default_value = "50MiB", value_parser = parse_bytes)]
    pub rate: u64,

    /// Only content that was pushed, or relied on by a push, within this time: 7d
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub since: Option<Duration>,

    /// Continue after this key, which a scrub that was stopped has printed
    #[arg(long, value_name = "KEY")]
    pub after: Option<RecordKey>,

    #[command(flatten)]
    pub reading: ReadingArguments,
}

/// What `usage` takes.
#[derive(Debug, Clone, Args)]
pub struct UsageArguments {
    /// Add up for each namespace or repository, too
    #[arg(long, value_name = "namespace | repository")]
    pub by: Option<UsageGroup>,

    #[command(flatten)]
    pub reading: ReadingArguments,
}

/// What `inspect` takes.
#[derive(Debug, Clone, Args)]
pub struct InspectArguments {
    /// REPOSITORY, REPOSITORY:TAG, REPOSITORY@DIGEST, DIGEST, or a complete key: v1/…
    #[arg(value_name = "TARGET")]
    pub target: Target,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub settings: ServeArguments,
}

/// By what `usage` adds up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum UsageGroup {
    Namespace,
    Repository,
}

/// What every command takes that reads the whole bucket.
#[derive(Debug, Clone, Args)]
pub struct ReadingArguments {
    /// Print JSON: a line for each finding, and one for the summary
    #[arg(long)]
    pub json: bool,

    /// Send no more than so many requests in a second to the store
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub requests_per_second: Option<u32>,

    /// Also write the results of a complete run to this file, as metrics for Prometheus
    ///
    /// For the textfile collector of `node_exporter`: the name ends in `.prom`.
    #[arg(long, value_name = "FILE")]
    pub metrics_file: Option<PathBuf>,

    #[command(flatten)]
    pub settings: ServeArguments,
}

#[derive(Debug, Clone, Args)]
pub struct ReferenceArguments {
    /// Print the page of the documentation instead, in Markdown
    #[arg(long)]
    pub markdown: bool,
}

impl ServeArguments {
    /// These arguments and the environment of the process.
    pub fn sources(&self) -> Result<Sources, Errors> {
        Sources::from_process(self.config.clone(), self.flags())
    }

    /// The settings that were given as flags.
    pub fn flags(&self) -> Vec<Flag> {
        let flags = [
            ("--listen", "server.listen", &self.listen),
            ("--admin-listen", "admin.listen", &self.admin_listen),
            ("--store", "store.url", &self.store),
            ("--delivery", "blobs.delivery", &self.delivery),
            ("--redis", "cache.redis", &self.redis),
            ("--anonymous", "access.anonymous", &self.anonymous),
        ];
        let given = |(name, key, value): (_, _, &Option<String>)| {
            value.clone().map(|value| Flag { name, key, value })
        };
        flags.into_iter().filter_map(given).collect()
    }
}

const SERVE_ABOUT: &str = "\
Run the registry.

Without arguments it listens on 127.0.0.1:5000 and keeps everything in the folder longshore-data. \
Ctrl-C or SIGTERM shuts it down after requests in flight have finished.

On S3 the bucket is the only state. Run any number of processes on one bucket, behind any load \
balancer: each process can continue an upload that another one started.";

const SERVE_EXAMPLES: &str = "\
Examples:
  A folder on this machine:
    longshore serve
    docker push localhost:5000/hello:1

  MinIO, or any other S3 server:
    export AWS_ENDPOINT_URL_S3=http://127.0.0.1:9000 AWS_REGION=us-east-1
    export AWS_ACCESS_KEY_ID=minioadmin AWS_SECRET_ACCESS_KEY=minioadmin
    longshore serve --store s3://registry

  AWS, with the role of the machine or the pod, blobs fetched from S3 by the clients:
    AWS_REGION=eu-central-1 longshore serve --store s3://my-bucket/registry --delivery redirect

  Open to the network, with passwords for those who push:
    htpasswd -B -c users alice
    LONGSHORE_ACCESS_HTPASSWD_FILE=users LONGSHORE_ACCESS_AUTHENTICATED=push \\
      longshore serve --listen 0.0.0.0:5000 --anonymous pull

  Open to the network, without passwords:
    longshore serve --listen 0.0.0.0:5000 --anonymous push

Configuration:
  Each setting has a key, such as uploads.part_bytes. Longshore reads it from the file of --config,
  from the environment and from flags; a later one overrides an earlier one:

    [uploads]                                  # longshore.toml
    part_bytes = \"32MiB\"

    LONGSHORE_UPLOADS_PART_BYTES=32MiB         # the environment

  `longshore config-reference` prints every key with its default and its meaning.
  `longshore check`, with the same flags, reports what is wrong with a configuration, its store or
  its Redis.

S3 credentials:
  Longshore looks where the AWS SDK looks: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the profile
  AWS_PROFILE, web identity (IRSA), container and instance roles. Or write them into the file, the
  secret into a file of its own:

    [store.s3]
    access_key_id = \"longshore\"
    secret_access_key_file = \"/run/secrets/s3\"";

const EXPLAIN_ABOUT: &str = "\
Print which rule decides about a request; exit with 1 if it is denied.

It uses the configuration of `serve`, and neither a password nor a token: it assumes that the \
caller is who they claim to be. For example:

    longshore access explain --config longshore.toml \\
      --subject user:alice --subject group:developers --repository team/app --action push";

const SETTINGS_SHOW_ABOUT: &str = "\
Print what the bucket holds of the settings that all processes on it share, beside the values of \
this configuration.

It uses the configuration of `serve`. A process starts only if the two agree; the first start on a \
bucket writes the values of its configuration.";

const SETTINGS_SET_ABOUT: &str = "\
Change the settings that all processes on one bucket share.

It uses the configuration of `serve` to find the bucket, replaces the record of the settings with \
one compare-and-swap, and prints what the bucket holds then. It refuses values with which content \
could be lost. The keys are collection.grace, collection.write_deadline, collection.clock_skew, \
collection.quarantine, and oldest_writer: the oldest release that may start. For example:

    longshore settings set --config longshore.toml collection.grace=4d

A process that runs keeps the settings that it started with, and a process that differs from the \
bucket does not start. So the order is:

  1. Change the bucket with this command.
  2. Change the configuration of all processes, and restart every one of them.
  3. Only then may garbage collection run: set collection.enabled = false before.

To raise the grace, raise it in the bucket before any process relies on it. To lower it, first \
every process must have the shorter half-life (half of the grace, for which a process relies on \
what it has read), and only later may anything be collected by the shorter grace. So do not let \
garbage collection run between steps 1 and 3.";

const GC_ABOUT: &str = "\
Collect garbage once: free the space of what was deleted, then exit.

`serve` does the same in the background (collection.enabled), so most registries do not need this \
command. It uses the configuration of `serve`, Redis included: what it removes also leaves the \
caches. It may run at any time, beside any number of processes that serve. A run that is cut off \
is continued by the next one.

Nothing is removed that was used within collection.grace, an unreferenced blob is removed by the \
second run that finds it, and its data waits for collection.quarantine: so a first run frees \
little. docs/collection.md says what is freed when.

Exit codes: 0 the run is complete, 1 it failed, 2 the command line is wrong, 3 another process \
collects at this moment.";

const HEALTHCHECK_ABOUT: &str = "\
Ask a registry on this machine whether it is alive; exit with 1 if it is not.

It uses the configuration of `serve` and requests http://ADDRESS/livez at the address of \
admin.listen. It contacts neither the store nor Redis: a registry that waits for its store is \
alive. It is made for the HEALTHCHECK of a container image.";

const AUDIT_ABOUT: &str = "\
Check that everything the bucket says is true, without reading blobs.

It uses the configuration of `serve`, and runs beside it: pushes and deletions meanwhile are no \
findings. Every link and pointer must have its data object, with the size and the ETag that were \
written; every manifest what it names; every tag its manifest; and so on. docs/audit.md has each \
class of finding and what to do about it. Information is counted, and is no damage.

--repair writes lost rows of the tag index, of referrers and of the catalog again, deletes \
pointers to data that is missing, so that a push stores it again, and finishes deletions. It never \
deletes content.

Exit status: 0 no damage; 1 it could not finish; 2 wrong arguments; 3 it has found damage, also if \
it has repaired all of it.";

const SCRUB_ABOUT: &str = "\
Hash the content in the bucket again: manifests, small blobs in their links, and the data objects \
that pointers name.

It uses the configuration of `serve`, and runs beside it. Ctrl-C or SIGTERM stops it; it then \
prints the key with which --after continues.

Exit status: 0 all content is right; 1 it could not finish, or was stopped; 2 wrong arguments; 3 \
it has found damage.";

const USAGE_ABOUT: &str = "\
Explain every byte of the bucket: what is in use, what garbage collection will take, what records \
need, and what Longshore has not written.

It uses the configuration of `serve`, and runs beside it. It lists the whole bucket, and reads \
links, pointers, manifests and upload sessions.

Exit status: 0 done; 1 it could not finish; 2 wrong arguments.";

const INSPECT_ABOUT: &str = "\
Show what the store says of a tag, manifest, blob, repository or key.

It uses the configuration of `serve`, asks the store past all caches, and writes nothing. Of a tag \
it shows the record, the manifest, and the link, pointer and data object of each blob; of a \
repository, how much it has. It shows what a pull hides: tombstones, deletions that have begun, \
leases and quarantine. For example:

    longshore inspect --config longshore.toml team/app:v1
    longshore inspect --config longshore.toml --json team/app@sha256:…

docs/finding-data.md explains the keys and the records.

Exit status: 0 it is there; 1 the command could not finish; 2 wrong arguments; 3 it is not there, \
or was deleted.";

const CHECK_ABOUT: &str = "\
Check the configuration, the store and Redis, then exit.

It uses the configuration of `serve` and builds what `serve` builds, without serving. It reports \
all errors of the configuration at once, each with its file and line, variable or flag. Then it \
tests with a few requests that the store does what the registry relies on, and whether Redis \
answers; without Redis the registry works, so that is a warning. It leaves nothing in the store.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::auth::GeneralAccess;
    use crate::config;
    use crate::setting::Choice as _;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_sets_its_setting() {
        let words = "longshore serve --listen [::]:1 --store s3://bucket --delivery redirect \
                     --anonymous push --admin-listen [::]:2";
        let Command::Serve(arguments) = Cli::parse_from(words.split_whitespace()).command else {
            panic!("serve is serve")
        };
        let sources = Sources { flags: arguments.flags(), ..Sources::default() };
        let settings = config::load(&sources).expect("flags that fit");
        assert_eq!(settings.server.listen.to_string(), "[::]:1");
        assert_eq!(settings.admin.listen.map(|address| address.port()), Some(2));
        assert_eq!(settings.store.url.to_string(), "s3://bucket");
        assert_eq!(settings.blobs.delivery.as_str(), "redirect");
        assert_eq!(settings.access.anonymous, Some(GeneralAccess::Push));
    }
}
