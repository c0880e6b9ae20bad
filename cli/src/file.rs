//! Files that commands read and write: one reader of text and of secrets, one writer of secrets.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use keylet::{encoding, platform};
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use crate::terminal;

/// The name that stands for standard input and standard output.
pub const STANDARD: &str = "-";

/// Reads a file; `-` is standard input.
///
/// # Errors
/// A file that cannot be read, with its name.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    if path == Path::new(STANDARD) {
        let mut content = Vec::new();
        let read = std::io::stdin().read_to_end(&mut content);
        return read.map(|_| content).context("reading standard input");
    }
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

/// Reads text, in UTF-8 or UTF-16, without a byte-order mark; `-` is standard input.
///
/// # Errors
/// A file that cannot be read or is not text, with its name.
pub fn text(path: &Path) -> Result<Zeroizing<String>> {
    let content = Zeroizing::new(read(path)?);
    encoding::text(&content).with_context(|| format!("{} is not text", path.display()))
}

/// Reads a file with one secret, without what editors leave at its ends; `-` is standard input.
///
/// # Errors
/// As [`text`].
pub fn secret(path: &Path) -> Result<Zeroizing<String>> {
    text(path).map(|text| trimmed(&text))
}

/// The secret of an environment variable, by the same rule. `None` when it is not set, or empty.
pub fn environment(name: &str) -> Option<Zeroizing<String>> {
    let value = Zeroizing::new(std::env::var(name).ok()?);
    Some(trimmed(&value)).filter(|value| !value.is_empty())
}

/// A secret as it is meant, wherever it comes from, by the rule that the server has for its passwords: line breaks, NULs
/// and byte-order marks at its ends are not part of it. Spaces are: a password may end in one.
pub fn trimmed(secret: &str) -> Zeroizing<String> {
    platform::value(platform::PASSWORD, secret.to_owned()).unwrap_or_default()
}

/// Writes a file; `-` is standard output.
///
/// # Errors
/// A file that cannot be written, with its name.
pub fn write(path: &Path, content: &[u8]) -> Result<()> {
    if path == Path::new(STANDARD) {
        return terminal::product()
            .write_all(content)
            .context("writing to standard output");
    }
    fs::write(path, content).with_context(|| format!("writing {}", path.display()))
}

/// Writes a file that only its owner reads, whole or not at all; `-` is standard output.
///
/// # Errors
/// As [`write()`].
pub fn write_secret(path: &Path, content: &[u8]) -> Result<()> {
    if path == Path::new(STANDARD) {
        return write(path, content);
    }
    let writing = || format!("writing {}", path.display());
    // Where it leads, if it is a link.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if path.exists() && !path.is_file() {
        return fs::write(&path, content).with_context(writing);
    }
    write_whole(&path, |file| Ok(file.write_all(content)?))
}

/// Writes a file with secrets, for its owner only. It is there whole, or as it was: a new one takes its place.
///
/// # Errors
/// That of `write`, and a file that cannot be written.
pub fn write_whole<T>(path: &Path, write: impl FnOnce(&mut File) -> Result<T>) -> Result<T> {
    let writing = || format!("writing {}", path.display());
    // Where it leads, if it is a link.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut file = NamedTempFile::new_in(directory(&path)).with_context(writing)?;
    let result = write(file.as_file_mut()).with_context(writing)?;
    file.as_file().sync_all().with_context(writing)?;
    file.persist(&path).with_context(writing)?;
    Ok(result)
}

/// The directory of a file.
fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Puts a text into a file, for its owner only. A copy of the file as it was stays beside it; standard error says
/// where.
///
/// # Errors
/// A file that cannot be written.
pub fn replace(path: &Path, text: &str) -> Result<()> {
    back_up(path)?;
    write_secret(path, text.as_bytes())
}

/// Copies a file that is about to be changed, for its owner only: to its name with `.bak` behind, or with a number
/// where another copy has that name. Standard error says where.
///
/// # Errors
/// A file that cannot be read, or a copy that cannot be written.
pub fn back_up(path: &Path) -> Result<()> {
    if !path.is_file() {
        return Ok(());
    }
    let content = Zeroizing::new(read(path)?);
    let named = |end: String| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let mut copy = named(".bak".to_owned());
    let mut is_there = false;
    for number in 1_u32.. {
        match fs::read(&copy).map(Zeroizing::new) {
            Ok(other) if *other == *content => {
                is_there = true;
                break;
            }
            Ok(_) => copy = named(format!(".bak{number}")),
            Err(_) => break,
        }
    }
    if !is_there {
        write_secret(&copy, &content)?;
    }
    eprintln!("{}: the file as it was", copy.display());
    Ok(())
}
