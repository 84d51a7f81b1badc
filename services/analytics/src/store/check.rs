//! Whether a file is a sound database, without changing a byte of it.

use std::{
    collections::{BTreeMap, HashMap, HashSet, hash_map::Entry},
    ffi::OsString,
    fs::{self, File},
    io,
    ops::{Bound, Range},
    os::unix::fs::FileExt as _,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use redb::{
    BackendError, Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _,
    StorageBackend, TableHandle as _,
};
use runtime::asset::hex;
use serde::{Deserialize, Serialize};

use super::{
    CACHE_BYTES, Copied, Error,
    apply::read_page,
    comments,
    copy::digest,
    figures::Figures,
    row::Session,
    tables::{
        self, ALL_SITES, APPLIED, BUCKETS, COMMENTS, CUSTOMERS, META, MIGRATING_KEY, PAGES, SCHEMA, SCHEMA_KEY,
        SESSIONS, SITES, customer_key, each_table, session_of, step_of,
    },
    when_free,
};
use crate::query::Bucket;

/// What is in a sound file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// Its length.
    pub bytes: u64,
    /// The SHA-256 of all its bytes, in hex.
    pub sha256: String,
    /// Whether a file beside it, with `.sha256` after its name, says the same. Without one nothing was compared.
    pub compared: bool,
    /// The form of its tables.
    pub form: u64,
    /// Rows of each table; none of a form of an earlier version, or between two, which the next start brings up to date.
    pub rows: BTreeMap<String, u64>,
}

/// Checks a database file that no process has open, or a copy of one: its checksums, its form, that each row can be read,
/// and that what is kept twice agrees. The file is not changed.
pub fn check(path: &Path) -> Result<Checked, Error> {
    let mut file = locked(path)?;
    let (bytes, digest) = digest(&mut file)?;
    let sha256 = hex(&digest);
    let compared = match fs::read_to_string(sidecar(path)) {
        Ok(said) if said.split_whitespace().next() == Some(&sha256) => true,
        Ok(_) => return Err(Error::Unsound(format!("it is not what {} says", sidecar(path).display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(error.into()),
    };
    if bytes == 0 {
        return Err(Error::Unsound("it is empty".to_owned()));
    }
    // redb may panic at what it finds.
    let looked = catch_unwind(AssertUnwindSafe(|| look(file, bytes)));
    let damaged = || Err(Error::Unsound("its structure makes no sense".to_owned()));
    let (form, rows) = looked.unwrap_or_else(|_| damaged())?;
    Ok(Checked { bytes, sha256, compared, form, rows })
}

/// A file that nobody has open to write.
fn locked(path: &Path) -> Result<File, Error> {
    let file = File::open(path)?;
    when_free(|| match file.try_lock_shared() {
        Ok(()) => Ok(()),
        Err(fs::TryLockError::WouldBlock) => Err(Error::InUse(path.to_owned())),
        Err(fs::TryLockError::Error(error)) => Err(error.into()),
    })?;
    Ok(file)
}

fn unsound(error: &redb::DatabaseError) -> Error {
    Error::Unsound(format!("it is no sound database: {error}"))
}

fn untouched(file: File, bytes: u64) -> Result<Database, Error> {
    let written = Mutex::new(Written { bytes, whole: bytes, blocks: HashMap::new() });
    let mut builder = redb::Builder::new();
    builder
        .set_cache_size(CACHE_BYTES)
        .create_with_backend(Untouched { file, written })
        .map_err(|error| unsound(&error))
}

/// One whose pages are what their checksums say.
fn sound(file: File, bytes: u64) -> Result<Database, Error> {
    let mut database = untouched(file, bytes)?;
    if !database.check_integrity().map_err(|error| unsound(&error))? {
        return Err(Error::Unsound("its checksums differ".to_owned()));
    }
    Ok(database)
}

/// The form of its tables, and whether a migration to it broke off.
fn form(reader: &ReadTransaction) -> Result<(u64, bool), Error> {
    let no_form = || Error::Unsound("it is no database of analytics".to_owned());
    let meta = reader.open_table(META).map_err(|_| no_form())?;
    let form = meta.get(SCHEMA_KEY)?.ok_or_else(no_form)?.value();
    Ok((form, meta.get(MIGRATING_KEY)?.is_some()))
}

/// A database of this version's form that is only read.
pub(super) fn open_untouched(path: &Path) -> Result<Database, Error> {
    let file = locked(path)?;
    let bytes = file.metadata()?.len();
    // redb may panic at what it finds.
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let database = sound(file, bytes)?;
        match form(&database.begin_read()?)? {
            (SCHEMA, false) => Ok(database),
            (found @ ..=SCHEMA, _) => Err(Error::Older { path: path.to_owned(), found }),
            (found, _) => Err(Error::Newer { found }),
        }
    }));
    opened.unwrap_or_else(|_| Err(Error::Unsound("its structure makes no sense".to_owned())))
}

fn look(file: File, bytes: u64) -> Result<(u64, BTreeMap<String, u64>), Error> {
    let database = sound(file, bytes)?;
    let reader = database.begin_read()?;
    let (form, migrating) = form(&reader)?;
    let mut rows = BTreeMap::new();
    match form {
        SCHEMA if migrating => {}
        SCHEMA => rows_of(&reader, &mut rows)?,
        ..SCHEMA => {}
        found => return Err(Error::Newer { found }),
    }
    Ok((form, rows))
}

/// Counts the rows of all tables, reads those that have a form of their own, and compares what is kept twice.
fn rows_of(reader: &ReadTransaction, rows: &mut BTreeMap<String, u64>) -> Result<(), Error> {
    each_table!(|table| {
        let count = reader.open_table(table)?.len()?;
        rows.insert(table.name().to_owned(), count);
    });
    sessions(reader)?;
    days(reader)?;
    for row in reader.open_table(PAGES)?.iter()? {
        read_page(row?.1.value())?;
    }
    for row in reader.open_table(APPLIED)?.iter()? {
        row?;
    }
    Ok(())
}

/// Each session is of a site that has a name, each identified one is in the index, which has no other, and each comment
/// is one of a session's.
fn sessions(reader: &ReadTransaction) -> Result<(), Error> {
    let sites: HashSet<u32> =
        tables::sites(&reader.open_table(SITES)?)?.into_iter().map(|(_, number)| number).collect();
    let (customers, mut identified) = (reader.open_table(CUSTOMERS)?, 0);
    let (written, mut commented) = (reader.open_table(COMMENTS)?, 0);
    for row in reader.open_table(SESSIONS)?.iter()? {
        let (key, row) = row?;
        let key = key.value();
        let session = Session::read(session_of(key).began(), row.value())?;
        for (at, message) in session.comments() {
            commented += 1;
            let row = written.get(comments::key(key, at, message).as_slice())?;
            let row = row.ok_or_else(|| Error::Unsound("a comment of a session is not there".to_owned()))?;
            comments::read(row.value())?;
        }
        let known = session.known;
        if !sites.contains(&u32::from_be_bytes([key[0], key[1], key[2], key[3]])) {
            return Err(Error::Unsound("a session is of no site".to_owned()));
        }
        if let Some(customer) = known.customer {
            identified += 1;
            if customers.get(&customer_key(&customer, key))?.is_none() {
                return Err(Error::Unsound("a customer's session is not in the index".to_owned()));
            }
        }
    }
    if written.len()? != commented {
        return Err(Error::Unsound("there are comments of no session".to_owned()));
    }
    if customers.len()? != identified {
        return Err(Error::Unsound("the index of customers has sessions that are not there".to_owned()));
    }
    Ok(())
}

/// The figures of a day of all sites are the sum of those of each. Not of hours and minutes: they are forgotten site by
/// site.
fn days(reader: &ReadTransaction) -> Result<(), Error> {
    let mut days: BTreeMap<u32, (Figures, Figures)> = BTreeMap::new();
    for row in reader.open_table(BUCKETS)?.iter()? {
        let (key, row) = row?;
        let (key, figures) = (key.value(), Figures::read(row.value())?);
        if key[0] == Bucket::Day as u8 {
            let (all, each) = days.entry(step_of(key)).or_default();
            if key[1..5] == ALL_SITES.to_be_bytes() { all } else { each }.add_all(figures);
        }
    }
    match days.into_iter().find(|(_, (all, each))| all.counts != each.counts) {
        None => Ok(()),
        Some((day, _)) => Err(Error::Unsound(format!("the figures of day {day} from 1970 on do not add up"))),
    }
}

/// Where the SHA-256 of a file stands, in the form of `sha256sum`.
pub fn sidecar(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".sha256");
    name.into()
}

impl Copied {
    /// The SHA-256 in hex.
    pub fn hex(&self) -> String {
        hex(&self.sha256)
    }
}

/// The SHA-256 that a `Repr-Digest` says, in hex.
pub fn digest_in(header: &str) -> Option<String> {
    let digests = header.split(',').filter_map(|digest| digest.trim().strip_prefix("sha-256=:")?.strip_suffix(':'));
    digests
        .filter_map(|digest| STANDARD.decode(digest).ok())
        .find(|digest| digest.len() == 32)
        .map(|digest| hex(&digest))
}

/// A file as it is, with what redb would write into it kept in memory: it repairs what a kill left, and notes that it
/// was here. Both are little.
#[derive(Debug)]
struct Untouched {
    file: File,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    bytes: u64,
    /// From here on the file's own bytes are cut off, and read as zeroes if it is grown again.
    whole: u64,
    blocks: HashMap<u64, Box<[u8]>>,
}

/// Bytes that are kept together: a page of redb.
const BLOCK: usize = 4096;

impl Untouched {
    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn block(&self, number: u64, whole: u64) -> io::Result<Box<[u8]>> {
        let mut block = vec![0; BLOCK].into_boxed_slice();
        let at = number * BLOCK as u64;
        let there = usize::try_from(whole.saturating_sub(at)).map_or(BLOCK, |there| there.min(BLOCK));
        self.file.read_exact_at(&mut block[..there], at)?;
        Ok(block)
    }

    /// Calls `each` with the block of each part of `offset..offset + len`, where the part lies in the block, and where in
    /// the whole.
    fn parts(offset: u64, len: usize) -> impl Iterator<Item = (u64, Range<usize>, usize)> {
        let mut done = 0;
        std::iter::from_fn(move || {
            let at = offset + done as u64;
            let within = usize::try_from(at % BLOCK as u64).expect("smaller than a block");
            let part = (len - done).min(BLOCK - within);
            let next = (part > 0).then_some((at / BLOCK as u64, within..within + part, done));
            done += part;
            next
        })
    }
}

impl StorageBackend for Untouched {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.written().bytes)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let written = self.written();
        if offset + out.len() as u64 > written.bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (number, within, at) in Self::parts(offset, out.len()) {
            let to = &mut out[at..at + within.len()];
            match written.blocks.get(&number) {
                Some(block) => to.copy_from_slice(&block[within]),
                None => to.copy_from_slice(&self.block(number, written.whole)?[within]),
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        let mut written = self.written();
        let Written { bytes, whole, blocks } = &mut *written;
        *whole = len.min(*whole);
        if len < *bytes {
            blocks.retain(|number, _| number * (BLOCK as u64) < len);
            let end = usize::try_from(len % BLOCK as u64).expect("smaller than a block");
            if let Some(last) = blocks.get_mut(&(len / BLOCK as u64)) {
                last[end..].fill(0);
            }
        }
        *bytes = len;
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let mut written = self.written();
        for (number, within, at) in Self::parts(offset, data.len()) {
            let whole = written.whole;
            let block = match written.blocks.entry(number) {
                Entry::Occupied(block) => block.into_mut(),
                Entry::Vacant(free) => free.insert(self.block(number, whole)?),
            };
            block[within.clone()].copy_from_slice(&data[at..at + within.len()]);
        }
        Ok(())
    }

    /// The file is locked as long as it is open.
    fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use protocol::{Fact, FactKind, SessionId, SiteId, Visit};
    use redb::WriteTransaction;

    use super::{super::Store, *};

    /// Facts of two sites, among them identified sessions.
    fn filled(file: &Path) -> Store {
        let store = Store::open(file).unwrap();
        for n in 0..20 {
            let site = SiteId::new(if n % 2 == 0 { "shoes" } else { "hats" }).unwrap();
            let customer = (n % 4 < 2).then(|| runtime::customer::hash(site.as_str(), &format!("customer-{n}")));
            let visit = Visit { page_path: Some("/".into()), customer, ..Visit::default() };
            let session = SessionId::mint(1_767_168_909 + n, n);
            store.apply(&[Fact::now(&site, &session, FactKind::SessionStarted(visit))]).unwrap();
        }
        store
    }

    #[test]
    fn a_sound_file_is_told_with_its_rows_and_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("facts.redb");
        let store = filled(&file);
        assert!(matches!(check(&file), Err(Error::InUse(_))));
        // As a kill leaves it, and as it is when it was closed.
        let killed = fs::read(&file).unwrap();
        drop(store);
        for bytes in [killed, fs::read(&file).unwrap()] {
            let copy = folder.path().join("copy.redb");
            fs::write(&copy, &bytes).unwrap();
            let checked = check(&copy).unwrap();
            assert_eq!((checked.form, checked.bytes, checked.compared), (SCHEMA, bytes.len() as u64, false));
            let rows = ["sites", "session_rows", "customers", "facts"].map(|table| checked.rows[table]);
            assert_eq!(rows, [2, 20, 10, 20]);
            assert_eq!(fs::read(&copy).unwrap(), bytes);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn who_reads_a_file_changes_no_byte_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("facts.redb");
        let store = filled(&file);
        assert!(matches!(Store::open_untouched(&file), Err(Error::InUse(_))));
        let killed = fs::read(&file).unwrap();
        drop(store);
        for bytes in [killed, fs::read(&file).unwrap()] {
            fs::write(&file, &bytes).unwrap();
            let store = Store::open_untouched(&file).unwrap();
            assert_eq!(store.sites().unwrap().len(), 2);
            let mut copied = store.copy().unwrap();
            let copy = folder.path().join("copy.redb");
            io::copy(&mut copied.file, &mut File::create(&copy).unwrap()).unwrap();
            assert_eq!(check(&copy).unwrap().rows["session_rows"], 20);
            drop(store);
            assert_eq!(fs::read(&file).unwrap(), bytes);
        }
        let old = include_bytes!("../../tests/fixtures/schema-1.redb");
        fs::write(&file, old).unwrap();
        assert!(matches!(Store::open_untouched(&file), Err(Error::Older { found: 1, .. })));
        assert_eq!(fs::read(&file).unwrap(), old);
        fs::write(&file, [7; 4096]).unwrap();
        assert!(matches!(Store::open_untouched(&file), Err(Error::Unsound(_))));
    }

    #[test]
    fn what_does_not_agree_is_told() {
        let check = |change: &dyn Fn(&WriteTransaction) -> Result<(), Error>, said: &str| {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("facts.redb");
            filled(&file).write(change).unwrap();
            let error = super::check(&file).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        };
        check(&|all| Ok(all.open_table(CUSTOMERS)?.pop_first().map(drop)?), "not in the index");
        check(&|all| Ok(all.open_table(CUSTOMERS)?.insert(&[7; 33], ()).map(drop)?), "are not there");
        check(&|all| Ok(all.open_table(SITES)?.remove("hats").map(drop)?), "of no site");
        check(&|all| Ok(all.open_table(BUCKETS)?.pop_last().map(drop)?), "do not add up");
        check(&|all| Ok(all.open_table(PAGES)?.insert([1; 9].as_slice(), [9].as_slice()).map(drop)?), "can't be read");
        check(&|all| Ok(all.open_table(SESSIONS)?.insert(&[0; 17], [1].as_slice()).map(drop)?), "can't be read");
        check(&|all| Ok(all.open_table(META)?.insert(SCHEMA_KEY, SCHEMA + 1).map(drop)?), "newer Frontdesk");
        check(&|all| Ok(all.open_table(META)?.remove(SCHEMA_KEY).map(drop)?), "no database of analytics");
    }

    /// A byte that changed anywhere is found by the SHA-256 beside the file; without one the database's own checksums find
    /// each that matters.
    #[test]
    fn a_changed_byte_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("facts.redb");
        drop(filled(&file));
        let whole = fs::read(&file).unwrap();
        let said = hex(&digest(&mut whole.as_slice()).unwrap().1);
        let mut found = 0;
        for round in 0..100 {
            let mut changed = whole.clone();
            changed[round * (whole.len() - 1) / 99] ^= 0x10;
            fs::write(&file, &changed).unwrap();
            fs::remove_file(sidecar(&file)).ok();
            found += u32::from(check(&file).is_err());
            fs::write(sidecar(&file), format!("{said}  facts.redb\n")).unwrap();
            assert!(matches!(check(&file), Err(Error::Unsound(_))), "{round}");
        }
        assert!(found > 0, "{found} of 100, the rest in free pages");
        fs::write(&file, &whole).unwrap();
        assert!(check(&file).unwrap().compared);
        for bad in [b"".as_slice(), b"not a database", &whole[..whole.len() / 2]] {
            fs::write(&file, bad).unwrap();
            fs::remove_file(sidecar(&file)).ok();
            assert!(check(&file).is_err(), "{} bytes", bad.len());
        }
    }
}
