//! The files of a new project, for each language. They are those of the folder `template` of the
//! repository, where each has its real name; a package cannot contain a second Cargo.toml.

use super::Language;

/// A path within the project, and what the file contains. `{{project_name}}` stands for the
/// project's name.
pub(super) type TemplateFile = (&'static str, &'static str);

/// Returns the files of a project in `language`.
pub(super) const fn files_of(language: Language) -> &'static [TemplateFile] {
    match language {
        Language::Rust => RUST,
        Language::Ts => TS,
        Language::Python => PYTHON,
    }
}

const RUST: &[TemplateFile] = &[
    (".env.example", include_str!("../../../template/rust/dot.env.example")),
    (".gitignore", include_str!("../../../template/rust/dot.gitignore")),
    ("AGENTS.md", include_str!("../../../template/rust/AGENTS.md")),
    ("Cargo.toml", include_str!("../../../template/rust/workspace__Cargo.toml")),
    ("README.md", include_str!("../../../template/rust/README.md")),
    ("samconfig.toml", include_str!("../../../template/rust/samconfig.toml")),
    ("template.yaml", include_str!("../../../template/rust/template.yaml")),
    (".github/workflows/ci.yml", include_str!("../../../template/rust/dot.github__workflows__ci.yml")),
    ("functions/Cargo.toml", include_str!("../../../template/rust/functions__Cargo.toml")),
    ("functions/CargoLambda.toml", include_str!("../../../template/rust/functions__CargoLambda.toml")),
    ("functions/src/lib.rs", include_str!("../../../template/rust/functions__src__lib.rs")),
    ("functions/src/main.rs", include_str!("../../../template/rust/functions__src__main.rs")),
    ("functions/src/welcome.rs", include_str!("../../../template/rust/functions__src__welcome.rs")),
    ("functions/tests/welcome.rs", include_str!("../../../template/rust/functions__tests__welcome.rs")),
    ("infra/deployer.yaml", include_str!("../../../template/rust/infra__deployer.yaml")),
    ("infra/names.yaml", include_str!("../../../template/rust/infra__names.yaml")),
    ("infra/watch.yaml", include_str!("../../../template/rust/infra__watch.yaml")),
    ("infra/workers", include_str!("../../../template/rust/infra__workers")),
    ("workers.toml", include_str!("../../../template/rust/workers.toml")),
    ("skills/stepladder/SKILL.md", include_str!("../../../template/rust/skills__stepladder__SKILL.md")),
];
const TS: &[TemplateFile] = &[
    (".env.example", include_str!("../../../template/ts/dot.env.example")),
    (".gitignore", include_str!("../../../template/ts/dot.gitignore")),
    ("AGENTS.md", include_str!("../../../template/ts/AGENTS.md")),
    ("README.md", include_str!("../../../template/ts/README.md")),
    ("package.json", include_str!("../../../template/ts/package.json")),
    (".github/workflows/ci.yml", include_str!("../../../template/ts/dot.github__workflows__ci.yml")),
    ("src/client.ts", include_str!("../../../template/ts/src__client.ts")),
    ("src/server.ts", include_str!("../../../template/ts/src__server.ts")),
    ("src/welcome.ts", include_str!("../../../template/ts/src__welcome.ts")),
    ("test/welcome.test.ts", include_str!("../../../template/ts/test__welcome.test.ts")),
];
const PYTHON: &[TemplateFile] = &[
    (".env.example", include_str!("../../../template/python/dot.env.example")),
    (".gitignore", include_str!("../../../template/python/dot.gitignore")),
    ("AGENTS.md", include_str!("../../../template/python/AGENTS.md")),
    ("README.md", include_str!("../../../template/python/README.md")),
    ("app.py", include_str!("../../../template/python/app.py")),
    ("client.py", include_str!("../../../template/python/client.py")),
    ("pytest.ini", include_str!("../../../template/python/pytest.ini")),
    ("requirements-dev.txt", include_str!("../../../template/python/requirements-dev.txt")),
    ("requirements.txt", include_str!("../../../template/python/requirements.txt")),
    ("welcome.py", include_str!("../../../template/python/welcome.py")),
    (".github/workflows/ci.yml", include_str!("../../../template/python/dot.github__workflows__ci.yml")),
    ("tests/test_welcome.py", include_str!("../../../template/python/tests__test_welcome.py")),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;

    /// For other tools that create projects from the same folder; not part of a project.
    const OF_OTHER_TOOLS: [&str; 3] = ["CargoLambda.toml", "cargo-generate.toml", "name.rhai"];

    fn add_files(folder: &Path, within: &str, found: &mut BTreeMap<String, String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let path = format!("{within}{}", entry.file_name().into_string().unwrap());
            if entry.path().is_dir() {
                add_files(&entry.path(), &format!("{path}/"), found);
            } else if !OF_OTHER_TOOLS.contains(&path.as_str()) {
                found.insert(path, std::fs::read_to_string(entry.path()).unwrap());
            }
        }
    }

    #[test]
    fn a_project_has_each_file_of_the_folder_template() {
        let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../template");
        if !templates.exists() {
            return; // a package has no such folder
        }
        for (language, folder) in [(Language::Rust, "rust"), (Language::Ts, "ts"), (Language::Python, "python")] {
            let mut found = BTreeMap::new();
            add_files(&templates.join(folder), "", &mut found);
            let embedded: BTreeMap<_, _> =
                files_of(language).iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
            assert_eq!(embedded, found, "{folder}");
        }
    }
}
