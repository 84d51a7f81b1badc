//! `frontdesk widget`: what a configuration comes to, and the tag for a shop's pages.

use std::process::ExitCode;

use edge::widget::{Read, Snippet, config_of};
use serde_json::json;

use crate::cli::{WidgetCheck, WidgetCommand, WidgetSnippet};

/// Some of the file has no effect.
const IN_PART: u8 = 1;
/// The file can't be used.
const BAD: u8 = 2;

pub(crate) fn answer(command: &WidgetCommand) -> anyhow::Result<ExitCode> {
    match command {
        WidgetCommand::Check(asked) => Ok(check(asked)),
        WidgetCommand::Snippet(asked) => snippet(asked),
    }
}

#[expect(clippy::print_stdout, reason = "what was found is what was asked for")]
fn check(asked: &WidgetCheck) -> ExitCode {
    let file = asked.file.display();
    let read = match Read::file(&asked.file) {
        Ok(read) => read,
        Err(error) => {
            tell(asked, &error.to_string());
            return BAD.into();
        }
    };
    let in_part = !read.warnings.is_empty() || read.notes.iter().any(|note| note.became.is_none());
    let code = if read.config.is_none() {
        BAD
    } else if in_part {
        IN_PART
    } else {
        0
    };
    if asked.json {
        let config = read.config.as_ref().and_then(|config| serde_json::from_str(&config.json()).ok());
        let config: Option<serde_json::Value> = config;
        println!(
            "{:#}",
            json!({"good": code != BAD, "problems": read.problems, "notes": read.notes, "warnings": read.warnings, "config": config})
        );
    } else if let (true, Some(config)) = (asked.print, &read.config) {
        println!("{}", config.pretty());
    } else {
        for problem in &read.problems {
            println!("{file}: {problem}");
        }
        for note in &read.notes {
            println!("{file}: {note}");
        }
        for warning in &read.warnings {
            println!("{file}: {warning}");
        }
        println!("{}", verdict(&read, code));
    }
    code.into()
}

/// The last line.
fn verdict(read: &Read, code: u8) -> String {
    let lost = read.warnings.len() + read.notes.iter().filter(|note| note.became.is_none()).count();
    let lost = counted_with(lost, "key has", "keys have");
    match code {
        BAD => format!("bad: {} to be mended; an edge doesn't start with it", counted(read.problems.len(), "mistake")),
        IN_PART if read.notes.is_empty() => format!("good, but {lost} no effect"),
        IN_PART => format!("good, and of the predecessor's form: {lost} no effect"),
        _ if !read.notes.is_empty() => "good, and of the predecessor's form: all of it has its effect".to_owned(),
        _ => "good: all of it has its effect".to_owned(),
    }
}

fn counted(count: usize, what: &str) -> String {
    counted_with(count, what, &format!("{what}s"))
}

fn counted_with(count: usize, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

#[expect(clippy::print_stdout, reason = "scripts read it")]
#[expect(clippy::print_stderr, reason = "the sentence that the operator needs")]
fn tell(asked: &WidgetCheck, sentence: &str) {
    if asked.json {
        let problem = json!([{"path": "", "what": sentence}]);
        println!("{:#}", json!({"good": false, "problems": problem, "notes": [], "warnings": [], "config": null}));
    } else {
        eprintln!("frontdesk: {sentence}");
    }
}

#[expect(clippy::print_stdout, reason = "the tag is what was asked for")]
fn snippet(asked: &WidgetSnippet) -> anyhow::Result<ExitCode> {
    let config = config_of(asked.widget_config_dir.as_deref(), asked.site.as_deref())?;
    let snippet = Snippet::new(&asked.url, asked.site.as_deref(), &config);
    if asked.json {
        println!("{}", serde_json::to_string_pretty(&snippet)?);
    } else {
        println!("<!-- Frontdesk: it stays right when Frontdesk is updated -->\n{}\n", snippet.evergreen);
        println!("<!-- Or exactly this version: must be changed with each update -->\n{}", snippet.pinned);
    }
    Ok(ExitCode::SUCCESS)
}
