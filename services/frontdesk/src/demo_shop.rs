//! The demo shop beside a deployment: its page on one port, and a demo in the place of n8n on another.

use anyhow::Context as _;
use runtime::stop;

use crate::{
    cli::DemoShop,
    roles::{announce, listen},
};

/// Where the edge is unless somebody says otherwise.
const CHAT: &str = "http://127.0.0.1:8000";

pub(crate) async fn run(asked: DemoShop) -> anyhow::Result<()> {
    let signal = stop::on_signal()?;
    let chat = asked.public_url.map_or_else(|| edge::public_url(CHAT), Ok).map_err(anyhow::Error::msg)?;
    let demo = worker::demo::Demo::friendly(asked.demo_n8n_addr)
        .await
        .with_context(|| format!("DEMO_N8N_ADDR: can't listen on {}", asked.demo_n8n_addr))?;
    let listener = listen(asked.demo_shop_addr).await.context("DEMO_SHOP_ADDR")?;
    tracing::info!("the shop shows the chat of {chat}; in the place of n8n, {} answers", demo.url());
    announce(false, listener.local_addr()?);
    edge::shop::run(listener, &chat, signal).await;
    demo.stop().await;
    Ok(())
}
