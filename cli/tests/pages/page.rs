//! The pages, and the blocks of code in them.

use std::fmt;
use std::path::{Path, PathBuf};

/// Languages of blocks that nobody runs: what they show is compared elsewhere, or is no command.
const SHOWN: [&str; 9] = [
    "http", "ignore", "js", "json", "mermaid", "rust", "swift", "text", "tsx",
];

/// What a block of a shown language may not begin a line with: commands belong in a block of `sh`.
const COMMANDS: [&str; 17] = [
    "$ ",
    "cargo ",
    "curl ",
    "docker ",
    "ffmpeg ",
    "keylet ",
    "kubectl ",
    "npm ",
    "openssl ",
    "packager ",
    "redis-cli ",
    "rustup ",
    "spin ",
    "sudo ",
    "systemctl ",
    "tests/",
    "wasmtime ",
];

/// The folder of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

/// A page of the repository.
pub struct Page {
    /// Its path below the repository.
    pub path: String,
    /// Its text.
    pub text: String,
}

impl Page {
    /// A page by its path below the repository.
    pub fn read(path: &str) -> Self {
        let text = std::fs::read_to_string(repository().join(path));
        Self {
            path: path.to_owned(),
            text: text.unwrap_or_else(|error| panic!("{path}: {error}")),
        }
    }

    /// The pages that people read: those beside the README, all below `docs`, and those of the crates.
    pub fn all() -> Vec<Self> {
        let root = repository();
        let mut folders = vec![root.clone(), root.join("docs"), root.join("crates")];
        let mut paths = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                match path.extension() {
                    Some(extension) if extension == "md" => paths.push(path),
                    _ if path.is_dir() && folder != root => folders.push(path),
                    _ => {}
                }
            }
        }
        paths.sort();
        let relative = |path: &PathBuf| {
            path.strip_prefix(&root)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        };
        paths
            .iter()
            .map(relative)
            .map(|path| Self::read(&path))
            .collect()
    }

    /// Its blocks of code, in their order.
    ///
    /// # Panics
    /// Where code stands in a form that says nothing of its language, so that no test could find it.
    pub fn blocks(&self) -> Vec<Block> {
        blocks(&self.path, &self.text).unwrap_or_else(|problem| panic!("{problem}"))
    }
}

/// A fenced block of code.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// The page, by its path below the repository.
    pub page: String,
    /// The line of the fence, counted from 1.
    pub line: usize,
    /// The word behind the fence.
    pub language: String,
    /// What the page says of its being run.
    pub marker: Option<Marker>,
    /// The lines between the fences, without the indentation of the fence.
    pub text: String,
}

/// An HTML comment on the line before a block.
#[derive(Debug, Clone, PartialEq)]
pub enum Marker {
    /// `<!-- run: NAME -->`: the test of this name runs it.
    Run(String),
    /// `<!-- not run: REASON -->`.
    NotRun(String),
}

impl Marker {
    fn parse(line: &str) -> Option<Self> {
        let comment = line
            .trim()
            .strip_prefix("<!--")?
            .strip_suffix("-->")?
            .trim();
        match comment.split_once(':')? {
            ("run", name) => Some(Self::Run(name.trim().to_owned())),
            ("not run", reason) => Some(Self::NotRun(reason.trim().to_owned())),
            _ => None,
        }
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} ({})", self.page, self.line, self.language)
    }
}

impl Block {
    /// What is wrong with the account of this block, given the names of the tests; `None` when it is run,
    /// says why not, or holds nothing to run.
    pub fn problem(&self, tests: &[&str]) -> Option<String> {
        let problem = match &self.marker {
            Some(Marker::Run(name)) if tests.contains(&name.as_str()) => return None,
            Some(Marker::Run(name)) => format!("there is no test `{name}`"),
            // A reason has a few words.
            Some(Marker::NotRun(reason)) if reason.split_whitespace().count() > 1 => return None,
            Some(Marker::NotRun(_)) => "`not run` has no reason".to_owned(),
            None if self.language.is_empty() => "the fence names no language".to_owned(),
            None if !SHOWN.contains(&self.language.as_str()) => {
                "nothing runs it: write `<!-- run: TEST -->` or `<!-- not run: REASON -->` before it"
                    .to_owned()
            }
            None => {
                let is_command = |line: &&str| COMMANDS.iter().any(|command| line.starts_with(command));
                let command = self.text.lines().map(str::trim_start).find(is_command)?;
                format!("`{command}` is a command: it belongs in a block of `sh`")
            }
        };
        Some(format!("{self}: {problem}"))
    }
}

/// The blocks of a page, or what hides one.
fn blocks(page: &str, text: &str) -> Result<Vec<Block>, String> {
    let mut found = Vec::new();
    let mut open: Option<(String, usize, Block)> = None;
    let mut marker: Option<(usize, Marker)> = None;
    let mut is_after_blank = true;
    for (number, line) in (1..).zip(text.lines()) {
        let content = line.trim_start();
        let indentation = line.len() - content.len();
        if let Some((fence, indented, mut block)) = open.take() {
            if content.starts_with(&fence) && content.trim_end().chars().all(|c| fence.contains(c))
            {
                found.push(block);
            } else {
                let strip = indented.min(indentation);
                block.text.push_str(line.get(strip..).unwrap_or_default());
                block.text.push('\n');
                open = Some((fence, indented, block));
            }
            is_after_blank = true;
            continue;
        }
        let fence: String = ['`', '~']
            .into_iter()
            .map(|mark| {
                content
                    .chars()
                    .take_while(|c| *c == mark)
                    .collect::<String>()
            })
            .find(|fence| fence.len() >= 3)
            .unwrap_or_default();
        if !fence.is_empty() {
            let language = content.trim_start_matches(['`', '~']).trim();
            let block = Block {
                page: page.to_owned(),
                line: number,
                language: language.to_owned(),
                marker: marker.take().map(|(_, marker)| marker),
                text: String::new(),
            };
            open = Some((fence, indentation, block));
            continue;
        }
        if content.is_empty() {
            is_after_blank = true;
            continue;
        }
        if let Some((line, _)) = marker.take() {
            return Err(format!("{page}:{line}: no block follows this marker"));
        }
        marker = Marker::parse(line).map(|found| (number, found));
        if content.contains("<pre") || (is_after_blank && is_indented(line)) {
            return Err(format!(
                "{page}:{number}: code without a fence, which no test finds"
            ));
        }
        is_after_blank = false;
    }
    match (open, marker) {
        (Some((_, _, block)), _) => Err(format!("{block}: the fence is not closed")),
        (None, Some((line, _))) => Err(format!("{page}:{line}: no block follows this marker")),
        (None, None) => Ok(found),
    }
}

/// Whether a line behind an empty one is code by its indentation (section 4.4 of the `CommonMark` specification, 0.31.2). The paragraph
/// of a list may be so far in, too: these pages have none.
fn is_indented(line: &str) -> bool {
    line.starts_with("    ") || line.starts_with('\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        match blocks("page.md", text) {
            Ok(blocks) => blocks
                .iter()
                .filter_map(|block| block.problem(&["known"]))
                .collect(),
            Err(problem) => vec![problem],
        }
    }

    #[test]
    fn a_block_that_is_run_or_says_why_not_is_accounted_for() {
        for text in [
            "<!-- run: known -->\n```sh\nkeylet\n```\n",
            "<!-- run: known -->\n\n~~~~ sh\nkeylet\n~~~~\n",
            "* a list\n  <!-- not run: needs a cluster -->\n  ```yaml\n  a: 1\n  ```\n",
            "```json\n{}\n```\n",
            "```text\nkeylet: the server answered 403\n```\n",
        ] {
            assert_eq!(problems(text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn a_block_that_nobody_accounts_for_is_found() {
        for (text, said) in [
            ("```sh\nkeylet\n```\n", "nothing runs it"),
            ("```bash\nkeylet\n```\n", "nothing runs it"),
            ("```yaml\nrun: keylet\n```\n", "nothing runs it"),
            ("~~~nginx\nserver {}\n~~~\n", "nothing runs it"),
            ("```console\n$ keylet\n```\n", "nothing runs it"),
            ("```\nkeylet\n```\n", "names no language"),
            ("```text\n  $ keylet serve\n```\n", "is a command"),
            ("```json\ncurl -sS http://127.0.0.1\n```\n", "is a command"),
            (
                "<!-- run: other -->\n```sh\nkeylet\n```\n",
                "no test `other`",
            ),
            ("<!-- not run: -->\n```sh\nkeylet\n```\n", "no reason"),
            ("<!-- not run: no -->\n```sh\nkeylet\n```\n", "no reason"),
            (
                "<!-- run: known -->\ntext\n```sh\nkeylet\n```\n",
                "no block follows",
            ),
            ("<!-- run: known -->\n", "no block follows"),
            ("Run:\n\n    keylet serve\n", "without a fence"),
            ("Run:\n\n\tkeylet serve\n", "without a fence"),
            ("<pre>keylet serve</pre>\n", "without a fence"),
            ("```sh\nkeylet\n", "not closed"),
        ] {
            let problems = problems(text);
            assert!(
                problems.len() == 1 && problems[0].contains(said),
                "{text}: {problems:?}"
            );
        }
    }

    #[test]
    fn a_block_is_read_as_it_is_shown() {
        let text = "one\n<!-- run: known -->\n  ```sh\n  a\n    b\n\n  ~~~\n```\ntext\n";
        let blocks = blocks("page.md", text).unwrap();
        assert_eq!(blocks.len(), 1);
        assert_eq!(
            (blocks[0].line, blocks[0].text.as_str()),
            (3, "a\n  b\n\n~~~\n")
        );
    }
}
