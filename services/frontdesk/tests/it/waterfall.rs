//! A trace as a picture, for the documents.

use std::fmt::Write as _;

use crate::collector::Span;

const ROW: usize = 26;
const NAMES: f64 = 330.0;
const WIDTH: f64 = 960.0;

/// One bar a span, each below its parent; as SVG.
pub(crate) fn svg(spans: &[Span]) -> String {
    let (rows, mut svg) = (rows(spans), String::new());
    let begin = spans.iter().map(|span| span.start).min().unwrap_or_default();
    let end = spans.iter().map(|span| span.end).max().unwrap_or_default();
    let height = (rows.len() + 2) * ROW;
    #[expect(clippy::cast_precision_loss, reason = "nanoseconds of a trace are few")]
    let at = |time: u64| NAMES + (time - begin) as f64 / (end - begin).max(1) as f64 * (WIDTH - NAMES - 90.0);
    writeln!(
        svg,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">
<rect width="{WIDTH}" height="{height}" fill="#fff"/>"##
    )
    .expect("into memory");
    for (n, (depth, span)) in rows.iter().enumerate() {
        let (y, x) = (n * ROW + ROW / 2, at(span.start));
        let wide = (at(span.end) - x).max(2.0);
        let colour = match &*span.service {
            "frontdesk-edge" => "#2563eb",
            "frontdesk-worker" => "#0f766e",
            "frontdesk-analytics" => "#7c3aed",
            _ => "#dc2626",
        };
        let micros = (span.end - span.start) / 1_000;
        let (label, indent) = (span.name.replace('<', "&lt;"), 8 + depth * 14);
        writeln!(
            svg,
            r##"<text x="{indent}" y="{ty}" fill="#111">{label}</text>
<rect x="{x:.1}" y="{y}" width="{wide:.1}" height="14" rx="2" fill="{colour}"/>
<text x="{tx:.1}" y="{ty}" fill="#555">{ms}.{rest:02} ms</text>"##,
            ty = y + 12,
            tx = x + wide + 5.0,
            ms = micros / 1_000,
            rest = micros % 1_000 / 10,
        )
        .expect("into memory");
    }
    let legend = [("#2563eb", "edge"), ("#0f766e", "worker"), ("#dc2626", "n8n"), ("#7c3aed", "analytics")];
    let y = rows.len() * ROW + ROW;
    for (n, (colour, name)) in legend.into_iter().enumerate() {
        let x = 8 + n * 100;
        let tx = x + 18;
        let ty = y + 11;
        writeln!(
            svg,
            r##"<rect x="{x}" y="{y}" width="12" height="12" rx="2" fill="{colour}"/><text x="{tx}" y="{ty}" fill="#111">{name}</text>"##
        )
        .expect("into memory");
    }
    svg + "</svg>\n"
}

/// Children below their parents, by their beginning; with how deep each is.
fn rows(spans: &[Span]) -> Vec<(usize, &Span)> {
    let mut by_time: Vec<&Span> = spans.iter().collect();
    by_time.sort_by_key(|span| span.start);
    let is_root = |span: &&&Span| !spans.iter().any(|other| other.id == span.parent);
    let mut next: Vec<(usize, &Span)> = by_time.iter().filter(is_root).rev().map(|span| (0, *span)).collect();
    let mut rows = Vec::new();
    while let Some((depth, span)) = next.pop() {
        rows.push((depth, span));
        next.extend(by_time.iter().filter(|child| child.parent == span.id).rev().map(|child| (depth + 1, *child)));
    }
    rows
}
