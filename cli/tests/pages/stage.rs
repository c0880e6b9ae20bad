//! Where the commands of a page are typed: a directory, the real `keylet`, and servers that run as in another terminal.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use keylet_e2e::processes::{Directory, free_port};
use serde_json::Value;

use crate::page::{Block, Marker, Page, repository};

/// A command that does not end by then has asked for something that nobody types.
const LONGEST: &str = "120";

/// Stands in for a program that serves until it is stopped: it runs as in another terminal, and what follows is typed
/// once it listens. `$1` is what the page calls it, `SERVES` the word that makes it serve, `FLAG` the option of the address.
const IN_ANOTHER_TERMINAL: &str = r#"#!/usr/bin/env bash
set -euo pipefail
if [ "${1-}" != serve ] || [ "${2-}" = --help ]; then
    exec PROGRAM "$@"
fi
listen=
previous=
for argument in "$@"; do
    [ "$previous" != FLAG ] || listen=$argument
    previous=$argument
done
if [ -z "$listen" ]; then
    listen=$STAGE_LISTEN
    set -- serve FLAG "$listen" "${@:2}"
fi
PROGRAM "$@" </dev/null >>"$STAGE/served.out" 2>>"$STAGE/served.err" &
echo $! >>"$STAGE/pids"
for _ in $(seq 1200); do
    ! (exec 3<>"/dev/tcp/${listen%:*}/${listen##*:}") 2>/dev/null || exit 0
    kill -0 $! 2>/dev/null || break
    sleep 0.05
done
cat "$STAGE/served.err" >&2
exit 1
"#;

/// Stands in for `cargo`: what a page builds is what the gate builds, by the same line. `cargo install` puts the command
/// line on the search path, when the folder is that of the package with a program of this name.
const CARGO: &str = r#"#!/usr/bin/env bash
set -euo pipefail
if [ "$1" = install ]; then
    path=
    previous=
    for argument in "$@"; do
        [ "$previous" != --path ] || path=$argument
        previous=$argument
    done
    grep -q '^name = "keylet"$' "$path/Cargo.toml"
    cp "$STAGE/installed-keylet" "$STAGE/bin/keylet"
elif ! grep -qF -- "cargo $*" "$STAGE_REPOSITORY/.ci/run" "$STAGE_REPOSITORY"/spin*.toml; then
    echo "the gate does not run: cargo $*" >&2
    exit 1
fi
"#;

/// What a command printed, and how it ended.
pub struct Typed {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Whether every command ended with 0.
    pub is_success: bool,
}

/// The blocks of a test, and the place where they are typed.
pub struct Stage {
    /// The name of the test, as the pages have it.
    pub test: &'static str,
    /// What the pages say in its name, in their order.
    pub blocks: Vec<Block>,
    /// Where `keylet serve` listens without an option: the page's 127.0.0.1:3000.
    pub listen: String,
    directory: Directory,
    environment: Vec<(String, String)>,
    replacements: Vec<(String, String)>,
}

impl Stage {
    /// A stage for the blocks of a test. `keylet` is on the search path.
    pub fn new(test: &'static str) -> Self {
        let stage = Self::without_keylet(test);
        let installed = stage.file("installed-keylet");
        std::fs::copy(installed, stage.file("bin/keylet")).unwrap();
        stage
    }

    /// The same, without `keylet`: the page has to install it.
    pub fn without_keylet(test: &'static str) -> Self {
        let is_own = |block: &Block| block.marker == Some(Marker::Run(test.to_owned()));
        let blocks: Vec<Block> = Page::all()
            .iter()
            .flat_map(Page::blocks)
            .filter(is_own)
            .collect();
        assert!(
            !blocks.is_empty(),
            "no page has a block `<!-- run: {test} -->`"
        );
        let stage = Self {
            test,
            blocks,
            listen: format!("127.0.0.1:{}", free_port()),
            directory: Directory::new(&format!("page-{test}")),
            environment: Vec::new(),
            replacements: Vec::new(),
        };
        std::fs::create_dir(stage.file("bin")).unwrap();
        stage.program("cargo", CARGO);
        let keylet = IN_ANOTHER_TERMINAL
            .replace("PROGRAM", env!("CARGO_BIN_EXE_keylet"))
            .replace("FLAG", "--listen");
        stage.program("../installed-keylet", &keylet);
        stage
    }

    /// A file on the stage.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.file(name)
    }

    /// What a file on the stage holds.
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Puts a file there.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.file(name), text).unwrap();
    }

    /// Puts a file or folder of the repository there.
    pub fn bring(&self, path: &str, name: &str) {
        symlink(repository().join(path), self.file(name)).unwrap();
    }

    /// Puts a program on the search path.
    pub fn program(&self, name: &str, text: &str) {
        let path = self.file("bin").join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Puts a server on the search path that is started by `name serve`, as [`IN_ANOTHER_TERMINAL`] has it.
    pub fn server(&self, name: &str, program: &str, flag: &str) {
        let text = IN_ANOTHER_TERMINAL
            .replace("PROGRAM", program)
            .replace("FLAG", flag);
        self.program(name, &text);
    }

    /// Sets a variable of the environment.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Sets an application variable.
    pub fn configure(&mut self, name: &str, value: &str) {
        self.set(&format!("SPIN_VARIABLE_{}", name.to_uppercase()), value);
    }

    /// Serves with the variables of the fixtures, and a key `movie-42`.
    pub fn configure_fixtures(&mut self) {
        for (name, value) in keylet_cli::fixtures::variables() {
            match name.as_str() {
                "content_keys" => {
                    let mut keys: Value = serde_json::from_str(&value).unwrap();
                    for id in ["movie-42", "smoke-test"] {
                        keys.as_array_mut().unwrap().push(key_record(id));
                    }
                    self.configure(&name, &keys.to_string());
                }
                _ => self.configure(&name, &value),
            }
        }
        self.configure("server_secret", "a secret for tests, of 32 bytes or more");
        self.set("KEYLET_TOKEN_KEY", &token_key());
    }

    /// What stands for a text of the page, such as a name of a server that is not here.
    pub fn replace(&mut self, from: &str, to: &str) {
        self.replacements.push((from.to_owned(), to.to_owned()));
    }

    /// What is typed: the blocks one after the other, with what stands for names that are not here.
    ///
    /// # Panics
    /// When a replacement replaces nothing.
    pub fn script(&self) -> String {
        let texts = self.blocks.iter().map(|block| block.text.as_str());
        self.replaced(&texts.collect::<String>())
    }

    /// A text of the page with what stands for names that are not here.
    pub fn replaced(&self, text: &str) -> String {
        let mut text = text.replace("127.0.0.1:3000", &self.listen);
        for (from, to) in &self.replacements {
            assert!(
                text.contains(from),
                "{}: the page has no `{from}`",
                self.test
            );
            text = text.replace(from, to);
        }
        text
    }

    /// Types the blocks.
    ///
    /// # Panics
    /// When a command fails.
    pub fn type_blocks(&self) -> Typed {
        self.succeed(&self.script())
    }

    /// Types other commands.
    ///
    /// # Panics
    /// When one fails.
    pub fn succeed(&self, script: &str) -> Typed {
        let typed = self.run(script);
        let Typed { stdout, stderr, .. } = &typed;
        assert!(
            typed.is_success,
            "{}:\n{script}\n{stdout}\n{stderr}",
            self.test
        );
        typed
    }

    /// Types other commands, which may fail.
    pub fn run(&self, script: &str) -> Typed {
        let path = std::env::var("PATH").unwrap_or_default();
        self.write("typed.sh", script);
        let typed = Command::new("timeout")
            .args([
                LONGEST, "setsid", "--wait", "bash", "-euo", "pipefail", "typed.sh",
            ])
            .current_dir(&self.directory.0)
            .env("PATH", format!("{}:{path}", self.file("bin").display()))
            .env("STAGE", &self.directory.0)
            .env("STAGE_REPOSITORY", repository())
            .env("STAGE_LISTEN", &self.listen)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Typed {
            stdout: String::from_utf8_lossy(&typed.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&typed.stderr).into_owned(),
            is_success: typed.status.success(),
        }
    }

    /// The process ids of the servers that were started, the first one first.
    pub fn servers(&self) -> Vec<String> {
        let pids = std::fs::read_to_string(self.file("pids")).unwrap_or_default();
        pids.lines().map(str::to_owned).collect()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for pid in self.servers() {
            let _ = Command::new("kill")
                .args(["-KILL", &pid])
                .stderr(Stdio::null())
                .status();
        }
    }
}

/// A key record for tests.
pub fn key_record(id: &str) -> Value {
    serde_json::json!({
        "id": id,
        "key": "0f0e0d0c0b0a09080706050403020100",
        "iv": "000102030405060708090a0b0c0d0e0f",
    })
}

/// The fixtures' key of HS256, which signs tokens.
pub fn token_key() -> String {
    let variables = keylet_cli::fixtures::variables();
    let keys: Value = serde_json::from_str(&variables["token_keys"]).unwrap();
    keys["keys"][0].to_string()
}

/// A token of the fixtures.
pub fn token(name: &str) -> String {
    let tokens: Value = serde_json::from_str(keylet_cli::fixtures::TOKENS).unwrap();
    tokens[name].as_str().unwrap().to_owned()
}

/// A request to the server of a stage: the status and the body.
pub fn curl(stage: &Stage, arguments: &str) -> (String, String) {
    let script = format!("curl -sS -o body -w '%{{http_code}}' {arguments}");
    let status = stage.succeed(&script).stdout;
    (
        status,
        std::fs::read_to_string(stage.file("body")).unwrap_or_default(),
    )
}

/// A licence of the fixtures by curl, with a token by name: the status.
pub fn licence(stage: &Stage, url: &str, token_name: &str) -> String {
    let spc = repository().join("fixtures/spc/v1.bin");
    let token = token(token_name);
    let arguments = format!(
        "-H 'authorization: Bearer {token}' --data-binary @{} {url}",
        spc.display()
    );
    curl(stage, &arguments).0
}
