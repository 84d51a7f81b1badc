//! The schema, the check and the translation, over the files that the widget's own tests read, too.

use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::tests::config;

const CASES: &str = include_str!("../../../../widget/test/widget-configs.json");

fn cases(kind: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(CASES).unwrap();
    all[kind].as_array().unwrap().clone()
}

fn read(config: &Value) -> Read {
    Read::new(&config.to_string())
}

fn paths(problems: &[Problem]) -> Vec<String> {
    let mut paths: Vec<String> = problems.iter().map(|problem| problem.path.clone()).collect();
    paths.sort_unstable();
    paths
}

#[test]
fn good_files_are_taken_and_come_out_the_same_when_read_again() {
    for case in cases("good") {
        let first = read(&case["config"]);
        assert!(first.problems.is_empty() && first.notes.is_empty(), "{}: {:?}", case["why"], first.problems);
        let first = first.config.unwrap();
        assert_eq!(Read::new(&first.json()).config, Some(first.clone()), "{}", case["why"]);
        assert_eq!(Read::new(&first.pretty()).config, Some(first), "{}", case["why"]);
    }
}

#[test]
fn bad_files_are_refused_with_every_place() {
    for case in cases("bad") {
        let read = read(&case["config"]);
        assert!(read.config.is_none(), "{}", case["why"]);
        assert_eq!(json!(paths(&read.problems)), case["at"], "{}: {:?}", case["why"], read.problems);
        let by_schema = !SCHEMA.problems(&case["config"]).is_empty();
        assert_eq!(by_schema, case["beyond_the_schema"].is_null(), "{}: who finds it?", case["why"]);
    }
}

#[test]
fn a_mistake_is_told_with_what_was_found_and_what_is_allowed() {
    let check = |config: Value, expected: &str| {
        assert_eq!(read(&config).problems.first().map(Problem::to_string).as_deref(), Some(expected), "{config}");
    };
    check(
        json!({"theme": {"mode": "drak"}}),
        "`theme.mode` is \"drak\", and must be auto, light or dark (did you mean dark?)",
    );
    check(json!({"theme": {"accent": "green"}}), "`theme.accent` is \"green\", and must be a colour such as #0f6b5c");
    check(json!({"theme": {"radius": 40}}), "`theme.radius` is 40, and must be a whole number from 0 to 28");
    check(json!({"name": 7}), "`name` is 7, and must be text");
    check(json!({"name": ""}), "`name` is empty; leave it out instead");
    check(json!({"name": "x".repeat(61)}), "`name` has 61 characters, and may have 60");
    check(json!({"features": {"copy": "no"}}), "`features.copy` is \"no\", and must be true or false");
    check(json!({"texts": {"placeholder": []}}), "`texts.placeholder` is a list, and must be text or an object");
    check(json!({"topics": [{}]}), "`topics[0].label` is missing");
    check(json!({"privacy": {"lable": "x"}}), "`privacy.label` is missing");
    check(
        json!({"theme": {"acent": "#fff"}}),
        "`theme.acent` is no key here; there are accent, font, mode, radius (did you mean accent?)",
    );
    check(
        json!({"texts": {"placeholdr": "x"}}),
        "`texts.placeholdr` is none of the widget's sentences, which are those of locales/en.json (did you mean \
         placeholder?)",
    );
    check(
        json!({"texts": {"too_long": "{count} of {most}"}}),
        "`texts.too_long` has {most}, for which there is no value; there is {count}, {max}",
    );
    check(
        json!({"logo": "https://cdn.shop.example/x.png", "image_hosts": ["shop.example"]}),
        "`logo` is on cdn.shop.example, which must stand in `image_hosts`, too",
    );
    check(
        json!({"logo": "https://cdn.shop.example:8443/x.png", "image_hosts": ["cdn.shop.example"]}),
        "`logo` is \"https://cdn.shop.example:8443/x.png\", which is no address without a port",
    );
    let long = read(&json!({"locale": "x".repeat(30) + &"\u{1b}[31m".repeat(9)})).problems[0].to_string();
    assert!(long.len() < 200 && !long.contains('\u{1b}'), "{long}");
    let key = read(&json!({"\u{1b}[31mred": 1})).problems[0].to_string();
    assert!(key.starts_with("`[31mred` is no key here"), "{key}");
}

/// What a file may say and nothing comes of yet is told, and stops nothing.
#[test]
fn a_wish_without_effect_is_told() {
    let told = |config: Value| -> Vec<String> {
        let read = read(&config);
        assert!(read.config.is_some());
        read.warnings.iter().map(Problem::to_string).collect()
    };
    let expected = "`features.attach` is true, and nothing is shown for it: no edge takes files yet";
    assert_eq!(told(json!({"features": {"attach": true}})), [expected]);
    assert!(told(json!({"features": {"attach": false, "copy": true}})).is_empty() && told(json!({})).is_empty());
}

#[test]
fn what_is_no_json_is_told_with_its_place() {
    let check = |text: &str, expected: &str| {
        let problems = Read::new(text).problems;
        assert_eq!(problems.first().map(Problem::to_string).as_deref(), Some(expected), "{text}");
    };
    check("{\n  \"name\": \"x\",\n}", "is not JSON: trailing comma at line 3 column 1");
    check("", "is not JSON: EOF while parsing a value at line 1 column 0");
    check("[]", "is a list, and must be an object");
    assert!(Read::new("\u{feff}{}").config.is_some(), "an editor's mark is no mistake");
}

#[test]
fn values_that_mean_the_same_are_written_in_one_way() {
    let config =
        json!({"$schema": "x", "theme": {"accent": "#0AF"}, "image_hosts": ["CDN.Shop.example", "bücher.example"]});
    let expected =
        json!({"theme": {"accent": "#00aaff"}, "image_hosts": ["cdn.shop.example", "xn--bcher-kva.example"]});
    assert_eq!(serde_json::from_str::<Value>(&read(&config).config.unwrap().json()).unwrap(), expected);
}

/// A keyword that the check doesn't know would be an empty promise.
#[test]
fn a_schema_with_an_unknown_keyword_is_refused() {
    let check = |schema: Value, expected: &str| assert_eq!(Schema::new(&schema).err().as_deref(), Some(expected));
    check(json!({"type": "string", "format": "uri"}), "format: is not known here in this form");
    check(json!({"properties": {"a": {"oneOf": []}}}), "a: oneOf: is not known here in this form");
    check(json!({"type": "number"}), "type: is not known here in this form");
    check(json!({"pattern": "x"}), "pattern: is not known here in this form");
    check(json!({"additionalProperties": true}), "a schema is an object");
}

/// What is in the executable: the demo shop's, which must not say anything that a check would refuse.
#[test]
fn the_embedded_configuration_is_good() {
    let read = Read::new(&embedded(NAME).to_string());
    assert_eq!((read.problems, read.notes), (Vec::new(), Vec::new()));
    assert_eq!(Config::embedded().text(&["name"]), Some("Maren & Oak"));
}

/// The predecessor's own example, word for word where it matters.
#[test]
fn the_predecessors_file_is_understood() {
    let old = json!({
        "_comment": "x",
        "api": {"baseUrl": "https://api.example", "endpoints": {"session": "/s", "chat": "/c"}},
        "appearance": {
            "position": "bottom-left",
            "theme": {
                "_comment": "x", "primaryColor": "#667EEA", "secondaryColor": "#764ba2", "bgDark": "rgba(30, 30, 46, 0.95)",
                "borderRadius": "16px", "fontFamily": "-apple-system, 'Segoe UI', sans-serif"
            },
            "dimensions": {"width": "380px", "height": "600px"},
            "animations": {"enabled": true}
        },
        "texts": {
            "_comment": "x",
            "header": {"title": "AI Support", "subtitle": "Online", "statusOnline": "Online", "statusOffline": "Offline"},
            "messages": {"welcomeMessage": "Welcome! How can I help?", "errorMessage": "Sorry.", "typingIndicator": "Typing"},
            "input": {"placeholder": "Type here...", "hint": "Press Enter"},
            "suggestions": [{"text": "Pricing", "value": "What does it cost?"}, {"text": "", "value": "nothing"}],
            "button": {"openIcon": "💬"}
        },
        "behavior": {"autoOpen": false, "enableMarkdown": true, "enableSoundNotifications": false, "maxMessageLength": 10000},
        "localization": {"locale": "en", "rtl": false},
        "integrations": {"customHeaders": {}, "analytics": {"enabled": false}},
        "mobile": {"fullscreen": true}
    });
    let expected = json!({
        "name": "AI Support", "tagline": "Online", "side": "start", "size": "normal", "locale": "en",
        "greeting": {"title": "Welcome! How can I help?"},
        "texts": {"status_offline": "Offline", "error": "Sorry.", "answering": "Typing", "placeholder": "Type here..."},
        "topics": [{"label": "Pricing", "message": "What does it cost?"}],
        "theme": {"accent": "#667eea", "radius": 16, "font": "system"},
        "features": {"sound": false}
    });
    let read = read(&old);
    assert_eq!(read.problems, Vec::new());
    assert_eq!(serde_json::from_str::<Value>(&read.config.unwrap().json()).unwrap(), expected);
    let note = |path: &str| {
        let found: Vec<String> = read.notes.iter().filter(|note| note.path == path).map(Note::to_string).collect();
        assert_eq!(found.len(), 1, "{path}");
        found[0].clone()
    };
    assert_eq!(note("texts.header.title"), "`texts.header.title` is `name` here");
    assert_eq!(
        note("appearance.dimensions.width"),
        "`appearance.dimensions.width` is `size` here: \"380px\" is nearest to normal"
    );
    assert_eq!(
        note("texts.suggestions"),
        "`texts.suggestions` is `topics` here: 1 left out: at most 8, each with a `text` and a `value` that are not too long"
    );
    assert_eq!(
        note("api.endpoints.chat"),
        "`api.endpoints.chat` has no effect: the widget finds Frontdesk by its own address"
    );
    for path in [
        "appearance.theme.secondaryColor",
        "appearance.animations.enabled",
        "texts.button.openIcon",
        "texts.input.hint",
        "behavior.autoOpen",
        "behavior.enableMarkdown",
        "behavior.maxMessageLength",
        "localization.rtl",
        "integrations.customHeaders",
        "integrations.analytics.enabled",
        "mobile.fullscreen",
        "texts.header.statusOnline",
    ] {
        assert!(note(path).contains("has no effect: "), "{path}");
    }
    assert!(read.notes.iter().all(|note| !note.path.contains("_comment")));
}

#[test]
fn values_of_the_predecessor_that_do_not_fit_are_left_out_and_said() {
    let check = |old: Value, path: &str, expected: &str, config: Value| {
        let read = read(&old);
        let said: Vec<String> = read.notes.iter().filter(|note| note.path == path).map(Note::to_string).collect();
        assert_eq!(said, [expected], "{old}");
        let is: Value = serde_json::from_str(&read.config.expect("it is no mistake").json()).unwrap();
        assert_eq!(is, config, "{old}");
    };
    check(
        json!({"appearance": {"theme": {"primaryColor": "rebeccapurple"}}}),
        "appearance.theme.primaryColor",
        "`appearance.theme.primaryColor` has no effect: as `theme.accent` it is \"rebeccapurple\", and must be a colour such \
         as #0f6b5c",
        json!({}),
    );
    check(
        json!({"appearance": {"theme": {"borderRadius": "40px"}}}),
        "appearance.theme.borderRadius",
        "`appearance.theme.borderRadius` is `theme.radius` here: as 28, which is the most",
        json!({"theme": {"radius": 28}}),
    );
    check(
        json!({"localization": {"locale": "tlh"}}),
        "localization.locale",
        "`localization.locale` has no effect: the widget doesn't speak it; visitors get their own language where it does",
        json!({}),
    );
    check(
        json!({"texts": {"messages": {"welcomeMessage": "x".repeat(200)}}}),
        "texts.messages.welcomeMessage",
        "`texts.messages.welcomeMessage` is `greeting.text` here",
        json!({"greeting": {"text": "x".repeat(200)}}),
    );
    check(
        json!({"name": "Ours", "texts": {"header": {"title": "Theirs"}}}),
        "texts.header.title",
        "`texts.header.title` has no effect: `name` is in the file, too",
        json!({"name": "Ours"}),
    );
    check(
        json!({"behavior": {"enableSuggestions": false}, "texts": {"suggestions": [{"text": "a", "value": "b"}]}}),
        "texts.suggestions",
        "`texts.suggestions` has no effect: behavior.enableSuggestions is false",
        json!({}),
    );
    check(json!({"api": 7}), "api", "`api` has no effect: there is no such thing here", json!({}));
    check(
        json!({"texts": {"messages": {"errorMessage": "Sorry, {code} happened."}}}),
        "texts.messages.errorMessage",
        "`texts.messages.errorMessage` has no effect: as `texts.error` it has {code}, for which there is no value; there is \
         none; write a sentence of your own at `texts.error`",
        json!({}),
    );
}

/// Whatever has a key of the predecessor in it: never a panic, never a file that our own check would refuse.
#[test]
fn odd_values_under_the_predecessors_keys_are_never_fatal() {
    let odd = [
        json!(null),
        json!([]),
        json!({}),
        json!(-1),
        json!(1e300),
        json!("\u{1b}"),
        json!([[{}]]),
        json!({"": {"": 1}}),
    ];
    for path in [
        "appearance.theme.primaryColor",
        "appearance.theme.borderRadius",
        "appearance.theme.fontFamily",
        "appearance.position",
        "appearance.dimensions.width",
        "texts.header.title",
        "texts.header",
        "texts.messages.welcomeMessage",
        "texts.input.placeholder",
        "texts.suggestions",
        "behavior.enableSuggestions",
        "behavior.enableSoundNotifications",
        "localization.locale",
        "appearance",
        "behavior",
    ] {
        for value in &odd {
            let old = path.rsplit('.').fold(value.clone(), |value, key| json!({ key: value }));
            // Our own sentences stand under `texts`, too: there an odd value is a mistake, and told.
            let read = read(&old);
            assert!(read.config.is_some() || path.starts_with("texts."), "{path} {value}: {:?}", read.problems);
        }
    }
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn names(folder: Option<&Path>) -> Result<Vec<String>, Error> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), r#"[{"id":"lamps"},{"id":"rugs"}]"#).unwrap();
    let sites = Sites::new(&config(&["--sites-file", &file.path().display().to_string()])).unwrap();
    let configs = Configs::read(folder, &sites)?;
    Ok(configs.iter().map(|(id, config)| format!("{id}: {}", config.text(&["name"]).unwrap_or_default())).collect())
}

#[test]
fn each_site_has_its_own_file_or_that_of_default() {
    assert_eq!(names(None).unwrap(), ["default: Maren & Oak", "lamps: Maren & Oak", "rugs: Maren & Oak"]);
    let some = folder(&[("lamps.json", r#"{"name":"Lamps"}"#), ("README.md", "not JSON")]);
    assert_eq!(names(Some(some.path())).unwrap(), ["default: Maren & Oak", "lamps: Lamps", "rugs: Maren & Oak"]);
    let all = folder(&[("lamps.json", r#"{"name":"Lamps"}"#), ("default.json", r#"{"name":"All"}"#)]);
    assert_eq!(names(Some(all.path())).unwrap(), ["default: All", "lamps: Lamps", "rugs: All"]);
    let of = |site| config_of(Some(all.path()), site).unwrap().text(&["name"]).map(str::to_owned).unwrap();
    assert_eq!([of(None), of(Some("lamps")), of(Some("rugs"))], ["All", "Lamps", "All"]);
    assert!(matches!(config_of(Some(all.path()), Some("../lamps")), Err(Error::NoSite(_))));
}

#[test]
fn a_bad_file_stops_the_start_with_its_name_and_all_mistakes() {
    let check = |files: &[(&str, &str)], expected: &str| {
        let folder = folder(files);
        let path = folder.path().display().to_string();
        let said = names(Some(folder.path())).unwrap_err().to_string();
        assert_eq!(said.replace(&path, "DIR"), expected);
    };
    check(
        &[("lamps.json", r#"{"name":"","side":"left"}"#)],
        "DIR/lamps.json: `name` is empty; leave it out instead; `side` is \"left\", and must be start or end",
    );
    check(&[("lamp.json", "{}")], "DIR/lamp.json: there is no site of this name; SITES_FILE names the sites");
    check(&[("lamps.json", "{")], "DIR/lamps.json: is not JSON: EOF while parsing an object at line 1 column 1");
    let many: String = (0..10).map(|n| format!("\"k{n}\":1,")).collect();
    let many =
        names(Some(folder(&[("lamps.json", &format!("{{{many}\"name\":\"x\"}}"))]).path())).unwrap_err().to_string();
    assert!(many.ends_with("; 2 more, see `frontdesk widget check`"), "{many}");
    assert!(
        names(Some(Path::new("/nowhere/shops")))
            .unwrap_err()
            .to_string()
            .starts_with("/nowhere/shops: can't be read: ")
    );
    let large = names(Some(folder(&[("lamps.json", &" ".repeat(200_000))]).path())).unwrap_err().to_string();
    assert!(large.ends_with("it has more than 131072 bytes"), "{large}");
}

/// The studio writes the same, by the same cases.
#[test]
fn the_tag_says_what_the_launcher_must_know_before_the_chat_is_opened() {
    for case in cases("tags") {
        let base = case["base"].as_str().unwrap().parse().unwrap();
        let snippet = Snippet::new(&base, case["site"].as_str(), &read(&case["config"]).config.unwrap());
        assert_eq!(json!(snippet.evergreen), case["tag"]);
        let data = snippet.evergreen.split_once(" async").unwrap().1;
        assert!(snippet.pinned.ends_with(&format!(" crossorigin=\"anonymous\" async{data}")), "{}", snippet.pinned);
    }
}

/// Browsers compare it with what they get.
#[test]
fn the_pinned_tag_has_the_hash_of_the_script() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use runtime::asset::hex;
    use sha2::{Digest as _, Sha256, Sha384};
    let pinned = Snippet::new(&"https://chat.shop.example".parse().unwrap(), None, &Config::embedded()).pinned;
    let script = crate::assets::embed();
    let (address, integrity) = (hex(&Sha256::digest(&script)), STANDARD.encode(Sha384::digest(&script)));
    let expected = format!(
        "<script src=\"https://chat.shop.example/widget/v/{address}/embed.js\" integrity=\"sha384-{integrity}\" \
         crossorigin=\"anonymous\" async"
    );
    assert!(pinned.starts_with(&expected), "{pinned}");
}
