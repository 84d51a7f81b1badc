//! Keys that every edge derives from `JWT_SECRET_KEY`: one for each purpose, so that no hash that was made for one passes
//! for another's.

use hmac::{Hmac, Mac as _};
use runtime::Secret;
use sha2::Sha256;

/// What a key is for.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    /// The fingerprint in a token.
    Fingerprints,
    /// Telling a message's text from another.
    Texts,
    /// Whom a limit counts.
    Limits,
    /// Proofs of work.
    Challenges,
    /// Telling what a workflow says late from another piece.
    LateIds,
}

/// An HMAC-SHA256 with the key of `purpose`.
pub(crate) fn derive(secret: &Secret, purpose: Purpose) -> Hmac<Sha256> {
    let label = match purpose {
        Purpose::Fingerprints => "frontdesk fingerprints",
        Purpose::Texts => "frontdesk texts",
        Purpose::Limits => "frontdesk limits",
        Purpose::Challenges => "frontdesk challenges",
        Purpose::LateIds => "frontdesk late ids",
    };
    let key = keyed(secret.expose().as_bytes()).chain_update(label).finalize().into_bytes();
    keyed(&key)
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}
