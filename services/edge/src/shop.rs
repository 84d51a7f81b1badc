//! The demo shop on an origin of its own, as a real shop has one: all it shares with the chat is the tag.

use std::time::Duration;

use axum::{Router, http::HeaderMap, routing::get};
use bytes::Bytes;
use runtime::{
    asset::{Asset, EMBEDDER_POLICY, kind},
    http::{Counts, Limits, Server},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::assets::{DEMO, Folder};

/// What the page has beside the chat.
const FILES: [&str; 3] = ["demo.css", "demo.js", "icon.svg"];

/// The tag for a shop and chat of one origin, and what is said about n8n where both are one process.
const TAG: &str = r#"<script src="/widget/embed.js" async data-same-origin"#;
const ADVICE: &str = "<code>N8N_WEBHOOK_URL=https://… cargo run</code>";

/// Serves the shop, with the chat that is found at `chat`, until `stop`.
pub async fn run(listener: TcpListener, chat: &Url, stop: CancellationToken) {
    let limits = Limits { connections: 256, drain: Duration::from_secs(1), ..Limits::default() };
    let server = Server { limits, tls: None, counts: Counts::default() };
    server.run(listener, router(chat), stop).await;
}

fn router(chat: &Url) -> Router {
    let mut router = Router::new().route("/", serve(Asset::page(page(chat).as_bytes(), &policy(chat))));
    for name in FILES {
        let content = Folder::get(name).expect("it is embedded");
        let asset = Asset::new(Bytes::from(content.data.into_owned()), kind(name), None);
        router = router.route(&format!("/widget/{name}"), serve(asset));
    }
    router
}

fn serve(asset: Asset) -> axum::routing::MethodRouter {
    let asset = std::sync::Arc::new(asset);
    get(move |headers: HeaderMap| async move {
        let mut response = asset.answer(&headers, false);
        // Most shops don't isolate themselves, and one that does couldn't frame a chat with a captcha.
        response.headers_mut().remove(EMBEDDER_POLICY);
        response
    })
}

fn page(chat: &Url) -> String {
    let page = Folder::get(DEMO).expect("it is embedded");
    let chat = chat.as_str().trim_end_matches('/');
    // A URL that was parsed has no quote and no bracket left in it.
    let tag = format!(r#"<script src="{chat}/widget/embed.js" async"#);
    let page = String::from_utf8_lossy(&page.data);
    page.replace(TAG, &tag).replace(ADVICE, "<code>N8N_WEBHOOK_URL</code>")
}

/// What docs/embedding.md asks of a strict page, and no more.
fn policy(chat: &Url) -> String {
    let chat = chat.origin().ascii_serialization();
    format!(
        "default-src 'none'; script-src 'self' {chat}; style-src 'self'; img-src 'self' data:; frame-src {chat}; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_the_tag_of_another_origin() {
        let chat = Url::parse("https://chat.shop.example/desk/").expect("an address");
        let page = page(&chat);
        assert!(page.contains(r#"<script src="https://chat.shop.example/desk/widget/embed.js" async data-greeting"#));
        assert!(!page.contains("data-same-origin data-") && !page.contains("cargo run"), "it speaks of one process");
        assert!(policy(&chat).contains("script-src 'self' https://chat.shop.example; "));
        assert!(FILES.iter().all(|name| Folder::get(name).is_some()));
    }
}
