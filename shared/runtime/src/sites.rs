//! Files of sites: a JSON list of objects, one for each site, with its `id` and what differs from the settings.
//!
//! Read field by field rather than by serde, so that an error names the file, the site and the field, and never shows a
//! value: some are secrets.

use std::{collections::HashSet, fmt, fs, io::Read as _, path::Path};

use serde_json::{Map, Value};

/// More than ten thousand sites take.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// What is wrong with a file of sites: a sentence for the operator.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {what}")]
pub struct Error {
    file: String,
    what: String,
}

/// One site of a file. Each field is taken out once; what is left at the [`end`](Self::end) is unknown.
pub struct Entry {
    file: String,
    id: String,
    fields: Map<String, Value>,
}

/// Reads a file; every entry has an id, and no two have the same.
pub fn read(path: &Path) -> Result<Vec<Entry>, Error> {
    let file = path.display().to_string();
    let wrong = |what: String| Error { file: file.clone(), what };
    let mut text = String::new();
    let read = fs::File::open(path).and_then(|open| open.take(MAX_BYTES + 1).read_to_string(&mut text));
    let size = read.map_err(|error| wrong(format!("can't be read: {error}")))?;
    if size as u64 > MAX_BYTES {
        return Err(wrong(format!("has more than {MAX_BYTES} bytes")));
    }
    let list: Vec<Value> = serde_json::from_str(&text).map_err(|error| {
        // serde's own words may show a value.
        wrong(format!("is not a JSON list (line {}, column {})", error.line(), error.column()))
    })?;
    let (mut entries, mut ids) = (Vec::new(), HashSet::new());
    for (at, site) in list.into_iter().enumerate() {
        let Value::Object(mut fields) = site else { return Err(wrong(format!("site {}: is not an object", at + 1))) };
        let Some(Value::String(id)) = fields.remove("id") else {
            return Err(wrong(format!("site {}: `id` is missing, or is not text", at + 1)));
        };
        if !ids.insert(id.clone()) {
            return Err(wrong(format!("site `{id}`: there are two of this `id`")));
        }
        entries.push(Entry { file: file.clone(), id, fields });
    }
    Ok(entries)
}

impl Entry {
    /// The site's id, not yet checked for its form.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// An error about one field.
    pub fn wrong(&self, field: &str, why: impl fmt::Display) -> Error {
        Error { file: self.file.clone(), what: format!("site `{}`: `{field}` {why}", self.id) }
    }

    /// A text, read by `parse`, whose error must not show it. `None`: the field is absent; `Some(None)`: it is null.
    pub fn text<T, E: fmt::Display>(
        &mut self,
        field: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<Option<T>>, Error> {
        match self.fields.remove(field) {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(None)),
            Some(Value::String(text)) => match parse(&text) {
                Ok(value) => Ok(Some(Some(value))),
                Err(error) => Err(self.wrong(field, error)),
            },
            Some(_) => Err(self.wrong(field, "is not text")),
        }
    }

    /// A list of texts.
    pub fn texts(&mut self, field: &str) -> Result<Option<Vec<String>>, Error> {
        let Some(value) = self.fields.remove(field) else { return Ok(None) };
        serde_json::from_value(value).map(Some).map_err(|_| self.wrong(field, "is not a list of texts"))
    }

    /// A whole number, `least` or more.
    pub fn number(&mut self, field: &str, least: u32) -> Result<Option<u32>, Error> {
        let Some(value) = self.fields.remove(field) else { return Ok(None) };
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok()).filter(|number| *number >= least);
        let wrong = || self.wrong(field, format!("is not a whole number of {least} or more"));
        number.map(Some).ok_or_else(wrong)
    }

    /// Refuses what was not taken. `elsewhere` are the fields of the other role's file, and `place` is that one's name.
    pub fn end(self, elsewhere: &[&str], place: &str) -> Result<(), Error> {
        match self.fields.keys().next() {
            None => Ok(()),
            Some(field) if elsewhere.contains(&field.as_str()) => {
                Err(self.wrong(field, format!("does not belong here, but into {place}")))
            }
            Some(field) => Err(self.wrong(field, "is not a field of a site")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(text: &str) -> Result<Entry, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        let path = file.path().display().to_string();
        let mut entries = read(file.path()).map_err(|error| {
            let error = error.to_string();
            error.strip_prefix(&format!("{path}: ")).expect("it names the file").to_owned()
        })?;
        Ok(entries.remove(0))
    }

    fn what(error: &Error) -> &str {
        &error.what
    }

    #[test]
    fn a_bad_file_is_told_with_its_place() {
        let check = |text: &str, expected: &str| assert_eq!(first(text).err().as_deref(), Some(expected), "{text}");
        check("", "is not a JSON list (line 1, column 0)");
        check(r#"{"id":"a"}"#, "is not a JSON list (line 1, column 0)");
        check(r#"["secret"]"#, "site 1: is not an object");
        check(r#"[{"id":"a"},{"webhook_url":"x"}]"#, "site 2: `id` is missing, or is not text");
        check(r#"[{"id":"a"},{"id":"a"}]"#, "site `a`: there are two of this `id`");
        assert!(
            read(Path::new("/nowhere/sites.json")).err().unwrap().to_string().contains("/nowhere/sites.json: can't")
        );
    }

    #[test]
    fn a_bad_field_is_named_and_its_value_is_not_shown() {
        let text = r#"[{"id":"a","key":"secret","none":null,"list":["x"],"number":3,"odd":7,"other":1}]"#;
        let mut site = first(text).unwrap();
        let read = |text: &str| if text == "x" { Ok(()) } else { Err("must be x") };
        assert_eq!(what(&site.text("key", read).unwrap_err()), "site `a`: `key` must be x");
        assert_eq!(what(&site.text("odd", read).unwrap_err()), "site `a`: `odd` is not text");
        assert_eq!(site.text("none", read).unwrap(), Some(None));
        assert_eq!(site.text("absent", read).unwrap(), None);
        assert_eq!(site.texts("list").unwrap(), Some(vec!["x".to_owned()]));
        assert_eq!(
            what(&site.number("number", 4).unwrap_err()),
            "site `a`: `number` is not a whole number of 4 or more"
        );
        let error = site.end(&["other"], "N8N_SITES_FILE of the worker").unwrap_err();
        assert_eq!(what(&error), "site `a`: `other` does not belong here, but into N8N_SITES_FILE of the worker");
        let unknown = first(r#"[{"id":"a","colour":"secret"}]"#).unwrap().end(&["other"], "there").unwrap_err();
        assert_eq!(what(&unknown), "site `a`: `colour` is not a field of a site");
    }
}
