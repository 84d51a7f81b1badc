//! The figures that `frontdesk analytics report` shows, read from a store or asked of the API.

use protocol::{Millis, SiteId};
use serde::{Deserialize, Serialize};

use crate::{
    Error, Overview, Series, Store,
    query::{Bucket, Metric, Pages, Range},
};

/// What happened in a range.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// All figures.
    pub summary: Overview,
    /// Some of them, step by step.
    pub timeseries: Series,
    /// Where sessions began.
    pub pages: Pages,
}

impl Report {
    /// The values of a metric; none that was not asked for.
    pub fn series(&self, metric: Metric) -> &[Option<u64>] {
        self.timeseries.timeseries.series.get(&metric).map_or(&[], Vec::as_slice)
    }
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// None of the words.
    #[error("the range must be one of 15m, 1h, 24h, 7d, 30d, 90d, 365d")]
    Range,
    /// Not the form of one.
    #[error("the site must be 1 to 64 characters of A-Z a-z 0-9 _ -")]
    Site,
    /// No fact of it was stored.
    #[error("nothing is known of the site `{0}`")]
    Unknown(SiteId),
    /// It can't be read.
    #[error(transparent)]
    Store(#[from] Error),
}

const METRICS: [Metric; 5] =
    [Metric::Sessions, Metric::Messages, Metric::Failed, Metric::Refused, Metric::FirstChunkMsP95];
const PAGES: usize = 10;

/// Which report.
#[derive(Clone, Debug)]
pub struct Asked {
    site: Option<SiteId>,
    word: String,
    range: Range,
}

impl Asked {
    /// `range` is one of the words of the API.
    pub fn new(site: Option<&str>, range: &str) -> Result<Self, ReportError> {
        let site = site.map(|site| site.parse().map_err(|_| ReportError::Site)).transpose()?;
        let word = range.to_owned();
        let range = Range::of_word(range, Millis::now()).ok_or(ReportError::Range)?;
        Ok(Self { site, word, range })
    }

    /// The paths of summary, series and pages at the API.
    pub fn paths(&self) -> [String; 3] {
        let of = |what: &str, more: &str| {
            let site = self.site.as_ref().map(|site| format!("&site={site}")).unwrap_or_default();
            format!("/api/v1/analytics/{what}?range={}{site}{more}", self.word)
        };
        let words = |words: serde_json::Result<serde_json::Value>| {
            words.ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
        };
        let metrics = METRICS.map(|metric| words(serde_json::to_value(metric))).join(",");
        let bucket = words(serde_json::to_value(self.bucket()));
        [
            of("summary", ""),
            of("timeseries", &format!("&bucket={bucket}&metric={metrics}")),
            of("pages", &format!("&limit={PAGES}")),
        ]
    }

    /// Reads the report from a store. Waits for the disk.
    pub fn read(&self, store: &Store) -> Result<Report, ReportError> {
        let (site, range, bucket) = (self.site.as_ref(), self.range, self.bucket());
        if let Some(site) = site
            && !store.sites()?.contains(site)
        {
            return Err(ReportError::Unknown(site.clone()));
        }
        let summary = Overview::read(store, site, range, Millis::now())?;
        let timeseries = store.timeseries(site, range, bucket, &METRICS)?;
        let timeseries = Series { from: range.from, until: range.until, bucket, timeseries };
        Ok(Report { summary, timeseries, pages: store.pages(site, range, PAGES)? })
    }

    /// Steps that fit into a line.
    fn bucket(&self) -> Bucket {
        match self.word.as_str() {
            "15m" | "1h" => Bucket::Minute,
            "24h" => Bucket::Hour,
            _ => Bucket::Day,
        }
    }
}
