//! The packages of a release: made of the binary under test, installed into clean environments,
//! and used. Also what the scripts of `release/` make for other platforms, and what they refuse.

#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use stepladder_tests::{binary, parts};
use tempfile::TempDir;

/// The machines of packages, as ELF and Node.js name them; this one first.
const MACHINES: [(u8, &str, &str); 2] = if cfg!(target_arch = "x86_64") {
    [(0x3E, "x64", "x86_64"), (0xB7, "arm64", "aarch64")]
} else {
    [(0xB7, "arm64", "aarch64"), (0x3E, "x64", "x86_64")]
};
const RISC_V: u8 = 0xF3;
/// Where a 64-bit ELF file names its machine.
const ELF_MACHINE: usize = 18;
const MACOS: u32 = 1;
const IOS: u32 = 2;
const APPLE_ARM64: u32 = 0x0100_000C;
const APPLE_X64: u32 = 0x0100_0007;

fn script(name: &str) -> Command {
    let mut command = Command::new("python3");
    command.arg("-B").arg(binary::root().join("release").join(name));
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn succeed(command: &mut Command) -> String {
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Packs binaries that must be refused, and returns the reason.
#[track_caller]
fn refuse(folder: &TempDir, binaries: &[&Path]) -> String {
    let Output { status, stdout, stderr } =
        script("build.py").arg(folder.path().join("refused")).args(binaries).output().expect("it starts");
    assert_eq!(status.code(), Some(1), "{}{}", text(&stdout), text(&stderr));
    assert!(!folder.path().join("refused").exists(), "something was packed");
    let reason = text(&stderr);
    assert_eq!(reason.lines().count(), 1, "{reason}");
    reason
}

fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// Compiles a program that prints this line, so small that packing it takes no time.
fn small_program(folder: &TempDir, name: &str, line: &str, linked: &[&str]) -> PathBuf {
    let (source, program) = (folder.path().join(format!("{name}.c")), folder.path().join(name));
    std::fs::write(&source, format!("#include <stdio.h>\nint main(void) {{ puts(\"{line}\"); return 0; }}\n"))
        .expect("a file in a folder of our own");
    succeed(Command::new("cc").arg("-o").arg(&program).arg(&source).args(linked));
    program
}

/// Writes a copy of an ELF file that claims to be for another machine.
fn for_machine(program: &Path, machine: u8) -> PathBuf {
    let mut bytes = std::fs::read(program).expect("it was compiled");
    bytes[ELF_MACHINE] = machine;
    let path = program.with_extension(format!("machine-{machine}"));
    std::fs::write(&path, bytes).expect("a file in a folder of our own");
    path
}

/// Writes the header of a Mach-O file, whose only command says what it needs.
fn macho(folder: &TempDir, machine: u32, platform: u32, (major, minor): (u32, u32)) -> PathBuf {
    const MAGIC: u32 = 0xFEED_FACF;
    const EXECUTE: u32 = 2;
    const BUILD_VERSION: u32 = 0x32;
    let header = [MAGIC, machine, 0, EXECUTE, 1, 24, 0, 0];
    let command = [BUILD_VERSION, 24, platform, major << 16 | minor << 8, 0, 0];
    let bytes: Vec<u8> = header.iter().chain(&command).flat_map(|word| word.to_le_bytes()).collect();
    let path = folder.path().join(format!("macho-{machine:x}-{platform}-{major}-{minor}"));
    std::fs::write(&path, bytes).expect("a file in a folder of our own");
    path
}

fn manifest(package: &Path) -> Value {
    let manifest = succeed(Command::new("tar").arg("-xzOf").arg(package).arg("package/package.json"));
    serde_json::from_str(&manifest).expect("npm packed JSON")
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("it was made");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("it is readable").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn wheel_and_npm_package_are_installed_and_serve_an_event() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (stripped, packages) = (folder.path().join("stepladder"), folder.path().join("packages"));
    // debug information would make packing slow
    succeed(Command::new("strip").arg("-o").arg(&stripped).arg(binary::path()));
    print!("{}", succeed(script("build.py").arg(&packages).arg(&stripped)));
    let out = succeed(script("try.py").arg(&packages).env("TMPDIR", folder.path()));
    for (_, tried) in [out.split_once("== wheel"), out.split_once("== npm")].into_iter().flatten() {
        let tried = tried.split("== ").next().unwrap_or_default();
        for words in [&format!("stepladder {}", version()), "is healthy", "Completed", "Hello, Ada!", "stopped"] {
            assert!(tried.contains(words), "{words}: {out}");
        }
    }
    assert_eq!(out.matches("Hello, Ada!").count(), 2, "{out}");
}

#[test]
fn each_platform_gets_its_packages_which_are_the_same_bytes_every_time() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [(_, here, here_rust), (other_machine, other, other_rust)] = MACHINES;
    let linux = small_program(&folder, "small", &format!("stepladder {}", version()), &["-static"]);
    let glibc = small_program(&folder, "dynamic", &format!("stepladder {}", version()), &[]);
    let binaries = [
        glibc.clone(),
        for_machine(&glibc, other_machine),
        macho(&folder, APPLE_ARM64, MACOS, (11, 0)),
        macho(&folder, APPLE_X64, MACOS, (10, 12)),
    ];
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    succeed(script("build.py").arg(&first).args(&binaries));
    succeed(script("build.py").arg(&second).args(&binaries));
    succeed(Command::new("diff").arg("-r").arg(&first).arg(&second));
    succeed(Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(&first));

    let (v, made) = (version(), names(&first));
    for name in [
        format!("stepladder-{v}-{here_rust}-unknown-linux-gnu.tar.gz"),
        format!("stepladder-{v}-{other_rust}-unknown-linux-gnu.tar.gz"),
        format!("stepladder-{v}-aarch64-apple-darwin.tar.gz"),
        format!("stepladder-{v}-py3-none-macosx_11_0_arm64.whl"),
        format!("stepladder-{v}-py3-none-macosx_10_12_x86_64.whl"),
    ] {
        assert!(made.contains(&name), "{name}: {made:?}");
    }
    assert_eq!(made.len(), 4 * 3 + 3, "{made:?}");
    for (os, cpu, libc) in
        [("linux", here, json!(["glibc"])), ("linux", other, json!(["glibc"])), ("darwin", "x64", Value::Null)]
    {
        let package = manifest(&first.join(format!("stepladder-{os}-{cpu}-{v}.tgz")));
        assert_eq!((&package["os"], &package["cpu"], &package["libc"]), (&json!([os]), &json!([cpu]), &libc));
    }
    let launcher = manifest(&first.join(format!("stepladder-{v}.tgz")));
    let platforms = launcher["optionalDependencies"].as_object().expect("an object");
    assert_eq!(platforms.len(), 4);
    assert_eq!(platforms["@stepladder/darwin-arm64"], v);
    let formula = std::fs::read_to_string(first.join("stepladder.rb")).expect("all platforms are given");
    let sums = std::fs::read_to_string(first.join("SHA256SUMS")).expect("it was made");
    assert!(!formula.contains('@'), "{formula}");
    let archives: Vec<_> =
        sums.lines().filter_map(|line| line.split_once("  ")).filter(|(_, name)| name.ends_with(".tar.gz")).collect();
    assert_eq!(archives.len(), 4);
    assert!(archives.iter().all(|(sum, _)| formula.contains(sum)), "{formula}{sums}");

    // a static binary runs with any libc, and its packages say so
    let any = folder.path().join("any");
    succeed(script("build.py").arg(&any).arg(linux));
    let wheel = format!("stepladder-{v}-py3-none-manylinux_2_17_{here_rust}.musllinux_1_1_{here_rust}.whl");
    assert!(names(&any).contains(&wheel), "{:?}", names(&any));
    assert_eq!(manifest(&any.join(format!("stepladder-linux-{here}-{v}.tgz")))["libc"], Value::Null);
}

#[test]
fn a_binary_is_refused_that_would_not_run_where_its_package_says() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let right = format!("stepladder {}", version());
    let program = small_program(&folder, "program", &right, &[]);

    let old = small_program(&folder, "old", "stepladder 0.0.1", &[]);
    assert!(refuse(&folder, &[&old]).contains("says `stepladder 0.0.1`, not"));
    assert!(refuse(&folder, &[&program, &program]).contains("two binaries are for one platform"));
    assert!(refuse(&folder, &[&for_machine(&program, RISC_V)]).contains("is for RISC-V"));
    assert!(refuse(&folder, &[&macho(&folder, APPLE_ARM64, IOS, (17, 0))]).contains("not for macOS"));
    assert!(refuse(&folder, &[&folder.path().join("program.c")]).contains("neither an ELF nor a 64-bit Mach-O"));

    let library = folder.path().join("libodd.so");
    std::fs::write(folder.path().join("odd.c"), "int odd(void) { return 1; }\n").expect("a file of our own");
    succeed(Command::new("cc").args(["-shared", "-o"]).arg(&library).arg(folder.path().join("odd.c")));
    let library = library.to_str().expect("UTF-8");
    let needy = small_program(&folder, "needy", &right, &["-Wl,--no-as-needed", library]);
    assert!(refuse(&folder, &[&needy]).contains("libodd.so, which not every machine has"));
}

#[test]
fn the_launcher_says_what_to_do_if_there_is_no_program_for_the_platform() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let package = folder.path().join("node_modules/stepladder");
    std::fs::create_dir_all(package.join("bin")).expect("a folder of our own");
    std::fs::copy(binary::root().join("release/launcher.js"), package.join("bin/stepladder.js")).expect("a copy");
    let launch = |optional: Value| {
        std::fs::write(package.join("package.json"), json!({ "optionalDependencies": optional }).to_string())
            .expect("a file of our own");
        let output = Command::new("node").arg(package.join("bin/stepladder.js")).output().expect("node starts");
        assert_eq!(output.status.code(), Some(1));
        text(&output.stderr)
    };
    let elsewhere = launch(json!({ "@stepladder/sunos-x64": "1.0.0" }));
    assert!(
        elsewhere.contains("only @stepladder/sunos-x64; build it with `cargo install stepladder-cli`"),
        "{elsewhere}"
    );
    let (_, here, _) = MACHINES[0];
    let left_out = launch(json!({ format!("@stepladder/linux-{here}"): "1.0.0" }));
    assert!(left_out.contains("is missing. npm leaves it out with --omit=optional"), "{left_out}");
}

#[test]
fn the_launcher_passes_on_the_exit_code_and_the_signal() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (_, here, _) = MACHINES[0];
    let name = format!("@stepladder/linux-{here}");
    let package = folder.path().join("node_modules/stepladder");
    let program = folder.path().join("node_modules").join(&name).join("bin/stepladder");
    for parent in [package.join("bin"), program.parent().expect("it has one").to_owned()] {
        std::fs::create_dir_all(parent).expect("a folder of our own");
    }
    std::fs::copy(binary::root().join("release/launcher.js"), package.join("bin/stepladder.js")).expect("a copy");
    std::fs::write(package.join("package.json"), json!({ "optionalDependencies": { name: "1" } }).to_string())
        .expect("a file of our own");
    let launch = |script: &str| {
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("a file of our own");
        succeed(Command::new("chmod").arg("+x").arg(&program));
        Command::new("node").arg(package.join("bin/stepladder.js")).arg("an argument").output().expect("node starts")
    };
    let ended = launch("echo \"$1\"; exit 7");
    assert_eq!((ended.status.code(), text(&ended.stdout)), (Some(7), "an argument\n".into()));
    assert_eq!(launch("kill -KILL $$").status.code(), Some(128 + 9));
}

#[test]
fn the_workflow_and_the_dockerfile_pass_their_linters() {
    let hadolint = parts::python_program("hadolint");
    succeed(Command::new(hadolint).arg(binary::root().join("Dockerfile")));
    // the schema of workflows, expressions, permissions, and what an attacker could use
    let workflow = binary::root().join(".github/workflows/release.yml");
    succeed(
        Command::new(parts::python_program("zizmor")).args(["--offline", "--no-progress", "--quiet"]).arg(workflow),
    );
}
