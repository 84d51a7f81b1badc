//! Proofs of work: a small hashcash that costs a browser a moment and a flood of requests its speed.
//!
//! A challenge is 39 characters of base64url: 8 random bytes, its end (Unix seconds, 4 bytes), its difficulty (1 byte),
//! and 16 bytes of an HMAC over these and over whom it was given to. So no edge keeps one, every edge knows it, and
//! nobody else can use it. The answer is `<challenge>:<counter>`, of which the SHA-256 begins with so many zero bits;
//! with a counter of up to 10 digits that is one block for the hash. To check costs one HMAC and one hash. That an answer
//! is good once in the whole deployment is the bus's business: each challenge has a hash that it uses up.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac as _};
use runtime::Secret;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::keyed::{Purpose, derive};

const BODY: usize = 13;
const TAG: usize = 16;
/// Of a counter. More can't be needed: 10 digits are 33 bits, three more than the highest difficulty.
const MAX_COUNTER: usize = 12;
/// Makes challenges and checks answers.
pub(super) struct Challenges {
    key: Hmac<Sha256>,
    difficulty: u8,
    ttl: Duration,
}

/// What was wrong with an answer: a label of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// Not ours, not this caller's, or not enough work.
    Invalid,
    Expired,
}

impl Challenges {
    /// `secret` is the one that signs tokens; the key is derived from it.
    pub(super) fn new(secret: &Secret, difficulty: u8, ttl: Duration) -> Self {
        Self { key: derive(secret, Purpose::Challenges), difficulty, ttl }
    }

    /// A challenge for `subject`, as it stands in a problem document.
    pub(super) fn make(&self, subject: &str, now: Duration) -> Value {
        let ends = u32::try_from((now + self.ttl).as_secs()).unwrap_or(u32::MAX);
        let mut bytes = [0; BODY + TAG];
        bytes[..8].copy_from_slice(&rand::random::<[u8; 8]>());
        bytes[8..12].copy_from_slice(&ends.to_be_bytes());
        bytes[12] = self.difficulty;
        let tag = self.sign(&bytes[..BODY], subject).finalize().into_bytes();
        bytes[BODY..].copy_from_slice(&tag[..TAG]);
        json!({
            "type": "pow",
            "algorithm": "sha-256",
            "challenge": URL_SAFE_NO_PAD.encode(bytes),
            "difficulty": self.difficulty,
            "expires_in": self.ttl.as_secs(),
        })
    }

    /// Checks an answer; returns the hash under which its challenge is used up.
    pub(super) fn check(&self, answer: &str, subject: &str, now: Duration) -> Result<[u8; 32], Wrong> {
        let (challenge, counter) = answer.split_once(':').ok_or(Wrong::Invalid)?;
        if counter.is_empty() || counter.len() > MAX_COUNTER || !counter.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Wrong::Invalid);
        }
        let mut bytes = [0; BODY + TAG];
        match URL_SAFE_NO_PAD.decode_slice(challenge, &mut bytes) {
            Ok(length) if length == bytes.len() => {}
            _ => return Err(Wrong::Invalid),
        }
        let (body, tag) = bytes.split_at(BODY);
        self.sign(body, subject).verify_truncated_left(tag).map_err(|_| Wrong::Invalid)?;
        let ends = u32::from_be_bytes(body[8..12].try_into().expect("four bytes"));
        if now.as_secs() >= u64::from(ends) {
            return Err(Wrong::Expired);
        }
        if zero_bits(&Sha256::digest(answer)) < u32::from(body[12]) {
            return Err(Wrong::Invalid);
        }
        // No proof of a signed call hashes to the same: theirs begin with a thumbprint.
        Ok(Sha256::new().chain_update("frontdesk challenge ").chain_update(bytes).finalize().into())
    }

    fn sign(&self, body: &[u8], subject: &str) -> Hmac<Sha256> {
        self.key.clone().chain_update(body).chain_update(subject)
    }
}

fn zero_bits(hash: &[u8]) -> u32 {
    let zeros = hash.iter().take_while(|byte| **byte == 0).count();
    u32::try_from(zeros).unwrap_or(0) * 8 + hash.get(zeros).map_or(0, |byte| byte.leading_zeros())
}

/// Does the work, for tests.
#[cfg(test)]
pub(crate) fn solve(challenge: &Value) -> String {
    let text = challenge["challenge"].as_str().unwrap();
    let bits = u32::try_from(challenge["difficulty"].as_u64().unwrap()).unwrap();
    (0_u64..)
        .map(|counter| format!("{text}:{counter}"))
        .find(|answer| zero_bits(&Sha256::digest(answer)) >= bits)
        .unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_767_168_909);

    fn challenges() -> Challenges {
        Challenges::new(&Secret::any("wq3rJm1v8Zt5yBn2Kx7cPd4fGh6jLs9a"), 8, Duration::from_secs(120))
    }

    #[test]
    fn an_answer_is_good_for_whom_it_was_asked() {
        let here = challenges();
        let challenge = here.make("s:sess_1", NOW);
        assert_eq!(challenge["challenge"].as_str().unwrap().len(), 39);
        assert_eq!((&challenge["difficulty"], &challenge["expires_in"]), (&json!(8), &json!(120)));
        let answer = solve(&challenge);
        let check = |answer: &str, subject: &str, after: u64, expected: Option<Wrong>| {
            let told = here.check(answer, subject, NOW + Duration::from_secs(after));
            assert_eq!(told.err(), expected, "{answer} {subject} {after}");
        };
        check(&answer, "s:sess_2", 1, Some(Wrong::Invalid));
        check(&answer, "c:sess_1", 1, Some(Wrong::Invalid));
        check(&answer, "s:sess_1", 120, Some(Wrong::Expired));
        check(&answer, "s:sess_1", 119, None);
        let hash = here.check(&answer, "s:sess_1", NOW);
        assert_eq!(challenges().check(&answer, "s:sess_1", NOW), hash, "every edge knows it");
        let another = here.make("s:sess_1", NOW);
        assert_ne!(here.check(&solve(&another), "s:sess_1", NOW), hash);
        let other = Challenges::new(&Secret::any("Zx8vQw2eRt4yUi6oPa1sDf3gHj5kLz7c"), 8, Duration::from_secs(120));
        assert_eq!(other.check(&answer, "s:sess_1", NOW), Err(Wrong::Invalid));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let here = challenges();
        let challenge = here.make("s", NOW);
        let text = challenge["challenge"].as_str().unwrap();
        let (_, counter) = solve(&challenge).split_once(':').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        let lazy = (0..).map(|n| format!("{text}:{n}")).find(|a| zero_bits(&Sha256::digest(a)) < 8).unwrap();
        let check = |answer: &str| {
            assert_eq!(here.check(answer, "s", NOW), Err(Wrong::Invalid), "{answer}");
        };
        check("");
        check(":");
        check(text);
        check(&format!("{text}:"));
        check(&format!("{text}:x"));
        check(&format!("{text}:-1"));
        check(&format!("{text}:{}", "0".repeat(13)));
        check(&lazy);
        check(&format!("{}:{counter}", &text[1..]));
        check(&format!("{text}A:{counter}"));
        check(&format!("{}:{counter}", "A".repeat(10_000)));
        // Each bit is signed: an end further away, or less work.
        for at in 0..text.len() {
            let other = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
            let changed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
            check(&solve(&json!({"challenge": changed, "difficulty": 8})));
        }
    }

    #[test]
    fn zero_bits_are_counted_from_the_front() {
        let check = |bytes: &[u8], expected: u32| assert_eq!(zero_bits(bytes), expected, "{bytes:?}");
        check(&[0x80, 0], 0);
        check(&[0x01, 0], 7);
        check(&[0, 0x40], 9);
        check(&[0, 0], 16);
    }
}
