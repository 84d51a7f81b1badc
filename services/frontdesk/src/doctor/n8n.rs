//! n8n and the workflow of a site.

use std::{net::IpAddr, time::Duration};

use worker::{
    Site,
    n8n::examine::{Api, Door, Flow, Said, Trial, Tried},
};

use super::{
    clock,
    finding::{Check, Finding},
    nats::millis,
};

/// n8n's own, from the beginning of a run.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Who waits longer for the first word mostly leaves.
const SLOW: Duration = Duration::from_secs(5);

const WORKFLOWS: &str = "n8n/README.md shows a workflow that does";

/// Looks at the n8n of a site. Without `call` no workflow runs.
pub(crate) async fn examine(site: &Site, call: bool, patience: Duration) -> Vec<Finding> {
    let of = format!("site {}", site.id);
    let mut findings = by_settings(&of, site);
    if let Some(api) = site.client.api().await {
        findings.push(api_finding(&of, &api));
    }
    let knocked = site.client.knock().await;
    findings.extend(knocked.clock.map(|clock| clock::n8n(&of, clock.ahead_ms)));
    let there = webhook(&of, &knocked.door);
    let go_on = !matches!(knocked.door, Door::Unreachable(_) | Door::Starting | Door::Missing | Door::OtherMethod(_));
    if !go_on {
        findings.push(there);
        return findings;
    }
    if !call {
        findings.push(there);
        let says = "The workflow was not called.";
        for check in [Check::N8nKey, Check::N8nAnswer, Check::N8nStreaming, Check::N8nFirstText, Check::N8nToken] {
            findings.push(Finding::not_checked(
                check,
                &of,
                says,
                "Run this without --no-call, and with a yes to its question.",
            ));
        }
        return findings;
    }
    let began = tokio::time::Instant::now();
    let tried = site.client.try_out(&site.id, Trial::AsConfigured, patience).await;
    // What the webhook itself says counts for more than what stands before it.
    let refused = refused(&of, &tried.said);
    match refused {
        Some(refused) => findings.push(refused),
        None => findings.push(Finding::ok(Check::N8nWebhook, &of, "n8n has this webhook, and it takes POST.")),
    }
    findings.extend(key(&of, site, &tried.said, None));
    findings.extend(answer(&of, site, &tried));
    if !matches!(tried.said, Said::Text) {
        return findings;
    }
    let left = patience.saturating_sub(began.elapsed());
    let forged = site.client.try_out(&site.id, Trial::Forged, left).await;
    findings.push(token(&of, &forged.said));
    if site.n8n.api_key.is_some() {
        let left = patience.saturating_sub(began.elapsed());
        let without = site.client.try_out(&site.id, Trial::ForgedWithoutKey, left).await;
        findings.extend(key(&of, site, &tried.said, Some(&without.said)));
    }
    findings
}

/// What the address and the limits say, before anybody is asked.
fn by_settings(of: &str, site: &Site) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(url) = &site.n8n.webhook_url else { return findings };
    let path = url.path();
    if path.contains("/webhook-test/") || path.contains("/workflow/") {
        findings.push(Finding::problem(
            Check::N8nAddress,
            of,
            "N8N_WEBHOOK_URL is an address of n8n's editor: a test URL works once per click.",
            "Publish the workflow, and set N8N_WEBHOOK_URL to the Webhook node's production URL (/webhook/…).",
        ));
    } else {
        findings.push(Finding::ok(Check::N8nAddress, of, "The webhook's address is a production one."));
    }
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let near = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    findings.push(if url.scheme() == "https" {
        Finding::ok(Check::N8nTls, of, "n8n is called over TLS.")
    } else if near {
        Finding::ok(Check::N8nTls, of, "n8n is called without TLS, on this machine.")
    } else {
        Finding::warning(
            Check::N8nTls,
            of,
            "n8n is called without TLS: the key and what visitors write cross the network as they are.",
            "Write https:// in N8N_WEBHOOK_URL, unless the network is closed and trusted.",
        )
    });
    if site.n8n.idle_timeout <= KEEPALIVE {
        findings.push(Finding::warning(
            Check::N8nKeepalive,
            of,
            format!("N8N_IDLE_TIMEOUT is {:?}, and n8n gives a sign of life each 30 s: a tool that takes longer cuts the reply.", site.n8n.idle_timeout),
            "Set N8N_IDLE_TIMEOUT to 45s or more.",
        ));
    }
    findings
}

fn api_finding(of: &str, api: &Api) -> Finding {
    const TOKEN: &str =
        "Make an API key in n8n with the scopes execution:list and execution:stop, and set N8N_API_TOKEN to it.";
    match api {
        Api::Good => Finding::ok(Check::N8nApi, of, "n8n's API lists executions and would stop one."),
        Api::Unauthorized => Finding::problem(Check::N8nApi, of, "n8n's API does not know N8N_API_TOKEN.", TOKEN),
        Api::Lacks(scope) => {
            Finding::problem(Check::N8nApi, of, format!("N8N_API_TOKEN lacks the scope {scope}."), TOKEN)
        }
        Api::Status(status) => Finding::problem(
            Check::N8nApi,
            of,
            format!("What is at N8N_API_URL answers {status}, and not as n8n's API does."),
            "Set N8N_API_URL to the address that ends in /api/v1.",
        ),
        Api::Unreachable(why) => Finding::problem(
            Check::N8nApi,
            of,
            format!("n8n's API can't be reached: {why}."),
            "Correct N8N_API_URL, or let this machine reach it.",
        ),
    }
}

const PUBLISH: &str =
    "Publish the workflow in n8n, and compare N8N_WEBHOOK_URL with the Webhook node's production URL.";

fn webhook(of: &str, door: &Door) -> Finding {
    match door {
        Door::Open => Finding::ok(Check::N8nWebhook, of, "n8n has this webhook, and it takes POST."),
        Door::OtherMethod(method) => other_method(of, method),
        Door::Missing => missing(of),
        Door::Starting => starting(of),
        Door::Unreachable(why) => unreachable(of, why),
        Door::Unclear(status) => Finding::not_checked(
            Check::N8nWebhook,
            of,
            format!("Something answers there with {status}, and does not tell whether the webhook exists."),
            "Run this without --no-call.",
        ),
    }
}

fn other_method(of: &str, method: &str) -> Finding {
    let says = format!("The webhook takes {method}, and Frontdesk posts.");
    Finding::problem(Check::N8nWebhook, of, says, "Set HTTP Method to POST in the Webhook node, and publish.")
}

fn missing(of: &str) -> Finding {
    let says = "n8n knows no such webhook: the path is wrong, or the workflow is not active.";
    Finding::problem(Check::N8nWebhook, of, says, PUBLISH)
}

fn starting(of: &str) -> Finding {
    let says = "n8n is there and not yet ready.";
    Finding::problem(Check::N8nWebhook, of, says, "Wait half a minute, and look at n8n's log if it stays so.")
}

fn unreachable(of: &str, why: &str) -> Finding {
    Finding::problem(
        Check::N8nWebhook,
        of,
        format!("n8n can't be reached: {why}."),
        "Start n8n, or correct N8N_WEBHOOK_URL and what lies between: name, port, firewall, certificate.",
    )
}

/// Of what a trial said: that no workflow was run.
fn refused(of: &str, said: &Said) -> Option<Finding> {
    match said {
        Said::Missing => Some(missing(of)),
        Said::OtherMethod(method) => Some(other_method(of, method)),
        Said::Starting => Some(starting(of)),
        Said::Unreachable(why) => Some(unreachable(of, why)),
        Said::NotPublic => Some(Finding::problem(
            Check::N8nWebhook,
            of,
            "The Chat Trigger is not public.",
            "Switch on Make Chat Publicly Available in the Chat Trigger, and publish.",
        )),
        Said::Status(status) => Some(Finding::problem(
            Check::N8nWebhook,
            of,
            format!("What is at N8N_WEBHOOK_URL answers {status}, and not as n8n does."),
            "Look what stands at this address: a proxy, another program, or n8n under another path.",
        )),
        _ => None,
    }
}

/// What is known of the key; `without` is what a call without it said.
fn key(of: &str, site: &Site, said: &Said, without: Option<&Said>) -> Option<Finding> {
    const ASK: &str = "In the Webhook node choose Authentication: Header Auth with the name X-API-Key, and set N8N_API_KEY to its value.";
    let set = site.n8n.api_key.is_some();
    match (said, without) {
        (Said::Unauthorized, _) if set => Some(Finding::problem(
            Check::N8nKey,
            of,
            "n8n refuses the key.",
            "Make N8N_API_KEY (and N8N_API_KEY_HEADER) the same as in the Header Auth credential of the Webhook node.",
        )),
        (Said::Unauthorized, _) => Some(Finding::problem(
            Check::N8nKey,
            of,
            "n8n asks for a key, and N8N_API_KEY is not set.",
            "Set N8N_API_KEY to the value of the Webhook node's Header Auth credential.",
        )),
        (Said::Text, None) if !set => Some(Finding::warning(
            Check::N8nKey,
            of,
            "The webhook asks for no key: who knows its address can run the workflow.",
            ASK,
        )),
        // A proxy before n8n may refuse in words of its own.
        (Said::Text, Some(Said::Unauthorized | Said::Status(400..=499))) => {
            Some(Finding::ok(Check::N8nKey, of, "n8n takes the key, and refuses who has none."))
        }
        (
            Said::Text,
            Some(
                Said::Silent
                | Said::Cut
                | Said::Unreachable(_)
                | Said::Starting
                | Said::Missing
                | Said::NotPublic
                | Said::Status(_),
            ),
        ) => Some(Finding::not_checked(
            Check::N8nKey,
            of,
            "n8n takes the key; whether it asks for one could not be seen.",
            "Run this again.",
        )),
        (Said::Text, Some(_)) => Some(Finding::warning(
            Check::N8nKey,
            of,
            "The webhook takes calls without the key that is set: who knows its address can run the workflow.",
            ASK,
        )),
        _ => None,
    }
}

fn answer(of: &str, site: &Site, tried: &Tried) -> Vec<Finding> {
    let problem = |says: &str, fix: &str| vec![Finding::problem(Check::N8nAnswer, of, says, fix).took(tried.took)];
    match &tried.said {
        Said::Text => text(of, site, tried),
        Said::Started if site.takes_late => {
            vec![Finding::ok(Check::N8nAnswer, of, "The workflow has started; its reply comes late, by reply_url.")]
        }
        Said::Started => vec![Finding::problem(
            Check::N8nAnswer,
            of,
            "n8n only says that it has started the workflow: its reply never comes this way.",
            format!(
                "Set Respond to Streaming in the Webhook node ({WORKFLOWS}), or answer by reply_url with LATE_REPLY_TTL (docs/late-replies.md)."
            ),
        )],
        Said::Failed => problem(
            "The workflow fails: a node tells of an error.",
            "Look at the last execution in n8n: mostly the model's credential, or a SESSION_SECRET_KEY that is not the JWT credential's.",
        ),
        Said::Empty { streaming: true } => vec![Finding::problem(
            Check::N8nStreaming,
            of,
            "The Webhook streams, and no node of the workflow does: the answer is empty.",
            "Switch on Enable Streaming in the AI Agent (version 2.1 or later), with a model that streams.",
        )],
        Said::Empty { streaming: false } => problem(
            "The answer is empty.",
            "Let the last node, or Respond to Webhook, give a field `output` with the text.",
        ),
        Said::Unreadable => problem(
            "The answer is no reply: a web page, or a form that is not known.",
            "Answer with lines (Streaming), with JSON that has `output`, or with plain text.",
        ),
        Said::Cut => problem(
            "The answer broke off.",
            "Look whether n8n restarted, and at the time limits of the proxy before it.",
        ),
        Said::Silent => problem(
            "No answer, or no end of it, came in time.",
            "Look at the running executions in n8n: a tool that hangs, or the concurrency limit (n8n/README.md).",
        ),
        Said::TooLarge => problem(
            "The answer is larger than REPLY_MAX_BYTES.",
            "Raise REPLY_MAX_BYTES, or let the workflow say less.",
        ),
        _ => vec![],
    }
}

/// A reply: how it came.
fn text(of: &str, site: &Site, tried: &Tried) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.push(
        if tried.errors > 0 {
            Finding::warning(
                Check::N8nAnswer,
                of,
                "The workflow answers, though a node in it tells of an error.",
                "Look at the last execution in n8n: a tool mostly.",
            )
        } else {
            Finding::ok(Check::N8nAnswer, of, format!("The workflow answers; its reply took {}.", millis(tried.took)))
        }
        .took(tried.took),
    );
    findings.push(streaming(of, tried));
    if let Some(first) = tried.first_text {
        let says = format!("The first text came after {}.", millis(first));
        let limit = site.n8n.first_token_timeout;
        findings.push(
            if first.saturating_mul(2) > limit {
                let says = format!("{says} N8N_FIRST_TOKEN_TIMEOUT ends a reply after {limit:?} of waiting.");
                Finding::warning(Check::N8nFirstText, of, says, "Raise N8N_FIRST_TOKEN_TIMEOUT, or make the workflow begin sooner.")
            } else if first > SLOW {
                let fix = "Run this again, since the first run after a start of n8n is slow; then look what comes before the AI Agent, and at the model.";
                Finding::warning(Check::N8nFirstText, of, format!("{says} Visitors wait for it."), fix)
            } else {
                Finding::ok(Check::N8nFirstText, of, says)
            }
            .took(first),
        );
    }
    findings.extend(keepalive(of, tried));
    findings
}

fn streaming(of: &str, tried: &Tried) -> Finding {
    if !tried.lines {
        return Finding::warning(
            Check::N8nStreaming,
            of,
            "The workflow answers in one piece at its end: visitors see nothing until then.",
            format!("Set Respond to Streaming in the Webhook node (version 2.1 or later); {WORKFLOWS}."),
        );
    }
    match tried.flow {
        Flow::Streams => Finding::ok(Check::N8nStreaming, of, "The reply streams: text came while n8n still wrote."),
        Flow::HeldBack(written) => Finding::problem(
            Check::N8nStreaming,
            of,
            format!("n8n wrote for {}, and all came at once: something between holds it back.", millis(written)),
            "Switch off buffering in the proxy before n8n (nginx: proxy_buffering off; no compression of the answer).",
        ),
        Flow::Unknown => Finding::not_checked(
            Check::N8nStreaming,
            of,
            "n8n answers as a stream, which was too short to see whether it arrives as one.",
            "Run this again, with a workflow that says some sentences.",
        ),
    }
}

fn keepalive(of: &str, tried: &Tried) -> Option<Finding> {
    if !tried.lines {
        return None;
    }
    Some(match (tried.keepalives, tried.took > KEEPALIVE + Duration::from_secs(5)) {
        (0, false) => Finding::not_checked(
            Check::N8nKeepalive,
            of,
            "n8n gives a sign of life each 30 s, and the reply was over before.",
            "Nothing has to be done; ask with a workflow that takes longer to see it.",
        ),
        (0, true) => Finding::warning(
            Check::N8nKeepalive,
            of,
            format!("The reply took {}, and n8n gave no sign of life.", millis(tried.took)),
            "Let the proxy before n8n pass each line on at once, and update n8n.",
        ),
        (some, _) => Finding::ok(Check::N8nKeepalive, of, format!("n8n gave {some} signs of life while it worked.")),
    })
}

/// What a call said whose `jwt_token` somebody else had signed.
fn token(of: &str, said: &Said) -> Finding {
    match said {
        Said::Text => Finding::warning(
            Check::N8nToken,
            of,
            "The workflow answered a message whose jwt_token was forged: it does not verify the token, or says its refusal to visitors.",
            "Verify jwt_token with n8n's JWT node and the passphrase SESSION_SECRET_KEY, and end what fails in Stop and Error (n8n/README.md).",
        ),
        Said::Failed | Said::Empty { .. } | Said::Unauthorized | Said::Status(400..=499) => {
            Finding::ok(Check::N8nToken, of, "The workflow refuses a message whose jwt_token is forged.")
        }
        _ => Finding::not_checked(
            Check::N8nToken,
            of,
            "What the workflow does with a forged jwt_token could not be seen.",
            "Run this again, with --timeout where the workflow is slow.",
        ),
    }
}

#[cfg(test)]
mod tests;
