//! A copy of analytics' database, and whether one is sound.

use std::{
    fs::{self, File},
    io::{self, IsTerminal as _, Read as _, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use analytics::{Checked, Error, Store, sidecar};
use anyhow::Context as _;
use reqwest::{StatusCode, header};
use tempfile::NamedTempFile;
use tokio::task;

use crate::{
    cli::{Backup, Check},
    report::plain,
};

/// Where a running analytics gives its copy.
const ROUTE: &str = "/api/v1/analytics/backup";
/// What the copy is compared with when it is here (RFC 9530).
const DIGEST: &str = "repr-digest";
/// Analytics makes its copy before it answers, and that of many million sessions takes minutes.
const SILENCE: Duration = Duration::from_secs(1800);
const CONNECT: Duration = Duration::from_secs(10);
/// How often the progress is shown.
const LOOK: Duration = Duration::from_millis(200);
const BUFFER: usize = 1 << 20;

pub(crate) async fn backup(asked: Backup) -> anyhow::Result<()> {
    let place = Place::new(&asked)?;
    let (copy, digest) = match &asked.url {
        Some(url) => fetch(&place, url, &asked).await?,
        None => {
            let path = asked.database.path().to_owned();
            let opened = task::spawn_blocking(move || open(&path)).await?;
            match opened {
                Ok(store) => {
                    task::spawn_blocking({
                        let place = place.clone();
                        move || direct(&place, &store)
                    })
                    .await??
                }
                Err(Error::InUse(_)) => {
                    fetch(&place, &format!("http://{}", crate::roles::reachable(asked.analytics_addr)), &asked).await?
                }
                Err(error) => return Err(error.into()),
            }
        }
    };
    let checked = task::spawn_blocking(move || place.keep(copy, &digest)).await??;
    tell(&asked.file, &checked);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "what it found is what was asked for")]
pub(crate) fn check(asked: &Check) -> anyhow::Result<()> {
    let checked = analytics::check(&asked.file).with_context(|| asked.file.display().to_string())?;
    tell(&asked.file, &checked);
    if !checked.compared {
        println!("no {} to compare it with", sidecar(&asked.file).display());
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "what was done is what was asked for")]
fn tell(path: &Path, checked: &Checked) {
    println!("{} is sound: {} bytes, form {}", path.display(), checked.bytes, checked.form);
    println!("sha256 {}", checked.sha256);
    for (table, rows) in &checked.rows {
        println!("{rows:>12} {table}");
    }
}

/// Where the copy goes.
#[derive(Clone)]
struct Place {
    file: PathBuf,
    folder: PathBuf,
    force: bool,
}

impl Place {
    fn new(asked: &Backup) -> anyhow::Result<Self> {
        let Backup { file, force, .. } = asked;
        let there = file.try_exists().with_context(|| file.display().to_string())?;
        anyhow::ensure!(*force || !there, "{} is there already; --force replaces it", file.display());
        if let (Ok(file), Ok(database)) = (file.canonicalize(), asked.database.path().canonicalize()) {
            anyhow::ensure!(file != database, "{} is the database itself", file.display());
        }
        anyhow::ensure!(file.file_name().is_some(), "{} names no file", file.display());
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok(Self { file: file.clone(), folder: folder.to_owned(), force: *force })
    }

    /// A file that is not yet the copy: what breaks off never has its name.
    fn unfinished(&self) -> anyhow::Result<NamedTempFile> {
        let made = tempfile::Builder::new().prefix(".unfinished-backup-").tempfile_in(&self.folder);
        made.with_context(|| format!("can't write into {}", self.folder.display()))
    }

    /// Checks the copy as it came to the disk, and gives it its name.
    fn keep(&self, copy: NamedTempFile, digest: &str) -> anyhow::Result<Checked> {
        copy.as_file().sync_all()?;
        let checked = analytics::check(copy.path()).context("the copy is not sound; try again")?;
        anyhow::ensure!(checked.sha256 == digest, "the copy is not what was sent; try again");
        let mut sum = self.unfinished()?;
        let name = self.file.file_name().unwrap_or_default();
        writeln!(sum, "{digest}  {}", name.display())?;
        sum.as_file().sync_all()?;
        // In this order a copy never stands beside the sum of another one.
        fs::remove_file(sidecar(&self.file)).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
        if self.force {
            copy.persist(&self.file)?
        } else {
            copy.persist_noclobber(&self.file)?
        };
        sum.persist(sidecar(&self.file))?;
        File::open(&self.folder)?.sync_all()?;
        Ok(checked)
    }
}

/// The database, which must be there: a typing error in its name makes no new one.
fn open(path: &Path) -> Result<Store, Error> {
    fs::metadata(path).map_err(|error| {
        io::Error::new(error.kind(), format!("{} ({error}); --url asks a running analytics", path.display()))
    })?;
    Store::open_untouched(path)
}

fn direct(place: &Place, store: &Store) -> anyhow::Result<(NamedTempFile, String)> {
    let mut copied = store.copy()?;
    let (mut file, mut progress) = (place.unfinished()?, Progress::of(copied.bytes));
    let mut buffer = vec![0; BUFFER];
    loop {
        match copied.file.read(&mut buffer)? {
            0 => return Ok((file, copied.hex())),
            read => {
                file.write_all(&buffer[..read])?;
                progress.add(read);
            }
        }
    }
}

async fn fetch(place: &Place, url: &str, asked: &Backup) -> anyhow::Result<(NamedTempFile, String)> {
    let token = asked.admin_token.as_ref().context("a running analytics asks for its ADMIN_TOKEN")?;
    let client = reqwest::Client::builder().no_proxy().connect_timeout(CONNECT).read_timeout(SILENCE).build()?;
    let url = format!("{}{ROUTE}", url.trim_end_matches('/'));
    let mut answer = client.get(&url).bearer_auth(token.expose()).send().await.context("analytics does not answer")?;
    let status = answer.status();
    match status {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => anyhow::bail!("{url} does not take this ADMIN_TOKEN"),
        StatusCode::NOT_FOUND => anyhow::bail!("{url} is not there: analytics was started without ADMIN_TOKEN"),
        status => {
            let document: serde_json::Value = serde_json::from_str(&answer.text().await?).unwrap_or_default();
            let detail = document["detail"].as_str().unwrap_or("it says nothing that can be read");
            anyhow::bail!("{url} answered {status}: {}", plain(detail));
        }
    }
    let digest = answer.headers().get(DIGEST).and_then(|digest| digest.to_str().ok()).and_then(analytics::digest_in);
    let digest = digest.with_context(|| format!("{url} says no SHA-256"))?;
    let length = answer.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let (mut file, mut progress) = (place.unfinished()?, Progress::of(length.unwrap_or(0)));
    while let Some(bytes) = answer.chunk().await.context("the copy broke off")? {
        file.write_all(&bytes)?;
        progress.add(bytes.len());
    }
    Ok((file, digest))
}

/// How far it is, for who looks on.
struct Progress {
    bytes: u64,
    done: u64,
    shown: Option<Instant>,
}

impl Progress {
    fn of(bytes: u64) -> Self {
        let shown = io::stderr().is_terminal().then(Instant::now);
        Self { bytes, done: 0, shown }
    }

    #[expect(clippy::print_stderr, reason = "the terminal of who waits; nothing that is kept")]
    fn add(&mut self, bytes: usize) {
        self.done += bytes as u64;
        let over = self.done == self.bytes;
        if let Some(shown) = self.shown.as_mut().filter(|shown| over || shown.elapsed() >= LOOK) {
            *shown = Instant::now();
            eprint!("\r{} of {} MiB{}", self.done >> 20, self.bytes >> 20, if over { "\n" } else { "" });
        }
    }
}
