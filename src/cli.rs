//! The command line. Its help is the first documentation that anybody reads.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::auth::{Permission, Subject};
use crate::config::{Errors, Flag, Sources};
use crate::oci::RepositoryName;

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
    /// Check the configuration and the store, then exit.
    #[command(long_about = CHECK_ABOUT)]
    Check(ServeArguments),
    /// Ask a registry on this machine whether it is alive, then exit: with 1 if it is not.
    #[command(long_about = HEALTHCHECK_ABOUT)]
    Healthcheck(ServeArguments),
    /// Ask what the rules of access say.
    #[command(subcommand)]
    Access(AccessCommand),
    /// Print every setting with its default and its meaning, as a configuration file.
    ConfigReference(ReferenceArguments),
    /// Print every metric with its labels and its meaning, in Markdown.
    MetricsReference,
}

#[derive(Debug, Subcommand)]
pub enum AccessCommand {
    /// Tell which rule decides about a request, then exit: with 1 if it is denied.
    #[command(long_about = EXPLAIN_ABOUT)]
    Explain(ExplainArguments),
}

/// The actions that are done to a repository.
const OF_A_REPOSITORY: [(&str, &str); 4] =
    [("action", "pull"), ("action", "push"), ("action", "create"), ("action", "delete")];

/// What `access explain` takes.
#[derive(Debug, Clone, Args)]
pub struct ExplainArguments {
    /// Who asks: anonymous, user:NAME, group:NAME or claim:NAME=VALUE
    ///
    /// Give it several times for somebody who is all of these: a user and the groups of their
    /// token.
    #[arg(long, value_name = "SUBJECT", required = true)]
    pub subject: Vec<Subject>,

    /// About which repository
    #[arg(long, value_name = "NAME", required_if_eq_any = OF_A_REPOSITORY)]
    pub repository: Option<RepositoryName>,

    /// What they want: pull, push, create, delete or catalog
    #[arg(long, value_name = "ACTION")]
    pub action: Permission,

    #[command(flatten)]
    pub settings: ServeArguments,
}

/// What `serve` and `check` take.
///
/// Values are text here: `config` reads them, so that mistakes in flags, file and environment are
/// reported together.
#[derive(Debug, Clone, Default, Args)]
pub struct ServeArguments {
    /// Address and port to listen on [default: 127.0.0.1:5000]
    ///
    /// Any address but loopback also needs a login, or `--anonymous`.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,

    /// Address and port of /livez, /readyz and /metrics [default: none]
    ///
    /// They are served there without a login, and nowhere else.
    #[arg(long, value_name = "ADDRESS")]
    pub admin_listen: Option<String>,

    /// Where everything is kept [default: longshore-data]
    ///
    /// A folder, which is made if it is missing and belongs to one process at a time;
    /// `s3://bucket` or `s3://bucket/prefix`, which any number of processes may share; or `memory`,
    /// which forgets everything at the end.
    #[arg(long, value_name = "FOLDER | s3://BUCKET/PREFIX | memory")]
    pub store: Option<String>,

    /// How blobs reach the clients: proxy or redirect [default: proxy]
    ///
    /// `proxy` streams them through the registry. `redirect` sends clients to the S3 server with a
    /// presigned URL, so they must be able to reach it.
    #[arg(long, value_name = "proxy | redirect")]
    pub delivery: Option<String>,

    /// Redis, as a cache that several processes share: redis://HOST:PORT
    #[arg(long, value_name = "URL")]
    pub redis: Option<String>,

    /// What callers may do without a password: pull, or push, which is everything
    ///
    /// Without it and without a login the registry listens on loopback addresses only, so that
    /// nobody opens a registry to the network by accident.
    #[arg(long, value_name = "pull | push")]
    pub anonymous: Option<String>,

    /// A configuration file in TOML (also `LONGSHORE_CONFIG`)
    ///
    /// `longshore config-reference` prints one with every setting.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
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

Without any argument it listens on 127.0.0.1:5000 and keeps everything in the folder \
longshore-data. Ctrl-C or SIGTERM ends it: requests in flight may finish first.

On S3 the bucket is the only state. Run as many processes on one bucket as you like, behind any \
load balancer: each of them can continue what another began.";

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
  Each setting has a key, such as uploads.part_bytes. It is looked for in the file of --config, in
  the environment and among the flags, and the last one wins:

    [uploads]                                  # longshore.toml
    part_bytes = \"32MiB\"

    LONGSHORE_UPLOADS_PART_BYTES=32MiB         # the environment

  `longshore config-reference` prints every key with its default and its meaning.
  `longshore check`, with the same flags, says what is wrong with a configuration or its store.

S3 credentials:
  They are looked for where the AWS SDK looks for them: AWS_ACCESS_KEY_ID and
  AWS_SECRET_ACCESS_KEY, the profile AWS_PROFILE, web identity (IRSA), container and instance roles.
  Or give them in the file, the secret in a file of its own if you like:

    [store.s3]
    access_key_id = \"longshore\"
    secret_access_key_file = \"/run/secrets/s3\"";

const EXPLAIN_ABOUT: &str = "\
Tell which rule decides about a request, then exit: with 1 if it is denied.

Takes the configuration that `serve` takes, and neither a password nor a token: it tells what the \
rules say of somebody who is who they claim to be. For example:

    longshore access explain --config longshore.toml \\
      --subject user:alice --subject group:developers --repository team/app --action push";

const HEALTHCHECK_ABOUT: &str = "\
Ask a registry on this machine whether it is alive, then exit: with 1 if it is not.

Takes what `serve` takes, and asks http://ADDRESS/livez at the address of admin.listen. Neither \
the store nor Redis is asked: a registry that waits for its store is alive. Made for the \
HEALTHCHECK of a container image.";

const CHECK_ABOUT: &str = "\
Check the configuration and the store, then exit.

Takes what `serve` takes. Everything that is wrong with the configuration is reported at once, \
with its place. Then the store is asked, in a handful of requests, for all that the registry \
relies on. Nothing is served, and nothing is left behind in the store.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::config::{self, Delivery, GeneralAccess};

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
        assert_eq!(settings.blobs.delivery, Delivery::Redirect);
        assert_eq!(settings.access.anonymous, Some(GeneralAccess::Push));
    }
}
