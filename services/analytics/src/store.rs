//! Where facts become rows: the only file that knows redb.
//!
//! # Promises
//! - [`Store::apply`] is one transaction: all of a batch is on the disk when it returns, or nothing is.
//! - A fact is applied once, however often it is delivered within [`REMEMBERED`].
//! - A message whose end was told counts as accepted, also when the edge that accepted it died before it told.
//! - Of a session that its visitor ended there is no row. The sums of its site still count it, and what is told of it
//!   later, within [`REMEMBERED`].
//! - The memory of applied facts is bounded by time; it is cleared in small steps by the transactions that fill it, so
//!   there is neither a second writer nor a long pause.
//! - After a batch that failed the database is closed, and the next call opens it again: redb asks for that.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use protocol::{Fact, FactId, FactKind, Millis, SessionId, SiteId};
use redb::{
    Database, Durability, ReadableDatabase as _, ReadableTable, Table, TableDefinition, WriteTransaction,
    backends::InMemoryBackend,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::row::{Session, Totals};

/// By site and session: all rows of a site lie together, the oldest session first.
const SESSIONS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("sessions");
/// By site. Kept beside the rows, so that a figure of a year costs one read.
const TOTALS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("totals");
/// Ids of facts. As text and not as a hash: an id begins with its session's time, so new ones fall on few pages.
const APPLIED: TableDefinition<'_, &str, ()> = TableDefinition::new("applied");
/// The same ids by when they were applied, for forgetting the oldest. Not by when the fact happened: a fact that waited
/// in the stream for long is as likely to come again as any other.
const APPLIED_AT: TableDefinition<'_, (i64, &str), ()> = TableDefinition::new("applied_at");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// The key in [`META`] of the form of the tables.
const SCHEMA_KEY: &str = "schema";
/// The form of the tables above.
const SCHEMA: u64 = 1;

/// Ends the id, among the applied ones, that says: this message counts as accepted, though only its end was told.
const INFERRED: &str = "inferred";

/// How long a fact that comes again is recognised. Over NATS one comes again half a minute after a lost
/// acknowledgement; a week also covers a stream that was put back from a copy.
const REMEMBERED: Duration = Duration::from_secs(7 * 24 * 3600);
/// The same in memory, where room is dear and the bus of the process gives a fact again at once.
const REMEMBERED_IN_MEMORY: Duration = Duration::from_secs(600);

/// Ids that a transaction may forget beyond twice what it adds: it always outruns the growth and is never long.
const FORGET_MORE: usize = 100;

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
    #[error("a row can't be read or written: {0}")]
    Row(#[from] serde_json::Error),
    /// A bug, here or in redb.
    #[error("the database panicked")]
    Panicked,
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
from_redb!(DatabaseError TransactionError TableError StorageError CommitError SetDurabilityError);

/// What became of one fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the rows now.
    Applied,
    /// It was before.
    Repeated,
    /// It has a form that this version doesn't know; it is left out.
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
}

impl Store {
    /// Opens the file, or makes it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let path = path.to_owned();
        check(&path)?;
        Self::opened_by(REMEMBERED, move || open(&path))
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
        let store = Self { open: Box::new(open), database: Mutex::default(), remembered };
        store.database()?;
        Ok(store)
    }

    /// Applies the facts that were not applied before, in one transaction that is on the disk when this returns. Tells
    /// of each what became of it.
    pub fn apply(&self, facts: &[Fact]) -> Result<Vec<Outcome>, Error> {
        self.apply_at(facts, Millis::now())
    }

    fn apply_at(&self, facts: &[Fact], now: Millis) -> Result<Vec<Outcome>, Error> {
        let remembered = i64::try_from(self.remembered.as_millis()).unwrap_or(i64::MAX);
        let forget_before = Millis(now.0.saturating_sub(remembered));
        let applied = apply(&*self.database()?, facts, now, forget_before);
        if applied.is_err() {
            self.close();
        }
        applied
    }

    /// What is known of a session.
    pub fn session(&self, site: &SiteId, id: &SessionId) -> Result<Option<Session>, Error> {
        let database = self.database()?;
        let sessions = database.begin_read()?.open_table(SESSIONS)?;
        read(&sessions, (site.as_str(), id.as_str()))
    }

    /// What is known of each site.
    pub fn totals(&self) -> Result<BTreeMap<String, Totals>, Error> {
        let database = self.database()?;
        let totals = database.begin_read()?.open_table(TOTALS)?;
        totals
            .iter()?
            .map(|row| {
                let (site, totals) = row?;
                Ok((site.value().to_owned(), serde_json::from_slice(totals.value())?))
            })
            .collect()
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
    let opened = redb::Builder::new().set_cache_size(CACHE_BYTES).create(path);
    opened.map_err(|error| match error {
        redb::DatabaseError::DatabaseAlreadyOpen => Error::InUse(path.to_owned()),
        redb::DatabaseError::Storage(redb::StorageError::Corrupted(cause)) => {
            Error::Damaged { path: path.to_owned(), cause }
        }
        error => Error::Open { path: path.to_owned(), cause: Box::new(error.into()) },
    })
}

/// Compares the whole file with its checksums: redb itself looks at them only after a crash, and believes, or panics at,
/// what it reads later.
fn check(path: &Path) -> Result<(), Error> {
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

/// Makes the tables, or checks that they are of a known form.
fn prepare(database: &Database) -> Result<(), Error> {
    let transaction = begin(database)?;
    {
        let mut meta = transaction.open_table(META)?;
        let found = meta.get(SCHEMA_KEY)?.map(|found| found.value());
        match found {
            Some(SCHEMA) => return Ok(()),
            Some(found) => return Err(Error::Newer { found }),
            None => {}
        }
        meta.insert(SCHEMA_KEY, SCHEMA)?;
        // So that who reads finds empty tables and not missing ones.
        transaction.open_table(SESSIONS)?;
        transaction.open_table(TOTALS)?;
        transaction.open_table(APPLIED)?;
        transaction.open_table(APPLIED_AT)?;
    }
    Ok(transaction.commit()?)
}

fn apply(database: &Database, facts: &[Fact], now: Millis, forget_before: Millis) -> Result<Vec<Outcome>, Error> {
    let transaction = begin(database)?;
    let mut outcomes = Vec::with_capacity(facts.len());
    {
        let mut applied = transaction.open_table(APPLIED)?;
        let mut applied_at = transaction.open_table(APPLIED_AT)?;
        let mut sessions = transaction.open_table(SESSIONS)?;
        let mut totals = transaction.open_table(TOTALS)?;
        forget(&mut applied, &mut applied_at, forget_before, 2 * facts.len() + FORGET_MORE)?;

        // The facts of one batch are often of the same few sessions: each row is read and written once.
        // `None`: the session was ended, and has none.
        let mut changed: BTreeMap<(&str, &str), Option<Session>> = BTreeMap::new();
        let mut sums: BTreeMap<&str, Totals> = BTreeMap::new();
        for fact in facts {
            if fact.v != 1 {
                outcomes.push(Outcome::Unknown);
                continue;
            }
            let id = fact.id.as_str();
            if applied.insert(id, ())?.is_some() {
                outcomes.push(Outcome::Repeated);
                continue;
            }
            applied_at.insert((now.0, id), ())?;
            outcomes.push(Outcome::Applied);
            let Some(session) = &fact.session else { continue };
            let acceptances = match &fact.kind {
                FactKind::MessageAccepted { message_id, .. } => {
                    let inferred = FactId::of(session, Some(message_id), INFERRED);
                    u64::from(applied.get(inferred.as_str())?.is_none())
                }
                FactKind::ReplyEnded { message_id, .. } | FactKind::ReplyFailed { message_id, .. } => {
                    let told = Fact::id_of_acceptance(session, message_id);
                    let untold = applied.get(told.as_str())?.is_none();
                    if untold {
                        let inferred = FactId::of(session, Some(message_id), INFERRED);
                        applied.insert(inferred.as_str(), ())?;
                        applied_at.insert((now.0, inferred.as_str()), ())?;
                    }
                    u64::from(untold)
                }
                FactKind::SessionStarted(_)
                | FactKind::SessionEnded
                | FactKind::MessagePushed { .. }
                | FactKind::ReplyRated { .. }
                | FactKind::CallsRefused { .. } => 0,
            };
            let site = fact.site.as_str();
            let sum = match sums.entry(site) {
                Entry::Occupied(sum) => sum.into_mut(),
                Entry::Vacant(free) => free.insert(read(&totals, site)?.unwrap_or_default()),
            };
            let row = match changed.entry((site, session.as_str())) {
                Entry::Occupied(row) => row.into_mut(),
                Entry::Vacant(free) => {
                    let known: Option<Session> = read(&sessions, *free.key())?;
                    let ended = applied.get(Fact::id_of_end(session).as_str())?.is_some();
                    let ends_now = fact.kind == FactKind::SessionEnded;
                    if known.is_none() && (!ended || ends_now) {
                        sum.sessions = sum.sessions.saturating_add(1);
                    }
                    free.insert((!ended).then(|| known.unwrap_or_else(|| Session::new(session))))
                }
            };
            match row {
                _ if fact.kind == FactKind::SessionEnded => *row = None,
                Some(row) => row.apply(fact, acceptances),
                None => {}
            }
            sum.tally.apply(&fact.kind, acceptances);
        }
        for (key, row) in &changed {
            match row {
                Some(row) => drop(sessions.insert(key, write(row)?.as_slice())?),
                None => drop(sessions.remove(key)?),
            }
        }
        for (key, sum) in &sums {
            totals.insert(key, write(sum)?.as_slice())?;
        }
    }
    transaction.commit()?;
    Ok(outcomes)
}

/// Forgets the ids that were applied `before`, `most` of them.
fn forget(
    applied: &mut Table<'_, &str, ()>,
    applied_at: &mut Table<'_, (i64, &str), ()>,
    before: Millis,
    most: usize,
) -> Result<(), Error> {
    for entry in applied_at.extract_from_if(..(before.0, ""), |_, ()| true)?.take(most) {
        let (key, _) = entry?;
        applied.remove(key.value().1)?;
    }
    Ok(())
}

fn read<K: redb::Key + 'static, T: DeserializeOwned>(
    table: &impl ReadableTable<K, &'static [u8]>,
    key: K::SelfType<'_>,
) -> Result<Option<T>, Error> {
    Ok(table.get(key)?.map(|row| serde_json::from_slice(row.value())).transpose()?)
}

fn write(row: &impl Serialize) -> Result<Vec<u8>, Error> {
    Ok(serde_json::to_vec(row)?)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{
        io::{self, BufRead as _, BufReader},
        process::{Command, Stdio},
        sync::atomic::{AtomicBool, Ordering},
    };

    use protocol::{FailureCode, FinishReason, MessageId};
    use redb::{ReadableTableMetadata as _, StorageBackend};

    use super::*;

    /// Memory that survives its database, and fails as long as `broken` says.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct Disk {
        memory: Arc<InMemoryBackend>,
        pub(crate) broken: Arc<AtomicBool>,
    }

    impl Disk {
        pub(crate) fn store(&self) -> Store {
            let disk = self.clone();
            Store::opened_by(REMEMBERED, move || Ok(redb::Builder::new().create_with_backend(disk.clone())?)).unwrap()
        }

        fn works(&self) -> io::Result<&InMemoryBackend> {
            let broken = self.broken.load(Ordering::Acquire);
            if broken { Err(io::ErrorKind::StorageFull.into()) } else { Ok(&self.memory) }
        }
    }

    impl StorageBackend for Disk {
        fn len(&self) -> io::Result<u64> {
            self.works()?.len()
        }
        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.works()?.read(offset, out)
        }
        fn set_len(&self, len: u64) -> io::Result<()> {
            self.works()?.set_len(len)
        }
        fn sync_data(&self) -> io::Result<()> {
            self.works()?.sync_data()
        }
        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.works()?.write(offset, data)
        }
    }

    fn site() -> SiteId {
        SiteId::new("default").unwrap()
    }

    fn session() -> SessionId {
        SessionId::mint(1_767_168_909, 1)
    }

    fn message(n: usize) -> MessageId {
        MessageId::new(&format!("message-{n}")).unwrap()
    }

    pub(crate) fn accepted(n: usize) -> Fact {
        Fact::now(&site(), &session(), FactKind::MessageAccepted { message_id: message(n), chars: 3 })
    }

    fn ended(n: usize) -> Fact {
        let kind = FactKind::ReplyEnded {
            message_id: message(n),
            chunks: 2,
            finish_reason: FinishReason::Stop,
            first_chunk_ms: Some(20),
            duration_ms: 90,
        };
        Fact::now(&site(), &session(), kind)
    }

    fn failed(n: usize) -> Fact {
        let kind = FactKind::ReplyFailed {
            message_id: message(n),
            chunks: 0,
            code: FailureCode::Interrupted,
            duration_ms: 90,
        };
        Fact::now(&site(), &session(), kind)
    }

    pub(crate) fn messages(store: &Store) -> u64 {
        store.session(&site(), &session()).unwrap().map_or(0, |row| row.tally.messages)
    }

    fn remembered(store: &Store) -> u64 {
        let reader = store.database().unwrap().begin_read().unwrap();
        let ids = reader.open_table(APPLIED).unwrap().len().unwrap();
        assert_eq!(reader.open_table(APPLIED_AT).unwrap().len().unwrap(), ids, "the two tables go together");
        ids
    }

    #[test]
    fn a_fact_is_applied_once() {
        use Outcome::{Applied, Repeated};
        let store = Store::in_memory().unwrap();
        assert_eq!(store.apply(&[accepted(1), accepted(1), ended(1)]).unwrap(), [Applied, Repeated, Applied]);
        assert_eq!(store.apply(&[ended(1), accepted(2)]).unwrap(), [Repeated, Applied]);
        assert_eq!(store.apply(&[]).unwrap(), []);
        let row = store.session(&site(), &session()).unwrap().unwrap();
        assert_eq!((row.tally.messages, row.tally.ended, row.tally.chunks), (2, 1, 2));
    }

    #[test]
    fn an_ended_session_has_no_row_and_gets_none_again() {
        let row = |store: &Store| store.session(&site(), &session()).unwrap();
        let counted = |store: &Store| {
            let totals = store.totals().unwrap().remove("default").unwrap();
            (totals.sessions, totals.tally.messages, totals.tally.ended)
        };
        let end = || Fact::now(&site(), &session(), FactKind::SessionEnded);
        let store = Store::in_memory().unwrap();
        store.apply(&[accepted(1)]).unwrap();
        assert!(row(&store).is_some());
        assert_eq!(store.apply(&[end()]).unwrap(), [Outcome::Applied]);
        assert_eq!(row(&store), None);
        // The end of its last reply is told by a worker, and comes late.
        assert_eq!(store.apply(&[ended(1), end()]).unwrap(), [Outcome::Applied, Outcome::Repeated]);
        assert_eq!((row(&store), counted(&store)), (None, (1, 1, 1)));

        let store = Store::in_memory().unwrap();
        store.apply(&[accepted(1), end(), ended(1)]).unwrap();
        assert_eq!((row(&store), counted(&store)), (None, (1, 1, 1)), "the same in one batch");
        let store = Store::in_memory().unwrap();
        store.apply(&[end(), accepted(1)]).unwrap();
        store.apply(&[ended(1)]).unwrap();
        assert_eq!((row(&store), counted(&store)), (None, (1, 1, 1)), "and when the end is told first");
    }

    const FILE: &str = "FRONTDESK_TEST_STORE";
    const FIRST: &str = "FRONTDESK_TEST_FIRST";

    /// What the next test runs in a process of its own, and kills.
    #[test]
    #[ignore = "writes until it is killed"]
    fn writes_until_it_is_killed() {
        let (Ok(file), Ok(first)) = (std::env::var(FILE), std::env::var(FIRST)) else { return };
        let store = Store::open(Path::new(&file)).unwrap();
        for n in first.parse::<usize>().unwrap().. {
            store.apply(&[accepted(n)]).unwrap();
            println!("applied {n}");
        }
    }

    /// kill -9 at any moment of a write: the file opens, what was acknowledged is there, and what is delivered again is
    /// not counted again.
    #[test]
    fn a_killed_writer_loses_nothing_and_counts_nothing_twice() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("facts.redb");
        // How many facts were acknowledged, from 0 on.
        let mut known = 0_usize;
        for round in 0..200 {
            let mut writer = Command::new(std::env::current_exe().unwrap())
                .args(["--ignored", "--exact", "--nocapture", "store::tests::writes_until_it_is_killed"])
                .env(FILE, &file)
                .env(FIRST, known.saturating_sub(3).to_string())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines().map_while(Result::ok);
            let mut told = |line: String| {
                let n = line.rsplit_once("applied ").and_then(|(_, n)| n.parse::<usize>().ok());
                known = n.map_or(known, |n| known.max(n + 1));
                n.is_some()
            };
            // Not after the same number each time, so that the kill meets another place in the file.
            let enough = 4 + round % 17;
            assert_eq!(lines.by_ref().filter(|line| told(line.clone())).take(enough).count(), enough);
            writer.kill().unwrap();
            for line in lines {
                told(line);
            }
            writer.wait().unwrap();
            let row = Store::open(&file).unwrap().session(&site(), &session()).unwrap().unwrap();
            let counted = usize::try_from(row.tally.messages).unwrap();
            // One more may be on the disk whose acknowledgement was never heard.
            assert!((known..=known + 1).contains(&counted), "{counted} of {known}");
        }
        assert!(known >= 200, "{known}");
    }

    const READ: &str = "FRONTDESK_TEST_READ";

    /// What the next test runs in a process of its own, because a damaged file may end it.
    #[test]
    #[ignore = "reads what it is told to"]
    fn opens_and_counts() {
        let Ok(file) = std::env::var(READ) else { return };
        match Store::open(Path::new(&file)) {
            Ok(store) => {
                let more = store.apply(&[accepted(1_000_000)]);
                println!("\nopened: {} {}", messages(&store), more.is_ok());
            }
            Err(error) => println!("\nrefused: {error}"),
        }
    }

    /// The end of the file is torn off, or holds something else: either all that was acknowledged is there, or the file is
    /// refused in words, and left as it is.
    #[test]
    fn a_damaged_file_is_whole_or_refused() {
        const FACTS: usize = 300;
        let folder = tempfile::tempdir().unwrap();
        let (good, bad) = (folder.path().join("good.redb"), folder.path().join("bad.redb"));
        let store = Store::open(&good).unwrap();
        for n in 0..FACTS {
            store.apply(&[accepted(n)]).unwrap();
        }
        // As a kill leaves it: not closed.
        let whole = std::fs::read(&good).unwrap();
        drop(store);
        let (mut opened, mut refused) = (0, 0);
        for round in 0..60_usize {
            let mut damaged = whole.clone();
            let at = whole.len() - (1 + round / 2) * whole.len() / 31;
            match round % 2 {
                0 => damaged.truncate(at),
                _ => damaged[at..].iter_mut().take(4096).for_each(|byte| *byte ^= 0x5a),
            }
            std::fs::write(&bad, &damaged).unwrap();
            let read = || {
                let reader = Command::new(std::env::current_exe().unwrap())
                    .args(["--ignored", "--exact", "--nocapture", "store::tests::opens_and_counts"])
                    .env(READ, &bad)
                    .output()
                    .unwrap();
                String::from_utf8_lossy(&reader.stdout).into_owned() + &String::from_utf8_lossy(&reader.stderr)
            };
            let said = read();
            if said.contains(&format!("opened: {} true", FACTS + 1)) {
                opened += 1;
            } else {
                for said in [said, read()] {
                    assert!(said.contains("refused: ") && said.contains("is damaged and was left as it is"), "{said}");
                }
                let left = std::fs::read(&bad).unwrap();
                let same = left.iter().zip(&damaged).filter(|(left, damaged)| left == damaged).count();
                assert!(same + 4096 >= damaged.len(), "all but its head is as it was: {same} of {}", damaged.len());
                refused += 1;
            }
        }
        assert!(opened > 0 && refused > 0, "{opened} opened, {refused} refused");
        println!("{opened} opened, {refused} refused");
    }

    /// An edge that died told nothing, or tells late; either way each message was accepted once.
    #[test]
    fn whose_end_is_told_was_accepted() {
        let store = Store::in_memory().unwrap();
        store.apply(&[ended(1), failed(2)]).unwrap();
        assert_eq!(messages(&store), 2);
        assert_eq!(store.apply(&[accepted(1), accepted(3)]).unwrap(), [Outcome::Applied; 2]);
        store.apply(&[ended(3)]).unwrap();
        assert_eq!(messages(&store), 3);
    }

    #[test]
    fn of_an_end_and_a_failure_the_first_counts() {
        let store = Store::in_memory().unwrap();
        assert_eq!(store.apply(&[failed(1)]).unwrap(), [Outcome::Applied]);
        assert_eq!(store.apply(&[ended(1)]).unwrap(), [Outcome::Repeated]);
        let row = store.session(&site(), &session()).unwrap().unwrap();
        assert_eq!((row.tally.ended, row.tally.failed), (0, [("interrupted".to_owned(), 1)].into()));
    }

    #[test]
    fn a_form_of_a_later_version_is_left_out() {
        let store = Store::in_memory().unwrap();
        let outcomes = store.apply(&[Fact { v: 2, ..accepted(1) }, accepted(2)]).unwrap();
        assert_eq!(outcomes, [Outcome::Unknown, Outcome::Applied]);
        assert_eq!(messages(&store), 1);
    }

    #[test]
    fn each_site_has_its_totals() {
        let store = Store::in_memory().unwrap();
        let shoes = SiteId::new("shoes").unwrap();
        let other = SessionId::mint(1_767_168_909, 2);
        let elsewhere = FactKind::SessionStarted(protocol::Visit::default());
        store.apply(&[accepted(1), ended(1), Fact::now(&shoes, &other, elsewhere)]).unwrap();
        store
            .apply(&[accepted(2), Fact { session: Some(other.clone()), id: message_id_of(&other), ..accepted(3) }])
            .unwrap();
        let totals = store.totals().unwrap();
        assert_eq!(totals.keys().collect::<Vec<_>>(), ["default", "shoes"]);
        assert_eq!((totals["default"].sessions, totals["default"].tally.messages), (2, 3));
        assert_eq!((totals["shoes"].sessions, totals["shoes"].tally.messages), (1, 0), "one id at two sites is two");
    }

    fn message_id_of(session: &SessionId) -> protocol::FactId {
        protocol::FactId::of(session, Some(&message(3)), "accepted")
    }

    #[test]
    fn a_file_keeps_rows_and_ids() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("analytics.redb");
        Store::open(&path).unwrap().apply(&[accepted(1)]).unwrap();

        let store = Store::open(&path).unwrap();
        assert_eq!(store.apply(&[accepted(1), accepted(2)]).unwrap(), [Outcome::Repeated, Outcome::Applied]);
        assert_eq!(messages(&store), 2);
        assert!(matches!(Store::open(&path), Err(Error::InUse(_))), "one process at a time");
    }

    #[test]
    fn what_is_not_ours_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let newer = folder.path().join("newer.redb");
        let database = Database::create(&newer).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(META).unwrap().insert(SCHEMA_KEY, SCHEMA + 1).unwrap();
        transaction.commit().unwrap();
        drop(database);
        let refused = Store::open(&newer).err().unwrap();
        assert_eq!(
            refused.to_string(),
            "the database has form 2, this version knows forms up to 1; start a newer Frontdesk, or another file"
        );

        let text = folder.path().join("notes.txt");
        std::fs::write(&text, "not a database").unwrap();
        assert!(matches!(Store::open(&text), Err(Error::Open { .. })));
        assert_eq!(std::fs::read(&text).unwrap(), b"not a database");
        assert!(matches!(Store::open(&folder.path().join("missing/a.redb")), Err(Error::Open { .. })));
    }

    #[test]
    fn old_ids_are_forgotten_in_small_steps() {
        let store = Disk::default().store();
        let facts: Vec<Fact> = (0..300).map(accepted).collect();
        let started = Fact::now(&site(), &session(), FactKind::SessionStarted(protocol::Visit::default()));
        let week = i64::try_from(REMEMBERED.as_millis()).unwrap();
        store.apply_at(&facts, Millis(0)).unwrap();
        store.apply_at(&[accepted(0)], Millis(week)).unwrap();
        assert_eq!(remembered(&store), 300, "a week old is not too old");
        store.apply_at(std::slice::from_ref(&started), Millis(week + 1)).unwrap();
        assert_eq!(remembered(&store), 301 - 102, "a small step");
        for _ in 0..2 {
            store.apply_at(std::slice::from_ref(&started), Millis(week + 1)).unwrap();
        }
        assert_eq!(remembered(&store), 1, "the new one");
        assert_eq!(messages(&store), 300, "the rows stay");
    }

    #[test]
    fn a_batch_that_fails_leaves_nothing_and_the_next_call_heals() {
        let disk = Disk::default();
        let store = disk.store();
        store.apply(&[accepted(1)]).unwrap();
        disk.broken.store(true, Ordering::Release);
        assert!(store.apply(&[accepted(2), accepted(3)]).is_err());
        assert!(store.apply(&[accepted(2), accepted(3)]).is_err());
        disk.broken.store(false, Ordering::Release);
        assert_eq!(messages(&store), 1);
        assert_eq!(store.apply(&[accepted(2), accepted(3)]).unwrap(), [Outcome::Applied; 2]);
        assert_eq!(messages(&store), 3);
    }
}
