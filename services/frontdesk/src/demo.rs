//! Made-up data for analytics.

use std::io::{self, IsTerminal as _};

use analytics::{Store, demo};
use anyhow::Context as _;

use crate::cli::Demo;

#[expect(clippy::print_stdout, reason = "what it did is what was asked for")]
#[expect(clippy::print_stderr, reason = "the terminal of who waits; nothing that is kept")]
pub(crate) fn fill(asked: &Demo) -> anyhow::Result<()> {
    let path = asked.database.path();
    let store = Store::open(path)?;
    let (days, shown) = (asked.days, io::stderr().is_terminal());
    let demo = demo::Demo { days, sites: asked.sites, seed: asked.seed };
    let facts = demo.fill(&store, |done| {
        if shown {
            eprint!("\r{done} of {days} days{}", if done == days { "\n" } else { "" });
        }
    });
    let facts = facts.with_context(|| path.display().to_string())?;
    let path = path.display();
    println!("{path} holds {days} days of made-up data: {facts} facts");
    println!("To look at it: ANALYTICS_DB_PATH={path} frontdesk");
    Ok(())
}
