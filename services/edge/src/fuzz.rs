//! What must hold of every token, text and event, whatever stands in it. See `fuzz/README.md`.
//!
//! Each function takes what a fuzzer makes, and panics where its property does not hold.

use std::{sync::LazyLock, time::Duration};

use axum::http::Method;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::Parser as _;
use hmac::{Hmac, Mac as _};
use p256::ecdsa::{Signature, SigningKey, signature::Signer as _};
use protocol::{FinishReason, MessageId, Millis, Terminal};
use runtime::Secret;
use serde_json::Value;
use sha2::Sha256;

use crate::{Config, proof::Wanted, sse, token::Tokens};

const SECRET: &str = "wq3rJm1v8Zt5yBn2Kx7cPd4fGh6jLs9a";
const FINGERPRINT: &str = "0123456789abcdef";
/// A second after the session of the seeds began.
const NOW: Duration = Duration::from_secs(1_767_168_910);

/// The thumbprint of [`KEY`].
const THUMBPRINT: &str = "gWjt7nmB1udyFpLYVp0SxJnI8lJEvl7q8AFYZRqnGV8";

static KEY: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::from_slice(&[7; 32]).expect("a number below the order of the curve"));

static TOKENS: LazyLock<Tokens> = LazyLock::new(|| {
    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        config: Config,
    }
    Tokens::new(&Cli::parse_from(["edge", "--jwt-secret-key", SECRET]).config, &Secret::any(SECRET))
});

/// Only what is ours is taken for a token: it has the one form in which we write it, whatever is near to it. And claims
/// of any kind, even rightly signed, are read without harm.
pub fn token(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    accepted(&text);
    let (header, claims) = in_two(data);
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    accepted(&sign(&signed));
}

/// The first line, and what comes after it.
fn in_two(data: &[u8]) -> (&[u8], &[u8]) {
    let (first, rest) = data.split_at(data.iter().position(|b| *b == b'\n').unwrap_or(0));
    (first, rest.trim_ascii_start())
}

fn sign(signed: &str) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("HMAC takes a key of any length");
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.chain_update(signed).finalize().into_bytes()))
}

/// Whether it opens anything; then it must be what it seems.
fn accepted(token: &str) -> bool {
    let read = TOKENS.verify(token, Some(FINGERPRINT), NOW);
    let ticket = [false, true].map(|reconnect| TOKENS.verify_ticket(token, reconnect, NOW));
    assert!(read.is_err() || ticket.iter().all(Result::is_err), "a token that is a ticket as well");
    assert!(!read.as_ref().is_ok_and(|claims| Duration::from_secs(claims.exp) <= NOW), "expired");
    let any = ticket.into_iter().chain([read]).flatten().next();
    let Some(claims) = any else { return false };
    let (signed, _) = token.rsplit_once('.').expect("a token has three parts");
    assert_eq!(token, sign(signed), "another writing of the signature");
    let (header, payload) = signed.split_once('.').expect("a token has three parts");
    let json = |part: &str| -> Value {
        let bytes = URL_SAFE_NO_PAD.decode(part).expect("base64url without padding");
        serde_json::from_slice(&bytes).expect("JSON")
    };
    assert_eq!(json(header)["alg"], "HS256");
    assert_eq!((&json(payload)["iss"], &json(payload)["sub"]), (&"frontdesk".into(), &claims.sub.as_str().into()));
    true
}

/// Only a proof of the key, for this call and of this time, fits; any other is read without harm.
pub fn proof(data: &[u8]) {
    fits(&String::from_utf8_lossy(data));
    fits(&proved(data));
}

/// The proof whose header and claims stand in two lines.
fn proved(data: &[u8]) -> String {
    let (header, claims) = in_two(data);
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature: Signature = KEY.sign(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
}

/// Whether it fits; then it must be what it seems.
fn fits(proof: &str) -> bool {
    let wanted = Wanted {
        key: THUMBPRINT,
        method: &Method::POST,
        base: "https://chat.example",
        path: "/api/v1/chat/message",
        token: "a.session.token",
        now: NOW,
    };
    let Ok(checked) = crate::proof::check(proof, &wanted) else { return false };
    let parts: Vec<&str> = proof.split('.').collect();
    let json = |part: &str| -> Value {
        let bytes = URL_SAFE_NO_PAD.decode(part).expect("base64url without padding");
        serde_json::from_slice(&bytes).expect("JSON")
    };
    let (header, claims) = (json(parts[0]), json(parts[1]));
    assert_eq!((parts.len(), &header["alg"], &claims["htm"]), (3, &"ES256".into(), &"POST".into()));
    let iat = claims["iat"].as_f64().expect("a number");
    assert!((iat - NOW.as_secs_f64()).abs() < 62.0, "{iat} is another time");
    assert!(checked.of_body(proof.as_bytes()).is_err(), "a proof for a body that holds the proof");
    true
}

/// Any text in events, whatever else is on the stream, is read by a parser after the standard as it was written.
pub fn sse(data: &[u8]) {
    let id = MessageId::new("msg-0001").expect("a good id");
    let texts: Vec<_> = data.split(|b| *b == 0xff).map(String::from_utf8_lossy).collect();
    let mut wire = sse::RETRY.to_vec();
    wire.extend_from_slice(&sse::begin(&id, Millis(1_767_168_909_123), None));
    for (index, content) in (0..).zip(&texts) {
        wire.extend_from_slice(&sse::chunk(&id, index, content));
        wire.extend_from_slice(sse::HEARTBEAT);
    }
    wire.extend_from_slice(&sse::gap(&texts[0]));
    let end = Terminal::End { chunks: 1, finish_reason: FinishReason::Stop, duration_ms: 1 };
    wire.extend_from_slice(&sse::terminal(&id, &end));

    let events = parse(std::str::from_utf8(&wire).expect("events are UTF-8"));
    let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
    let expected = [vec!["begin"], vec!["chunk"; texts.len()], vec!["gap", "end"]].concat();
    assert_eq!(names, expected);
    let json = |event: &Parsed| -> Value { serde_json::from_str(&event.data).expect("JSON") };
    for (index, (content, event)) in texts.iter().zip(&events[1..]).enumerate() {
        assert_eq!(event.id, format!("msg-0001:{index}"));
        assert_eq!(json(event)["content"].as_str(), Some(&**content));
    }
    assert_eq!(json(&events[texts.len() + 1])["after"].as_str(), Some(&*texts[0]));
    sse::LastEvent::parse(&texts[0]);
}

/// Cleaning once is enough: no hidden character is left, and a second time changes nothing.
pub fn clean(data: &[u8]) {
    let once = crate::clean::clean(&String::from_utf8_lossy(data));
    assert_eq!(crate::clean::clean(&once), once);
    let hidden = |c: char| match c {
        '\n' | '\t' => false,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        c => c.is_control(),
    };
    assert!(!once.chars().any(hidden), "{once:?}");
    assert_eq!(once.trim(), once);
    let lower = once.to_ascii_lowercase();
    assert!(!["<script>", "</script>", "<img>", "<b>", "<!-->"].iter().any(|tag| lower.contains(tag)), "{once:?}");
}

/// One event as a client gets it.
pub(crate) struct Parsed {
    pub(crate) name: String,
    pub(crate) data: String,
    pub(crate) id: String,
}

/// An SSE parser after the words of the WHATWG HTML standard, section 9.2.6, independent of the encoder.
pub(crate) fn parse(wire: &str) -> Vec<Parsed> {
    let (mut events, mut name, mut data, mut id) = (Vec::new(), String::new(), String::new(), String::new());
    for line in wire.replace("\r\n", "\n").replace('\r', "\n").split('\n') {
        if line.is_empty() {
            if !data.is_empty() {
                data.pop();
                events.push(Parsed {
                    name: std::mem::take(&mut name),
                    data: std::mem::take(&mut data),
                    id: id.clone(),
                });
            }
            name.clear();
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut name),
            "data" => {
                data.push_str(value);
                data.push('\n');
            }
            "id" if !value.contains('\0') => value.clone_into(&mut id),
            _ => {}
        }
    }
    events
}

#[cfg(test)]
#[path = "../../../fuzz/seeds.rs"]
mod seeds;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_near_a_token_is_one() {
        seeds::check(&["fuzz/corpus/token"], token);
        // Else nothing was near.
        let good =
            seeds::of(&["fuzz/corpus/token"]).iter().filter(|seed| accepted(&String::from_utf8_lossy(seed))).count();
        assert_eq!(good, 2, "a token and a ticket");
    }

    #[test]
    fn nothing_near_a_proof_is_one() {
        seeds::check(&["fuzz/corpus/proof"], proof);
        assert_eq!(seeds::of(&["fuzz/corpus/proof"]).iter().filter(|seed| fits(&proved(seed))).count(), 2);
    }

    #[test]
    fn any_text_comes_through_an_event_stream() {
        seeds::check(&["fuzz/corpus/sse"], sse);
    }

    #[test]
    fn any_text_is_clean_after_one_cleaning() {
        seeds::check(&["fuzz/corpus/clean"], clean);
    }
}
