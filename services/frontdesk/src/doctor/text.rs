//! Findings for people: what is wrong first to be seen, each with what to do.

use std::fmt::Write as _;

use super::finding::{Finding, Severity};

/// Columns of a line at most.
const WIDTH: usize = 100;
const INDENT: &str = "              ";

/// All findings and how many of each kind.
pub(crate) fn of(findings: &[Finding], colour: bool) -> String {
    let mut text = String::new();
    for finding in findings {
        let (word, paint) = match finding.severity {
            Severity::Ok => ("ok", "32"),
            Severity::NotChecked => ("not checked", "2"),
            Severity::Warning => ("warning", "33"),
            Severity::Problem => ("PROBLEM", "1;31"),
        };
        let word = format!("{word:<12}");
        let word = if colour { format!("\x1b[{paint}m{word}\x1b[0m") } else { word };
        let line = format!("{} ({}): {}", finding.check.name(), plain(&finding.of), plain(&finding.says));
        writeln!(text, "{word}  {}", folded(&line)).ok();
        if let Some(fix) = &finding.fix {
            writeln!(text, "{INDENT}{}", folded(&format!("-> {}", plain(fix)))).ok();
        }
    }
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    writeln!(
        text,
        "\n{} ok, {} not checked, {} with a warning, {} with a problem.",
        count(Severity::Ok),
        count(Severity::NotChecked),
        count(Severity::Warning),
        count(Severity::Problem)
    )
    .ok();
    text
}

/// Without what would move a terminal: some words are those of others.
fn plain(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}

/// Broken between words.
fn folded(text: &str) -> String {
    let (mut out, mut column) = (String::new(), INDENT.len());
    for word in text.split(' ') {
        let wide = word.chars().count() + 1;
        if column > INDENT.len() && column + wide > WIDTH {
            out.push('\n');
            out.push_str(INDENT);
            column = INDENT.len();
        } else if column > INDENT.len() {
            out.push(' ');
        }
        out.push_str(word);
        column += wide;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{super::finding::Check, *};

    #[test]
    fn a_finding_and_its_fix_stand_below_each_other() {
        let long = "word ".repeat(30);
        let findings = [
            Finding::ok(Check::NatsTls, "edge", "The connection is encrypted."),
            Finding::problem(Check::N8nKey, "site default", long.trim(), "Set \u{1b}[31mN8N_API_KEY."),
        ];
        let text = of(&findings, false);
        assert!(text.starts_with("ok            nats.tls (edge): The connection is encrypted.\nPROBLEM       n8n.key"));
        assert!(text.contains("\n              -> Set "), "{text}");
        assert_eq!(text.matches("word").count(), 30, "all of it is said: {text}");
        assert!(text.ends_with("\n1 ok, 0 not checked, 0 with a warning, 1 with a problem.\n"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH) && !text.contains('\u{1b}'), "{text}");
        assert!(of(&findings, true).contains("\u{1b}[1;31mPROBLEM"));
    }
}
