//! How the widget is for a site: `widget-config.json`, one for each site in `WIDGET_CONFIG_DIR`.
//!
//! Files are read and checked at the start; a bad one stops it, with every mistake named. A file of the predecessor is
//! understood where its keys mean the same. What browsers get is always of our own form, so that the widget needs no
//! second reader.
//!
//! - `schema`: what `widget-config.schema.json` says; `rules`: what no schema can say.
//! - `predecessor`: its keys in ours.
//! - `snippet`: the tag for the shop's pages.

mod predecessor;
mod rules;
mod schema;
mod snippet;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use protocol::SiteId;
use serde_json::{Map, Value};

use self::schema::Schema;
pub use self::{predecessor::Note, schema::Problem, snippet::Snippet};
use crate::{
    assets::Folder,
    site::{DEFAULT, Sites},
};

/// The largest file. The largest that says everything has about half of that.
const MAX_BYTES: u64 = 128 * 1024;
/// So many mistakes are told at a start. `frontdesk widget check` tells all.
const TOLD: usize = 8;

/// Of the file that is part of the executable.
pub(crate) const NAME: &str = "widget-config.json";

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let schema = embedded("widget-config.schema.json");
    Schema::new(&schema).unwrap_or_else(|error| panic!("the schema is tested: {error}"))
});

/// A part of the executable that is JSON.
fn embedded(name: &str) -> Value {
    let file = Folder::get(name).unwrap_or_else(|| panic!("{name} is part of the executable"));
    serde_json::from_slice(&file.data).unwrap_or_else(|error| panic!("{name} is tested: {error}"))
}

/// Why the widget of a site can't be as somebody wants it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder or a file in it can't be read.
    #[error("{0}: can't be read: {1}")]
    Unreadable(String, std::io::Error),
    /// A file is of a site that there is not.
    #[error("{0}: there is no site of this name; SITES_FILE names the sites")]
    NoSite(String),
    /// A file has mistakes.
    #[error("{file}: {}", told(.problems))]
    Wrong {
        /// Its path.
        file: String,
        /// All of them.
        problems: Vec<Problem>,
    },
}

fn told(problems: &[Problem]) -> String {
    let mut told: Vec<String> = problems.iter().take(TOLD).map(Problem::to_string).collect();
    if problems.len() > TOLD {
        told.push(format!("{} more, see `frontdesk widget check`", problems.len() - TOLD));
    }
    told.join("; ")
}

/// A widget's configuration that was found good, in our own form.
#[derive(Clone, Debug, PartialEq)]
pub struct Config(Map<String, Value>);

impl Config {
    /// The one that is part of the executable.
    pub fn embedded() -> Self {
        let read = Read::new(&embedded(NAME).to_string());
        Self(read.config.map(|config| config.0).unwrap_or_default())
    }

    /// As the widget gets it.
    pub fn json(&self) -> String {
        Value::from(self.0.clone()).to_string()
    }

    /// The same, for people.
    pub fn pretty(&self) -> String {
        format!("{:#}", Value::from(self.0.clone()))
    }

    /// What a shop may wish for and doesn't get.
    fn warnings(&self) -> Vec<Problem> {
        let attach = self.at(&["features", "attach"]) == Some(&Value::Bool(true));
        let what = "is true, and nothing is shown for it: no edge takes files yet".to_owned();
        Vec::from_iter(attach.then(|| Problem { path: "features.attach".to_owned(), what }))
    }

    /// Hosts of pictures.
    pub(crate) fn image_hosts(&self) -> impl Iterator<Item = &str> {
        self.at(&["image_hosts"]).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    }

    /// The language, where it is not the visitor's.
    pub(crate) fn locale(&self) -> Option<&str> {
        self.text(&["locale"])
    }

    /// A value in it, such as that of `theme.accent`.
    fn at(&self, path: &[&str]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        rest.iter().try_fold(self.0.get(*first)?, |value, key| value.get(key))
    }

    fn text(&self, path: &[&str]) -> Option<&str> {
        self.at(path).and_then(Value::as_str)
    }
}

/// What a file comes to.
#[derive(Debug)]
pub struct Read {
    /// None where there are problems.
    pub config: Option<Config>,
    /// What stops a start.
    pub problems: Vec<Problem>,
    /// What became of each key of the predecessor.
    pub notes: Vec<Note>,
    /// What is right and shows nothing yet.
    pub warnings: Vec<Problem>,
}

impl Read {
    /// Reads a file's text.
    pub fn new(text: &str) -> Self {
        let bad = |what: String| Self {
            config: None,
            problems: vec![Problem { path: String::new(), what }],
            notes: Vec::new(),
            warnings: Vec::new(),
        };
        // Windows editors write it, and no JSON reader takes it.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let object = match serde_json::from_str(text) {
            Ok(Value::Object(object)) => object,
            Ok(other) => return bad(format!("is {}, and must be an object", schema::shown(&other))),
            Err(error) => return bad(format!("is not JSON: {error}")),
        };
        let (object, notes) = predecessor::translate(object, &SCHEMA);
        let mut value = Value::Object(object);
        let mut problems = SCHEMA.problems(&value);
        if problems.is_empty() {
            problems = rules::apply(&mut value);
        }
        let config = match value {
            Value::Object(object) if problems.is_empty() => Some(Config(object)),
            _ => None,
        };
        let warnings = config.as_ref().map(Config::warnings).unwrap_or_default();
        Self { config, problems, notes, warnings }
    }

    /// Reads a file.
    pub fn file(path: &Path) -> Result<Self, Error> {
        let unreadable = |error| Error::Unreadable(path.display().to_string(), error);
        let mut text = String::new();
        let file = fs::File::open(path).map_err(unreadable)?;
        let size = file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(unreadable)?;
        if size as u64 > MAX_BYTES {
            return Err(unreadable(std::io::Error::other(format!("it has more than {MAX_BYTES} bytes"))));
        }
        Ok(Self::new(&text))
    }
}

/// The configurations of all sites.
#[derive(Debug)]
pub(crate) struct Configs(BTreeMap<SiteId, Config>);

impl Configs {
    /// Those of the folder: `<site>.json`. A site without a file is as `default.json` says, and without that as the
    /// executable does.
    pub(crate) fn read(folder: Option<&Path>, sites: &Sites) -> Result<Self, Error> {
        let mut files = BTreeMap::new();
        for path in folder.map(json_files).transpose()?.unwrap_or_default() {
            let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
            let id = SiteId::new(name).ok().filter(|id| sites.get(id).is_some());
            let id = id.ok_or_else(|| Error::NoSite(path.display().to_string()))?;
            files.insert(id, read_for_start(&path)?);
        }
        let default = SiteId::new(DEFAULT).expect("the word is of the form");
        let otherwise = files.get(&default).cloned().unwrap_or_else(Config::embedded);
        let of = |id: &SiteId| files.get(id).unwrap_or(&otherwise).clone();
        Ok(Self(sites.iter().map(|site| (site.id.clone(), of(&site.id))).collect()))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&SiteId, &Config)> {
        self.0.iter()
    }
}

/// The configuration of one site, for commands: they don't know which sites there are.
pub fn config_of(folder: Option<&Path>, site: Option<&str>) -> Result<Config, Error> {
    let site = site.unwrap_or(DEFAULT);
    let site = SiteId::new(site).map_err(|_| Error::NoSite(site.to_owned()))?;
    let Some(folder) = folder else { return Ok(Config::embedded()) };
    for name in [site.as_str(), DEFAULT] {
        let path = folder.join(format!("{name}.json"));
        if path.exists() {
            return read_for_start(&path);
        }
    }
    Ok(Config::embedded())
}

fn read_for_start(path: &Path) -> Result<Config, Error> {
    let file = path.display().to_string();
    let Read { config, problems, notes, warnings } = Read::file(path)?;
    for warning in warnings {
        tracing::warn!(file, %warning, "a part of a widget's configuration has no effect");
    }
    if !notes.is_empty() {
        let nothing = notes.iter().filter(|note| note.became.is_none()).count();
        tracing::info!(
            file,
            keys = notes.len(),
            without_effect = nothing,
            "a widget's configuration is of the predecessor's form; `frontdesk widget check` says what became of it"
        );
    }
    config.ok_or(Error::Wrong { file, problems })
}

/// In order, so that the same mistake is told first each time.
fn json_files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let unreadable = |error| Error::Unreadable(folder.display().to_string(), error);
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(unreadable)?;
    let files = entries.into_iter().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
    files.sort_unstable();
    Ok(files)
}
