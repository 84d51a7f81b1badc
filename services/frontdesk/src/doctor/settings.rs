//! Settings as the roles would read them: what is wrong with each, and what doesn't go together.

use std::collections::BTreeSet;

use clap::{CommandFactory as _, FromArgMatches as _, builder::Resettable, error::ErrorKind};

use super::{
    Role,
    finding::{Check, Finding},
};
use crate::{
    cli::{AllInOne, AnalyticsRole, Cli, Command, EdgeRole, NatsSetup, WorkerRole, without_empty_variables},
    roles, secret_files,
};

/// The settings of a role.
pub(crate) enum Settings {
    AllInOne(Box<AllInOne>),
    Edge(Box<EdgeRole>),
    Worker(Box<WorkerRole>),
    Analytics(Box<AnalyticsRole>),
    NatsSetup(Box<NatsSetup>),
}

/// A setting that can't be read, by its name where it is known.
struct Bad {
    name: Option<String>,
    sentence: String,
}

/// Reads the settings of a role, and says what is wrong with them.
pub(crate) fn read(role: Role) -> (Option<Settings>, Vec<Finding>) {
    match parse(role) {
        Ok(settings) => {
            let findings = together(role, &settings);
            (Some(settings), findings)
        }
        Err(bad) => {
            let tell = |bad: Bad| {
                let fix = match &bad.name {
                    Some(name) => format!("Correct {name} where the role gets its settings from."),
                    None => "Correct what the sentence names.".to_owned(),
                };
                Finding::problem(Check::Settings, role.word(), bad.sentence, fix)
            };
            let mut findings: Vec<Finding> = bad.into_iter().map(tell).collect();
            findings.extend(not_looked_at(role));
            (None, findings)
        }
    }
}

/// What can't be looked at without settings.
fn not_looked_at(role: Role) -> Vec<Finding> {
    let checks: &[Check] = match role {
        Role::AllInOne => &[Check::N8nWebhook],
        Role::Worker => &[Check::NatsServer, Check::N8nWebhook],
        Role::Analytics => &[Check::NatsServer, Check::AnalyticsFile],
        Role::Edge | Role::NatsSetup => &[Check::NatsServer],
    };
    let (says, fix) = ("Not looked at, because the settings can't be read.", "Correct them, and run this again.");
    checks.iter().map(|check| Finding::not_checked(*check, role.word(), says, fix)).collect()
}

fn parse(role: Role) -> Result<Settings, Vec<Bad>> {
    let command = without_empty_variables(Cli::command());
    let command =
        secret_files::read(command).map_err(|sentence| vec![Bad { name: None, sentence: ended(&sentence) }])?;
    let line = ["frontdesk"].into_iter().chain(role.command());
    let line: Vec<&str> = line.collect();
    let matches = command.clone().try_get_matches_from(&line);
    let cli = matches.and_then(|matches| Cli::from_arg_matches(&matches));
    match cli {
        Ok(Cli { command: None, all, .. }) => Ok(Settings::AllInOne(all)),
        Ok(Cli { command: Some(Command::Edge(role)), .. }) => Ok(Settings::Edge(role)),
        Ok(Cli { command: Some(Command::Worker(role)), .. }) => Ok(Settings::Worker(role)),
        Ok(Cli { command: Some(Command::Analytics(role)), .. }) => Ok(Settings::Analytics(role)),
        Ok(Cli { command: Some(Command::NatsSetup(role)), .. }) => Ok(Settings::NatsSetup(role)),
        Ok(_) => Err(vec![]),
        Err(first) => {
            // clap stops at the first that it can't read. One who mends that wants to know the second as well.
            let mut bad = Vec::new();
            for name in set_variables(&command) {
                let alone = only(command.clone(), &name);
                if let Err(error) = alone.try_get_matches_from(&line) {
                    bad.push(Bad { name: Some(name), sentence: sentence(&error) });
                }
            }
            if bad.is_empty() {
                bad.push(Bad { name: None, sentence: sentence(&first) });
            }
            Err(bad)
        }
    }
}

/// The first line of what clap says: the rest is about usage.
fn sentence(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => String::new(),
        _ => line,
    }
}

/// The variables of the environment that any role reads, and that are set.
fn set_variables(command: &clap::Command) -> BTreeSet<String> {
    let in_files = hidden_variables(command);
    let mut names = known_variables(command);
    let is_set = |name: &str| secret_files::set(name).is_some();
    names.retain(|name| is_set(name) || in_files.contains(name) && is_set(&secret_files::variable(name)));
    names
}

fn known_variables(command: &clap::Command) -> BTreeSet<String> {
    let own = command.get_arguments().filter_map(|arg| arg.get_env()).map(|name| name.to_string_lossy().into_owned());
    own.chain(command.get_subcommands().flat_map(known_variables)).collect()
}

/// The command, reading of all variables this one alone.
fn only(command: clap::Command, name: &str) -> clap::Command {
    let keep = |arg: clap::Arg| {
        let other = arg.get_env().is_some_and(|env| env != name);
        // A secret has no default of its own, only what stands in its file.
        match (other, arg.is_hide_env_values_set()) {
            (false, _) => arg,
            (true, false) => arg.env(Resettable::Reset),
            (true, true) => arg.env(Resettable::Reset).default_value(Resettable::Reset),
        }
    };
    command.mut_args(keep).mut_subcommands(|command| only(command, name))
}

/// The secrets among the settings that are set: name and value.
pub(crate) fn secrets() -> Vec<(String, String)> {
    let mut names = hidden_variables(&Cli::command());
    // Addresses are hidden, since they may hold something secret. Two that are the same are no fault.
    names.retain(|name| !name.ends_with("_URL"));
    names.into_iter().filter_map(|name| Some((name.clone(), secret_files::secret(&name)?))).collect()
}

fn hidden_variables(command: &clap::Command) -> BTreeSet<String> {
    let own = command.get_arguments().filter(|arg| arg.is_hide_env_values_set());
    let own = own.filter_map(|arg| arg.get_env()).map(|name| name.to_string_lossy().into_owned());
    own.chain(command.get_subcommands().flat_map(hidden_variables)).collect()
}

/// Variables that nobody reads: all in `.env`, and of the environment those that look like a slip of the pen.
pub(crate) fn unknown() -> Vec<Finding> {
    let command = Cli::command();
    let mut known = known_variables(&command);
    known.extend(hidden_variables(&command).iter().map(|name| secret_files::variable(name)));
    let in_file: BTreeSet<String> = dotenvy::from_path_iter(".env")
        .map(|lines| lines.flatten().map(|(name, _)| name).collect())
        .unwrap_or_default();
    let of_environment = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let all: BTreeSet<String> = of_environment.chain(in_file.iter().cloned()).collect();
    all.iter()
        .filter(|name| !known.contains(*name))
        .filter_map(|name| unread(name, &known, in_file.contains(name)))
        .collect()
}

/// Two letters may be wrong, in a name that is long enough for that to say something.
const SLIPS: usize = 2;
const LONG: usize = 8;

fn unread(name: &str, known: &BTreeSet<String>, in_file: bool) -> Option<Finding> {
    let near = known.iter().map(|known| (strsim::damerau_levenshtein(name, known), known));
    let near = near.min().filter(|(slips, _)| *slips <= SLIPS && name.len() >= LONG).map(|(_, known)| known);
    let says = format!("{name} is set, and nothing reads it.");
    let of = if in_file { ".env" } else { "environment" };
    match near {
        Some(known) => {
            Some(Finding::warning(Check::SettingsUnknown, of, says, format!("If it should be {known}, rename it.")))
        }
        // Of other programs' there are many.
        None if in_file && !of_others(name) => Some(Finding::warning(
            Check::SettingsUnknown,
            of,
            says,
            "Take it out, or look its name up in the README.".to_owned(),
        )),
        None => None,
    }
}

/// What in `.env` may be for the programs beside Frontdesk: the passwords that nats-server reads, and compose's own.
fn of_others(name: &str) -> bool {
    let nats = name.starts_with("NATS_") && (name.ends_with("_PASSWORD") || name == "NATS_STORE_DIR");
    // compose.yaml's.
    let compose = ["_PORT", "_BIND"].iter().any(|end| name.ends_with(end))
        || ["SITE_ADDRESS", "MODEL_URL", "DOCKER_BUILDKIT"].contains(&name);
    nats || compose || ["COMPOSE_", "OTEL_", "GF_", "FRONTDESK_"].iter().any(|prefix| name.starts_with(prefix))
}

/// What doesn't go together, as the role itself would say when it starts; and what it would start with, and should not.
fn together(role: Role, settings: &Settings) -> Vec<Finding> {
    let result = match settings {
        Settings::AllInOne(all) => roles::check_all_in_one(all),
        Settings::Edge(edge) => roles::check_edge(edge),
        Settings::Worker(worker) => roles::check_worker(worker),
        Settings::Analytics(analytics) => roles::check_analytics(analytics),
        Settings::NatsSetup(_) => Ok(()),
    };
    let mut findings = vec![match result {
        Ok(()) => Finding::ok(Check::Settings, role.word(), "All settings can be read, and go together."),
        Err(error) => {
            let fix = "Set what the sentence names where the role gets its settings from.";
            Finding::problem(Check::SettingsTogether, role.word(), ended(&format!("{error:#}")), fix)
        }
    }];
    if let Settings::Edge(edge) = settings
        && edge.edge.allowed_origins.0.is_empty()
        && edge.edge.sites_file.is_none()
    {
        findings.push(Finding::warning(
            Check::SettingsTogether,
            role.word(),
            "ALLOWED_ORIGINS is empty: no shop's page may embed the chat.",
            "Set ALLOWED_ORIGINS to the shop's origins, such as https://shop.example.",
        ));
    }
    findings
}

/// As a sentence.
pub(super) fn ended(text: &str) -> String {
    let text = text.trim();
    if text.ends_with(['.', '!', '?']) { text.to_owned() } else { format!("{text}.") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_pen_are_seen() {
        let known: BTreeSet<String> = ["N8N_WEBHOOK_URL", "JWT_SECRET_KEY", "API_PORT"].map(str::to_owned).into();
        let check = |name: &str, in_file: bool, word: Option<&str>| {
            let finding = unread(name, &known, in_file);
            assert_eq!(finding.is_some(), word.is_some(), "{name}: {finding:?}");
            if let (Some(finding), Some(word)) = (finding, word) {
                assert!(finding.fix.unwrap().contains(word), "{name}");
            }
        };
        check("N8N_WEBHOK_URL", false, Some("N8N_WEBHOOK_URL"));
        check("JWT_SECRET_KYE", true, Some("JWT_SECRET_KEY"));
        check("SHOP_NAME", true, Some("Take it out"));
        check("SHOP_NAME", false, None);
        check("NATS_EDGE_PASSWORD", true, None);
        check("COMPOSE_PROJECT_NAME", true, None);
        for of_compose in ["CHAT_PORT", "JAEGER_PORT", "CHAT_BIND", "SITE_ADDRESS", "DOCKER_BUILDKIT"] {
            check(of_compose, true, None);
        }
        check("API_PROT", false, Some("API_PORT"));
        // A short name is near to everything.
        check("PORT", false, None);
    }

    #[test]
    fn secrets_are_known_by_what_the_help_hides() {
        let hidden = hidden_variables(&Cli::command());
        for name in [
            "JWT_SECRET_KEY",
            "JWT_SECRET_KEY_PREVIOUS",
            "SESSION_SECRET_KEY",
            "N8N_API_KEY",
            "NATS_PASSWORD",
            "ADMIN_TOKEN",
        ] {
            assert!(hidden.contains(name), "{name}: {hidden:?}");
        }
    }
}
