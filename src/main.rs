//! The `longshore` program: parses the command line, loads the settings and runs the command.

mod allocator;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use longshore::app;
use longshore::cli::{
    AccessCommand, Cli, Command, ExplainArguments, GcArguments, ServeArguments, SettingsCommand,
};
use longshore::collector::Mode;
use longshore::config::{self, Settings};
use longshore::http::admin;
use longshore::telemetry::{self, metrics, traces::TraceConfig};
use tokio::signal::unix::{SignalKind, signal};

/// The exit code of `gc` if another process collects.
const BUSY: u8 = 3;

fn main() -> ExitCode {
    allocator::set_options();
    let result = match Cli::parse().command {
        Command::Serve(arguments) => run_async(&arguments, serve),
        Command::Check(arguments) => run_async(&arguments, check),
        Command::Healthcheck(arguments) => healthcheck(&arguments),
        Command::Gc(arguments) => return collect(&arguments),
        Command::Access(AccessCommand::Explain(arguments)) => explain(&arguments),
        Command::Settings(SettingsCommand::Show(arguments)) => {
            run_async(&arguments, show_shared_settings)
        }
        Command::Settings(SettingsCommand::Set(arguments)) => {
            run_async(&arguments.settings, async |settings| {
                let shown = app::set_shared_settings(&settings, &arguments.changes).await;
                print(&shown.map_err(|error| error.to_string())?)
            })
        }
        Command::ConfigReference(arguments) if arguments.markdown => {
            print(&config::reference_markdown())
        }
        Command::ConfigReference(_) => print(&config::reference()),
        Command::MetricsReference => print(&metrics::reference_markdown()),
    };
    exit_code(result)
}

fn exit_code(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            let _ = writeln!(std::io::stderr(), "longshore: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Runs `gc`.
fn collect(arguments: &GcArguments) -> ExitCode {
    let mode = if arguments.dry_run { Mode::DryRun } else { Mode::Collect };
    let mut busy = false;
    let result = run_async(&arguments.settings, async |settings| {
        let report = app::collect(&settings, mode).await.map_err(|error| {
            busy = error.is_busy();
            error.to_string()
        })?;
        if arguments.json {
            return print(&format!("{}\n", report.to_json()));
        }
        print(&report.to_string())
    });
    let code = exit_code(result);
    if busy { ExitCode::from(BUSY) } else { code }
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

fn explain(arguments: &ExplainArguments) -> Result<(), String> {
    let ExplainArguments { subject, repository, action, settings: of } = arguments;
    let access = settings(of)?.access;
    print(&format!("{}\n", app::explain(&access, subject, repository.as_ref(), *action)?))
}

fn settings(arguments: &ServeArguments) -> Result<Settings, String> {
    arguments
        .sources()
        .and_then(|sources| config::load(&sources))
        .map_err(|errors| format!("the configuration cannot be used\n{errors}"))
}

/// Runs a command with the settings, a runtime, and telemetry.
fn run_async(
    arguments: &ServeArguments,
    command: impl AsyncFnOnce(Settings) -> Result<(), String>,
) -> Result<(), String> {
    let settings = settings(arguments)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let traces = telemetry::start(&settings.log, TraceConfig::from_environment());
        let result = command(settings).await;
        if let Some(traces) = traces {
            traces.flush().await;
        }
        result
    })
}

/// Prints to standard output. A reader that has closed the pipe is no error.
#[expect(clippy::unnecessary_wraps, reason = "the commands end with it")]
fn print(text: &str) -> Result<(), String> {
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(())
}
