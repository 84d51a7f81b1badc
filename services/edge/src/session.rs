//! Sessions: created, asked about, renewed. Edges keep none: what a session is stands in its token.

use std::{fmt, sync::Arc};

use axum::{
    Json,
    http::{HeaderMap, HeaderName, header},
    response::{IntoResponse, Response},
};
use protocol::{Fact, FactKind, Page, SessionId, SiteId, Visit};
use rand::{TryRng as _, rngs::SysRng};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
use url::Url;
use utoipa::ToSchema;

use crate::{
    body::Body,
    bots::{self, Signals},
    clean::{told, told_json},
    config::RequestSignatures,
    device, identity, openapi,
    problem::ApiError,
    proof::PublicKey,
    request::{Call, text},
    site::{self, Site},
    state::State,
    time,
    token::Grant,
    visitor::Visitor,
};

/// Where sessions are created.
pub(crate) const CREATE: &str = "/api/v1/session/create";
/// Metadata as the client wrote it, in bytes.
const MAX_METADATA: usize = 1024;
/// Levels of metadata: far from where any JSON reader on the way gives up.
const MAX_DEPTH: usize = 32;
/// Scheme, the longest host that DNS has, and a port. It travels in the token.
const MAX_ORIGIN: usize = 270;
const MAX_URL: usize = 4096;
const MAX_TITLE: usize = 1024;
/// The path in a fact, in characters.
const MAX_PATH: usize = 512;

/// What a browser tells when it begins.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Create {
    /// 16 to 128 of A-Za-z0-9_-, made by the browser and kept there.
    #[schema(value_type = String, min_length = 16, max_length = 128, pattern = "^[A-Za-z0-9_-]+$")]
    fingerprint: Fingerprint,
    /// The shop; `default` when absent.
    #[schema(example = "default")]
    site: Option<String>,
    /// The origin of the page that embeds the chat.
    #[schema(example = "https://shop.example")]
    parent_origin: Option<String>,
    #[schema(value_type = Option<openapi::Page>)]
    page: Option<Page>,
    #[schema(example = "en-GB", max_length = 35)]
    locale: Option<String>,
    #[schema(example = "Europe/Berlin", max_length = 64)]
    timezone: Option<String>,
    /// Binds the session to the key: from then on each call needs a DPoP proof.
    public_key: Option<PublicKey>,
    /// A JWT that the shop's server signed, 4 KiB at most: who the customer is. `sub`, `exp` (within ten minutes) and
    /// `aud` (the site) are needed.
    identity_token: Option<String>,
    /// A JSON object of 1 KiB at most. Goes to n8n as `session_metadata`.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Box<RawValue>>,
    /// What the widget tells of its browser.
    signals: Option<Signals>,
}

/// Tells one browser from another. Never printed, never kept.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Fingerprint(String);

impl TryFrom<String> for Fingerprint {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let good = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if (16..=128).contains(&text.len()) && text.bytes().all(good) {
            Ok(Self(text))
        } else {
            Err("fingerprint must be 16 to 128 characters of A-Z a-z 0-9 _ -")
        }
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(..)")
    }
}

/// A session's token and what goes with it.
#[derive(Serialize, ToSchema)]
pub(crate) struct Session {
    #[schema(value_type = String, example = "sess_1767168909_9f86d081884c7d65")]
    session_id: SessionId,
    /// Send it as `Authorization: <token_type>`, with the fingerprint as `X-Fingerprint`.
    token: String,
    /// `Bearer`, or `DPoP` for a session that is bound to a key.
    #[schema(example = "Bearer")]
    token_type: &'static str,
    #[schema(format = DateTime)]
    expires_at: String,
    /// Seconds.
    #[schema(example = 3600)]
    expires_in: u64,
    #[schema(value_type = String, example = "default")]
    site: SiteId,
    /// The customer whom the shop vouched for.
    #[schema(value_type = Option<Object>)]
    identity: Option<Box<RawValue>>,
    /// Why the `identity_token` does not count and the visitor is anonymous: `not_configured`, `invalid`, `expired`,
    /// `not_yet_valid`, `too_long_lived`, `wrong_audience`, or `unknown_key` (it may be known in a minute). Absent when
    /// nothing was wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    identity_error: Option<&'static str>,
    #[schema(example = "/api/v1/chat/stream/sess_1767168909_9f86d081884c7d65")]
    stream_url: String,
    limits: SessionLimits,
}

/// What a session may do.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionLimits {
    #[schema(example = 4000)]
    message_max_chars: u32,
    #[schema(example = 20)]
    history_max_messages: u32,
    /// 0 = no limit.
    #[schema(example = 20)]
    messages_per_minute: u32,
    /// Of a comment with a rating; 0 = none is taken.
    #[schema(example = 500)]
    comment_max_chars: u32,
}

/// A good token's session.
#[derive(Serialize, ToSchema)]
pub(crate) struct Valid {
    #[schema(example = true)]
    valid: bool,
    #[schema(value_type = String, example = "sess_1767168909_9f86d081884c7d65")]
    session_id: SessionId,
    #[schema(value_type = String, example = "default")]
    site: SiteId,
    #[schema(format = DateTime)]
    expires_at: String,
    /// Seconds.
    expires_in: u64,
    /// The customer whom the shop vouched for.
    #[schema(value_type = Option<Object>)]
    identity: Option<Box<RawValue>>,
}

/// Begin a session.
#[utoipa::path(post, path = "/api/v1/session/create", tag = "Sessions", request_body = Create,
    params(openapi::ChallengeResponse),
    responses((status = 200, description = "The session", body = Session),
        (status = 401, description = "With `IDENTITY=required`: `unauthorized` without an `identity_token`, \
            `token_expired` or `token_invalid`, with `identity_error`, for one that does not count",
            body = openapi::Problem, content_type = "application/problem+json"),
        openapi::BadBody, openapi::Refused))]
pub(crate) async fn create(
    state: State,
    call: Arc<Call>,
    headers: HeaderMap,
    Body(body): Body<Create>,
) -> Result<Response, ApiError> {
    let site = find_site(&state, &call, body.site.as_deref())?;
    check(&body, &call, &site, state.config.demo)?;
    let metadata = body.metadata.map(|metadata| told_object("metadata", metadata, MAX_METADATA)).transpose()?;
    let key = key(state.config.proofs.request_signatures, body.public_key.as_ref())?;
    call.count(state.limits.create(call.ip))?;
    let request = bots::Request { call: &call, headers: &headers, signals: body.signals.as_ref() };
    let bot = state.bots.create(&request, &state.metrics).await?;

    let now = time::now();
    let identified = state.identity.identify(body.identity_token.as_deref(), &site.id, now, &state.metrics)?;
    let random = SysRng.try_next_u64().map_err(|error| {
        tracing::error!(%error, "the OS has no random bytes");
        ApiError::Internal
    })?;
    let session = SessionId::mint(now.as_secs(), random);
    state.metrics.sessions_created.inc();
    let customer = identified.identity.as_deref().and_then(identity::customer);
    let visit = Visit {
        page_path: body.page.as_ref().and_then(path),
        locale: body.locale.clone(),
        device: device::of(&headers),
        country: state.config.country_header.as_ref().filter(|_| call.proxied).and_then(|name| country(&headers, name)),
        customer: customer.map(|customer| runtime::customer::hash(site.id.as_str(), &customer)),
        bot,
    };
    state.tell(Fact::now(&site.id, &session, FactKind::SessionStarted(visit)));
    let grant = Grant {
        session,
        site: site.id.clone(),
        origin: body.parent_origin,
        metadata,
        locale: body.locale,
        key,
        identity: identified.identity,
    };
    Ok(answer(&state, &site, grant, &body.fingerprint.0, identified.error))
}

/// Ask whether a token is good.
#[utoipa::path(get, path = "/api/v1/session/validate", tag = "Sessions", security(("token" = [])),
    params(openapi::Fingerprint),
    responses((status = 200, description = "It is", body = Valid), openapi::Unproved, openapi::Refused))]
pub(crate) async fn validate(visitor: Visitor) -> Response {
    let exp = visitor.claims.exp;
    no_store(Valid {
        valid: true,
        session_id: visitor.session,
        site: visitor.site.id.clone(),
        expires_at: time::rfc3339(std::time::Duration::from_secs(exp)),
        expires_in: exp.saturating_sub(time::now().as_secs()),
        identity: visitor.claims.idn,
    })
}

/// Get a new token for the same session.
#[utoipa::path(post, path = "/api/v1/session/refresh", tag = "Sessions", security(("token" = [])),
    params(openapi::Fingerprint),
    responses((status = 200, description = "The session", body = Session), openapi::Unproved, openapi::Refused))]
pub(crate) async fn refresh(state: State, headers: HeaderMap, visitor: Visitor) -> Result<Response, ApiError> {
    // `Visitor` has compared it; the new token is bound to it under the present key.
    let fingerprint = text(&headers, "x-fingerprint").ok_or(ApiError::FingerprintMismatch)?;
    Ok(answer(&state, &visitor.site, visitor.claims.into(), fingerprint, None))
}

fn answer(
    state: &State,
    site: &Site,
    grant: Grant,
    fingerprint: &str,
    identity_error: Option<identity::Refused>,
) -> Response {
    let now = time::now();
    let (session_id, identity) = (grant.session.clone(), grant.identity.clone());
    let token_type = if grant.key.is_some() { "DPoP" } else { "Bearer" };
    let (token, exp) = state.tokens.mint(grant, fingerprint, now);
    no_store(Session {
        stream_url: format!("/api/v1/chat/stream/{session_id}"),
        session_id,
        token,
        token_type,
        expires_at: time::rfc3339(std::time::Duration::from_secs(exp)),
        expires_in: exp.saturating_sub(now.as_secs()),
        site: site.id.clone(),
        identity,
        identity_error: identity_error.map(identity::Refused::as_str),
        limits: SessionLimits {
            message_max_chars: site.message_max_chars,
            history_max_messages: site.history_max_messages,
            messages_per_minute: site.messages_per_minute,
            comment_max_chars: state.config.feedback_comment_max,
        },
    })
}

/// A response that nobody keeps.
pub(crate) fn no_store(body: impl Serialize) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

/// The site that is asked for, if the page's origin is one of its own.
fn find_site(state: &State, call: &Call, id: Option<&str>) -> Result<Arc<Site>, ApiError> {
    let id = SiteId::new(id.unwrap_or(site::DEFAULT)).map_err(|error| ApiError::field("site", error.to_string()))?;
    let site = state.sites.get(&id).ok_or_else(|| ApiError::field("site", "There is no such site."))?;
    call.is_to(&site);
    if call.may_use(&site) { Ok(site) } else { Err(ApiError::OriginNotAllowed) }
}

/// The thumbprint of the key that a new session is bound to.
fn key(signatures: RequestSignatures, key: Option<&PublicKey>) -> Result<Option<String>, ApiError> {
    let bad = || ApiError::field("public_key", "public_key must be a public JWK of an EC key on P-256");
    match (signatures, key) {
        (RequestSignatures::Off, _) | (RequestSignatures::Optional, None) => Ok(None),
        (RequestSignatures::Required, None) => Err(ApiError::ProofRequired),
        (_, Some(key)) => key.thumbprint().map(Some).ok_or_else(bad),
    }
}

fn check(body: &Create, call: &Call, site: &Site, demo: bool) -> Result<(), ApiError> {
    if let Some(parent) = &body.parent_origin {
        if parent.len() > MAX_ORIGIN {
            return Err(ApiError::field("parent_origin", format!("parent_origin may have {MAX_ORIGIN} bytes")));
        }
        // The demo page is the edge's own.
        let allowed = site.allows(parent) || (demo && call.is_own(parent));
        if !allowed {
            return Err(ApiError::OriginNotAllowed);
        }
    }
    check_page(body.page.as_ref())?;
    check_word("locale", body.locale.as_deref(), 35, "-_")?;
    check_word("timezone", body.timezone.as_deref(), 64, "/_+-")?;
    Ok(())
}

/// The bounds of a page, wherever one comes in.
pub(crate) fn check_page(page: Option<&Page>) -> Result<(), ApiError> {
    let Some(page) = page else { return Ok(()) };
    for (field, text, max) in [
        ("page.url", &page.url, MAX_URL),
        ("page.title", &page.title, MAX_TITLE),
        ("page.referrer", &page.referrer, MAX_URL),
    ] {
        if text.as_ref().is_some_and(|text| text.len() > max) {
            return Err(ApiError::field(field, format!("{field} may have {max} bytes")));
        }
    }
    Ok(())
}

/// What a page says of itself, without what nobody sees.
pub(crate) fn told_page(page: Page) -> Page {
    let Page { url, title, referrer } = page;
    Page { url: url.map(told), title: title.map(told), referrer: referrer.map(told) }
}

/// A JSON object of at most `max` bytes that is not nested deeply, without what nobody sees. Measured before and after:
/// the normal form of a text may be longer.
pub(crate) fn told_object(field: &str, json: Box<RawValue>, max: usize) -> Result<Box<RawValue>, ApiError> {
    check_object(field, &json, max)?;
    let json = told_json(json);
    check_object(field, &json, max)?;
    Ok(json)
}

fn check_object(field: &str, json: &RawValue, max: usize) -> Result<(), ApiError> {
    if json.get().len() > max {
        return Err(ApiError::field(field, format!("{field} may have {max} bytes")));
    }
    match serde_json::from_str::<Value>(json.get()) {
        Ok(value @ Value::Object(_)) if depth(&value) <= MAX_DEPTH => Ok(()),
        Ok(Value::Object(_)) => Err(ApiError::field(field, format!("{field} is nested too deeply"))),
        Err(_) => {
            Err(ApiError::field(field, format!("{field} holds a number that is too large, or is nested too deeply")))
        }
        Ok(_) => Err(ApiError::field(field, format!("{field} must be an object"))),
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn check_word(field: &str, text: Option<&str>, max: usize, also: &str) -> Result<(), ApiError> {
    let good = |text: &str| {
        (1..=max).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || also.contains(c))
    };
    match text {
        Some(text) if !good(text) => {
            Err(ApiError::field(field, format!("{field} must be 1 to {max} characters of A-Z a-z 0-9 {also}")))
        }
        _ => Ok(()),
    }
}

/// What a fact has of a page: never its query, which may hold anything.
fn path(page: &Page) -> Option<String> {
    let url = Url::parse(page.url.as_deref()?).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    Some(url.path().chars().take(MAX_PATH).collect())
}

/// The country that a proxy found for the visitor's address. Where it stands twice, one of them is the visitor's word.
fn country(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let code = value.to_str().ok()?.trim();
    // XX and ZZ: unknown. Anonymous networks and satellites have a digit in the place of a letter.
    let known = code.len() == 2 && code.bytes().all(|b| b.is_ascii_uppercase()) && !["XX", "ZZ"].contains(&code);
    known.then(|| code.to_owned())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn fingerprints_have_one_form_and_never_print() {
        let check = |text: &str, good: bool| {
            assert_eq!(Fingerprint::try_from(text.to_owned()).is_ok(), good, "{text}");
        };
        check("0123456789abcdef", true);
        check("0123456789abcde", false);
        check(&"a".repeat(128), true);
        check(&"a".repeat(129), false);
        check("0123456789abcde!", false);
        check("0123456789abcdé", false);
        assert_eq!(format!("{:?}", Fingerprint("0123456789abcdef".into())), "Fingerprint(..)");
    }

    #[test]
    fn metadata_is_a_small_flat_object() {
        let check = |json: &str, good: bool| {
            let raw = RawValue::from_string(json.to_owned()).unwrap();
            assert_eq!(check_object("metadata", &raw, MAX_METADATA).is_ok(), good, "{json}");
        };
        check("{}", true);
        check(r#"{"a":{"b":[1,2,{"c":null}]}}"#, true);
        check("[]", false);
        check("5", false);
        check(&format!(r#"{{"a":"{}"}}"#, "x".repeat(1016)), true);
        check(&format!(r#"{{"a":"{}"}}"#, "x".repeat(1017)), false);
        check(&format!(r#"{{"a":{}{}}}"#, "[".repeat(31), "]".repeat(31)), true);
        check(&format!(r#"{{"a":{}{}}}"#, "[".repeat(32), "]".repeat(32)), false);
        check(&format!(r#"{{"a":{}{}}}"#, "[".repeat(400), "]".repeat(400)), false);
        // Three times as long in its normal form.
        let grows = RawValue::from_string(format!(r#"{{"a":"{}"}}"#, "\u{1d160}".repeat(200))).unwrap();
        assert!(check_object("metadata", &grows, MAX_METADATA).is_ok());
        assert!(told_object("metadata", grows, MAX_METADATA).is_err());
    }

    #[test]
    fn the_fact_has_the_path_and_nothing_else_of_the_page() {
        let check = |url: Option<&str>, expected: Option<&str>| {
            let page =
                Page { url: url.map(str::to_owned), title: Some("secret".into()), referrer: Some("secret".into()) };
            assert_eq!(path(&page).as_deref(), expected, "{url:?}");
        };
        check(Some("https://shop.example/shoes/red?email=a@b.c#top"), Some("/shoes/red"));
        check(Some("not a url"), None);
        check(None, None);
    }

    #[test]
    fn a_country_is_two_letters_of_one_proxy() {
        let name = HeaderName::from_static("cf-ipcountry");
        let check = |values: &[&str], expected: Option<&str>| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(&name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            assert_eq!(country(&headers, &name).as_deref(), expected, "{values:?}");
        };
        check(&["DE"], Some("DE"));
        check(&[" NO "], Some("NO"));
        for none in ["", "XX", "ZZ", "T1", "A2", "de", "D", "DEU", "D ", "Dé", "<b>"] {
            check(&[none], None);
        }
        check(&[], None);
        check(&["DE", "US"], None);
    }
}
