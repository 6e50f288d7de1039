//! The `longshore` program: parses the command line, loads the settings and runs the command.

mod allocator;

use std::io::{BufRead as _, Read as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use longshore::app::{self, Inspected, InspectionError, Reading, Who};
use longshore::audit::ScrubSettings;
use longshore::auth::{ListedUser, NoCaller, UserChange, change_users, list_users};
use longshore::cli::{
    AccessCommand, AuditArguments, CheckFileArguments, Cli, Command, DoctorArguments,
    ExplainArguments, GcArguments, InspectArguments, KeysCommand, ReadingArguments, ScrubArguments,
    ServeArguments, SettingsCommand, UsageArguments, UsageGroup, UserCommand, UserFileArguments,
};
use longshore::clock::{Clock as _, SystemClock};
use longshore::collector::Mode;
use longshore::config::{self, Settings};
use longshore::credential_provider;
use longshore::doctor::{AddressError, Login, Plan};
use longshore::http::admin;
use longshore::setting::Secret;
use longshore::tasks::Tasks;
use longshore::telemetry::{self, metrics, traces::TraceConfig};
use longshore::usage::Grouping;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Bytes of a line with a password.
const PASSWORD_LINE_BYTES_MAX: u64 = 8 * 1024;
/// Bytes of a token on the standard input.
const TOKEN_BYTES_MAX: u64 = 64 * 1024;
/// The exit status of a command that has found damage.
const DAMAGED: u8 = 3;
/// The exit status of `inspect` if its target is not there.
const NOT_THERE: u8 = 3;
/// The exit status of a command line that cannot be used, as clap has it.
const WRONG_ARGUMENTS: u8 = 2;
/// The exit status of `doctor` and `access` if they have found something.
const FINDINGS: u8 = 3;
/// The exit status of `doctor` if the registry gives no answer.
const UNREACHABLE: u8 = 1;
/// The exit status of `gc` if another process collects.
const BUSY: u8 = 3;

fn main() -> ExitCode {
    allocator::set_options();
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(message) => {
            complain(&message);
            ExitCode::FAILURE
        }
    }
}

fn complain(message: &str) {
    let _ = writeln!(std::io::stderr(), "longshore: {message}");
}

fn run(command: Command) -> Result<ExitCode, String> {
    let done = match command {
        Command::Audit(arguments) => return audit(&arguments),
        Command::Scrub(arguments) => return scrub(&arguments),
        Command::Usage(arguments) => return usage(&arguments),
        Command::Inspect(arguments) => return inspect(&arguments),
        Command::Doctor(arguments) => return doctor(arguments),
        Command::Access(AccessCommand::Explain(arguments)) => return explain(arguments),
        Command::Access(AccessCommand::CheckFile(arguments)) => return check_file(&arguments),
        Command::Serve(arguments) => run_async(&arguments, serve),
        Command::Check(arguments) => run_async(&arguments, check),
        Command::Healthcheck(arguments) => healthcheck(&arguments),
        Command::Gc(arguments) => return collect(&arguments),
        Command::User(command) => change_user(&command),
        Command::Settings(SettingsCommand::Show(arguments)) => {
            run_async(&arguments, show_shared_settings)
        }
        Command::Settings(SettingsCommand::Set(arguments)) => {
            run_async(&arguments.settings, async |settings| {
                let shown = app::set_shared_settings(&settings, &arguments.changes).await;
                print(&shown.map_err(|error| error.to_string())?)
            })
        }
        Command::Keys(KeysCommand::List(arguments)) => run_async(&arguments, async |settings| {
            print(&app::list_keys(&settings).await.map_err(|error| error.to_string())?)
        }),
        Command::Keys(KeysCommand::Rotate(arguments)) => {
            run_async(&arguments.settings, async |settings| {
                let shown = app::rotate_keys(&settings, arguments.revoke).await;
                print(&shown.map_err(|error| error.to_string())?)
            })
        }
        Command::CredentialProvider => provide_credentials(),
        Command::ConfigReference(arguments) if arguments.markdown => {
            print(&config::reference_markdown())
        }
        Command::ConfigReference(_) => print(&config::reference()),
        Command::MetricsReference => print(&metrics::reference_markdown()),
    };
    done.map(|()| ExitCode::SUCCESS)
}

fn collect(arguments: &GcArguments) -> Result<ExitCode, String> {
    let mode = if arguments.dry_run { Mode::DryRun } else { Mode::Collect };
    run_async(&arguments.settings, async |settings| {
        let report = match app::collect(&settings, mode).await {
            Err(error) if error.is_busy() => {
                complain(&error.to_string());
                return Ok(ExitCode::from(BUSY));
            }
            collected => collected.map_err(|error| error.to_string())?,
        };
        let text =
            if arguments.json { format!("{}\n", report.to_json()) } else { report.to_string() };
        print(&text).map(|()| ExitCode::SUCCESS)
    })
}

async fn serve(settings: Settings) -> Result<(), String> {
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = tokio::signal::ctrl_c() => "SIGINT",
        }
    };
    app::serve(&settings, shutdown).await.map_err(|error| error.to_string())
}

fn audit(arguments: &AuditArguments) -> Result<ExitCode, String> {
    let AuditArguments { repair, reading } = arguments;
    run_async(&reading.settings, async |settings| {
        let (stop, mut output) = (stopped_by_signal()?, print_lines());
        let reading = how(reading);
        inspected(app::audit(&settings, *repair, reading, &mut output, &stop).await)
    })
}

fn scrub(arguments: &ScrubArguments) -> Result<ExitCode, String> {
    let ScrubArguments { rate, since, after, reading } = arguments.clone();
    let of_scrub = ScrubSettings { bytes_per_second: Some(rate), since, after };
    run_async(&reading.settings, async |settings| {
        let (stop, mut output) = (stopped_by_signal()?, print_lines());
        inspected(app::scrub(&settings, of_scrub, how(&reading), &mut output, &stop).await)
    })
}

fn usage(arguments: &UsageArguments) -> Result<ExitCode, String> {
    let UsageArguments { by, reading } = arguments;
    let grouping = match by {
        None => Grouping::Bucket,
        Some(UsageGroup::Namespace) => Grouping::Namespace,
        Some(UsageGroup::Repository) => Grouping::Repository,
    };
    run_async(&reading.settings, async |settings| {
        let (stop, mut output) = (stopped_by_signal()?, print_lines());
        inspected(app::usage(&settings, grouping, how(reading), &mut output, &stop).await)
    })
}

fn inspect(arguments: &InspectArguments) -> Result<ExitCode, String> {
    let InspectArguments { target, json, settings } = arguments;
    run_async(settings, async |settings| {
        let inspected = app::inspect(&settings, target, *json, &mut print_lines()).await;
        let found = inspected.map_err(|error| error.to_string())?;
        Ok(if found { ExitCode::SUCCESS } else { ExitCode::from(NOT_THERE) })
    })
}

fn doctor(arguments: DoctorArguments) -> Result<ExitCode, String> {
    let json = arguments.json;
    let plan = match plan(arguments) {
        Ok(plan) => plan,
        Err(message) => {
            complain(&message);
            return Ok(ExitCode::from(WRONG_ARGUMENTS));
        }
    };
    let examined = runtime()?.block_on(app::doctor(plan, json, &mut print_lines()));
    Ok(match examined {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FINDINGS),
        Err(unreachable) => {
            complain(&unreachable.to_string());
            ExitCode::from(UNREACHABLE)
        }
    })
}

fn plan(arguments: DoctorArguments) -> Result<Plan, String> {
    let DoctorArguments { registry, admin, user, password_file, repository, write, .. } = arguments;
    let address =
        |text: &String| text.parse().map_err(|error: AddressError| format!("the URL {error}"));
    let login = user.zip(password_file).map(|(user, file)| Login::of_file(user, &file));
    Ok(Plan {
        registry: address(&registry)?,
        admins: admin.iter().map(address).collect::<Result<_, _>>()?,
        login: login.transpose()?,
        repository,
        writes: write,
    })
}

fn how(arguments: &ReadingArguments) -> Reading {
    let ReadingArguments { json, requests_per_second, metrics_file, .. } = arguments.clone();
    Reading { json, requests_per_second, metrics_file }
}

fn inspected(ended: Result<Inspected, InspectionError>) -> Result<ExitCode, String> {
    match ended.map_err(|error| error.to_string())? {
        Inspected::Clean => Ok(ExitCode::SUCCESS),
        Inspected::Stopped => Ok(ExitCode::FAILURE),
        Inspected::Damaged => Ok(ExitCode::from(DAMAGED)),
    }
}

/// A token that SIGINT and SIGTERM cancel.
fn stopped_by_signal() -> Result<CancellationToken, String> {
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    Tasks::new().spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        stopped.cancel();
    });
    Ok(stop)
}

/// Prints to standard output while a command runs.
fn print_lines() -> impl FnMut(&str) + Send {
    |lines| {
        let _ = print(lines);
    }
}

async fn check(settings: Settings) -> Result<(), String> {
    let report = app::check(&settings).await.map_err(|error| error.to_string())?;
    print(&format!("{report}\n"))
}

async fn show_shared_settings(settings: Settings) -> Result<(), String> {
    let shown = app::show_shared_settings(&settings).await;
    print(&shown.map_err(|error| error.to_string())?)
}

fn healthcheck(arguments: &ServeArguments) -> Result<(), String> {
    let listen = settings(arguments)?.admin.listen;
    admin::healthcheck(listen.ok_or("admin.listen is not set: there is no address to ask")?)
}

fn provide_credentials() -> Result<(), String> {
    let mut request = Vec::new();
    let mut bounded = std::io::stdin().lock().take(credential_provider::REQUEST_BYTES_MAX + 1);
    bounded
        .read_to_end(&mut request)
        .map_err(|error| format!("cannot read standard input: {error}"))?;
    let response = credential_provider::respond(&request, SystemClock.now());
    print(&response.map_err(|error| error.to_string())?)
}

fn explain(arguments: ExplainArguments) -> Result<ExitCode, String> {
    let ExplainArguments { subject, token, token_file, certificate, repository, action, .. } =
        arguments;
    let who = match (token, token_file, certificate) {
        (Some(token), ..) if token.expose() == "-" => Who::Token(token_of_stdin()?),
        (Some(token), ..) => Who::Token(token),
        (_, Some(file), _) => Who::TokenFile(file),
        (.., Some(file)) => Who::CertificateFile(file),
        (None, None, None) => Who::Subjects(subject),
    };
    let json = arguments.json;
    run_async(&arguments.settings, async |settings| {
        let explained = app::explain(&settings, &who, repository.as_ref(), action).await;
        let explained = match explained {
            Err(NoCaller::Refused(why)) => {
                if json {
                    print(&format!("{}\n", serde_json::json!({ "refused": why })))?;
                }
                complain(&format!("refused: {why}"));
                return Ok(ExitCode::from(FINDINGS));
            }
            explained => explained.map_err(|error| error.to_string())?,
        };
        if json {
            print(&format!("{}\n", explained.to_json()))?;
        } else {
            print(&explained.to_string())?;
        }
        match explained.denial() {
            Some(_) if json => Ok(ExitCode::FAILURE),
            Some(denial) => Err(denial),
            None => Ok(ExitCode::SUCCESS),
        }
    })
}

fn token_of_stdin() -> Result<Secret, String> {
    let mut token = String::new();
    let mut bounded = std::io::stdin().lock().take(TOKEN_BYTES_MAX);
    let read = bounded.read_to_string(&mut token);
    read.map_err(|error| format!("the token cannot be read: {error}"))?;
    Ok(Secret::new(token.trim()))
}

fn check_file(arguments: &CheckFileArguments) -> Result<ExitCode, String> {
    let settings = settings(&arguments.settings)?;
    let rows = config::expected_answers(&arguments.file)
        .map_err(|errors| format!("the expected answers cannot be used\n{errors}"))?;
    let checked = app::check_answers(&settings, &rows, arguments.json, &mut print_lines())
        .map_err(|errors| format!("the expected answers cannot be used\n{errors}"))?;
    Ok(if checked.differing == 0 { ExitCode::SUCCESS } else { ExitCode::from(FINDINGS) })
}

fn change_user(command: &UserCommand) -> Result<(), String> {
    match command {
        UserCommand::Add(of) => {
            let (file, user) = (users_file(&of.user.file)?, of.user.name.as_str());
            let password = new_password(of.password_stdin)?;
            change_users(&file, &UserChange::Add { user, password: &password })
        }
        UserCommand::Passwd(of) => {
            let (file, user) = (users_file(&of.user.file)?, of.user.name.as_str());
            let password = new_password(of.password_stdin)?;
            change_users(&file, &UserChange::Password { user, password: &password })
        }
        UserCommand::Remove(of) => {
            change_users(&users_file(&of.file)?, &UserChange::Remove { user: &of.name })
        }
        UserCommand::List(of) => {
            let users = list_users(&users_file(of)?)?;
            let line = |user: &ListedUser| format!("{} (cost {})\n", user.name, user.cost);
            print(&users.iter().map(line).collect::<String>())
        }
    }
}

fn users_file(arguments: &UserFileArguments) -> Result<PathBuf, String> {
    if let Some(file) = &arguments.file {
        return Ok(file.clone());
    }
    let configured = settings(&arguments.settings)?.access.htpasswd_file;
    configured.ok_or_else(|| {
        "no password file is configured: name it with --file, or set access.htpasswd_file"
            .to_owned()
    })
}

/// The password, from the standard input or asked for twice. Errors say nothing of it.
fn new_password(from_stdin: bool) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("the password cannot be read: {error}");
    if from_stdin {
        let mut line = String::new();
        std::io::stdin()
            .lock()
            .take(PASSWORD_LINE_BYTES_MAX)
            .read_line(&mut line)
            .map_err(failed)?;
        return Ok(line.trim_end_matches(['\r', '\n']).to_owned());
    }
    let password = rpassword::prompt_password("Password: ").map_err(failed)?;
    if rpassword::prompt_password("The same password again: ").map_err(failed)? == password {
        Ok(password)
    } else {
        Err("the passwords differ".to_owned())
    }
}

fn settings(arguments: &ServeArguments) -> Result<Settings, String> {
    arguments
        .sources()
        .and_then(|sources| config::load(&sources))
        .map_err(|errors| format!("the configuration cannot be used\n{errors}"))
}

/// Runs a command with the settings, a runtime, and telemetry.
fn run_async<T>(
    arguments: &ServeArguments,
    command: impl AsyncFnOnce(Settings) -> Result<T, String>,
) -> Result<T, String> {
    let settings = settings(arguments)?;
    runtime()?.block_on(async {
        let traces = telemetry::start(&settings.log, TraceConfig::from_environment());
        let result = command(settings).await;
        if let Some(traces) = traces {
            traces.flush().await;
        }
        result
    })
}

fn runtime() -> Result<tokio::runtime::Runtime, String> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.enable_all().build().map_err(|error| error.to_string())
}

/// Prints to standard output. A reader that has closed the pipe is no error.
#[expect(clippy::unnecessary_wraps, reason = "the commands end with it")]
fn print(text: &str) -> Result<(), String> {
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(())
}
