//! Bot and spam rules: what speaks against a request becomes a score, and the score a verdict.
//!
//! - `signals`: headers, and what the widget says of its browser; `links`, `spam`: rules about messages.
//! - `score`: reasons, weights, verdicts.
//! - `challenge`: proofs of work; `captcha`: who is asked when these were not enough.
//! - `recent`: what was seen lately, in bounded memory.
//!
//! The ladder: a request with too high a score is answered 403 with a proof of work to do, and is let through with its
//! answer. Where a captcha is set up, a client with a score in the upper half between challenge and refusal, or with
//! [`MANY_PROOFS`] proofs behind it, must then answer that as well, and has rest from it for `SPAM_WINDOW`. If the
//! captcha's provider can't be asked, the proof of work has to do.

mod captcha;
mod challenge;
mod links;
mod recent;
mod score;
mod signals;
mod spam;

use std::time::Instant;

use axum::http::HeaderMap;
use bus::{Bus, Proved};
use protocol::{BotClass, Message};
use runtime::{Secret, http::neighbourhood};

use crate::{
    Error,
    chat::away,
    config::{BotConfig, BotRules, Config},
    metrics::{Asked, Judged, Metrics, Spoken},
    problem::{ApiError, Rejection},
    request::Call,
    site::Site,
    time,
};
use captcha::{Captcha, Told};
use challenge::{Challenges, Wrong};
use recent::Recent;
use score::{Case, Verdict};
pub(crate) use signals::{Signals, is_program};
use spam::{Spam, Text};

const RESPONSE: &str = "x-challenge-response";
/// Addresses of which it is remembered how far they climbed the ladder: twice this at most, about 4 MB.
const MAX_CLIMBERS: usize = 50_000;
/// Whoever did so many proofs of work within `SPAM_WINDOW` and is still suspected has a machine for it.
const MANY_PROOFS: u32 = 5;

/// All rules of this edge.
pub(crate) struct Bots {
    config: BotConfig,
    bus: Bus,
    challenges: Challenges,
    captcha: Option<Captcha>,
    spam: Spam,
    climbers: Recent<Climber>,
}

/// How far an address is on the ladder.
#[derive(Default)]
struct Climber {
    /// Proofs of work since then.
    proofs: u32,
    counted_since: Option<Instant>,
    /// Has done a proof, and may answer the captcha once.
    may_answer: bool,
    /// Answered a captcha then.
    person_since: Option<Instant>,
}

/// What a request brings to be judged by.
pub(crate) struct Request<'a> {
    pub(crate) call: &'a Call,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) signals: Option<&'a Signals>,
}

impl Bots {
    /// How often something was forgotten before its time.
    pub(crate) fn forgotten(&self) -> u64 {
        self.spam.forgotten() + self.climbers.early()
    }

    pub(crate) fn new(config: &Config, secret: &Secret, bus: Bus) -> Result<Self, Error> {
        let config = config.bots.clone();
        let now = Instant::now();
        Ok(Self {
            challenges: Challenges::new(secret, config.challenge_difficulty, config.challenge_ttl),
            captcha: Captcha::new(&config)?,
            spam: Spam::new(&config, now),
            climbers: Recent::new(config.spam_window, MAX_CLIMBERS, now),
            config,
            bus,
        })
    }

    /// Judges the creation of a session. Says how much speaks for a program, unless nobody looks.
    pub(crate) async fn create(&self, request: &Request<'_>, metrics: &Metrics) -> Result<Option<BotClass>, ApiError> {
        if self.config.bot_rules == BotRules::Off {
            return Ok(None);
        }
        // There is no session yet to give a challenge to.
        let subject = format!("create {}", neighbourhood(request.call.ip));
        let case = self.signs(request);
        self.decide(request, &case, &subject, metrics).await?;
        Ok(Some(case.class(&self.config)))
    }

    /// Judges a new message.
    pub(crate) async fn message(
        &self,
        request: &Request<'_>,
        message: &Message,
        site: &Site,
        metrics: &Metrics,
    ) -> Result<(), ApiError> {
        if self.config.bot_rules == BotRules::Off {
            return Ok(());
        }
        let mut case = self.signs(request);
        let text = Text { session: &message.session, id: &message.message_id, text: &message.text };
        let own = |origin: &str| request.call.is_own(origin) || site.allows(origin);
        let seen = self.spam.judge(&text, own, Instant::now(), &mut case);
        metrics.suspicious_links.inc_by(seen.odd_links.into());
        self.decide(request, &case, message.session.as_str(), metrics).await
    }

    fn signs(&self, request: &Request<'_>) -> Case {
        let mut case = Case::default();
        signals::judge(request.headers, signals::is_secure(&request.call.base), &mut case);
        if let Some(signals) = request.signals {
            signals.judge(self.config.bot_min_fill, &mut case);
        }
        case
    }

    async fn decide(
        &self,
        request: &Request<'_>,
        case: &Case,
        subject: &str,
        metrics: &Metrics,
    ) -> Result<(), ApiError> {
        let (verdict, mode) = (case.verdict(&self.config), self.config.bot_rules);
        metrics.bot_verdicts.get_or_create(&Judged { verdict: verdict.as_str(), mode: mode.as_str() }).inc();
        for reason in &case.reasons {
            metrics.bot_reasons.get_or_create(&Spoken { reason: reason.as_str() }).inc();
        }
        if verdict != Verdict::Allow {
            let (score, reasons) = (case.score(), case.words());
            let (id, verdict, mode) = (&request.call.id, verdict.as_str(), mode.as_str());
            tracing::info!(request.id = %id, verdict, mode, score, reasons, "judged a request");
        }
        match verdict {
            _ if mode == BotRules::Shadow => Ok(()),
            Verdict::Allow => Ok(()),
            Verdict::Refuse => Err(ApiError::BotDetected),
            Verdict::Reject => Err(ApiError::MessageRejected(Rejection::Content)),
            Verdict::Challenge => self.climb(request, case.score(), subject, metrics).await,
        }
    }

    /// Lets through who has answered what they must, and asks the others.
    async fn climb(&self, request: &Request<'_>, score: u32, subject: &str, metrics: &Metrics) -> Result<(), ApiError> {
        let count = |result| metrics.bot_challenges.get_or_create(&Asked { result }).inc();
        let proof = || {
            count("asked");
            Err(ApiError::ChallengeRequired { challenge: self.challenges.make(subject, time::now()) })
        };
        let Some(answer) = request.headers.get(RESPONSE) else { return proof() };
        let answer = answer.to_str().unwrap_or_default();
        if let Some((captcha, token)) =
            self.captcha.as_ref().and_then(|captcha| Some((captcha, captcha.token(answer)?)))
        {
            // Used up whatever comes: each call to the provider has cost its client a proof.
            let may_answer = self.touch(request, |climber| std::mem::take(&mut climber.may_answer));
            if !may_answer {
                return proof();
            }
            return match captcha.verify(token).await {
                Told::Person => {
                    count("captcha_passed");
                    self.touch(request, |climber| climber.person_since = Some(Instant::now()));
                    Ok(())
                }
                Told::Nobody => {
                    count("captcha_failed");
                    proof()
                }
                Told::Away => {
                    count("captcha_away");
                    Ok(())
                }
            };
        }
        let hash = match self.challenges.check(answer, subject, time::now()) {
            Ok(hash) => hash,
            Err(wrong) => {
                count(match wrong {
                    Wrong::Invalid => "invalid",
                    Wrong::Expired => "expired",
                });
                return proof();
            }
        };
        if self.bus.prove(&hash).await.map_err(|error| away(&error))? == Proved::Replayed {
            count("used");
            return proof();
        }
        count("passed");
        let Some(captcha) = &self.captcha else { return Ok(()) };
        let high = score >= self.config.bot_challenge_at.midpoint(self.config.bot_refuse_at);
        let lately = |since: &mut Instant| since.elapsed() < self.config.spam_window;
        let asked = self.touch(request, |climber| {
            if !climber.counted_since.as_mut().is_some_and(lately) {
                (climber.proofs, climber.counted_since) = (0, Some(Instant::now()));
            }
            climber.proofs = climber.proofs.saturating_add(1);
            let is_person = climber.person_since.as_mut().is_some_and(lately);
            climber.may_answer = !is_person && (high || climber.proofs >= MANY_PROOFS);
            climber.may_answer
        });
        if !asked {
            return Ok(());
        }
        count("captcha_asked");
        Err(ApiError::ChallengeRequired { challenge: captcha.describe() })
    }

    /// By address, so that a person who answered a captcha for a session has rest from it with the first message.
    fn touch<T>(&self, request: &Request<'_>, with: impl FnOnce(&mut Climber) -> T) -> T {
        self.climbers.touch(&neighbourhood(request.call.ip), Instant::now(), with)
    }
}
