//! What the friendly stand-in says: a shop's assistant that knows little but Frontdesk, and shows what the widget can
//! show.

use std::time::Duration;

use super::script::Script;

/// About the pace of a model.
const WORD: Duration = Duration::from_millis(25);

/// A visitor's words are repeated this far.
const QUOTED_CHARS: usize = 120;

/// True in one process and in a deployment, which are started in different ways.
const CONNECT: &str = "To connect a real n8n workflow, start Frontdesk with its webhook as a setting:\n\n\
    ```sh\nN8N_WEBHOOK_URL=https://n8n.example/webhook/shop-chat\n```\n\n\
    The folder `n8n/` has workflows to import.";

const HELP: &str = "Ask me anything, I am a **demo**. Some words I know:\n\n\
    - `help` shows this list\n\
    - `shipping` answers like a shop\n\
    - `markdown` shows what a reply can look like\n\n";

const SHIPPING: &str = "Here is how a shop's assistant might answer:\n\n\
    | To | Time | Price |\n| --- | --- | --- |\n| Germany | 2–3 days | free from €60 |\n| EU | 4–6 days | €6.90 |\n\
    | elsewhere | 7–14 days | €14.90 |\n\n\
    Your parcel leaves our warehouse the same day if you order **before 2 pm**. 📦\n\n\
    *All of this is made up: I am a demo, not a shop.*";

const MARKDOWN: &str = "A reply is Markdown, and it is shown while it arrives.\n\n\
    1. **Bold**, *italic*, ~~struck~~ and `code`\n\
    2. [Links](https://n8n.io) to the web\n\
    3. Lists, and lists in lists\n   - like this one\n\n\
    > Quotes look like quotes.\n\n\
    ```rust\nfn main() {\n    println!(\"Code keeps its shape: a < b && c > d\");\n}\n```\n\n\
    Any script works, too: Grüße, 日本語, עברית, 👩‍👩‍👧‍👦.";

/// The answer to what a visitor said, a word at a time.
pub(super) fn friendly(text: &str) -> Script {
    words(&answer(text))
        .into_iter()
        .fold(Script::lines().begin(), |script, word| script.pause(WORD).items([word]))
        .end()
}

fn answer(text: &str) -> String {
    let lower = text.to_lowercase();
    let knows = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if knows(&["markdown", "format"]) {
        MARKDOWN.to_owned()
    } else if knows(&["shipping", "delivery", "parcel", "versand"]) {
        SHIPPING.to_owned()
    } else if ["help", "hilfe"].contains(&lower.trim_matches(|c: char| !c.is_alphanumeric()))
        || knows(&["what can you"])
    {
        format!("{HELP}{CONNECT}")
    } else {
        format!(
            "{}I am the **demo assistant** of Frontdesk, and no model stands behind me. What you see is real, though: \
             your message went from the widget through the edge and a worker to a stand-in for n8n, and this reply \
             streams back the same way, word by word. Reload the page in the middle of it: nothing is lost.\n\n\
             {CONNECT}\n\nOr ask me for `help`.",
            quote(text)
        )
    }
}

/// The visitor's words as inline code, in which Markdown means nothing. Backticks would end it, line ends too.
fn quote(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() || c.is_whitespace() || c == '`' { ' ' } else { c });
    let plain: String = plain.take(QUOTED_CHARS).collect();
    let mut plain = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.chars().count() > QUOTED_CHARS {
        plain.push('…');
    }
    if plain.is_empty() { String::new() } else { format!("You said `{plain}`. ") }
}

/// With the space after each, so that joined they are the text.
fn words(text: &str) -> Vec<&str> {
    text.split_inclusive(' ').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visitors_words_can_not_become_markup() {
        let check = |text: &str, expected: &str| assert_eq!(quote(text), expected);
        check("hello", "You said `hello`. ");
        check("`x` **b**\n# <script>", "You said `x **b** # <script>`. ");
        check(" \n\0 ", "");
        check("", "");
        check(&"ä".repeat(200), &format!("You said `{}…`. ", "ä".repeat(120)));
    }

    #[test]
    fn topics_have_their_own_answers() {
        let check = |text: &str, part: &str| assert!(answer(text).contains(part), "{text}");
        check("Hello there", "You said `Hello there`");
        check("Hello there", "N8N_WEBHOOK_URL=https://n8n.example/webhook/shop-chat\n");
        check("HELP", "`shipping`");
        check("How long does shipping take?", "| Germany |");
        check("show markdown", "```rust");
    }

    #[test]
    fn words_lose_nothing() {
        for text in [MARKDOWN, SHIPPING, "", " a  b "] {
            assert_eq!(words(text).concat(), text);
        }
    }
}
