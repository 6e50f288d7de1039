//! The `longshore` program: reads the command line, calls the library, says how it ended.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use longshore::app;
use longshore::cli::{AccessCommand, Cli, Command, ExplainArguments, ServeArguments};
use longshore::config::{self, Settings};
use longshore::http::admin;
use longshore::telemetry::metrics;
use tokio::signal::unix::{SignalKind, signal};

/// Part buffers come and go by the hundred megabyte. The allocator of the C library keeps what was
/// freed in arenas of its own, and twice the budget of the uploads stays resident.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What makes the allocator give freed memory back at once (`tests/load/memory` shows the
/// difference). It reads its options from the environment, before `main` begins.
const ALLOCATOR_OPTIONS: [(&str, &str); 2] =
    [("MIMALLOC_PURGE_DELAY", "0"), ("MIMALLOC_ARENA_EAGER_COMMIT", "0")];

/// Begins this program again, as the same process, with the options of the allocator in its
/// environment. Returns if they are there, or if it cannot be done: then it runs with more memory.
#[expect(clippy::disallowed_methods, reason = "these variables are the allocator's, not settings")]
fn with_allocator_options() {
    let mut missing = ALLOCATOR_OPTIONS.iter().filter(|(name, _)| std::env::var_os(name).is_none());
    let Some(first) = missing.next() else { return };
    let Ok(program) = std::env::current_exe() else { return };
    let mut again = std::process::Command::new(program);
    again.args(std::env::args_os().skip(1)).env(first.0, first.1);
    again.envs(missing.copied());
    // It comes back only if it failed.
    let _ = std::os::unix::process::CommandExt::exec(&mut again);
}

fn main() -> ExitCode {
    with_allocator_options();
    let ended = match Cli::parse().command {
        Command::Serve(arguments) => with_settings(&arguments, serve),
        Command::Check(arguments) => with_settings(&arguments, check),
        Command::Healthcheck(arguments) => healthcheck(&arguments),
        Command::Access(AccessCommand::Explain(arguments)) => explain(&arguments),
        Command::ConfigReference(arguments) => {
            let text =
                if arguments.markdown { config::reference_markdown() } else { config::reference() };
            say(&text);
            Ok(())
        }
        Command::MetricsReference => {
            say(&metrics::reference_markdown());
            Ok(())
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // Nothing is left to do if even this cannot be written.
            let _ = writeln!(std::io::stderr(), "longshore: {message}");
            ExitCode::FAILURE
        }
    }
}

fn say(text: &str) {
    // A reader that closed the pipe has seen enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn settings(arguments: &ServeArguments) -> Result<Settings, String> {
    arguments
        .sources()
        .and_then(|sources| config::load(&sources))
        .map_err(|errors| format!("the configuration cannot be used\n{errors}"))
}

fn healthcheck(arguments: &ServeArguments) -> Result<(), String> {
    let listen = settings(arguments)?.admin.listen;
    admin::healthcheck(listen.ok_or("admin.listen is not set, so there is nothing to ask")?)
}

fn explain(arguments: &ExplainArguments) -> Result<(), String> {
    let ExplainArguments { subject, repository, action, settings: of } = arguments;
    let explained = app::explain(&settings(of)?, subject, repository.as_ref(), *action)?;
    say(&format!("{explained}\n"));
    Ok(())
}

fn with_settings(
    arguments: &ServeArguments,
    run: impl AsyncFnOnce(Settings) -> Result<(), String>,
) -> Result<(), String> {
    let settings = settings(arguments)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let traces = app::start_telemetry(&settings);
        let ended = run(settings).await;
        if let Some(traces) = traces {
            traces.flush().await;
        }
        ended
    })
}

async fn serve(settings: Settings) -> Result<(), String> {
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    app::serve(&settings, shutdown).await.map_err(|error| error.to_string())
}

async fn check(settings: Settings) -> Result<(), String> {
    let report = app::check(&settings).await.map_err(|error| error.to_string())?;
    say(&format!("the configuration is good\n{report}\n"));
    Ok(())
}
