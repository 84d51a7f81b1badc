//! What stands in a query. Each parameter is known, given once and of its form, or it is named in a 400.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    str::FromStr,
    time::Duration,
};

use axum::{extract::FromRequestParts, http::request::Parts};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use protocol::{MessageId, Millis, Rating, SessionId, SiteId};
use serde::de::DeserializeOwned;
use url::form_urlencoded;

use super::problem::ApiError;
use crate::{
    query::{Bucket, CommentPlace, Filter, Metric, Place, Range},
    store::{HOURS_KEPT, MINUTES_KEPT},
};

/// The longest range: ten years and their leap days.
pub(super) const LONGEST: Duration = Duration::from_secs(3_653 * 24 * 3600);
/// The most values of all series of one answer.
pub(super) const POINTS: u64 = 10_000;
/// Without a `bucket`, ranges up to these lengths have steps of minutes, and of hours.
const BY_MINUTE: i64 = 6 * HOUR;
const BY_HOUR: i64 = 14 * DAY;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

const DEVICES: [&str; 4] = ["phone", "tablet", "desktop", "other"];
const DEFAULT_RANGE: &str = "7d";

const MISPLACED: &str = "is not a parameter of this route";

/// The parameters that were not taken yet.
#[derive(Debug, Default)]
pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    fn new(text: &str) -> Result<Self, ApiError> {
        let mut fields = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            match fields.entry(name.into_owned()) {
                Entry::Vacant(free) => drop(free.insert(value.into_owned())),
                Entry::Occupied(taken) => return Err(ApiError::field(shown(taken.key()), "is given twice")),
            }
        }
        Ok(Self(fields))
    }

    /// Refuses what nobody took: a misspelt filter would show other figures than were asked for.
    pub(super) fn end(self) -> Result<(), ApiError> {
        self.0.into_keys().next().map_or(Ok(()), |name| Err(ApiError::field(shown(&name), MISPLACED)))
    }

    fn with<T>(
        &mut self,
        name: &'static str,
        form: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        let Some(value) = self.0.remove(name) else { return Ok(None) };
        read(&value).map(Some).ok_or_else(|| ApiError::field(name, format!("must be {form}")))
    }

    pub(super) fn parsed<T: FromStr>(&mut self, name: &'static str, form: &str) -> Result<Option<T>, ApiError> {
        self.with(name, form, |value| value.parse().ok())
    }

    /// A word of an enum, as JSON has it.
    pub(super) fn word<T: DeserializeOwned>(&mut self, name: &'static str, form: &str) -> Result<Option<T>, ApiError> {
        self.with(name, form, word)
    }

    /// A number of rows, from 1 on.
    pub(super) fn limit(&mut self, default: usize, most: usize) -> Result<usize, ApiError> {
        let form = format!("a whole number from 1 to {most}");
        let limit = self.with("limit", &form, |value| value.parse().ok().filter(|n| (1..=most).contains(n)))?;
        Ok(limit.unwrap_or(default))
    }

    /// A text that is there and not too long.
    pub(super) fn text(&mut self, name: &'static str, most: usize) -> Result<Option<String>, ApiError> {
        let form = format!("a text of 1 to {most} characters");
        self.with(name, &form, |value| (1..=most).contains(&value.chars().count()).then(|| value.to_owned()))
    }

    /// `range`, or `from` and `until`.
    pub(super) fn range(&mut self, now: Millis) -> Result<Range, ApiError> {
        let moment = "an RFC 3339 date-time such as 2026-01-31T00:00:00Z, of 1970 or later";
        let (from, until) = (self.with("from", moment, instant)?, self.with("until", moment, instant)?);
        let words = Range::WORDS.map(|(word, _)| word).join(", ");
        let latest = |word: &str| Range::of_word(word, now);
        let range = match (self.with("range", &format!("one of {words}"), latest)?, from, until) {
            (Some(_), Some(_), _) | (Some(_), _, Some(_)) => {
                return Err(ApiError::field("range", "can't stand beside `from` and `until`"));
            }
            (None, None, Some(_)) => return Err(ApiError::field("from", "is needed where there is `until`")),
            (None, Some(from), until) => Range { from, until: until.unwrap_or(now) },
            (Some(range), None, None) => range,
            (None, None, None) => latest(DEFAULT_RANGE).expect("it is one of the words"),
        };
        if range.until <= range.from {
            return Err(ApiError::field("until", "must be later than `from`"));
        }
        if range.from.age_at(range.until) > LONGEST {
            return Err(ApiError::field("from", "may lie 3653 days before `until` at most"));
        }
        Ok(range)
    }

    /// `metric` and `bucket` of a series over `range`. What is not kept in such short steps any more is told in longer
    /// ones.
    pub(super) fn series(&mut self, range: Range, now: Millis) -> Result<(Bucket, Vec<Metric>), ApiError> {
        let mut metrics = match self.with("metric", "known metrics, separated by commas", |value| {
            value.split(',').map(|name| word(name.trim())).collect::<Option<Vec<Metric>>>()
        })? {
            Some(metrics) => metrics,
            None => vec![Metric::Sessions, Metric::Messages],
        };
        metrics.sort_unstable();
        metrics.dedup();
        let bucket = self.word("bucket", "minute, hour or day")?.unwrap_or_else(|| fitting(range));
        let bucket = bucket.max(kept(range, now));
        if points(range, bucket).saturating_mul(metrics.len() as u64) > POINTS {
            return Err(ApiError::field(
                "bucket",
                format!("makes more than {POINTS} points: take a longer one, a shorter range or fewer metrics"),
            ));
        }
        Ok((bucket, metrics))
    }

    /// The conditions of a list of sessions.
    pub(super) fn filter(&mut self) -> Result<Filter, ApiError> {
        let code = |value: &str| {
            let word = value.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            (word && (1..=64).contains(&value.len())).then(|| value.to_owned())
        };
        let path = |value: &str| (value.starts_with('/') && value.len() <= 2048).then(|| value.to_owned());
        let country = |value: &str| {
            let code = value.len() == 2 && value.bytes().all(|byte| byte.is_ascii_uppercase());
            code.then(|| value.to_owned())
        };
        // Any word at all would be read as `other`.
        let device = |value: &str| DEVICES.contains(&value).then(|| word(value)).flatten();
        Ok(Filter {
            outcome: self.with("outcome", "ended, cancelled, failed, or a failure's code", code)?,
            identified: self.parsed("identified", "true or false")?,
            page: self.with("page", "a path, or the beginning of one", path)?,
            device: self.with("device", "phone, tablet, desktop or other", device)?,
            country: self.with("country", "two capital letters (ISO 3166-1)", country)?,
            rating: self.rating()?,
        })
    }

    /// What a visitor thought of a reply.
    pub(super) fn rating(&mut self) -> Result<Option<Rating>, ApiError> {
        self.word("rating", "up or down")
    }

    /// Where a list of sessions goes on. Whoever made it up gets no other rows than by `site`.
    pub(super) fn cursor(&mut self, site: Option<&SiteId>) -> Result<Option<Place>, ApiError> {
        self.place_of(site, place, |place| &place.site)
    }

    /// Where a list of comments goes on.
    pub(super) fn comment_cursor(&mut self, site: Option<&SiteId>) -> Result<Option<CommentPlace>, ApiError> {
        self.place_of(site, comment_place, |place| &place.site)
    }

    fn place_of<T>(
        &mut self,
        site: Option<&SiteId>,
        read: impl FnOnce(&str) -> Option<T>,
        its: impl Fn(&T) -> &SiteId,
    ) -> Result<Option<T>, ApiError> {
        let place = self.with("cursor", "the `next` of an answer, unchanged", read)?;
        match (&place, site) {
            (Some(place), Some(site)) if its(place) != site => {
                Err(ApiError::field("cursor", "is of another site's list"))
            }
            _ => Ok(place),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Self::new(parts.uri.query().unwrap_or_default())
    }
}

/// A place as callers see it.
pub(super) fn cursor(place: &Place) -> String {
    URL_SAFE_NO_PAD.encode(format!("{CURSOR}{}/{}", place.site, place.session))
}

/// The same in a list of comments.
pub(super) fn comment_cursor(CommentPlace { site, at, session, message_id }: &CommentPlace) -> String {
    URL_SAFE_NO_PAD.encode(format!("{COMMENT_CURSOR}{site}/{}/{session}/{message_id}", at.0))
}

/// The form of a cursor, so that one of another form, or of another list, is refused and not misread.
const CURSOR: &str = "1/";
const COMMENT_CURSOR: &str = "c1/";

fn place(cursor: &str) -> Option<Place> {
    let [site, session] = parts(cursor, CURSOR)?;
    let session = SessionId::new(&session).ok()?;
    Some(Place { site: SiteId::new(&site).ok()?, began: session.began(), session })
}

fn comment_place(cursor: &str) -> Option<CommentPlace> {
    let [site, at, session, message_id] = parts(cursor, COMMENT_CURSOR)?;
    Some(CommentPlace {
        site: SiteId::new(&site).ok()?,
        at: Millis(at.parse().ok()?),
        session: SessionId::new(&session).ok()?,
        message_id: MessageId::new(&message_id).ok()?,
    })
}

fn parts<const N: usize>(cursor: &str, form: &str) -> Option<[String; N]> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    text.strip_prefix(form)?.split('/').map(str::to_owned).collect::<Vec<_>>().try_into().ok()
}

fn instant(text: &str) -> Option<Millis> {
    let instant: jiff::Timestamp = text.parse().ok()?;
    Some(Millis(instant.as_millisecond())).filter(|instant| instant.0 >= 0)
}

fn word<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_value(serde_json::Value::from(text)).ok()
}

fn fitting(range: Range) -> Bucket {
    match range.until.0 - range.from.0 {
        length if length <= BY_MINUTE => Bucket::Minute,
        length if length <= BY_HOUR => Bucket::Hour,
        _ => Bucket::Day,
    }
}

/// The shortest steps that are kept of all of the range.
fn kept(range: Range, now: Millis) -> Bucket {
    match range.from.age_at(now) {
        age if age <= MINUTES_KEPT => Bucket::Minute,
        age if age <= HOURS_KEPT => Bucket::Hour,
        _ => Bucket::Day,
    }
}

/// Steps that touch the range.
fn points(range: Range, bucket: Bucket) -> u64 {
    let step = match bucket {
        Bucket::Minute => MINUTE,
        Bucket::Hour => HOUR,
        Bucket::Day => DAY,
    };
    let steps = (range.until.0 - 1).div_euclid(step) - range.from.0.div_euclid(step) + 1;
    u64::try_from(steps).unwrap_or(0)
}

/// A name that a caller made up, in an answer.
fn shown(name: &str) -> String {
    name.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_767_168_909_005);

    fn query(text: &str) -> Query {
        Query::new(text).unwrap()
    }

    /// The field that is refused.
    fn field<T: std::fmt::Debug>(result: Result<T, ApiError>) -> String {
        match result {
            Err(ApiError::Validation { field, .. }) => field.into_owned(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn ranges_are_words_or_moments() {
        let check = |text: &str, from: i64, until: i64| {
            let range = query(text).range(NOW).unwrap();
            assert_eq!((range.from.0, range.until.0), (from, until), "{text}");
        };
        check("", NOW.0 - 7 * DAY, NOW.0);
        check("range=15m", NOW.0 - 900_000, NOW.0);
        check("range=365d", NOW.0 - 365 * DAY, NOW.0);
        check("from=2025-12-31T08:00:00Z", 1_767_168_000_000, NOW.0);
        check("from=2025-12-31T08:00:00Z&until=2025-12-31T09:00:01%2B01:00", 1_767_168_000_000, 1_767_168_001_000);
    }

    #[test]
    fn bad_ranges_are_named() {
        let check = |text: &str, expected: &str| assert_eq!(field(query(text).range(NOW)), expected, "{text}");
        check("range=8d", "range");
        check("range=", "range");
        check("range=7d&from=2025-12-31T08:00:00Z", "range");
        check("from=yesterday", "from");
        check("from=2025-12-31", "from");
        check("from=1969-12-31T23:59:59Z", "from");
        check("from=99999-12-31T23:59:59Z", "from");
        check("until=2025-12-31T08:00:00Z", "from");
        check("from=2025-12-31T08:00:00Z&until=2025-12-31T08:00:00Z", "until");
        check("from=2025-12-31T08:00:00Z&until=2025-12-30T08:00:00Z", "until");
        check("from=2030-12-31T08:00:00Z", "until");
        check("from=2010-12-31T08:00:00Z&until=2025-12-31T08:00:00Z", "from");
    }

    #[test]
    fn a_series_has_a_bounded_number_of_points() {
        let ago = |days: i64, length: i64| {
            let from = Millis(NOW.0 - days * DAY);
            Range { from, until: Millis(from.0 + length) }
        };
        let check = |text: &str, range: Range, bucket: Bucket, count: usize| {
            let (found, metrics) = query(text).series(range, NOW).unwrap();
            assert_eq!((found, metrics.len()), (bucket, count), "{text} {range:?}");
        };
        check("", ago(1, DAY), Bucket::Hour, 2);
        check("", ago(1, 6 * HOUR), Bucket::Minute, 2);
        check("", ago(1, 6 * HOUR + 1), Bucket::Hour, 2);
        check("", ago(90, 90 * DAY), Bucket::Day, 2);
        check("bucket=minute&metric=messages,sessions,messages", ago(1, DAY), Bucket::Minute, 2);
        check("metric=first_chunk_ms_p95", ago(1, DAY), Bucket::Hour, 1);
        check("bucket=minute", ago(8, HOUR), Bucket::Minute, 2);
        check("bucket=minute", ago(9, HOUR), Bucket::Hour, 2);
        check("", ago(401, HOUR), Bucket::Day, 2);
        let bad = |text: &str, expected: &str| {
            assert_eq!(field(query(text).series(ago(1, DAY), NOW)), expected, "{text}");
        };
        bad("bucket=week", "bucket");
        bad("metric=", "metric");
        bad("metric=messages,", "metric");
        bad("metric=Messages", "metric");
        bad("bucket=minute&metric=sessions,messages,ended,cancelled,failed,pushed,chunks", "bucket");
        assert_eq!(points(Range { from: Millis(59_999), until: Millis(60_001) }, Bucket::Minute), 2);
        assert_eq!(points(Range { from: Millis(0), until: Millis(60_000) }, Bucket::Minute), 1);
    }

    #[test]
    fn filters_are_checked() {
        let text = "outcome=queue_timeout&identified=true&page=/shoes&device=phone&country=AT&rating=down";
        let mut all = query(text);
        let filter = all.filter().unwrap();
        assert_eq!(
            (filter.outcome.as_deref(), filter.identified, filter.page.as_deref(), filter.country.as_deref()),
            (Some("queue_timeout"), Some(true), Some("/shoes"), Some("AT"))
        );
        assert_eq!((filter.device, filter.rating), (Some(protocol::Device::Phone), Some(protocol::Rating::Down)));
        assert!(all.end().is_ok());
        for bad in
            ["outcome=A", "outcome=", "identified=1", "page=shoes", "device=fridge", "country=at", "rating=sideways"]
        {
            assert_eq!(field(query(bad).filter()), bad.split_once('=').unwrap().0);
        }
    }

    #[test]
    fn what_is_unknown_or_given_twice_is_refused() {
        assert_eq!(field(query("rnage=7d").end()), "rnage");
        assert_eq!(field(Query::new("site=a&site=b")), "site");
        assert_eq!(field(query(&"x".repeat(5_000)).end()).len(), 64);
        assert_eq!(query("limit=500").limit(50, 500).unwrap(), 500);
        for bad in ["limit=0", "limit=501", "limit=-1", "limit=ten", "limit=99999999999999999999"] {
            assert_eq!(field(query(bad).limit(50, 500)), "limit");
        }
    }

    #[test]
    fn a_cursor_of_comments_leads_back_and_is_none_of_sessions() {
        let place = CommentPlace {
            site: SiteId::new("shoes").unwrap(),
            at: Millis(1_767_168_909_005),
            session: SessionId::mint(1_767_168_909, 7),
            message_id: MessageId::new("message_-7").unwrap(),
        };
        let text = comment_cursor(&place);
        let read = |text: &str, site: Option<&str>| {
            query(&format!("cursor={text}")).comment_cursor(site.map(|site| SiteId::new(site).unwrap()).as_ref())
        };
        assert_eq!(read(&text, None).unwrap(), Some(place.clone()));
        assert_eq!(read(&text, Some("shoes")).unwrap(), Some(place.clone()));
        assert_eq!(field(read(&text, Some("hats"))), "cursor");
        assert_eq!(field(query(&format!("cursor={text}")).cursor(None)), "cursor");
        let session = cursor(&Place { site: place.site, began: 1_767_168_909, session: place.session });
        for bad in [&session, "", "x", &text[..text.len() - 12], &format!("{text}{text}")] {
            assert_eq!(field(read(bad, None)), "cursor", "{bad}");
        }
    }

    #[test]
    fn cursors_lead_back_to_their_place_and_nowhere_else() {
        let session = SessionId::mint(1_767_168_909, 7);
        let site = SiteId::new("shoes").unwrap();
        let place = Place { site: site.clone(), began: session.began(), session };
        let text = cursor(&place);
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'), "{text}");
        let read = |text: &str, site: Option<&SiteId>| query(&format!("cursor={text}")).cursor(site);
        assert_eq!(read(&text, Some(&site)).unwrap(), Some(place.clone()));
        assert_eq!(read(&text, None).unwrap(), Some(place));
        assert_eq!(field(read(&text, Some(&SiteId::new("hats").unwrap()))), "cursor");
        let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
        for bad in [
            "",
            "x",
            "%FF",
            &text[1..],
            &format!("{text}="),
            &encode("2/shoes/sess_1_0000000000000001"),
            &encode("1/shoes"),
            &encode("1/sh oes/sess_1_0000000000000001"),
            &encode("1/shoes/sess_1"),
        ] {
            assert_eq!(field(read(bad, None)), "cursor", "{bad}");
        }
    }
}
