//! Secrets: long enough to be one, never printed.

use std::fmt;

use base64::Engine as _;
use secrecy::{ExposeSecret, SecretString};

/// Shorter secrets can be guessed: HS256 wants at least the size of its hash (RFC 7518, section 3.2).
pub const MIN_BYTES: usize = 32;

/// Parts of secrets that stand in guides and examples, the predecessor's among them. Whoever deploys one of these has
/// published the key.
const PLACEHOLDERS: [&str; 10] = [
    "changeme",
    "change-me",
    "change_me",
    "change-this",
    "your-secret",
    "your_secret",
    "your-super-secret",
    "replace-me",
    "secret-key-here",
    "not-for-production",
];

/// A secret. Prints as stars; wiped from memory when dropped.
#[derive(Clone)]
pub struct Secret(SecretString);

/// Why a text can't be a secret. Each variant's sentence says how to make a good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeakSecret {
    /// Under [`MIN_BYTES`].
    #[error("has {0} bytes, and under 32 it can be guessed; make one with `frontdesk keys`")]
    Short(usize),
    /// Contains a well-known placeholder, or one character over and over.
    #[error("is a placeholder that everybody knows; make one with `frontdesk keys`")]
    Placeholder,
}

impl Secret {
    /// Takes a signing secret after checking that it is one.
    pub fn strong(text: &str) -> Result<Self, WeakSecret> {
        if text.len() < MIN_BYTES {
            return Err(WeakSecret::Short(text.len()));
        }
        let lower = text.to_ascii_lowercase();
        let mut distinct: Vec<u8> = lower.bytes().collect();
        distinct.sort_unstable();
        distinct.dedup();
        if distinct.len() < 8 || PLACEHOLDERS.iter().any(|known| lower.contains(known)) {
            return Err(WeakSecret::Placeholder);
        }
        Ok(Self::any(text))
    }

    /// Takes a secret of somebody else's making (an API key, a password): any length.
    pub fn any(text: &str) -> Self {
        Self(SecretString::from(text.to_owned()))
    }

    /// Makes one of 48 random bytes, of a generator that the OS seeds.
    pub fn generate() -> Self {
        let bytes: [u8; 48] = rand::random();
        Self::any(&base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes))
    }

    /// The secret itself, where it is used.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// For clap: a signing secret.
pub fn strong(text: &str) -> Result<Secret, WeakSecret> {
    Secret::strong(text)
}

/// For clap: a key or password of somebody else's making.
pub fn any(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::any(text))
}

/// For clap: a parser whose error names the setting and the reason, and never shows the value. clap's own errors do.
#[derive(Clone)]
pub struct Hidden<F>(pub F);

impl<F, T, E> clap::builder::TypedValueParser for Hidden<F>
where
    F: Fn(&str) -> Result<T, E> + Clone + Send + Sync + 'static,
    T: Clone + Send + Sync + 'static,
    E: fmt::Display,
{
    type Value = T;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<T, clap::Error> {
        let env = arg.and_then(clap::Arg::get_env).map(|env| env.to_string_lossy().into_owned());
        let name = env.unwrap_or_else(|| arg.map_or_else(String::new, ToString::to_string));
        let refuse = |why: &dyn fmt::Display| {
            clap::Error::raw(clap::error::ErrorKind::ValueValidation, format!("{name} {why}\n")).with_cmd(command)
        };
        let text = value.to_str().ok_or_else(|| refuse(&"is not UTF-8"))?;
        (self.0)(text).map_err(|error| refuse(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_secrets_are_refused() {
        let check = |text: &str, expected: Option<WeakSecret>| {
            assert_eq!(Secret::strong(text).err(), expected, "{text}");
        };
        check("", Some(WeakSecret::Short(0)));
        check("0123456789012345678901234567890", Some(WeakSecret::Short(31)));
        check(&"a".repeat(64), Some(WeakSecret::Placeholder));
        check("your-super-secret-jwt-key-change-this-in-production", Some(WeakSecret::Placeholder));
        check("CHANGEME-CHANGEME-CHANGEME-CHANGEME", Some(WeakSecret::Placeholder));
        check("wq3rJm1v8Zt5yBn2Kx7cPd4fGh6jLs9a", None);
        check(Secret::generate().expose(), None);
    }

    #[test]
    fn a_secret_never_prints() {
        let secret = Secret::any("hunter2");
        assert_eq!(format!("{secret:?}"), "***");
    }
}
