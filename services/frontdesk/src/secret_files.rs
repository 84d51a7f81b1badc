//! Secrets that stand in files, as containers get them: `JWT_SECRET_KEY_FILE=/run/secrets/jwt_secret_key`.

use std::{ffi::OsString, fs::File, io::Read as _, path::Path};

/// More is no secret, but a wrong path.
const MAX_BYTES: u64 = 64 * 1024;

/// For each secret `NAME` that is set as `NAME_FILE`, takes what stands in that file. An error is a sentence for the
/// operator; it never shows what stands there.
pub(crate) fn read(command: clap::Command) -> Result<clap::Command, String> {
    let (command, problem) = read_what_can_be(command);
    problem.map_or(Ok(command), Err)
}

/// The same, for who goes on with what can be read; the sentence is of the first that can't.
pub(crate) fn read_what_can_be(command: clap::Command) -> (clap::Command, Option<String>) {
    let mut problem = None;
    let command = read_all(command, &mut problem);
    (command, problem)
}

/// The variable that names a secret's file.
pub(crate) fn variable(name: &str) -> String {
    format!("{name}_FILE")
}

/// A secret as a role would get it, if it gets one.
pub(crate) fn secret(name: &str) -> Option<String> {
    match (set(name), set(&variable(name))) {
        (Some(secret), None) => secret.into_string().ok(),
        (None, Some(path)) => content(Path::new(&path)).ok(),
        _ => None,
    }
}

fn read_all(command: clap::Command, problem: &mut Option<String>) -> clap::Command {
    let command = command.mut_args(|arg| {
        let name = arg.get_env().and_then(|name| name.to_str()).filter(|_| arg.is_hide_env_values_set());
        let Some((name, path)) = name.and_then(|name| Some((name.to_owned(), set(&variable(name))?))) else {
            return arg;
        };
        let secret = if set(&name).is_some() {
            Err(format!("{name} and {name}_FILE are both set; set one of them"))
        } else {
            content(Path::new(&path)).map_err(|why| format!("{name}_FILE: {} {why}", path.display()))
        };
        match secret {
            // The weakest of all places to say it, so that a flag still wins.
            Ok(secret) => arg.default_value(secret).hide_default_value(true),
            Err(sentence) => {
                problem.get_or_insert(sentence);
                arg
            }
        }
    });
    command.mut_subcommands(|command| read_all(command, problem))
}

pub(crate) fn set(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Editors and `echo` end a file with a line break, which belongs to no secret.
fn content(path: &Path) -> Result<String, String> {
    let cannot = |error: std::io::Error| format!("can't be read: {error}");
    let mut bytes = Vec::new();
    File::open(path).map_err(cannot)?.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err("is too large to be a secret".to_owned());
    }
    let text = String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err("is empty".to_owned()),
        secret => Ok(secret.to_owned()),
    }
}
