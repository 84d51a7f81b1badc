//! Where facts become rows and figures: the only folder that knows redb.
//!
//! - `tables`: the tables of the file and their keys; `bytes`, `row`, `timeline`, `figures`, `histogram`: what
//!   stands in them.
//! - `comments`: what visitors wrote with their ratings.
//! - `apply`: a batch of facts; `forget`: what goes by its age; `migrate`: files of older forms.
//! - `ask`, `list`: questions; `limits`: what edges counted against limits.
//! - `care`: what goes on request or by its age; `copy`: a copy to keep, or in the place of the file; `check`: whether one
//!   is sound.
//!
//! # Promises
//! - [`Store::apply`] is one transaction: all of a batch is on the disk when it returns, or nothing is.
//! - A fact is applied once, however often it is delivered within [`REMEMBERED`].
//! - In whatever order facts come, the same is known at the end; but of a session that has no row any more, in which a
//!   visitor's second word about a reply can't be told from the first, and both count.
//! - What has a bound and is left out by it is counted ([`Store::take_left_out`]).
//! - A message whose end was told counts as accepted, also when the edge that accepted it died before it told.
//! - Of a session that its visitor ended there is no row. The sums of its site still count it, and what is told of it
//!   later, within [`REMEMBERED`]. The same goes for a session that was erased, and, for ever, for one that expired.
//! - No question about figures reads sessions, and a page of the list reads a bounded number of them.
//! - The memory of applied facts and figures by minute and hour are bounded by time, pages and words of other processes
//!   by number. They are cleared in small steps by the transactions that fill them, so there is neither a second writer
//!   nor a long pause.
//! - After a batch that failed the database is closed, and the next call opens it again: redb asks for that.

mod apply;
mod ask;
mod bytes;
mod care;
mod check;
mod comments;
mod copy;
mod figures;
mod forget;
mod histogram;
mod limits;
mod list;
mod migrate;
#[cfg(test)]
mod questions;
mod row;
mod tables;
#[cfg(test)]
pub(crate) mod tests;
mod timeline;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use protocol::{Fact, Millis, SessionId, SiteId};
use redb::{
    Database, Durability, ReadTransaction, ReadableDatabase as _, ReadableTable as _, WriteTransaction,
    backends::InMemoryBackend,
};

use crate::query::{
    Bucket, BusyHours, CommentPage, CommentPlace, Filter, Metric, Pages, Place, Range, SessionDetail, SessionPage,
    Summary, Timeseries,
};
pub(crate) use apply::LeftOut;
pub(crate) use care::EXPIRED_WAITS;
pub use care::{Erased, Expiry, Step};
pub use check::{Checked, check, digest_in, sidecar};
pub use copy::{Copied, Rewritten};
pub(crate) use forget::{HOURS_KEPT, MINUTES_KEPT};
use tables::{DEMO_KEY, META, MIGRATING_KEY, SCHEMA, SCHEMA_KEY, SITES, each_table};

/// How long a fact that comes again is recognised. Over NATS one comes again half a minute after a lost
/// acknowledgement; a week also covers a stream that was put back from a copy.
const REMEMBERED: Duration = Duration::from_secs(7 * 24 * 3600);
/// The same in memory, where room is dear and the bus of the process gives a fact again at once. Longer than any message
/// runs or waits for a late answer: its end must not count as a second acceptance.
const REMEMBERED_IN_MEMORY: Duration = bus::LONGEST_RUN.saturating_add(Duration::from_secs(600));

/// How long a file that is in use is waited for.
const FREE_WITHIN: Duration = Duration::from_millis(250);

/// Pages that redb may keep in memory. Its own default of 1 GiB is more than the whole process should have.
const CACHE_BYTES: usize = 32 * 1024 * 1024;

/// Why something can't be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Two processes were given one file.
    #[error("{} is open in another process; each analytics needs a file of its own", .0.display())]
    InUse(PathBuf),
    /// Going back to an older version needs an older copy of the file.
    #[error(
        "the database has form {found}, this version knows forms up to {SCHEMA}; start a newer Frontdesk, or another file"
    )]
    Newer {
        /// The form in the file.
        found: u64,
    },
    /// What only reads leaves the file as it is.
    #[error(
        "{} has form {found}, an earlier version's: start analytics once, which brings it to form {SCHEMA}, or, for a copy \
         of it as it is, copy the file while no analytics runs",
        path.display()
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// Its form.
        found: u64,
    },
    /// No database there, and none can be made.
    #[error("can't open {}: {cause}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: Box<redb::Error>,
    },
    /// What stands in the file is not what was written there: the disk, or somebody else, changed it.
    #[error(
        "{} is damaged and was left as it is ({cause}); move it away and put a copy back, or start without: what was not \
         acknowledged yet comes again",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where that shows.
        cause: String,
    },
    /// The disk is full or broken, mostly.
    #[error("the database failed: {0}")]
    Failed(Box<redb::Error>),
    /// A row is not what this version writes under this form.
    #[error("a row can't be read: {0}")]
    Row(#[from] bytes::Malformed),
    /// A row of an older form is not what that version wrote.
    #[error("a row of an older form can't be read: {0}")]
    OldRow(#[from] serde_json::Error),
    /// A bug, here or in redb.
    #[error("the database panicked")]
    Panicked,
    /// A file beside the database, or its folder.
    #[error("can't read or write: {0}")]
    Io(#[from] std::io::Error),
    /// Too little for a copy; the database is as it was.
    #[error("no room for a copy in {}: about {} MiB are needed", folder.display(), bytes.div_ceil(1 << 20))]
    NoRoom {
        /// Where.
        folder: PathBuf,
        /// About how many.
        bytes: u64,
    },
    /// One at a time.
    #[error("another copy of the database is being made")]
    Copying,
    /// The process stops before a copy was done.
    #[error("stopped before the copy was done")]
    Stopping,
    /// What [`check()`] found.
    #[error("{0}")]
    Unsound(String),
}

macro_rules! from_redb {
    ($($kind:ident)*) => {$(
        impl From<redb::$kind> for Error {
            fn from(error: redb::$kind) -> Self {
                Self::Failed(Box::new(error.into()))
            }
        }
    )*};
}
from_redb!(DatabaseError TransactionError TableError StorageError CommitError SetDurabilityError CursorError);

/// What became of one fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the rows now.
    Applied,
    /// It was before.
    Repeated,
    /// It has a form that this version doesn't know, or is of a site for which there is no room; it is left out.
    Unknown,
}

impl Outcome {
    /// The name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Repeated => "repeated",
            Self::Unknown => "unknown",
        }
    }
}

/// The database. All methods wait for the disk: call them where that is allowed.
pub struct Store {
    open: Box<dyn Fn() -> Result<Database, Error> + Send + Sync>,
    /// `None` after a failure. Shared with whoever reads just now: until they are done the file stays locked, and it
    /// can't be opened a second time under them.
    database: Mutex<Option<Arc<Database>>>,
    remembered: Duration,
    copies: copy::Copies,
    left_out: Mutex<LeftOut>,
}

impl Store {
    /// Opens the file, or makes it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        check_file(path)?;
        let file = path.to_owned();
        let store = Self::opened_by(REMEMBERED, move || open(&file))?;
        Ok(Self { copies: copy::Copies::of(path), ..store })
    }

    /// A database that is gone with the process. A failure also empties it, but memory doesn't fail.
    pub fn in_memory() -> Result<Self, Error> {
        Self::opened_by(REMEMBERED_IN_MEMORY, || {
            let builder = &mut redb::Builder::new();
            // The pages are in memory already.
            Ok(builder.set_cache_size(CACHE_BYTES / 8).create_with_backend(InMemoryBackend::new())?)
        })
    }

    fn opened_by(
        remembered: Duration,
        open: impl Fn() -> Result<Database, Error> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let store = Self {
            open: Box::new(open),
            database: Mutex::default(),
            remembered,
            left_out: Mutex::default(),
            copies: copy::Copies::default(),
        };
        store.database()?;
        Ok(store)
    }

    /// Opens a file that is there to read it. Not a byte of it is changed, so one that an older version made is refused.
    pub fn open_untouched(path: &Path) -> Result<Self, Error> {
        let file = path.to_owned();
        let store = Self::opened_by(REMEMBERED, move || check::open_untouched(&file))?;
        Ok(Self { copies: copy::Copies::of(path), ..store })
    }

    /// Applies the facts that were not applied before, in one transaction that is on the disk when this returns. Tells
    /// of each what became of it.
    pub fn apply(&self, facts: &[Fact]) -> Result<Vec<Outcome>, Error> {
        self.apply_at(facts, Millis::now())
    }

    /// The same as if it were `now`: for generated data, and tests.
    #[doc(hidden)]
    pub fn apply_at(&self, facts: &[Fact], now: Millis) -> Result<Vec<Outcome>, Error> {
        let _not_rewritten_meanwhile = self.writing()?;
        let applied = apply::apply(&*self.database()?, facts, now, self.remembered);
        let (outcomes, left_out) = applied.inspect_err(|_| self.close())?;
        let mut all = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        all.happenings += left_out.happenings;
        all.pages += left_out.pages;
        all.times += left_out.times;
        all.sites += left_out.sites;
        all.comments += left_out.comments;
        Ok(outcomes)
    }

    /// What was left out of what was applied since this was asked last.
    pub(crate) fn take_left_out(&self) -> LeftOut {
        std::mem::take(&mut *self.left_out.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A site's figures in a range, or those of all sites.
    pub fn summary(&self, site: Option<&SiteId>, range: Range) -> Result<Summary, Error> {
        self.read(|reader| ask::summary(reader, site, range, Millis::now()))
    }

    /// Some of them by steps of time. Minutes are there for [8 days](forget::MINUTES_KEPT), hours for
    /// [400](forget::HOURS_KEPT), days for ever. At most [100,000](ask::MAX_STEPS) steps, from the first on.
    pub fn timeseries(
        &self,
        site: Option<&SiteId>,
        range: Range,
        bucket: Bucket,
        metrics: &[Metric],
    ) -> Result<Timeseries, Error> {
        self.read(|reader| ask::timeseries(reader, site, range, bucket, metrics))
    }

    /// Messages by day of the week and hour, so many minutes east of UTC. An hour of UTC that spans two there counts
    /// where it begins. There for [400 days](forget::HOURS_KEPT).
    pub fn busy_hours(&self, site: Option<&SiteId>, range: Range, offset_minutes: i32) -> Result<BusyHours, Error> {
        self.read(|reader| ask::busy_hours(reader, site, range, offset_minutes))
    }

    /// On which pages the sessions of whole days began. Of a site and day 1,000 pages are counted one by one.
    pub fn pages(&self, site: Option<&SiteId>, range: Range, limit: usize) -> Result<Pages, Error> {
        self.read(|reader| ask::pages(reader, site, range, limit, Millis::now()))
    }

    /// Sessions that began in a range, `limit` at most, newest first. Reads [5,000](list::MAX_READ) rows at most.
    pub fn sessions(
        &self,
        site: Option<&SiteId>,
        range: Range,
        filter: &Filter,
        after: Option<&Place>,
        limit: usize,
    ) -> Result<SessionPage, Error> {
        self.read(|reader| list::sessions(reader, site, range, filter, after, limit))
    }

    /// What is known of a session.
    pub fn session(&self, site: &SiteId, id: &SessionId) -> Result<Option<SessionDetail>, Error> {
        self.read(|reader| list::session(reader, site, id))
    }

    /// What visitors wrote with ratings of a range, `limit` at most, newest first. Reads [5,000](list::MAX_READ) rows at
    /// most.
    pub fn comments(
        &self,
        site: Option<&SiteId>,
        range: Range,
        rating: Option<protocol::Rating>,
        after: Option<&CommentPlace>,
        limit: usize,
    ) -> Result<CommentPage, Error> {
        self.read(|reader| comments::list(reader, site, range, rating, after, limit))
    }

    /// The sessions of a customer, by what [`runtime::customer::hash`] makes of them, the oldest first.
    pub fn customer_sessions(&self, site: &SiteId, customer_hash: &str) -> Result<Vec<SessionId>, Error> {
        self.read(|reader| list::of_customer(reader, site, customer_hash))
    }

    /// Sessions in which something happened in this minute or the five before it.
    pub fn live(&self, site: Option<&SiteId>, now: Millis) -> Result<u64, Error> {
        self.read(|reader| ask::live(reader, site, now))
    }

    /// The sites of which something was told, by name.
    pub fn sites(&self) -> Result<Vec<SiteId>, Error> {
        self.read(|reader| {
            let sites = tables::sites(&reader.open_table(SITES)?)?;
            Ok(sites.into_iter().map(|(site, _)| site).collect())
        })
    }

    /// Whether the data is made up.
    pub fn is_demo(&self) -> Result<bool, Error> {
        self.read(|reader| Ok(reader.open_table(META)?.get(DEMO_KEY)?.is_some()))
    }

    /// Says that it is.
    pub fn mark_demo(&self) -> Result<(), Error> {
        self.write(|transaction| {
            transaction.open_table(META)?.insert(DEMO_KEY, 1)?;
            Ok(())
        })
    }

    /// Reads the state that the last transaction left.
    fn read<T>(&self, ask: impl FnOnce(&ReadTransaction) -> Result<T, Error>) -> Result<T, Error> {
        let database = self.database()?;
        ask(&database.begin_read()?)
    }

    /// Changes something in one transaction that is on the disk when this returns.
    fn write<T>(&self, change: impl FnOnce(&WriteTransaction) -> Result<T, Error>) -> Result<T, Error> {
        let alone = self.writing()?;
        self.write_alone(&alone, change)
    }

    /// The same for one who has waited already.
    fn write_alone<T>(
        &self,
        _not_rewritten_meanwhile: &MutexGuard<'_, ()>,
        change: impl FnOnce(&WriteTransaction) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let database = self.database()?;
        let write = || {
            let transaction = begin(&database)?;
            let changed = change(&transaction)?;
            transaction.commit()?;
            Ok(changed)
        };
        let written = write();
        if written.is_err() {
            self.close();
        }
        written
    }

    /// Closes the database until the next call: after a failure redb gives nothing but failures.
    pub(crate) fn close(&self) {
        *self.held() = None;
    }

    fn database(&self) -> Result<Arc<Database>, Error> {
        let mut held = self.held();
        if let Some(database) = &*held {
            return Ok(Arc::clone(database));
        }
        let database = Arc::new((self.open)()?);
        prepare(&database)?;
        Ok(Arc::clone(held.insert(database)))
    }

    fn held(&self) -> MutexGuard<'_, Option<Arc<Database>>> {
        // redb may panic on a file that somebody else changed; then there is none open, and that is a good state.
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open(path: &Path) -> Result<Database, Error> {
    when_free(|| {
        make_if_missing(path).map_err(|error| Error::Open { path: path.to_owned(), cause: Box::new(error) })?;
        let opened = redb::Builder::new().set_cache_size(CACHE_BYTES).create(path);
        opened.map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => Error::InUse(path.to_owned()),
            redb::DatabaseError::Storage(redb::StorageError::Corrupted(cause)) => {
                Error::Damaged { path: path.to_owned(), cause }
            }
            error => Error::Open { path: path.to_owned(), cause: Box::new(error.into()) },
        })
    })
}

/// A file gets its name when it is whole: killed while it makes one, redb leaves what it never opens again.
fn make_if_missing(path: &Path) -> Result<(), redb::Error> {
    if path.try_exists()? {
        return Ok(());
    }
    let beside = copy::beside(path);
    // What a start that was killed has left. One that runs now holds a lock on a file without a name, and comes too late.
    std::fs::remove_file(&beside).or_else(|error| if copy::is_missing(&error) { Ok(()) } else { Err(error) })?;
    redb::Database::create(&beside)?.close()?;
    // Unlike a rename it takes the name of nobody's file.
    match std::fs::hard_link(&beside, path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => std::fs::rename(&beside, path)?,
        _ => std::fs::remove_file(&beside)?,
    }
    Ok(())
}

/// Tries again for a moment where the file is in use. The lock of one that was closed, or whose process was killed, may
/// outlive that: a process that is just being started still holds what its parent had open.
#[expect(
    clippy::disallowed_methods,
    reason = "nothing tells when a lock is free, and who opens waits for the disk anyway"
)]
fn when_free<T>(mut open: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    let began = Instant::now();
    loop {
        match open() {
            Err(Error::InUse(_)) if began.elapsed() < FREE_WITHIN => std::thread::sleep(FREE_WITHIN / 50),
            opened => return opened,
        }
    }
}

/// Compares the whole file with its checksums: redb itself looks at them only after a crash, and believes, or panics at,
/// what it reads later.
fn check_file(path: &Path) -> Result<(), Error> {
    let damaged = |cause: String| Error::Damaged { path: path.to_owned(), cause };
    if !path.try_exists().unwrap_or(true) {
        return Ok(());
    }
    // It may panic at what it finds.
    let checked = std::panic::catch_unwind(|| {
        let mut database = open(path)?;
        match database.check_integrity() {
            Ok(true) => Ok(()),
            Ok(false) => Err(damaged("checksums differ".to_owned())),
            Err(error) => Err(damaged(error.to_string())),
        }
    });
    checked.unwrap_or_else(|_| Err(damaged("its structure makes no sense".to_owned())))
}

/// A transaction with the durability that an acknowledgement needs.
fn begin(database: &Database) -> Result<WriteTransaction, Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    // Costs one more sync a batch, and spares the start after a kill a walk through the whole file.
    transaction.set_quick_repair(true);
    Ok(transaction)
}

/// Makes the tables, brings those of an older form to this one, or refuses a newer one.
fn prepare(database: &Database) -> Result<(), Error> {
    let transaction = begin(database)?;
    let is_older = {
        let mut meta = transaction.open_table(META)?;
        let found = meta.get(SCHEMA_KEY)?.map(|found| found.value());
        let migrating = meta.get(MIGRATING_KEY)?.is_some();
        match (found, migrating) {
            (Some(SCHEMA), false) => return Ok(()),
            (Some(migrate::FROM), _) | (Some(SCHEMA | migrate::WITHOUT_COMMENTS), true) => true,
            // Only the table of comments is missing. The number says that an older version must not take such a file:
            // it would copy it without them, and erase sessions but not what was said in them.
            (None | Some(migrate::WITHOUT_COMMENTS), _) => {
                meta.insert(SCHEMA_KEY, SCHEMA)?;
                false
            }
            (Some(found), _) => return Err(Error::Newer { found }),
        }
    };
    if is_older {
        drop(transaction);
        return migrate::migrate(database, Millis::now());
    }
    // So that who reads finds empty tables and not missing ones.
    each_table!(|table| drop(transaction.open_table(table)?));
    Ok(transaction.commit()?)
}
