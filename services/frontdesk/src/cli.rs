//! What can be typed, and what stands in the environment. The doc comments are the help texts.

use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use runtime::{
    Secret, secret,
    settings::Logs,
    telemetry::{Identity, Traces},
};

use crate::secret_files;

/// The secure front desk between a shop's chat widget and its n8n workflows.
///
/// Without a command everything runs in this one process, with a demo in the place of n8n and a demo shop to chat on:
/// open the address that it prints. Set N8N_WEBHOOK_URL to talk to your own n8n.
///
/// Every setting is a flag, an environment variable, or a line in a file `.env` in the working folder. A secret can also
/// stand in a file of its own: JWT_SECRET_KEY_FILE=/run/secrets/jwt_secret_key, and so for each of them.
#[derive(Parser)]
#[command(name = "frontdesk", version, args_conflicts_with_subcommands = true, max_term_width = 110)]
#[command(after_help = "Try it:  frontdesk            then open http://127.0.0.1:8000\n\
    Your n8n: N8N_WEBHOOK_URL=https://n8n.example/webhook/… frontdesk\n\
    Spread:   frontdesk nats-setup, then frontdesk edge, frontdesk worker and frontdesk analytics, each a process")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) logs: Logs,
    #[command(flatten)]
    pub(crate) traces: Traces,
    #[command(flatten)]
    pub(crate) all: Box<AllInOne>,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Meet visitors: HTTP and server-sent events. Start as many as you like.
    Edge(Box<EdgeRole>),
    /// Call n8n for them. Start as many as you like.
    Worker(Box<WorkerRole>),
    /// Record what happened. One. With a command of its own: look after what was recorded.
    Analytics(Box<AnalyticsRole>),
    /// Make the streams and consumers in NATS that the roles need; can be repeated.
    NatsSetup(Box<NatsSetup>),
    /// A made-up shop that shows the chat of a deployment, and a demo in the place of its n8n.
    DemoShop(DemoShop),
    /// Check how a site's widget shall be, and print the tag for the shop's pages.
    Widget(Widget),
    /// Print fresh secrets, ready for `.env`.
    Keys(Keys),
    /// Ask a role on this machine whether it is ready; exit code 0 or 1. For containers.
    Healthcheck(Healthcheck),
    /// Look at all that a role needs - settings, secrets, NATS, n8n, clocks, disk, telemetry - and say what is wrong and
    /// how to mend it.
    ///
    /// It reads the settings of this environment and of `.env`, as the role would, asks what is around for real, and
    /// changes nothing but one record of its own in NATS, which goes by its age. To see whether a workflow streams and
    /// whom it lets in, it calls it up to three times with a test message, which is marked by
    /// `metadata.context.frontdesk_doctor`. No secret is printed.
    #[command(after_help = "Exit code: 0 no problem (there may be warnings); 1 a problem; 2 wrong usage.\n\
        Try it:  frontdesk doctor                       what this environment is for\n\
        Roles:   frontdesk doctor --role worker         as one role meets it, with its own NATS user\n\
        Quiet:   frontdesk doctor --no-call --json      runs no workflow; for scripts (docs/operations.md)")]
    Doctor(Doctor),
}

#[derive(Clone, Args)]
pub(crate) struct AllInOne {
    #[command(flatten, next_help_heading = "Visitors")]
    pub(crate) edge: edge::Config,
    #[command(flatten, next_help_heading = "n8n")]
    pub(crate) worker: worker::Config,
    #[command(flatten, next_help_heading = "Analytics")]
    pub(crate) analytics: analytics::Config,
    #[command(flatten, next_help_heading = "Queue")]
    pub(crate) bus: bus::Config,
}

#[derive(Args)]
pub(crate) struct EdgeRole {
    #[command(flatten)]
    pub(crate) edge: edge::Config,
    #[command(flatten)]
    pub(crate) over: OverNats,
}

#[derive(Args)]
pub(crate) struct WorkerRole {
    #[command(flatten)]
    pub(crate) worker: worker::Config,
    #[command(flatten)]
    pub(crate) ops: Ops,
    #[command(flatten)]
    pub(crate) over: OverNats,
}

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct AnalyticsRole {
    #[command(subcommand)]
    pub(crate) command: Option<AnalyticsCommand>,
    #[command(flatten)]
    pub(crate) analytics: analytics::Config,
    #[command(flatten)]
    pub(crate) ops: Ops,
    #[command(flatten)]
    pub(crate) over: OverNats,
}

#[derive(Subcommand)]
pub(crate) enum AnalyticsCommand {
    /// Copy the database into a file, while analytics runs or when it doesn't. The copy is checked, and its SHA-256 is
    /// written beside it.
    Backup(Backup),
    /// Check a database or a copy of one: checksums, form, every row. Exit code 0 if it is sound.
    Check(Check),
    /// Show the figures in the terminal: a table, and sparklines of what happened when.
    Report(Report),
    /// Fill an empty database with made-up data, to see the dashboard at work. To begin anew, delete the file.
    Demo(Demo),
}

#[derive(Args)]
pub(crate) struct Backup {
    /// Where the copy goes; its SHA-256 goes to FILE.sha256.
    pub(crate) file: PathBuf,
    /// Replace a file that is already there.
    #[arg(long)]
    pub(crate) force: bool,
    /// Ask the analytics that runs here, such as `https://analytics.example:8002`. Default: the database itself, or if
    /// analytics runs, that at ANALYTICS_ADDR.
    #[arg(long)]
    pub(crate) url: Option<String>,
    /// What a running analytics asks for.
    #[arg(long, env = "ADMIN_TOKEN", hide_env_values = true, value_parser = secret::Hidden(secret::any))]
    pub(crate) admin_token: Option<Secret>,
    /// Analytics' address.
    #[arg(long, env = "ANALYTICS_ADDR", default_value_t = analytics::DEFAULT_ADDR)]
    pub(crate) analytics_addr: std::net::SocketAddr,
    #[command(flatten)]
    pub(crate) database: Database,
}

#[derive(Args)]
pub(crate) struct Check {
    /// What to check. It is not changed.
    pub(crate) file: PathBuf,
}

#[derive(Args)]
pub(crate) struct Report {
    /// The time until now: 15m, 1h, 24h, 7d, 30d, 90d or 365d.
    #[arg(long, default_value = "7d")]
    pub(crate) range: String,
    /// One site. Default: all of them.
    #[arg(long)]
    pub(crate) site: Option<String>,
    /// For scripts: summary, series and pages as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Ask the analytics that runs here, such as `https://analytics.example:8002`. Default: the database itself, or if
    /// analytics runs, that at ANALYTICS_ADDR.
    #[arg(long)]
    pub(crate) url: Option<String>,
    /// What a running analytics asks for. The token of a site does as well, for that site.
    #[arg(long, env = "ADMIN_TOKEN", hide_env_values = true, value_parser = secret::Hidden(secret::any))]
    pub(crate) admin_token: Option<Secret>,
    /// Analytics' address.
    #[arg(long, env = "ANALYTICS_ADDR", default_value_t = analytics::DEFAULT_ADDR)]
    pub(crate) analytics_addr: std::net::SocketAddr,
    #[command(flatten)]
    pub(crate) database: Database,
}

#[derive(Args)]
pub(crate) struct Demo {
    /// How many days, today among them.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=400))]
    pub(crate) days: u32,
    /// How many shops.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=50))]
    pub(crate) sites: u32,
    /// The same seed makes the same data.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) database: Database,
}

/// Where the database is for a command.
#[derive(Args)]
pub(crate) struct Database {
    /// The database file. Default: frontdesk-analytics.redb in the current folder.
    #[arg(long, env = "ANALYTICS_DB_PATH")]
    analytics_db_path: Option<PathBuf>,
}

impl Database {
    pub(crate) fn path(&self) -> &Path {
        self.analytics_db_path.as_deref().unwrap_or(Path::new(analytics::DEFAULT_DB))
    }
}

#[derive(Args)]
#[command(after_help = "The edges need this page's origin in ALLOWED_ORIGINS, the workers\n\
    N8N_WEBHOOK_URL=http://<address of DEMO_N8N_ADDR>/webhook/demo")]
pub(crate) struct DemoShop {
    /// Where the shop's page is served.
    #[arg(long, env = "DEMO_SHOP_ADDR", default_value = "127.0.0.1:8080")]
    pub(crate) demo_shop_addr: std::net::SocketAddr,
    /// Where the demo in the place of n8n listens.
    #[arg(long, env = "DEMO_N8N_ADDR", default_value = "127.0.0.1:8003")]
    pub(crate) demo_n8n_addr: std::net::SocketAddr,
    /// Where browsers find the chat. Default: http://127.0.0.1:8000.
    #[arg(long, env = "PUBLIC_URL", value_parser = edge::public_url)]
    pub(crate) public_url: Option<edge::Url>,
}

#[derive(Args)]
pub(crate) struct Widget {
    #[command(subcommand)]
    pub(crate) command: WidgetCommand,
}

#[derive(Subcommand)]
pub(crate) enum WidgetCommand {
    /// Check a widget-config.json, also one of the predecessor: what is wrong, and what became of each old key.
    #[command(
        after_help = "Exit code: 0 all of it has its effect; 1 it can be used, and some of it has no effect; 2 it \
        can't be used.\n\
        Try it:  frontdesk widget check shops/lamps.json\n\
        Then:    WIDGET_CONFIG_DIR=shops frontdesk      (docs/widget-config.md)"
    )]
    Check(WidgetCheck),
    /// Print the tag that puts the chat on a shop's pages, and the same tag for exactly this version.
    #[command(after_help = "Try it:  frontdesk widget snippet --url https://chat.shop.example --site lamps")]
    Snippet(WidgetSnippet),
}

#[derive(Args)]
pub(crate) struct WidgetCheck {
    /// What to check. It is not changed.
    pub(crate) file: PathBuf,
    /// For scripts: problems, notes and the configuration in our form, as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the configuration in our form alone, to be kept in the place of the predecessor's.
    #[arg(long, conflicts_with = "json")]
    pub(crate) print: bool,
}

#[derive(Args)]
pub(crate) struct WidgetSnippet {
    /// The site, where there are several.
    #[arg(long)]
    pub(crate) site: Option<String>,
    /// Where browsers find Frontdesk.
    #[arg(long, env = "PUBLIC_URL", default_value = "http://127.0.0.1:8000", value_parser = edge::public_url)]
    pub(crate) url: edge::Url,
    /// The sites' configurations, of which some stands on the tag.
    #[arg(long, env = "WIDGET_CONFIG_DIR")]
    pub(crate) widget_config_dir: Option<PathBuf>,
    /// For scripts: both tags as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct NatsSetup {
    #[command(flatten)]
    pub(crate) setup: bus::Setup,
    #[command(flatten)]
    pub(crate) over: OverNats,
}

/// Of all that meet over NATS.
#[derive(Args)]
pub(crate) struct OverNats {
    #[command(flatten, next_help_heading = "Queue")]
    pub(crate) bus: bus::Config,
    #[command(flatten, next_help_heading = "NATS")]
    pub(crate) nats: bus::NatsConfig,
}

/// Of roles without a public port.
#[derive(Args)]
pub(crate) struct Ops {
    /// Bearer that reading /metrics needs. Default: callers of the private network need none.
    #[arg(long, env = "METRICS_TOKEN", hide_env_values = true, value_parser = secret::Hidden(secret::any))]
    pub(crate) metrics_token: Option<Secret>,
}

#[derive(Args)]
pub(crate) struct Keys {
    /// Instead: passwords for the users of nats/nats-server.conf.
    #[arg(long)]
    pub(crate) nats: bool,
    /// Instead: an NKey, which one NATS user may have in the place of a password.
    #[arg(long, conflicts_with = "nats")]
    pub(crate) nkey: bool,
}

#[derive(Args)]
pub(crate) struct Healthcheck {
    /// Whom to ask.
    #[arg(default_value = "edge")]
    pub(crate) role: Role,
    /// Ask here instead of at the role's own address.
    #[arg(long)]
    pub(crate) url: Option<String>,
    /// The edge's address.
    #[arg(long, env = "API_HOST")]
    pub(crate) api_host: Option<std::net::IpAddr>,
    /// The edge's port.
    #[arg(long, env = "API_PORT", default_value_t = 8000)]
    pub(crate) api_port: u16,
    /// The edge's certificate: with it, the edge is asked over TLS.
    #[arg(long, env = "TLS_CERT")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The worker's address.
    #[arg(long, env = "WORKER_ADDR", default_value = "127.0.0.1:8001")]
    pub(crate) worker_addr: std::net::SocketAddr,
    /// Analytics' address.
    #[arg(long, env = "ANALYTICS_ADDR", default_value = "127.0.0.1:8002")]
    pub(crate) analytics_addr: std::net::SocketAddr,
}

#[derive(Args)]
pub(crate) struct Doctor {
    /// Look at what this role needs; can be given more than once. Default: by NATS_USER; without it edge, worker and
    /// analytics where NATS_URL is set, and all-in-one where it isn't.
    #[arg(long)]
    pub(crate) role: Vec<DoctorRole>,
    /// Run no workflow.
    #[arg(long)]
    pub(crate) no_call: bool,
    /// Run workflows without asking first. Where nobody sits at a terminal, nobody is asked.
    #[arg(long, conflicts_with = "no_call")]
    pub(crate) call: bool,
    /// For scripts: the findings as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// How long the workflow of a site may take, all calls together.
    #[arg(long, default_value = "60s", value_parser = runtime::settings::some_time)]
    pub(crate) timeout: std::time::Duration,
    /// Where traces go.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub(crate) otlp_endpoint: Option<String>,
    /// Headers for it, as the roles send them.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_HEADERS", hide_env_values = true)]
    pub(crate) otlp_headers: Option<String>,
}

/// Whose needs the doctor looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DoctorRole {
    AllInOne,
    Edge,
    Worker,
    Analytics,
    NatsSetup,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Role {
    Edge,
    Worker,
    Analytics,
}

impl Cli {
    /// What the process is in traces; `None` for a command that only does something and ends.
    pub(crate) fn identity(&self) -> Option<Identity<'_>> {
        fn edge<'a>(role: Option<&'static str>, edge: &'a edge::Config) -> Identity<'a> {
            Identity { role, trusts: false, secret: edge.jwt_secret_key.as_ref() }
        }
        let behind = |role| Identity { role: Some(role), trusts: true, secret: None };
        match &self.command {
            None => Some(edge(None, &self.all.edge)),
            Some(Command::Edge(role)) => Some(edge(Some("edge"), &role.edge)),
            Some(Command::Worker(_)) => Some(behind("worker")),
            Some(Command::Analytics(role)) if role.command.is_none() => Some(behind("analytics")),
            Some(_) => None,
        }
    }

    /// Reads `.env`, the environment and the arguments; ends the process with help or a sentence where it must.
    pub(crate) fn read() -> Self {
        // Only of this very folder: what lies further up was not meant for it.
        let dotenv = dotenvy::from_path(".env");
        let mut command = without_empty_variables(Self::command());
        // What can't be read must not stop the doctor, who is to say so.
        let is_doctor = std::env::args_os().nth(1).is_some_and(|word| word == "doctor");
        if is_doctor {
            command = command.mut_args(|arg| arg.env(clap::builder::Resettable::Reset));
        }
        if let Err(error) = dotenv
            && !error.not_found()
        {
            // dotenvy would show the line, and the line may hold a secret.
            let reason = match error {
                dotenvy::Error::LineParse(_, at) => {
                    format!("a line can't be read, near its character {at}; quote values with spaces")
                }
                other => other.to_string(),
            };
            command.error(clap::error::ErrorKind::InvalidValue, format!(".env: {reason}")).exit();
        }
        let mut command = match secret_files::read_what_can_be(command) {
            (_, Some(sentence)) if !is_doctor => {
                Self::command().error(clap::error::ErrorKind::InvalidValue, sentence).exit()
            }
            (command, _) => command,
        };
        let matches = command.get_matches_mut();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit())
    }
}

/// `JWT_SECRET_KEY=` in a compose file means that there is none, not that it is empty.
pub(crate) fn without_empty_variables(command: clap::Command) -> clap::Command {
    command
        .mut_args(|arg| {
            let empty = arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
            if empty { arg.env(clap::builder::Resettable::Reset) } else { arg }
        })
        .mut_subcommands(without_empty_variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
