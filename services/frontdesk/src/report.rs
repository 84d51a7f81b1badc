//! `frontdesk analytics report`: the figures in the terminal. From the database itself, or from the process that has it
//! open.

mod text;

pub(crate) use text::plain;

use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

use analytics::{Asked, Error, Store};
use anyhow::Context as _;
use reqwest::StatusCode;
use serde_json::Value;
use tokio::task;

use crate::cli::Report;

const PATIENCE: Duration = Duration::from_secs(30);

#[expect(clippy::print_stdout, reason = "the figures are what was asked for")]
pub(crate) async fn report(asked: Report) -> anyhow::Result<()> {
    let what = Asked::new(asked.site.as_deref(), &asked.range)?;
    let report = match &asked.url {
        Some(url) => fetch(url, &what, &asked).await?,
        None => read(what, &asked).await?,
    };
    if asked.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
        print!("{}", text::of(&report, colour));
    }
    Ok(())
}

/// The database, if it is there and nobody has it open; else whoever is at analytics' address.
async fn read(what: Asked, asked: &Report) -> anyhow::Result<analytics::Report> {
    let path = asked.database.path();
    // A typing error in its name makes no new one.
    let there = path.try_exists().with_context(|| path.display().to_string())?;
    let direct = task::spawn_blocking({
        let (what, path) = (what.clone(), path.to_owned());
        move || {
            let store = if there { Store::open_untouched(&path) } else { return Ok(None) };
            match store {
                Ok(store) => Ok(Some(what.read(&store)?)),
                Err(Error::InUse(_)) => Ok(None),
                Err(error) => Err(anyhow::Error::from(error)),
            }
        }
    });
    if let Some(report) = direct.await?? {
        return Ok(report);
    }
    if asked.admin_token.is_none() {
        let path = path.display();
        let why = if there { "is open in a running analytics" } else { "is not there" };
        anyhow::bail!("{path} {why}; set ADMIN_TOKEN to ask the analytics at ANALYTICS_ADDR or --url");
    }
    fetch(&format!("http://{}", crate::roles::reachable(asked.analytics_addr)), &what, asked).await
}

async fn fetch(url: &str, what: &Asked, asked: &Report) -> anyhow::Result<analytics::Report> {
    let token = asked.admin_token.as_ref().context("a running analytics asks for its ADMIN_TOKEN")?;
    let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
    let url = url.trim_end_matches('/');
    let mut documents = Vec::with_capacity(3);
    for path in what.paths() {
        let asking = client.get(format!("{url}{path}")).bearer_auth(token.expose());
        let answer = asking.send().await.with_context(|| format!("no answer from {url}"))?;
        let status = answer.status();
        let document: Value = serde_json::from_str(&answer.text().await?).unwrap_or_default();
        if status != StatusCode::OK {
            let detail = document["detail"].as_str().unwrap_or("it says nothing that can be read");
            anyhow::bail!("{url} answered {status}: {}", plain(detail));
        }
        documents.push(document);
    }
    let mut documents = documents.into_iter();
    let mut next = || documents.next().unwrap_or_default();
    let document = serde_json::json!({"summary": next(), "timeseries": next(), "pages": next()});
    serde_json::from_value(document).with_context(|| format!("{url} is of another version"))
}
