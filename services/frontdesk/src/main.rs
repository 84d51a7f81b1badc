//! The executable: every role of Frontdesk.

mod backup;
mod cli;
mod demo;
mod demo_shop;
mod doctor;
mod report;
mod roles;
mod secret_files;
mod widget;

use std::process::ExitCode;

use cli::{AnalyticsCommand, Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::read();
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            tell_error(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    // One TLS stack: ring. reqwest and NATS are built without a default.
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("another TLS provider was installed"))?;
    // What the doctor sees it says itself; log lines between would say it twice.
    let cli = match cli.command {
        Some(Command::Doctor(asked)) => {
            let tokio = tokio_runtime()?;
            let ended = tokio.block_on(doctor::doctor(asked));
            // A look that had no more time may still read.
            tokio.shutdown_background();
            return ended;
        }
        command => Cli { command, ..cli },
    };
    let telemetry = runtime::telemetry::init(&cli.logs, &cli.traces, cli.identity()).map_err(anyhow::Error::msg)?;
    if let Some(Command::Widget(asked)) = &cli.command {
        return widget::answer(&asked.command);
    }
    let ended = tokio_runtime()?.block_on(async {
        match cli.command {
            // All services and their settings are parts of it: too large for a stack.
            None => Box::pin(roles::all_in_one(*cli.all, &telemetry)).await,
            Some(Command::Edge(role)) => roles::edge(*role, &telemetry).await,
            Some(Command::Worker(role)) => roles::worker(*role, &telemetry).await,
            Some(Command::Analytics(mut role)) => match role.command.take() {
                None => roles::analytics(*role, &telemetry).await,
                Some(AnalyticsCommand::Backup(backup)) => backup::backup(backup).await,
                Some(AnalyticsCommand::Check(check)) => backup::check(&check),
                Some(AnalyticsCommand::Demo(demo)) => demo::fill(&demo),
                Some(AnalyticsCommand::Report(asked)) => report::report(asked).await,
            },
            Some(Command::NatsSetup(setup)) => roles::nats_setup(*setup).await,
            Some(Command::DemoShop(asked)) => demo_shop::run(asked).await,
            Some(Command::Widget(_) | Command::Doctor(_)) => Ok(()),
            Some(Command::Keys(which)) => {
                roles::keys(&which);
                Ok(())
            }
            Some(Command::Healthcheck(check)) => roles::healthcheck(check).await,
        }
    });
    // The last thing, also after a failure: what led to it may be traced.
    telemetry.flush();
    ended.map(|()| ExitCode::SUCCESS)
}

fn tokio_runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

#[expect(clippy::print_stderr, reason = "the sentence that the operator needs, also when logs are off")]
fn tell_error(error: &anyhow::Error) {
    eprintln!("frontdesk: {error:#}");
}
