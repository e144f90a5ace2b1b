//! The renderer of the book that writes the chapters as Markdown, and `llms.txt`.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use stepladder_tests::binary::root;

/// A line of the table of contents: a title, and the path of a chapter.
fn chapters() -> Vec<(String, String)> {
    let summary = std::fs::read_to_string(root().join("docs/SUMMARY.md")).expect("the table of contents");
    let links = summary.split("\n").filter_map(|line| line.split_once('[')?.1.split_once("]("));
    let chapters = links.map(|(title, rest)| (title.to_owned(), rest.trim_end_matches(')').to_owned()));
    chapters.collect()
}

/// Runs the renderer with what mdBook passes to it, and returns its output.
fn render(folder: &Path, chapters: &[(String, String)]) -> Output {
    let item = |(title, path): &(String, String)| {
        let content = std::fs::read_to_string(root().join("docs").join(path)).expect("a chapter");
        json!({"Chapter": {"name": title, "path": path, "content": content, "sub_items": []}})
    };
    let items: Vec<Value> = chapters.iter().map(item).chain([json!("Separator")]).collect();
    let book = json!({"title": "Stepladder", "description": "Durable functions"});
    let destination = folder.join("texts");
    let context = json!({"config": {"book": book}, "book": {"items": items}, "destination": destination});
    let mut python = renderer().stdin(Stdio::piped()).spawn().expect("Python starts");
    serde_json::to_writer(python.stdin.take().expect("its input"), &context).expect("it reads");
    python.wait_with_output().expect("it ends")
}

fn renderer() -> Command {
    let mut python = Command::new("python3");
    python.arg(root().join(".ci/book-texts")).stdout(Stdio::piped()).stderr(Stdio::piped());
    python
}

fn check(folder: &Path) -> Output {
    renderer().arg("check").arg(folder.join("html")).stdin(Stdio::null()).output().expect("Python starts")
}

#[test]
fn llms_txt_lists_each_chapter_with_its_first_sentence_and_each_exists_as_markdown() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let chapters = chapters();
    assert!(chapters.len() > 20, "{chapters:?}");
    let done = render(folder.path(), &chapters);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let read = |path: &str| std::fs::read_to_string(folder.path().join("html").join(path)).expect("a file");
    let (listed, whole) = (read("llms.txt"), read("llms-full.txt"));
    assert!(listed.starts_with("# Stepladder\n\n> Durable functions\n"), "{listed}");
    for (title, path) in &chapters {
        assert!(listed.contains(&format!("- [{title}]({path})")), "{path} in {listed}");
        let original = std::fs::read_to_string(root().join("docs").join(path)).expect("a chapter");
        assert_eq!(read(path), original);
        assert!(whole.contains(original.trim()), "{path}");
    }
    assert_eq!(listed.matches("](").count(), chapters.len());
    let sentence = "- [Functions](functions.md): A function is an `async fn` made of named steps.\n";
    assert!(listed.contains(sentence), "{listed}");

    // the check fails until each chapter has its page, too
    assert!(!check(folder.path()).status.success());
    for (_, path) in &chapters {
        std::fs::write(folder.path().join("html").join(path).with_extension("html"), "").expect("a page");
    }
    let checked = check(folder.path());
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    std::fs::remove_file(folder.path().join("html/steps.md")).expect("a file");
    let missing = check(folder.path());
    assert!(!missing.status.success() && String::from_utf8_lossy(&missing.stderr).contains("steps.md"));
}

#[test]
fn mdbook_and_ci_use_the_renderer() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).expect("a file");
    assert!(read("book.toml").contains("[output.texts]"));
    assert!(read(".ci/run").contains(".ci/book-texts check target/book/html"));
}
