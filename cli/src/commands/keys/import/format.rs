//! Files with key records, read by what they contain. Lines and rows are read one at a time, so that a long file takes
//! no more memory than a short one.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use clap::ValueEnum;
use keylet::encoding;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{At, azure, cpix, table};
use crate::cms;
use crate::file;

/// How many bytes are looked at to tell a format.
const LOOKED_AT: usize = 64 * 1024;

/// What takes a record, or what is wrong with it. It returns whether it takes more.
pub type Sink<'a> = &'a mut dyn FnMut(At, Result<Map<String, Value>, String>) -> bool;

/// How records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A JSON object a line
    JsonLines,
    /// A JSON list, or one JSON object
    Json,
    /// A table whose first line names the members of a record
    Csv,
    /// A CPIX document
    Cpix,
    /// One of the others, encrypted for a certificate (RFC 5652)
    Cms,
}

/// Reads a file; `-` is standard input.
///
/// # Errors
/// A file that is not read as a whole. What is wrong with one record goes to the sink.
pub fn read(path: &Path, format: Option<Format>, key: Option<&Path>, sink: Sink<'_>) -> Result<()> {
    let of_file = || path.display().to_string();
    let input: Box<dyn Read> = match path == Path::new(file::STANDARD) {
        true => Box::new(std::io::stdin()),
        false => Box::new(File::open(path).with_context(of_file)?),
    };
    let input = BufReader::with_capacity(LOOKED_AT, input);
    read_input(input, format, key, sink).with_context(of_file)
}

fn read_input(
    mut input: impl BufRead,
    format: Option<Format>,
    key: Option<&Path>,
    sink: Sink<'_>,
) -> Result<()> {
    let start = input.fill_buf()?;
    if start.starts_with(b"\xef\xbb\xbf") {
        input.consume(3);
    } else if encoding::utf16(start.get(..start.len() & !1).unwrap_or_default()).is_some() {
        let text = encoding::text(&rest(&mut input)?).context("it is not text")?;
        return read_text(Cursor::new(text.as_bytes()), format, key, sink);
    }
    let start = input.fill_buf()?;
    if format == Some(Format::Cms) || format.is_none() && cms::is_cms(start) {
        let content = rest(&mut input)?;
        let private_key = key.context(
            "it is encrypted: give the private key of the certificate with --key. `openssl cms -decrypt -inform PEM` decrypts it, too",
        )?;
        let decrypted = cms::decrypt(&content, &file::text(private_key)?)?;
        return read_text(Cursor::new(decrypted.as_slice()), None, key, sink);
    }
    read_text(input, format, key, sink)
}

fn read_text(
    mut input: impl BufRead,
    format: Option<Format>,
    key: Option<&Path>,
    sink: Sink<'_>,
) -> Result<()> {
    match format {
        Some(Format::Json) => read_document(&rest(&mut input)?, sink),
        Some(Format::JsonLines) => read_lines(input, 1, sink),
        Some(Format::Csv) => table::read(input, sink),
        Some(Format::Cpix) => cpix::read(&rest(&mut input)?, key, sink),
        Some(Format::Cms) => bail!("it is encrypted twice"),
        None => {
            let start = input.fill_buf()?.trim_ascii_start();
            match start.first() {
                None => bail!("it is empty"),
                Some(b'[') => read_document(&rest(&mut input)?, sink),
                Some(b'{') => read_objects(input, sink),
                Some(b'<') => cpix::read(&rest(&mut input)?, key, sink),
                Some(_) => table::read(input, sink),
            }
        }
    }
}

/// Reads JSON lines, or one object that has several lines.
fn read_objects(mut input: impl BufRead, sink: Sink<'_>) -> Result<()> {
    let mut first = Zeroizing::new(String::new());
    let mut number = 0;
    while first.trim().is_empty() && input.read_line(&mut first)? > 0 {
        number += 1;
        if first.trim().is_empty() {
            first.clear();
        }
    }
    match encoding::json_object(first.as_bytes()) {
        Ok(object) => match each(object, At::Line(number), sink) {
            true => read_lines(input, number + 1, sink),
            false => Ok(()),
        },
        Err(_) => {
            let rest = rest(&mut input)?;
            let whole = Zeroizing::new([first.as_bytes(), rest.as_slice()].concat());
            read_document(&whole, sink)
                .context("its first line is no JSON object, and all of it is no JSON document; `--format json-lines` reads it by lines")
        }
    }
}

/// Reads a JSON object from each line that is not empty.
fn read_lines(mut input: impl BufRead, first: u64, sink: Sink<'_>) -> Result<()> {
    let mut line = Zeroizing::new(Vec::new());
    for number in first.. {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let goes_on = match encoding::json_object(&line) {
            Ok(object) => each(object, At::Line(number), sink),
            Err(reason) => sink(At::Line(number), Err(reason.to_string())),
        };
        if !goes_on {
            break;
        }
    }
    Ok(())
}

/// Reads a list of records, or an object.
fn read_document(text: &[u8], sink: Sink<'_>) -> Result<()> {
    let document = encoding::json(text).map_err(|reason| anyhow!("{reason}"))?;
    match document {
        Value::Array(list) => {
            for (entry, number) in list.into_iter().zip(1..) {
                let at = At::Record(number);
                let goes_on = match entry {
                    Value::Object(object) => each(object, at, sink),
                    _ => sink(at, Err("it is not a JSON object".to_owned())),
                };
                if !goes_on {
                    break;
                }
            }
        }
        Value::Object(object) => {
            each(object, At::Record(1), sink);
        }
        _ => bail!("it is neither a JSON list of records nor a JSON object"),
    }
    Ok(())
}

/// The records of an object: itself, or the keys of an answer of Azure. Returns whether more is taken.
fn each(object: Map<String, Value>, at: At, sink: Sink<'_>) -> bool {
    match azure::entries(object) {
        Ok(entries) => {
            // One answer alone: its keys are counted. In a line of many, the line is the place.
            let mut numbers = 1..;
            entries.into_iter().all(|entry| {
                let at = match at {
                    At::Record(1) => At::Record(numbers.next().unwrap_or(1)),
                    at => at,
                };
                sink(at, azure::record(entry))
            })
        }
        Err(record) => sink(at, Ok(record)),
    }
}

fn rest(input: &mut impl BufRead) -> Result<Zeroizing<Vec<u8>>> {
    let mut content = Zeroizing::new(Vec::new());
    input.read_to_end(&mut content)?;
    Ok(content)
}
