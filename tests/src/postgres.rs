//! Runs a separate PostgreSQL server with the functions' tables, and the real PostgREST in front of
//! it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::binary;
use crate::parts::{free_port, postgrest, wait_until_listening};
use crate::wait::wait_for;

/// The secret with which tokens for PostgREST are signed. Only this test uses it.
const JWT_SECRET: &str = "a-secret-that-only-this-test-knows-0123456789";

/// A running PostgreSQL and PostgREST. Both processes end with the test.
#[derive(Debug)]
pub struct Postgres {
    tools: PathBuf,
    port: u16,
    rest_port: u16,
    _server: Child,
    _rest: Child,
    _folder: TempDir,
}

impl Postgres {
    /// Starts an empty cluster on a free port, executes the SQL of `functions/sql`, and starts
    /// PostgREST.
    pub async fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("stepladder-pg-").tempdir().expect("a temporary folder");
        let tools = tools();
        let data = folder.path().join("data");
        std::fs::create_dir(&data).expect("a folder in a folder of our own");
        hand_to_postgres(folder.path()).await;
        let initdb = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-sync", "-D"];
        succeed(as_postgres(&tools.join("initdb")).args(initdb).arg(&data)).await;

        let (port, log) = (free_port(), folder.path().join("log"));
        let file = File::create(&log).expect("a file in a folder of our own");
        let mut command = as_postgres(&tools.join("postgres"));
        command.arg("-D").arg(&data).args(["-h", "127.0.0.1", "-p", &port.to_string(), "-k", "", "-c", "fsync=off"]);
        command.stdout(file.try_clone().expect("a file")).stderr(file);
        let mut server = command.spawn().expect("postgres starts");
        wait_until_listening(&mut server, port, &log).await;
        let psql = tools.join("psql");
        wait_for("PostgreSQL to answer", async || {
            let asked = run_sql(&psql, port).arg("-c").arg("select 1").output().await.expect("psql starts");
            asked.status.success().then_some(())
        })
        .await;
        succeed(run_sql(&psql, port).arg("-c").arg(ROLES)).await;
        for file in sql_files() {
            succeed(run_sql(&psql, port).arg("-f").arg(file)).await;
        }

        let (rest_port, log) = (free_port(), folder.path().join("rest-log"));
        let file = File::create(&log).expect("a file in a folder of our own");
        let mut command = Command::new(postgrest());
        command.env("PGRST_DB_URI", format!("postgres://authenticator@127.0.0.1:{port}/postgres"));
        command.env("PGRST_DB_SCHEMAS", "public").env("PGRST_DB_ANON_ROLE", "anon");
        command.env("PGRST_SERVER_HOST", "127.0.0.1").env("PGRST_SERVER_PORT", rest_port.to_string());
        command.env("PGRST_JWT_SECRET", JWT_SECRET);
        command.stdin(Stdio::null()).stdout(file.try_clone().expect("a file")).stderr(file).kill_on_drop(true);
        let mut rest = command.spawn().expect("postgrest starts");
        wait_until_listening(&mut rest, rest_port, &log).await;
        let client = crate::aws_json::plain_client();
        wait_for("PostgREST to know the tables", async || {
            let answer = client.get(format!("http://127.0.0.1:{rest_port}/")).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
        Self { tools, port, rest_port, _server: server, _rest: rest, _folder: folder }
    }

    /// Returns the address of PostgREST. The tables are directly below `/`.
    pub fn rest_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.rest_port)
    }

    /// Returns a service-role key like Supabase's: a signed token that never expires.
    pub fn service_role_key(&self) -> &'static str {
        SERVICE_ROLE_KEY
    }

    /// Executes a query, and returns its rows as JSON.
    pub async fn rows(&self, query: &str) -> Vec<Value> {
        let whole = format!("select coalesce(json_agg(q), '[]') from ({query}) q");
        let mut command = run_sql(&self.tools.join("psql"), self.port);
        let output = command.args(["-At", "-c", &whole]).output().await.expect("psql starts");
        assert!(output.status.success(), "{query}: {}", String::from_utf8_lossy(&output.stderr));
        let rows: Value = serde_json::from_slice(&output.stdout).expect("json_agg writes JSON");
        rows.as_array().expect("an array").clone()
    }

    /// Executes a statement.
    pub async fn execute(&self, statement: &str) {
        succeed(run_sql(&self.tools.join("psql"), self.port).arg("-c").arg(statement)).await;
    }
}

/// The token `{"role": "service_role"}`, signed with [`JWT_SECRET`] (HS256).
const SERVICE_ROLE_KEY: &str =
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.RQ_2P7tq7gCjGRZTgUcJ_xnKNji5ApgsKSzw0ONc67E";

/// SQL that creates the roles which a Supabase project has before its first table.
const ROLES: &str = "
    create role anon nologin;
    create role authenticated nologin;
    create role service_role nologin bypassrls;
    create role authenticator login noinherit;
    grant anon, authenticated, service_role to authenticator;
    grant usage on schema public to anon, authenticated, service_role;
    alter default privileges in schema public grant all on tables to anon, authenticated, service_role;
    alter default privileges in schema public grant all on sequences to anon, authenticated, service_role;
";

fn sql_files() -> Vec<PathBuf> {
    let folder = binary::root().join("functions/sql");
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    files.retain(|file| file.extension().is_some_and(|kind| kind == "sql"));
    files.sort();
    assert!(!files.is_empty(), "there is no SQL in {}", folder.display());
    files
}

/// Returns the folder of the newest PostgreSQL that Debian has installed. Otherwise returns an
/// empty path, so that programs are found through `PATH`.
fn tools() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
    folders.retain(|folder| folder.join("initdb").exists());
    folders.sort();
    if let Some(newest) = folders.pop() {
        return newest;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).find(|folder| folder.join("initdb").exists());
    found.expect("PostgreSQL's initdb is neither in /usr/lib/postgresql nor on the path; ./test says how to get it")
}

/// Returns whether this process runs as root. PostgreSQL refuses to run as root, so it is then
/// started as the user of Debian's package.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

fn as_postgres(tool: &Path) -> Command {
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(tool);
        command
    } else {
        Command::new(tool)
    };
    command.current_dir("/").stdin(Stdio::null()).kill_on_drop(true);
    command
}

async fn hand_to_postgres(folder: &Path) {
    if is_root() {
        succeed(Command::new("chown").args(["-R", "postgres"]).arg(folder)).await;
    }
}

fn run_sql(psql: &Path, port: u16) -> Command {
    let mut command = Command::new(psql);
    command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "postgres", "-d", "postgres"]);
    command.args(["-p", &port.to_string()]).stdin(Stdio::null()).kill_on_drop(true);
    command
}

async fn succeed(command: &mut Command) {
    let output = command.output().await.expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?} ended with {}: {said}", command.as_std().get_program(), output.status);
}
