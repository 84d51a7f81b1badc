//! Copies of the database: one to keep, and the one that takes its place.
//!
//! Both are made the same way: the live rows of one read transaction, in their order, into an empty file. So a copy holds
//! what stood there at one moment, is packed tightly, and has no byte of what was changed or erased before.
//!
//! # Promises
//! - [`Store::copy`] delays no write. What is applied meanwhile is not in it.
//! - [`Store::rewrite`] lets writes wait until it is over, and readers go on. Killed at any moment it leaves a whole
//!   file, the old one or the new one, with all that was acknowledged. If it fails the old one stays in use.
//! - One copy is made at a time; another caller is refused at once. [`Store::stop_copies`] ends it soon.
//! - Its memory is that of redb's cache, whatever the database's size.

use std::{
    ffi::OsString,
    fs::{self, File, Permissions},
    io::{self, Seek as _, SeekFrom},
    ops::Bound,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use protocol::Millis;
use redb::{
    Database, Key, ReadTransaction, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _,
    TableDefinition, Value, WriteTransaction,
    backends::{FileBackend, InMemoryBackend},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    CACHE_BYTES, Error, Store, begin,
    care::REWRITE_KEY,
    tables::{META, each_table},
};

/// Rows between two looks at whether to stop.
const ROWS: u64 = 10_000;

/// The key in [`META`] of when the file was last rewritten, Unix ms.
pub(super) const REWRITTEN_KEY: &str = "rewritten_at";

/// What copies share with the writers of a store.
#[derive(Default)]
pub(super) struct Copies {
    /// The file, without links in its path; none in memory.
    path: Option<PathBuf>,
    /// Held by whoever writes, and by a rewrite from its first row to the exchange of the files.
    writing: Mutex<()>,
    /// Held while a copy is made.
    copying: Mutex<()>,
    stopping: AtomicBool,
    /// Whether the file may have a name that is not on the disk yet: a power cut would bring back the one before it, or
    /// none. Nothing is written until the folder is on the disk.
    unsynced: AtomicBool,
}

/// A copy to keep, in a file without a name: it goes with its last handle.
#[derive(Debug)]
pub struct Copied {
    /// At its beginning. To be read whole; it is an ordinary database file.
    pub file: File,
    /// Its length.
    pub bytes: u64,
    /// Of all its bytes. Over HTTP it goes ahead of them, as `Repr-Digest` (RFC 9530).
    pub sha256: [u8; 32],
}

/// What a rewrite did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rewritten {
    /// When it was over, Unix ms.
    pub at: Millis,
    /// Bytes of the file before it.
    pub bytes_before: u64,
    /// And after.
    pub bytes_after: u64,
    /// Rows of all tables.
    pub rows: u64,
    /// How long writes waited.
    pub took_ms: u64,
}

impl Copies {
    /// Of an open database.
    pub(super) fn of(path: &Path) -> Self {
        // A rewrite replaces the file, not a link to it.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        // A rewrite that was killed; nobody else can be at it, as the database is open and locked.
        fs::remove_file(beside(&path)).ok();
        // It may have been made just now, or renamed by a rewrite before a kill.
        Self { path: Some(path), unsynced: AtomicBool::new(true), ..Self::default() }
    }
}

impl Store {
    /// A copy of the database as it is now, while writing goes on. Needs as much room as its rows, beside the database.
    pub fn copy(&self) -> Result<Copied, Error> {
        let _one = self.one_copy()?;
        let folder = self.folder().map_or_else(std::env::temp_dir, Path::to_owned);
        self.in_folder(&folder, || self.copy_into(tempfile::tempfile_in(&folder)?))
    }

    fn copy_into(&self, mut file: File) -> Result<Copied, Error> {
        let database = self.database()?;
        // redb's lock is on the open file, and goes with it.
        let fresh = cached().create_with_backend(FileBackend::new(file.try_clone()?)?)?;
        self.copy_rows(&database.begin_read()?, &fresh, None)?;
        fresh.close()?;
        file.seek(SeekFrom::Start(0))?;
        let (bytes, sha256) = digest(&mut file)?;
        file.seek(SeekFrom::Start(0))?;
        Ok(Copied { file, bytes, sha256 })
    }

    /// Puts a copy in the place of the file: it shrinks, and what was erased is in none of its bytes. Takes a few
    /// seconds for a million sessions, and as much room as their rows.
    pub fn rewrite(&self) -> Result<Rewritten, Error> {
        let _one = self.one_copy()?;
        let _writers_wait = self.writing()?;
        let (database, began, at) = (self.database()?, Instant::now(), Millis::now());
        let bytes_before = self.bytes()?;
        let (fresh, rows) = match &self.copies.path {
            Some(path) => self.rewrite_file(path, &database, at)?,
            None => {
                let fresh = cached().create_with_backend(InMemoryBackend::new())?;
                let rows = self.copy_rows(&database.begin_read()?, &fresh, Some(at))?;
                (fresh, rows)
            }
        };
        *self.held() = Some(Arc::new(fresh));
        self.sync_folder()?;
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(Rewritten { at, bytes_before, bytes_after: self.bytes()?, rows, took_ms })
    }

    /// The new file is open, and so locked, before it has the name: at no moment another process can open it.
    fn rewrite_file(&self, path: &Path, database: &Database, at: Millis) -> Result<(Database, u64), Error> {
        let beside = beside(path);
        let made = self.in_folder(path.parent().unwrap_or(path), || {
            // A file that somebody else put there is none of ours.
            fs::remove_file(&beside).or_else(|error| if is_missing(&error) { Ok(()) } else { Err(error) })?;
            let permissions: Permissions = fs::metadata(path)?.permissions();
            let fresh = cached().create(&beside)?;
            fs::set_permissions(&beside, permissions)?;
            let rows = self.copy_rows(&database.begin_read()?, &fresh, Some(at))?;
            // redb cuts off what it took ahead when it closes.
            fresh.close()?;
            let fresh = cached().open(&beside)?;
            fs::rename(&beside, path)?;
            self.copies.unsynced.store(true, Ordering::Release);
            Ok((fresh, rows))
        });
        made.inspect_err(|_| drop(fs::remove_file(&beside)))
    }

    /// Copies into a folder, if there is room in it. Asked before, because a disk that is full to the last byte stops
    /// all that live on it.
    fn in_folder<T>(&self, folder: &Path, copy: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        let disk = rustix::fs::statvfs(folder).map_err(io::Error::from)?;
        let room = disk.f_bavail.saturating_mul(disk.f_frsize);
        let no_room = || Ok::<_, Error>(Error::NoRoom { folder: folder.to_owned(), bytes: self.live_bytes()? });
        if room < self.bytes()? && room < self.live_bytes()? {
            return Err(no_room()?);
        }
        copy().or_else(|error| Err(if is_full(&error) { no_room()? } else { error }))
    }

    fn folder(&self) -> Option<&Path> {
        self.copies.path.as_deref().and_then(Path::parent)
    }

    fn copy_rows(&self, from: &ReadTransaction, fresh: &Database, rewritten: Option<Millis>) -> Result<u64, Error> {
        let into = begin(fresh)?;
        let mut rows = 0;
        each_table!(|table| copy_table(table, from, &into, &mut rows, &self.copies.stopping)?);
        if let Some(at) = rewritten {
            let mut meta = into.open_table(META)?;
            meta.insert(REWRITTEN_KEY, u64::try_from(at.0).unwrap_or(0))?;
            meta.remove(REWRITE_KEY)?;
        }
        into.commit()?;
        Ok(rows)
    }

    /// Ends a copy that is being made, and refuses new ones: the process stops.
    pub fn stop_copies(&self) {
        self.copies.stopping.store(true, Ordering::Release);
    }

    /// Bytes that the file takes on the disk; 0 in memory. Not its length: redb takes room ahead, as a hole.
    pub fn bytes(&self) -> Result<u64, Error> {
        let file = self.copies.path.as_deref().map(fs::metadata).transpose()?;
        Ok(file.map_or(0, |file| file.len().min(file.blocks().saturating_mul(512))))
    }

    /// Bytes of the file's pages that hold rows. Reads all of them but the leaves' contents.
    pub fn live_bytes(&self) -> Result<u64, Error> {
        let database = self.database()?;
        let (reader, mut bytes) = (database.begin_read()?, 0);
        each_table!(|table| count_pages(table, &reader, &mut bytes)?);
        Ok(bytes)
    }

    /// Whoever writes holds this from before it asks for the database: a rewrite exchanges it.
    pub(crate) fn writing(&self) -> Result<MutexGuard<'_, ()>, Error> {
        let alone = self.copies.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.sync_folder()?;
        Ok(alone)
    }

    /// Puts the file's name on the disk, if it may not be there yet.
    fn sync_folder(&self) -> Result<(), Error> {
        use io::ErrorKind::{InvalidInput, Unsupported};
        let Some(folder) = self.folder().filter(|_| self.copies.unsynced.load(Ordering::Acquire)) else {
            return Ok(());
        };
        match File::open(folder)?.sync_all() {
            // A file system that has no such thing has nothing else to offer either.
            Err(error) if !matches!(error.kind(), InvalidInput | Unsupported) => return Err(error.into()),
            _ => self.copies.unsynced.store(false, Ordering::Release),
        }
        Ok(())
    }

    fn one_copy(&self) -> Result<MutexGuard<'_, ()>, Error> {
        use std::sync::TryLockError::{Poisoned, WouldBlock};
        if self.copies.stopping.load(Ordering::Acquire) {
            return Err(Error::Stopping);
        }
        self.copies.copying.try_lock().or_else(|held| match held {
            WouldBlock => Err(Error::Copying),
            Poisoned(held) => Ok(held.into_inner()),
        })
    }
}

fn count_pages<K: Key + 'static, V: Value + 'static>(
    table: TableDefinition<'_, K, V>,
    from: &ReadTransaction,
    bytes: &mut u64,
) -> Result<(), Error> {
    // Pages are not of one size: a long timeline has one of its own.
    let stats = from.open_table(table)?.stats()?;
    *bytes += stats.stored_bytes() + stats.metadata_bytes() + stats.fragmented_bytes();
    Ok(())
}

fn copy_table<K: Key + 'static, V: Value + 'static>(
    table: TableDefinition<'_, K, V>,
    from: &ReadTransaction,
    into: &WriteTransaction,
    rows: &mut u64,
    stopping: &AtomicBool,
) -> Result<(), Error> {
    let source = from.open_table(table)?;
    let mut target = into.open_table(table)?;
    // Packs pages full; one insert after the other would leave each of them half empty.
    let mut end = target.upper_bound_mut(Bound::<K::SelfType<'_>>::Unbounded)?;
    for row in source.iter()? {
        let (key, value) = row?;
        end.insert_before(key.value(), value.value())?;
        *rows += 1;
        if rows.is_multiple_of(ROWS) && stopping.load(Ordering::Acquire) {
            return Err(Error::Stopping);
        }
    }
    end.close()?;
    Ok(())
}

fn cached() -> redb::Builder {
    let mut builder = redb::Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// Where a rewrite, or the making of a file, writes: in the same folder, for [`fs::rename`] to be atomic.
pub(super) fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".rewriting");
    name.into()
}

pub(super) fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

fn is_full(error: &Error) -> bool {
    let full = |error: &io::Error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    match error {
        Error::Io(error) => full(error),
        Error::Failed(error) => matches!(&**error, redb::Error::Io(error) if full(error)),
        _ => false,
    }
}

/// Reads to the end.
pub(crate) fn digest(from: &mut impl io::Read) -> io::Result<(u64, [u8; 32])> {
    let (mut hash, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 20]);
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok((bytes, hash.finalize().into())),
            read => {
                hash.update(&buffer[..read]);
                bytes += read as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests;
