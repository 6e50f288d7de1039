//! The command line. Its help is the first documentation that an operator reads.

mod about;

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

use self::about::{
    AUDIT_ABOUT, CHECK_ABOUT, CHECK_FILE_ABOUT, CREDENTIAL_PROVIDER_ABOUT, DOCTOR_ABOUT,
    EXPLAIN_ABOUT, GC_ABOUT, HEALTHCHECK_ABOUT, INSPECT_ABOUT, KEYS_LIST_ABOUT, KEYS_ROTATE_ABOUT,
    SCRUB_ABOUT, SERVE_ABOUT, SERVE_EXAMPLES, SETTINGS_SET_ABOUT, SETTINGS_SHOW_ABOUT, USAGE_ABOUT,
    USER_ADD_ABOUT, USER_PASSWD_ABOUT,
};

use crate::auth::{Permission, Subject};
use crate::config::{Errors, Flag, Sources};
use crate::inspect::Target;
use crate::layout::RecordKey;
use crate::oci::RepositoryName;
use crate::setting::{Secret, parse_bytes, parse_duration};

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
    /// Add, change, remove or list the users of the password file.
    #[command(subcommand)]
    User(UserCommand),
    /// Collect garbage once: free the space of what was deleted, then exit.
    #[command(long_about = GC_ABOUT)]
    Gc(GcArguments),
    /// Show or change the settings that all processes on one bucket share.
    #[command(subcommand)]
    Settings(SettingsCommand),
    /// Show or change the keys that sign the tokens of the registry's own token service.
    #[command(subcommand)]
    Keys(KeysCommand),
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
    /// Examine a running deployment from outside: proxy, login, clocks, Redis, store.
    #[command(long_about = DOCTOR_ABOUT)]
    Doctor(DoctorArguments),
    /// Answer the kubelet: pods pull as their own service account.
    #[command(long_about = CREDENTIAL_PROVIDER_ABOUT)]
    CredentialProvider,
    /// Print every setting with its default and its meaning, as a configuration file.
    ConfigReference(ReferenceArguments),
    /// Print every metric with its labels and its meaning, in Markdown.
    MetricsReference,
}

#[derive(Debug, Subcommand)]
pub enum AccessCommand {
    /// Print who a caller is and which rule decides; exit with 1 if the action is denied.
    #[command(long_about = EXPLAIN_ABOUT)]
    Explain(ExplainArguments),
    /// Compare what the rules decide with the answers that a file expects.
    #[command(long_about = CHECK_FILE_ABOUT)]
    CheckFile(CheckFileArguments),
}

#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Add a user.
    #[command(long_about = USER_ADD_ABOUT)]
    Add(PasswordArguments),
    /// Change the password of a user.
    #[command(long_about = USER_PASSWD_ABOUT)]
    Passwd(PasswordArguments),
    /// Remove a user.
    Remove(UserArguments),
    /// List the users and the bcrypt costs of their passwords.
    List(UserFileArguments),
}

/// What `user add` and `user passwd` take.
#[derive(Debug, Clone, Args)]
pub struct PasswordArguments {
    /// Read the password from the standard input, up to the end of the line
    #[arg(long)]
    pub password_stdin: bool,

    #[command(flatten)]
    pub user: UserArguments,
}

/// What `user remove` takes.
#[derive(Debug, Clone, Args)]
pub struct UserArguments {
    /// The name of the user
    pub name: String,

    #[command(flatten)]
    pub file: UserFileArguments,
}

/// Which password file.
#[derive(Debug, Clone, Args)]
pub struct UserFileArguments {
    /// The password file, in place of that of the configuration (`access.htpasswd_file`)
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,

    #[command(flatten)]
    pub settings: ServeArguments,
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

#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Print the keys that the bucket holds, without what is secret.
    #[command(long_about = KEYS_LIST_ABOUT)]
    List(ServeArguments),
    /// Make a new key, which takes over from the one that signs.
    #[command(long_about = KEYS_ROTATE_ABOUT)]
    Rotate(RotateArguments),
}

/// What `keys rotate` takes.
#[derive(Debug, Clone, Args)]
pub struct RotateArguments {
    /// Remove all other keys: every token that was issued before ends within a minute
    #[arg(long)]
    pub revoke: bool,

    #[command(flatten)]
    pub settings: ServeArguments,
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
#[command(group(ArgGroup::new("who").required(true)))]
pub struct ExplainArguments {
    /// The caller: anonymous, user:NAME, group:NAME or claim:NAME=VALUE
    ///
    /// Repeat it for a caller with several: a user and the groups in their token.
    #[arg(long, value_name = "SUBJECT", group = "who")]
    pub subject: Vec<Subject>,

    /// The token of the caller, or - to read it from the standard input
    ///
    /// Other users of this machine can see a token that stands on the command line.
    #[arg(long, value_name = "TOKEN|-", group = "who", value_parser = secret)]
    pub token: Option<Secret>,

    /// A file with the token of the caller
    #[arg(long, value_name = "FILE", group = "who")]
    pub token_file: Option<PathBuf>,

    /// A file with the client certificate of the caller, in PEM
    #[arg(long, value_name = "FILE", group = "who")]
    pub certificate: Option<PathBuf>,

    /// The repository
    #[arg(
        long, value_name = "NAME",
        required_unless_present = "action", required_if_eq_any = WITH_REPOSITORY,
    )]
    pub repository: Option<RepositoryName>,

    /// The action: pull, push, create, delete or catalog [default: all of them]
    #[arg(long, value_name = "ACTION")]
    pub action: Option<Permission>,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub settings: ServeArguments,
}

#[expect(clippy::unnecessary_wraps, reason = "clap parses with it")]
fn secret(text: &str) -> Result<Secret, Infallible> {
    Ok(Secret::new(text))
}

/// What `access check-file` takes.
#[derive(Debug, Clone, Args)]
pub struct CheckFileArguments {
    /// The file with the expected answers, in TOML
    pub file: PathBuf,

    /// Print JSON: a line for each difference, and one for the summary
    #[arg(long)]
    pub json: bool,

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

/// What `doctor` takes.
///
/// Addresses are text here: a message of clap would repeat one that has a password in it.
#[derive(Debug, Clone, Args)]
pub struct DoctorArguments {
    /// Where clients reach the registry: <https://registry.example.com>
    #[arg(value_name = "URL")]
    pub registry: String,

    /// The admin port of a process: <http://10.0.0.7:5001>. Repeat it for each process
    #[arg(long, value_name = "URL")]
    pub admin: Vec<String>,

    /// Log in as this user
    #[arg(long, value_name = "NAME", requires = "password_file")]
    pub user: Option<String>,

    /// The file with the password of the user
    #[arg(long, value_name = "FILE", requires = "user")]
    pub password_file: Option<PathBuf>,

    /// The repository to read, and with --write to push to
    #[arg(long, value_name = "NAME", default_value = "doctor/check")]
    pub repository: RepositoryName,

    /// Push a blob and an upload, pull the blob, and delete both
    #[arg(long)]
    pub write: bool,

    /// Print JSON: a line for each finding, and one for the summary
    #[arg(long)]
    pub json: bool,
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
