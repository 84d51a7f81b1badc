//! Whether somebody takes traces at the address that is set.

use std::time::Duration;

use reqwest::header;
use runtime::telemetry;

use super::finding::{Check, Finding};

const WITHIN: Duration = Duration::from_secs(5);
const PATH: &str = "v1/traces";
const OF: &str = "all roles";

const SET: &str = "Set OTEL_EXPORTER_OTLP_ENDPOINT to the collector's OTLP/HTTP address, such as http://jaeger:4318.";
const NAMED: &str = "Write name=value, and several with commas between them.";

/// Posts what an exporter would that has nothing to export: an empty protobuf message is no byte at all.
pub(crate) async fn examine(endpoint: Option<&str>, headers: Option<&str>) -> Finding {
    let Some(endpoint) = endpoint else {
        return Finding::not_checked(
            Check::Telemetry,
            OF,
            "No traces are exported: OTEL_EXPORTER_OTLP_ENDPOINT is not set.",
            SET,
        );
    };
    let Ok(headers) = telemetry::headers(headers.unwrap_or_default()) else {
        return Finding::problem(Check::Telemetry, OF, "OTEL_EXPORTER_OTLP_HEADERS can't be read.", NAMED);
    };
    let client =
        reqwest::Client::builder().no_proxy().timeout(WITHIN).redirect(reqwest::redirect::Policy::none()).build();
    let url = format!("{}/{PATH}", endpoint.trim_end_matches('/'));
    let asked = async {
        let request = client?.post(&url).header(header::CONTENT_TYPE, "application/x-protobuf").body(Vec::new());
        headers
            .iter()
            .fold(request, |request, (name, value)| request.header(name, value))
            .send()
            .await
            .map(|answer| answer.status().as_u16())
    };
    judge(asked.await)
}

fn judge(answer: reqwest::Result<u16>) -> Finding {
    match answer {
        Ok(200..=299) => Finding::ok(Check::Telemetry, OF, "The collector takes traces."),
        Ok(status @ (401 | 403)) => Finding::problem(
            Check::Telemetry,
            OF,
            format!("The collector answers {status}: it asks who sends."),
            "Set OTEL_EXPORTER_OTLP_HEADERS to what it wants.",
        ),
        Ok(status) => Finding::problem(
            Check::Telemetry,
            OF,
            format!("What is at /{PATH} of OTEL_EXPORTER_OTLP_ENDPOINT answers {status}: no collector does."),
            SET,
        ),
        Err(error) if error.is_builder() => {
            Finding::problem(Check::Telemetry, OF, "OTEL_EXPORTER_OTLP_ENDPOINT is no URL.", SET)
        }
        Err(_) => Finding::problem(
            Check::Telemetry,
            OF,
            "Nobody answers at OTEL_EXPORTER_OTLP_ENDPOINT: traces are dropped, and nothing else suffers.",
            SET,
        ),
    }
}

#[cfg(test)]
mod tests {
    use worker::demo::{Demo, Script};

    use super::{super::finding::Severity, *};

    #[tokio::test]
    async fn a_collector_answers() {
        rustls::crypto::ring::default_provider().install_default().ok();
        assert_eq!(examine(None, None).await.severity, Severity::NotChecked);
        let collector = Demo::scripted(([127, 0, 0, 1], 0).into()).await.unwrap();
        let mut base = collector.url().clone();
        base.set_path("/");
        for (status, severity, word) in [
            (200, Severity::Ok, "takes"),
            (404, Severity::Problem, "404"),
            (401, Severity::Problem, "who sends"),
            (302, Severity::Problem, "302"),
        ] {
            collector.will(Script::of(status, "application/x-protobuf"));
            let found = examine(Some(base.as_str()), Some("authorization=Bearer%20x")).await;
            assert!(found.severity == severity && found.says.contains(word), "{found:?}");
        }
        let asked = collector.requests();
        assert!(asked.iter().all(|seen| seen.uri.path() == "/v1/traces" && seen.body.is_empty()));
        assert_eq!(asked[0].headers["content-type"], "application/x-protobuf");
        assert_eq!(asked[0].headers["authorization"], "Bearer x");
        assert!(examine(Some(base.as_str()), Some("t0ken")).await.says.contains("OTEL_EXPORTER_OTLP_HEADERS"));
        collector.stop().await;
        assert!(examine(Some(base.as_str()), Some("authorization=Bearer%20x")).await.says.contains("Nobody answers"));
        assert!(examine(Some("collector:4318 "), None).await.says.contains("no URL"));
    }
}
