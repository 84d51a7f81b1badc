//! Analytics' file, and the room around it.

use std::{path::Path, time::Duration};

use analytics::{Error, Store};

use super::{
    finding::{Check, Finding},
    settings::ended,
};

/// Less than this is soon used up.
const LITTLE: u64 = 1 << 30;
/// With less the next facts may find no room.
const NONE: u64 = 100 << 20;
const ASK_WITHIN: Duration = Duration::from_secs(5);

const ROOM: &str = "Make room on this disk, or move ANALYTICS_DB_PATH to a larger one.";

/// Opens the file to read it; whoever has it open is asked instead. Nothing in it is changed.
pub(crate) async fn examine(config: &analytics::Config) -> Vec<Finding> {
    const OF: &str = "analytics";
    let path = config.analytics_db_path.clone().unwrap_or_else(|| analytics::DEFAULT_DB.into());
    let mut findings = Vec::new();
    let file = match std::fs::metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => absent(OF, &path),
        Err(error) => unreadable(OF, &path, &error.to_string()),
        Ok(_) => {
            let opened = tokio::task::spawn_blocking({
                let path = path.clone();
                move || Store::open_untouched(&path).map(drop)
            });
            match opened.await.unwrap_or(Err(Error::Panicked)) {
                Ok(()) => Finding::ok(
                    Check::AnalyticsFile,
                    OF,
                    format!("{} can be read; `frontdesk analytics check` looks at every row.", path.display()),
                ),
                Err(Error::InUse(_)) => in_use(OF, config).await,
                Err(Error::Older { .. }) => Finding::ok(
                    Check::AnalyticsFile,
                    OF,
                    format!(
                        "{} has an earlier version's form; analytics brings it to its own when it starts.",
                        path.display()
                    ),
                ),
                Err(error) => unreadable(OF, &path, &error.to_string()),
            }
        }
    };
    findings.push(file);
    findings.extend(disk(OF, &path));
    findings
}

fn absent(of: &str, path: &Path) -> Finding {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.display();
    if !folder.is_dir() {
        let says = format!("{name} is not there, nor its folder.");
        return Finding::problem(Check::AnalyticsFile, of, says, "Make the folder, or correct ANALYTICS_DB_PATH.");
    }
    // The only way that is sure.
    match tempfile::Builder::new().prefix(".frontdesk-doctor-").tempfile_in(folder) {
        Ok(_) => Finding::ok(Check::AnalyticsFile, of, format!("{name} is not there yet; analytics will make it.")),
        Err(error) => Finding::problem(
            Check::AnalyticsFile,
            of,
            format!("{name} can't be made: {}", ended(&error.to_string())),
            "Let the user of analytics write into this folder.",
        ),
    }
}

fn unreadable(of: &str, path: &Path, why: &str) -> Finding {
    Finding::problem(
        Check::AnalyticsFile,
        of,
        format!("{} can't be used: {}", path.display(), ended(why)),
        "Let the user of analytics read and write it; a damaged one is replaced by a backup (docs/analytics-care.md).",
    )
}

/// Somebody has it open; so somebody should answer.
async fn in_use(of: &str, config: &analytics::Config) -> Finding {
    let url = format!("http://{}/health/ready", crate::roles::reachable(config.analytics_addr));
    let client = reqwest::Client::builder().no_proxy().timeout(ASK_WITHIN).build();
    let ready = async { client.ok()?.get(&url).send().await.ok().map(|answer| answer.status().as_u16()) }.await;
    match ready {
        Some(200) => Finding::ok(Check::AnalyticsFile, of, "A running analytics has the file open, and is ready."),
        Some(status) => Finding::problem(
            Check::AnalyticsFile,
            of,
            format!("A running analytics has the file open, and its readiness is {status}."),
            "Look at its log and at /health/ready.",
        ),
        None => Finding::warning(
            Check::AnalyticsFile,
            of,
            "The file is open in another process, and nobody answers at ANALYTICS_ADDR.",
            "Look which process has it open (`fuser`), and correct ANALYTICS_ADDR if it is analytics.",
        ),
    }
}

/// The room on the disk of a file that may not be there yet.
fn disk(of: &str, path: &Path) -> Option<Finding> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let disk = rustix::fs::statvfs(folder).ok()?;
    let size = std::fs::metadata(path).map_or(0, |file| file.len());
    Some(room(of, disk.f_bavail.saturating_mul(disk.f_frsize), size))
}

/// A rewrite makes a second file beside the first.
fn room(of: &str, free: u64, size: u64) -> Finding {
    let says = format!("{} MiB are free beside a file of {} MiB.", free >> 20, size >> 20);
    if free < NONE {
        Finding::problem(Check::AnalyticsDisk, of, says, ROOM)
    } else if free < LITTLE.max(size) {
        let says =
            format!("{says} A rewrite needs as much again as the file, and what is less than 1 GiB is soon used.");
        Finding::warning(Check::AnalyticsDisk, of, says, ROOM)
    } else {
        Finding::ok(Check::AnalyticsDisk, of, says)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::{super::finding::Severity, *};

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        config: analytics::Config,
    }

    async fn file(path: &Path) -> Finding {
        let config =
            Cli::parse_from(["x", "--analytics-db-path", path.to_str().unwrap(), "--analytics-addr", "127.0.0.1:9"])
                .config;
        let findings = examine(&config).await;
        assert!(
            findings.iter().any(|finding| finding.check == Check::AnalyticsDisk) || !path.parent().unwrap().is_dir()
        );
        findings.into_iter().find(|finding| finding.check == Check::AnalyticsFile).unwrap()
    }

    #[tokio::test]
    async fn the_file_is_opened_and_left_alone() {
        rustls::crypto::ring::default_provider().install_default().ok();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("facts.redb");
        let found = file(&path).await;
        assert!(found.severity == Severity::Ok && found.says.contains("will make it"), "{found:?}");
        assert!(!path.exists());
        let found = file(&folder.path().join("no/facts.redb")).await;
        assert!(found.severity == Severity::Problem && found.says.contains("nor its folder"), "{found:?}");

        let store = Store::open(&path).unwrap();
        let found = file(&path).await;
        assert!(found.severity == Severity::Warning && found.says.contains("another process"), "{found:?}");
        drop(store);
        let before = std::fs::read(&path).unwrap();
        let found = file(&path).await;
        assert!(found.severity == Severity::Ok && found.says.contains("can be read"), "{found:?}");
        assert_eq!(std::fs::read(&path).unwrap(), before);

        std::fs::write(&path, b"this is no database").unwrap();
        let found = file(&path).await;
        assert!(found.severity == Severity::Problem && found.says.contains("can't be used"), "{found:?}");
    }

    #[test]
    fn a_disk_that_fills_is_told() {
        let check =
            |free: u64, size: u64, severity: Severity| assert_eq!(room("analytics", free, size).severity, severity);
        check(50 << 20, 0, Severity::Problem);
        check(500 << 20, 0, Severity::Warning);
        check(2 << 30, 0, Severity::Ok);
        check(2 << 30, 3 << 30, Severity::Warning);
        check(4 << 30, 3 << 30, Severity::Ok);
    }
}
