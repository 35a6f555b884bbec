//! The files of the repository, as git knows them, and the list of what is wrong with them.

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// One text file.
pub(crate) struct File {
    /// Relative to the root.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) executable: bool,
}

impl File {
    /// The lines before the file's own tests, numbered from 1; `use` lines and code alike, comments included.
    pub(crate) fn product_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line))
            .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
    }
}

/// Every text file that is committed or about to be; what `.gitignore` names is not ours.
pub(crate) fn files() -> Vec<File> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(root())
        .output()
        .expect("git lists the files of the repository");
    assert!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
    let names = String::from_utf8(listed.stdout).expect("file names are UTF-8");
    names
        .split_terminator('\0')
        .filter_map(|path| {
            let full = root().join(path);
            let text = fs::read_to_string(&full).ok()?; // a deleted file, or no text: neither has lines to judge
            let executable = fs::metadata(&full).ok()?.permissions().mode() & 0o111 != 0;
            Some(File { path: path.to_owned(), text, executable })
        })
        .collect()
}

/// The Rust files under `folder`.
pub(crate) fn rust(folder: &str) -> Vec<File> {
    let found: Vec<File> = files()
        .into_iter()
        .filter(|file| {
            file.path.starts_with(folder) && Path::new(&file.path).extension().is_some_and(|kind| kind == "rs")
        })
        .collect();
    assert!(!found.is_empty(), "no Rust file under {folder}: the search is broken");
    found
}

/// One file that must be there.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|why| panic!("cannot read {path}: {why}"))
}

/// What was found, all of it, so that one run shows everything there is to mend.
#[derive(Default)]
pub(crate) struct Problems(Vec<String>);

impl Problems {
    /// Notes a problem; line 0 means the whole file.
    pub(crate) fn add(&mut self, path: &str, line: usize, rule: &str) {
        let mut text = path.to_owned();
        if line > 0 {
            write!(text, ":{line}").expect("a String takes everything");
        }
        self.0.push(format!("{text}: {rule}"));
    }

    /// Fails with the whole list.
    pub(crate) fn assert_none(self) {
        assert!(self.0.is_empty(), "{} problems:\n{}", self.0.len(), self.0.join("\n"));
    }
}
