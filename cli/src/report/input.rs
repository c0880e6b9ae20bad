//! The lines of files and of standard input, compressed or not.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, SyncSender};

use anyhow::{Context, Result};
use flate2::bufread::MultiGzDecoder;
use zstd::Decoder;

use crate::file::STANDARD;

/// How much is handed over at a time, in bytes.
const BUFFER: usize = 1 << 20;

/// How many of these may wait.
const PIECES: usize = 4;

/// The longest line in bytes. The host cuts its own at 64 KiB; documents of collectors are longer.
pub const LONGEST_LINE: usize = 1 << 20;

/// The first bytes of gzip (RFC 1952 section 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The first bytes of a frame of Zstandard (RFC 8878 section 3.1.1).
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Reads each line of a file, without its end; `-` is standard input. A line that is too long is `None`.
///
/// # Errors
/// A file that cannot be read or decompressed, with its name.
pub fn lines(path: &Path, take: impl FnMut(Option<&[u8]>)) -> Result<()> {
    if path == Path::new(STANDARD) {
        return read(io::stdin(), take).context("reading standard input");
    }
    let reading = || format!("reading {}", path.display());
    read(File::open(path).with_context(reading)?, take).with_context(reading)
}

/// A thread reads and decompresses, so that whoever takes the lines need not wait for that.
fn read(from: impl Read + Send, take: impl FnMut(Option<&[u8]>)) -> io::Result<()> {
    let (full, pieces) = mpsc::sync_channel(PIECES);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let end = fill(from, &full);
            // Whoever takes the lines may have ended.
            end.or_else(|error| full.send(Err(error))).ok();
        });
        let pieces = Pieces {
            pieces,
            current: io::Cursor::default(),
        };
        each(pieces, take)
    })
}

/// Hands over what is read, piece by piece, until there is no more or nobody takes it.
fn fill(from: impl Read, full: &SyncSender<io::Result<Vec<u8>>>) -> io::Result<()> {
    let mut from = decompressed(from)?;
    loop {
        let mut piece = Vec::with_capacity(BUFFER);
        let mut most = from.by_ref().take(BUFFER as u64);
        most.read_to_end(&mut piece)?;
        if piece.is_empty() || full.send(Ok(piece)).is_err() {
            return Ok(());
        }
    }
}

fn decompressed<'a>(mut from: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut first = Vec::with_capacity(ZSTD.len());
    from.by_ref().take(4).read_to_end(&mut first)?;
    let is_gzip = first.starts_with(&GZIP);
    let is_zstd = first.starts_with(&ZSTD);
    let all = io::Cursor::new(first).chain(from);
    Ok(if is_gzip {
        // Files that were written one behind the other are one file.
        Box::new(MultiGzDecoder::new(BufReader::with_capacity(BUFFER, all)))
    } else if is_zstd {
        Box::new(Decoder::new(all)?)
    } else {
        Box::new(all)
    })
}

/// What a thread hands over, to be read as one.
struct Pieces {
    pieces: Receiver<io::Result<Vec<u8>>>,
    current: io::Cursor<Vec<u8>>,
}

impl Read for Pieces {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(to)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Pieces {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.current.fill_buf()?.is_empty()
            && let Ok(piece) = self.pieces.recv()
        {
            self.current = io::Cursor::new(piece?);
        }
        self.current.fill_buf()
    }

    fn consume(&mut self, used: usize) {
        self.current.consume(used);
    }
}

fn each(mut from: impl BufRead, mut take: impl FnMut(Option<&[u8]>)) -> io::Result<()> {
    let mut line = Vec::new();
    let mut is_too_long = false;
    loop {
        let buffer = match from.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            buffer => buffer?,
        };
        if buffer.is_empty() {
            break;
        }
        let end = memchr::memchr(b'\n', buffer);
        let (part, used) = match end.and_then(|end| buffer.split_at_checked(end)) {
            Some((part, _)) => (part, part.len() + 1),
            None => (buffer, buffer.len()),
        };
        if end.is_some() && line.is_empty() && !is_too_long {
            // The line is in the buffer as a whole, and need not be copied.
            take(Some(part));
        } else {
            is_too_long |= line.len() + part.len() > LONGEST_LINE;
            if is_too_long {
                line.clear();
            } else {
                line.extend_from_slice(part);
            }
            if end.is_some() {
                take((!is_too_long).then_some(&line));
                line.clear();
                is_too_long = false;
            }
        }
        from.consume(used);
    }
    if is_too_long || !line.is_empty() {
        take((!is_too_long).then_some(&line));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn read_all(bytes: &[u8]) -> Vec<Option<Vec<u8>>> {
        let mut lines = Vec::new();
        read(bytes, |line| lines.push(line.map(<[u8]>::to_vec))).unwrap();
        lines
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn lines_are_the_same_however_they_are_compressed() {
        let parts: [&[u8]; 2] = [b"one\n\ntwo\n", b"three"];
        let expected: Vec<_> = [&b"one"[..], b"", b"two", b"three"]
            .map(|line| Some(line.to_vec()))
            .into();
        let zstd = parts
            .map(|part| zstd::encode_all(part, 1).unwrap())
            .concat();
        for all in [parts.concat(), parts.map(gzip).concat(), zstd] {
            assert_eq!(read_all(&all), expected);
        }
        assert_eq!(read_all(b""), []);
        assert_eq!(read_all(b"a"), [Some(b"a".to_vec())]);
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over_in_bounded_memory() {
        let longest = vec![b'a'; LONGEST_LINE];
        let all = [&longest[..], b"\n", &longest, b"a\nnext\n", &longest, b"a"].concat();
        assert_eq!(
            read_all(&all),
            [Some(longest), None, Some(b"next".to_vec()), None]
        );
    }

    #[test]
    fn a_file_that_was_cut_is_an_error() {
        for all in [gzip(b"one\n"), zstd::encode_all(&b"one\n"[..], 1).unwrap()] {
            let cut = &all[..all.len() - 3];
            assert!(read(cut, |_| ()).is_err());
        }
    }
}
