//! How a site's chat looks and speaks: the files, the command that checks them, and what a browser gets.

#![expect(clippy::unwrap_used, reason = "a story that can't go on should stop")]

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::{Value, json};

use crate::desk::Desk;

fn frontdesk(args: &[&str], folder: &Path, settings: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_frontdesk"));
    command.args(args).env_clear().envs(settings.iter().copied()).current_dir(folder).output().unwrap()
}

fn said(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The folder with these files.
fn shops(files: &[(&str, Value)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, config) in files {
        std::fs::write(folder.path().join(name), config.to_string()).unwrap();
    }
    folder
}

/// What is good, what is of the predecessor, and what can't be used are told apart by words and by the exit code.
#[test]
fn a_configuration_is_checked() {
    let folder = shops(&[
        ("good.json", json!({"name": "Lamps"})),
        ("old.json", json!({"texts": {"header": {"title": "Lamps"}}})),
        ("part.json", json!({"texts": {"header": {"title": "Lamps"}}, "api": {"baseUrl": "https://api.example"}})),
        ("wish.json", json!({"features": {"attach": true}})),
        ("bad.json", json!({"titel": "Lamps", "theme": {"mode": "drak"}})),
    ]);
    let check = |args: &[&str], code: i32, expected: &str| {
        let output = frontdesk(&[&["widget", "check"], args].concat(), folder.path(), &[]);
        assert_eq!((said(&output.stdout), output.status.code()), (expected, Some(code)), "{args:?}");
    };
    check(&["good.json"], 0, "good: all of it has its effect\n");
    check(
        &["old.json"],
        0,
        "old.json: `texts.header.title` is `name` here\ngood, and of the predecessor's form: all of it has its effect\n",
    );
    check(
        &["part.json"],
        1,
        "part.json: `api.baseUrl` has no effect: the widget finds Frontdesk by its own address\n\
         part.json: `texts.header.title` is `name` here\n\
         good, and of the predecessor's form: 1 key has no effect\n",
    );
    check(
        &["wish.json"],
        1,
        "wish.json: `features.attach` is true, and nothing is shown for it: no edge takes files yet\n\
         good, but 1 key has no effect\n",
    );
    check(
        &["bad.json"],
        2,
        "bad.json: `theme.mode` is \"drak\", and must be auto, light or dark (did you mean dark?)\n\
         bad.json: `titel` is no key here; there are consent, features, footnote, greeting, image_hosts, locale, logo, name, \
         privacy, proactive, side, size, tagline, texts, theme, topics\n\
         bad: 2 mistakes to be mended; an edge doesn't start with it\n",
    );
    check(&["part.json", "--print"], 1, "{\n  \"name\": \"Lamps\"\n}\n");
    let output = frontdesk(&["widget", "check", "part.json", "--json"], folder.path(), &[]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["good"], &report["config"]), (&json!(true), &json!({"name": "Lamps"})));
    assert_eq!(report["notes"][1], json!({"path": "texts.header.title", "became": "name"}));
    let output = frontdesk(&["widget", "check", "wish.json", "--json"], folder.path(), &[]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["good"], &report["warnings"][0]["path"]), (&json!(true), &json!("features.attach")));
    let output = frontdesk(&["widget", "check", "bad.json", "--json"], folder.path(), &[]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["good"], &report["problems"][1]["path"]), (&json!(false), &json!("titel")));
    let output = frontdesk(&["widget", "check", "none.json"], folder.path(), &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output.stderr).starts_with("frontdesk: none.json: can't be read: "), "{}", said(&output.stderr));
}

#[test]
fn the_tag_is_printed_with_what_stands_in_the_file() {
    let folder = shops(&[("lamps.json", json!({"theme": {"accent": "#123456"}, "side": "start"}))]);
    let tag = |args: &[&str], settings: &[(&str, &str)]| {
        let output = frontdesk(&[&["widget", "snippet", "--json"], args].concat(), folder.path(), settings);
        assert!(output.status.success(), "{}", said(&output.stderr));
        let tags: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(tags["pinned"].as_str().unwrap().contains(" integrity=\"sha384-"));
        tags["evergreen"].as_str().unwrap().to_owned()
    };
    let here = [("WIDGET_CONFIG_DIR", "."), ("PUBLIC_URL", "https://chat.shop.example")];
    assert_eq!(
        tag(&["--site", "lamps"], &here),
        "<script src=\"https://chat.shop.example/widget/embed.js\" async data-site=\"lamps\" data-color=\"#123456\" \
         data-side=\"start\"></script>"
    );
    assert_eq!(
        tag(&["--url", "https://shop.example/desk"], &[]),
        "<script src=\"https://shop.example/desk/widget/embed.js\" async data-color=\"#0f6b5c\"></script>"
    );
    let output = frontdesk(&["widget", "snippet"], folder.path(), &[]);
    assert_eq!(said(&output.stdout).matches("<script ").count(), 2, "for people: both, with a word about each");
}

/// A mistake in a shop's file is found at the start, not by its visitors.
#[test]
fn a_bad_configuration_stops_the_start() {
    let folder = shops(&[("default.json", json!({"theme": {"accent": "green"}, "topics": [{}]}))]);
    let folder = folder.path();
    let settings =
        [("WIDGET_CONFIG_DIR", "."), ("API_PORT", "0"), ("JWT_SECRET_KEY", "wq3rJm1v8Zt5yBn2Kx7cPd4fGh6jLs9a")];
    for role in [&["edge"][..], &[]] {
        let output = frontdesk(role, folder, &settings);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(
            said(&output.stderr).lines().last(),
            Some(
                "frontdesk: WIDGET_CONFIG_DIR can't be used: ./default.json: `theme.accent` is \"green\", and must be a colour \
                 such as #0f6b5c; `topics[0].label` is missing"
            ),
            "{role:?}"
        );
    }
}

/// The file of a site reaches its browsers, in our form and with its pictures allowed; another site's doesn't.
#[tokio::test]
async fn each_shop_is_served_its_own() {
    let folder = shops(&[
        ("lamps.json", json!({"texts": {"header": {"title": "Lamps"}}, "image_hosts": ["CDN.lamps.example"]})),
        ("default.json", json!({"name": "All"})),
    ]);
    let sites = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(sites.path(), r#"[{"id":"lamps"}]"#).unwrap();
    let (dir, sites) = (folder.path().display().to_string(), sites.path().display().to_string());
    let desk = Desk::all_in_one(&[("WIDGET_CONFIG_DIR", &dir), ("SITES_FILE", &sites)]).await;
    let visitor = desk.visitor().await;
    let get = async |path: &str| visitor.get_plain(path).send().await.unwrap();
    let config =
        async |query: &str| get(&format!("/widget/widget-config.json{query}")).await.json::<Value>().await.unwrap();
    assert_eq!(config("?site=lamps").await, json!({"name": "Lamps", "image_hosts": ["cdn.lamps.example"]}));
    assert_eq!(config("").await, json!({"name": "All"}));
    let policy = async |query: &str| {
        let page = get(&format!("/widget/modern-widget.html{query}")).await;
        page.headers()["content-security-policy"].to_str().unwrap().to_owned()
    };
    assert!(policy("?site=lamps").await.contains("img-src 'self' data: https://cdn.lamps.example;"));
    assert!(policy("").await.contains("img-src 'self' data:;"));
    assert_eq!(get("/widget/studio.html").await.status(), 200, "all-in-one is for development");
    assert_eq!(get("/widget/widget-config.schema.json").await.json::<Value>().await.unwrap()["type"], "object");
}
