//! The `longshore` program: reads the command line, calls the library, says how it ended.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use longshore::command_line::{AccessCommand, Cli, Command, ExplainArguments, ServeArguments};
use longshore::config::{self, Settings};
use longshore::wiring;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let ended = match Cli::parse().command {
        Command::Serve(arguments) => with_settings(&arguments, serve),
        Command::Check(arguments) => with_settings(&arguments, check),
        Command::Access(AccessCommand::Explain(arguments)) => explain(&arguments),
        Command::ConfigReference(arguments) => {
            let text =
                if arguments.markdown { config::reference_markdown() } else { config::reference() };
            say(&text);
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

fn explain(arguments: &ExplainArguments) -> Result<(), String> {
    let ExplainArguments { subject, repository, action, settings: of } = arguments;
    let explained = wiring::explain(&settings(of)?, subject, repository.as_ref(), *action)?;
    say(&format!("{explained}\n"));
    Ok(())
}

fn with_settings(
    arguments: &ServeArguments,
    run: impl AsyncFnOnce(Settings) -> Result<(), String>,
) -> Result<(), String> {
    let settings = settings(arguments)?;
    wiring::start_logging(&settings);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(run(settings))
}

async fn serve(settings: Settings) -> Result<(), String> {
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    wiring::serve(&settings, shutdown).await.map_err(|error| error.to_string())
}

async fn check(settings: Settings) -> Result<(), String> {
    let (_, report) = wiring::check(&settings).await.map_err(|error| error.to_string())?;
    say(&format!("the configuration is good\n{report}\n"));
    Ok(())
}
