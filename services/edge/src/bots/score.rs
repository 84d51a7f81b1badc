//! Reasons against a request, and what they come to.
//!
//! Weak reasons are what honest programs and unusual browsers have too: all of them together count [`WEAK_MAX`] at
//! most, which is below the default threshold. So a server that calls the API, or a person with an odd browser, is
//! challenged only when something strong is added.

use protocol::BotClass;

use crate::config::{BotConfig, BotRules};

/// What weak reasons come to together, at most.
const WEAK_MAX: u32 = 55;

/// Something that speaks against a request. Each name is a label of a metric and stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// No `User-Agent`.
    NoAgent,
    /// A library or tool by its own word, such as curl.
    Tool,
    /// A browser by its own word, without headers that this browser sends.
    MissingHeaders,
    /// A browser by its own word, without `Accept-Language`.
    NoLanguage,
    /// Written faster than anybody types.
    TooFast,
    /// The same text again and again in a session.
    Repeats,
    /// Many messages of a session in ten seconds.
    Burst,
    /// One long text from many sessions.
    ManySessions,
    /// Several links to other hosts.
    Links,
    /// A link whose host looks like another.
    OddLink,
    /// A long text without words.
    Gibberish,
    /// A driven browser or a crawler, by its own word.
    Automation,
    /// The browser says that a program drives it.
    Webdriver,
    /// Two headers say different things about the browser.
    Contradiction,
    /// One text with a link from many sessions.
    LinkSpam,
    /// Filled in what nobody sees.
    Honeypot,
}

impl Reason {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::NoAgent => "no_agent",
            Self::Tool => "tool",
            Self::MissingHeaders => "missing_headers",
            Self::NoLanguage => "no_language",
            Self::TooFast => "too_fast",
            Self::Repeats => "repeats",
            Self::Burst => "burst",
            Self::ManySessions => "many_sessions",
            Self::Links => "links",
            Self::OddLink => "odd_link",
            Self::Gibberish => "gibberish",
            Self::Automation => "automation",
            Self::Webdriver => "webdriver",
            Self::Contradiction => "contradiction",
            Self::LinkSpam => "link_spam",
            Self::Honeypot => "honeypot",
        }
    }

    fn weight(self) -> u32 {
        match self {
            Self::TooFast | Self::NoLanguage => 10,
            Self::Tool
            | Self::Repeats
            | Self::Burst
            | Self::ManySessions
            | Self::Links
            | Self::OddLink
            | Self::Gibberish
            | Self::Webdriver => 15,
            Self::NoAgent | Self::MissingHeaders => 20,
            Self::Automation => 30,
            Self::Contradiction => 40,
            Self::LinkSpam => 60,
            Self::Honeypot => 1000,
        }
    }

    fn is_strong(self) -> bool {
        matches!(self, Self::Automation | Self::Webdriver | Self::Contradiction | Self::LinkSpam | Self::Honeypot)
    }
}

/// What is done about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Allow,
    /// A challenge must be answered.
    Challenge,
    /// Refused, whatever it answers.
    Refuse,
    /// The text is refused, not its sender.
    Reject,
}

impl Verdict {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Challenge => "challenge",
            Self::Refuse => "refuse",
            Self::Reject => "reject",
        }
    }
}

/// What speaks against one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) reasons: Vec<Reason>,
    /// Whether the content rules refuse the text.
    pub(crate) content: bool,
}

impl Case {
    pub(crate) fn add(&mut self, reason: Reason) {
        if !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }

    pub(crate) fn score(&self) -> u32 {
        let sum = |strong| self.reasons.iter().filter(|r| r.is_strong() == strong).map(|r| r.weight()).sum::<u32>();
        sum(true) + sum(false).min(WEAK_MAX)
    }

    pub(crate) fn verdict(&self, config: &BotConfig) -> Verdict {
        let score = self.score();
        if self.reasons.contains(&Reason::Honeypot) || score >= config.bot_refuse_at {
            Verdict::Refuse
        } else if self.content {
            Verdict::Reject
        } else if score >= config.bot_challenge_at {
            Verdict::Challenge
        } else {
            Verdict::Allow
        }
    }

    /// How much speaks for a program, for analytics.
    pub(crate) fn class(&self, config: &BotConfig) -> BotClass {
        match self.score() {
            0 => BotClass::Clear,
            score if score < config.bot_challenge_at => BotClass::Doubtful,
            _ => BotClass::Likely,
        }
    }

    /// The reasons as one word each, in order.
    pub(crate) fn words(&self) -> String {
        let mut reasons = self.reasons.clone();
        reasons.sort_unstable();
        reasons.iter().map(|reason| reason.as_str()).collect::<Vec<_>>().join(" ")
    }
}

impl BotRules {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Shadow => "shadow",
            Self::Enforce => "enforce",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::config;

    const ALL: [Reason; 16] = [
        Reason::NoAgent,
        Reason::Tool,
        Reason::MissingHeaders,
        Reason::NoLanguage,
        Reason::TooFast,
        Reason::Repeats,
        Reason::Burst,
        Reason::ManySessions,
        Reason::Links,
        Reason::OddLink,
        Reason::Gibberish,
        Reason::Automation,
        Reason::Webdriver,
        Reason::Contradiction,
        Reason::LinkSpam,
        Reason::Honeypot,
    ];

    fn case(reasons: &[Reason]) -> Case {
        Case { reasons: reasons.to_vec(), content: false }
    }

    #[test]
    fn reasons_add_up_to_a_verdict() {
        use Reason as R;
        let check = |reasons: &[R], score: u32, verdict: Verdict| {
            let case = case(reasons);
            assert_eq!((case.score(), case.verdict(&config(&[]).bots)), (score, verdict), "{reasons:?}");
        };
        check(&[], 0, Verdict::Allow);
        check(&[R::Tool], 15, Verdict::Allow);
        check(&[R::MissingHeaders, R::NoLanguage], 30, Verdict::Allow);
        check(&[R::Automation], 30, Verdict::Allow);
        // A driven browser of the shop's own tests is let through; one that does something else as well is not.
        check(&[R::Automation, R::Webdriver, R::TooFast], 55, Verdict::Allow);
        check(&[R::Automation, R::Webdriver, R::TooFast, R::Repeats], 70, Verdict::Challenge);
        check(&[R::Automation, R::MissingHeaders, R::NoLanguage], 60, Verdict::Challenge);
        check(&[R::Contradiction], 40, Verdict::Allow);
        check(&[R::Contradiction, R::MissingHeaders], 60, Verdict::Challenge);
        check(&[R::Contradiction, R::Automation, R::Webdriver, R::Tool], 100, Verdict::Refuse);
        check(&[R::LinkSpam], 60, Verdict::Challenge);
        check(&[R::Honeypot], 1000, Verdict::Refuse);
    }

    #[test]
    fn analytics_learns_how_much_spoke_for_a_program() {
        use Reason as R;
        let check = |args: &[&str], reasons: &[Reason], expected: BotClass| {
            assert_eq!(case(reasons).class(&config(args).bots), expected, "{args:?} {reasons:?}");
        };
        check(&[], &[], BotClass::Clear);
        check(&[], &[R::Tool], BotClass::Doubtful);
        check(&[], &[R::Contradiction, R::MissingHeaders], BotClass::Likely);
        check(&["--bot-challenge-at", "15"], &[R::Tool], BotClass::Likely);
        check(&["--bot-challenge-at", "0"], &[], BotClass::Clear);
    }

    #[test]
    fn weak_reasons_alone_never_challenge() {
        let weak: Vec<Reason> = ALL.into_iter().filter(|reason| !reason.is_strong()).collect();
        assert_eq!(weak.len(), 11);
        assert_eq!((case(&weak).score(), case(&weak).verdict(&config(&[]).bots)), (WEAK_MAX, Verdict::Allow));
    }

    #[test]
    fn thresholds_are_settings() {
        let check = |args: &[&str], reasons: &[Reason], verdict: Verdict| {
            assert_eq!(case(reasons).verdict(&config(args).bots), verdict, "{args:?} {reasons:?}");
        };
        check(&["--bot-challenge-at", "0"], &[], Verdict::Challenge);
        check(&["--bot-challenge-at", "15"], &[Reason::Tool], Verdict::Challenge);
        check(&["--bot-refuse-at", "15"], &[Reason::Tool], Verdict::Refuse);
        check(&["--bot-challenge-at", "5000", "--bot-refuse-at", "5000"], &[Reason::Honeypot], Verdict::Refuse);
    }

    #[test]
    fn a_text_is_refused_and_its_sender_is_not() {
        let with = |reasons: &[Reason]| Case { content: true, ..case(reasons) }.verdict(&config(&[]).bots);
        assert_eq!(with(&[]), Verdict::Reject);
        assert_eq!(with(&[Reason::LinkSpam]), Verdict::Reject);
        assert_eq!(with(&[Reason::Honeypot]), Verdict::Refuse);
    }

    #[test]
    fn words_are_in_one_order_and_each_once() {
        let mut case = case(&[Reason::Webdriver, Reason::Tool]);
        case.add(Reason::Tool);
        case.add(Reason::NoLanguage);
        assert_eq!(case.words(), "tool no_language webdriver");
        let words: std::collections::HashSet<&str> = ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(words.len(), ALL.len());
    }
}
