//! Made-up data for the dashboard.

use std::{
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use analytics::{
    Store,
    query::{Range, Summary},
};
use protocol::Millis;

use crate::desk::Desk;

fn fill(path: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_frontdesk"))
        .args(["analytics", "demo", "--days", "3", "--sites", "2"])
        .env_clear()
        .env("ANALYTICS_DB_PATH", path)
        .current_dir(std::env::temp_dir())
        .output()
        .expect("the executable starts")
}

/// What stands in the file, and whether it is marked.
fn read(path: &Path) -> (Summary, bool) {
    let store = Store::open(path).expect("nobody has it open");
    let ever = Range { from: Millis(0), until: Millis::now().after(Duration::from_secs(60)) };
    (store.summary(None, ever).expect("it can be read"), store.is_demo().expect("it can be read"))
}

/// An empty file is filled, once. What visitors really do comes on top, and the mark stays.
#[tokio::test]
async fn made_up_data_is_marked_and_stays_so() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("demo.redb");
    let filled = fill(&path);
    let said = String::from_utf8_lossy(&filled.stdout).into_owned();
    assert!(filled.status.success() && said.contains("demo.redb holds 3 days of made-up data"), "{filled:?}");
    let (made_up, is_demo) = read(&path);
    assert!(is_demo && made_up.sessions > 100 && made_up.messages > made_up.sessions, "{made_up:?}");

    let again = fill(&path);
    let error = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(!again.status.success() && error.contains("there is data in it already"), "{error}");
    assert_eq!(read(&path), (made_up.clone(), true));

    let mut desk = Desk::all_in_one(&[("ANALYTICS_DB_PATH", path.to_str().expect("text"))]).await;
    let visitor = desk.visitor().await;
    visitor.hear("message-1", "hello").await;
    desk.edges[0].signal("TERM");
    assert_eq!(desk.edges[0].ended().await.code(), Some(0));
    let (more, is_demo) = read(&path);
    assert_eq!((more.sessions, more.messages), (made_up.sessions + 1, made_up.messages + 1));
    assert!(is_demo, "it is still mostly made up");
}
