//! The workspace's own files, and the lines of them that matter to a rule.

use std::fs;
use std::path::{Path, PathBuf};

/// A Rust file: its path from the top of the workspace, and its lines.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) lines: Vec<String>,
}

/// A function: its name, the line it starts at (from 1) and how many lines it has.
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) len: usize,
}

impl Source {
    /// True for files that are there for tests alone.
    pub(crate) fn is_test(&self) -> bool {
        let path = Path::new(&self.path);
        self.path.contains("/tests/")
            || path.file_stem().is_some_and(|stem| stem.to_string_lossy().contains("test"))
    }

    /// The code that ships, with line numbers from 1: no comments, and nothing from the module of
    /// tests on, which is always last.
    pub(crate) fn shipped(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = if self.is_test() { &[][..] } else { &self.lines };
        lines
            .iter()
            .enumerate()
            .take_while(|(_, line)| *line != "#[cfg(test)]")
            .map(|(at, line)| (at + 1, line.trim()))
            .filter(|(_, line)| !line.starts_with("//"))
    }

    /// Every place where shipped code has one of `words`.
    pub(crate) fn uses(&self, words: &[&str]) -> Vec<String> {
        self.shipped()
            .flat_map(|(at, line)| {
                let found = words.iter().filter(move |word| line.contains(**word));
                found.map(move |word| format!("{}:{at}: {word}", self.path))
            })
            .collect()
    }

    /// Every function with a body, found by the way rustfmt lays code out: it ends at the first
    /// closing brace that stands below its first letter.
    pub(crate) fn functions(&self) -> Vec<Function> {
        let mut functions = Vec::new();
        for (at, line) in self.lines.iter().enumerate() {
            let Some(name) = function_name(line) else { continue };
            let indent = line.len() - line.trim_start().len();
            let end = format!("{}}}", " ".repeat(indent));
            let is_short = line.ends_with(['}', ';']);
            let mut rest = self.lines[at..].iter();
            let len = if is_short { Some(0) } else { rest.position(|line| *line == end) };
            if let Some(len) = len {
                functions.push(Function { name, line: at + 1, len: len + 1 });
            }
        }
        functions
    }
}

fn function_name(line: &str) -> Option<String> {
    let code = line.trim_start();
    let before = code.find("fn ")?;
    let words = ["pub", "pub(crate)", "pub(super)", "async", "const", "unsafe", "extern", "\"C\""];
    if !code[..before].split_whitespace().all(|word| words.contains(&word)) {
        return None;
    }
    let name = code[before + 3..].split(['(', '<']).next()?;
    Some(name.to_owned())
}

/// The top of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is in the workspace").to_owned()
}

/// A file of the workspace, or nothing where it is missing.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_default()
}

/// All Rust files below `dirs`, by path.
pub(crate) fn sources(dirs: &[&str]) -> Vec<Source> {
    let mut sources = Vec::new();
    for dir in dirs {
        for path in files(&root().join(dir), "rs") {
            let text = fs::read_to_string(root().join(&path)).expect("a readable file");
            sources.push(Source { path, lines: text.lines().map(str::to_owned).collect() });
        }
    }
    sources.sort_by(|one, other| one.path.cmp(&other.path));
    sources
}

/// The paths of all files below `dir` whose names end in `.extension`.
pub(crate) fn files(dir: &Path, extension: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.expect("a readable directory").path();
        if path.is_dir() && !path.ends_with("target") {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|other| other == extension) {
            let relative = path.strip_prefix(root()).expect("below the top");
            found.push(relative.to_string_lossy().into_owned());
        }
    }
    found
}

/// What stands between back quotes in `text`.
pub(crate) fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}
