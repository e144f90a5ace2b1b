//! Apps in TypeScript and Python: their quick starts, with their own tests and an event.

use super::greets_and_sleeps;
use super::quick_starts::QuickStart;

async fn quick_start(language: &str) {
    let folder = tempfile::Builder::new().prefix("stepladder-new-").tempdir().expect("a temporary folder");
    let servers = QuickStart::type_commands(language, folder.path(), &[]).await;
    greets_and_sleeps(&servers.api(), "shop-welcome").await;
    servers.end().await;
}

#[tokio::test]
async fn the_quick_start_for_typescript_works_from_an_empty_folder() {
    quick_start("TypeScript").await;
}

#[tokio::test]
async fn the_quick_start_for_python_works_from_an_empty_folder() {
    quick_start("Python").await;
}
