//! Files too large for a plan: hashed in blocks when they are planned, read again when they run.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use annals_events::{Digest, DigestBuilder};

use crate::canonical::Canonical;
use crate::cut::{Cut, Cutter};
use crate::load::INLINE_FILE_BYTES;
use crate::plan::{BLOCK_BYTES, StreamedFile};
use crate::position::Position;
use crate::sql::{Judge, Script, directives_of, read_one};

/// The most problems of one file that are listed.
const MAX_PROBLEMS: usize = 20;

/// A large file as it was found.
#[derive(Debug, Clone)]
pub(crate) struct LargeFile {
    /// Where it lies.
    pub(crate) full: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) blocks: Vec<Digest>,
}

/// Hashes what `reader` gives: all of it, and each of its blocks.
pub(crate) fn measure(reader: &mut impl Read) -> io::Result<(Digest, Vec<Digest>, u64)> {
    let (mut all, mut blocks, mut bytes) = (DigestBuilder::default(), Vec::new(), 0);
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    loop {
        block.clear();
        reader.by_ref().take(BLOCK_BYTES as u64).read_to_end(&mut block)?;
        if block.is_empty() {
            return Ok((all.finish(), blocks, bytes));
        }
        all.update(&block);
        blocks.push(Digest::of(&block));
        bytes += block.len() as u64;
    }
}

/// Gives what `reader` gives, each block only if it is the one that is expected.
pub struct Blocks<R> {
    reader: R,
    expected: std::vec::IntoIter<Digest>,
    block: Vec<u8>,
    at: usize,
}

impl<R: Read> Blocks<R> {
    pub(crate) fn new(reader: R, expected: Vec<Digest>) -> Self {
        Self { reader, expected: expected.into_iter(), block: Vec::new(), at: 0 }
    }

    fn next_block(&mut self) -> io::Result<()> {
        self.at = 0;
        self.block.clear();
        self.reader.by_ref().take(BLOCK_BYTES as u64).read_to_end(&mut self.block)?;
        let found = (!self.block.is_empty()).then(|| Digest::of(&self.block));
        if found == self.expected.next() {
            return Ok(());
        }
        self.block.clear();
        Err(io::Error::other("the file has changed since it was planned"))
    }
}

impl<R: Read> Read for Blocks<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at == self.block.len() {
            self.next_block()?;
        }
        let read = (&self.block[self.at..]).read(out)?;
        self.at += read;
        Ok(read)
    }
}

/// The parts of a streamed file, every byte of it as it was planned.
pub type StreamedPieces = Cutter<Blocks<File>>;

/// Opens a file of a plan.
///
/// # Errors
///
/// When it cannot be opened. That it has changed is found where it has, by the cut that would give
/// out the first byte of the altered block.
pub fn open_streamed(workspace: &Path, file: &StreamedFile) -> io::Result<StreamedPieces> {
    open(&workspace.join(&file.path), &file.blocks)
}

fn open(path: &Path, blocks: &[Digest]) -> io::Result<StreamedPieces> {
    Ok(Cutter::new(Blocks::new(File::open(path)?, blocks.to_vec())))
}

/// Why a file is refused, and where.
pub(crate) type Complaint = (Option<Position>, String);

/// Reads all of a large file once, piece by piece.
pub(crate) fn survey(path: &Path, file: &LargeFile) -> Result<Script, Vec<Complaint>> {
    let unread = |error: io::Error| vec![(None, format!("cannot be read: {error}"))];
    let mut pieces = open(&file.full, &file.blocks).map_err(unread)?;
    let mut survey = Survey::default();
    while survey.problems.len() < MAX_PROBLEMS {
        match survey.take_in(&mut pieces) {
            Ok(true) => {}
            Ok(false) => break,
            Err(complaint) => {
                survey.problems.push(complaint);
                break;
            }
        }
    }
    let (directives, errors) = directives_of(&pieces);
    let errors = errors.into_iter().map(|(remark, reason)| (Some(remark.position), reason));
    survey.problems.extend(errors);
    if survey.problems.is_empty() && survey.statements == 0 {
        let start = Position { line: 1, column: 1 };
        survey.problems.push((Some(start), "the file has no statement".to_owned()));
    }
    if !survey.problems.is_empty() {
        return Err(survey.problems);
    }
    if survey.is_copying {
        survey.canonical.end_data();
    }
    let streamed = StreamedFile {
        blocks: file.blocks.clone(),
        bytes: file.bytes,
        copies: survey.copies,
        path: path.to_string_lossy().into_owned(),
        statements: survey.statements,
    };
    let canonical = survey.canonical.finish();
    Ok(Script { statements: Vec::new(), directives, canonical, streamed: Some(streamed) })
}

/// What is known of a large file so far.
#[derive(Default)]
struct Survey {
    canonical: Canonical,
    judge: Option<Judge>,
    is_copying: bool,
    statements: u64,
    copies: u64,
    problems: Vec<Complaint>,
}

impl Survey {
    /// Takes in the next part; whether there was one.
    fn take_in(&mut self, pieces: &mut StreamedPieces) -> Result<bool, Complaint> {
        let cut = pieces.next_cut().map_err(|error| (Some(error.position), error.reason))?;
        let (read, at, takes_data) = match cut {
            None => return Ok(false),
            Some(Cut::Gap(_)) => return Ok(true),
            Some(Cut::Data(lines)) => {
                self.canonical.data(lines);
                return Ok(true);
            }
            Some(Cut::Statement { text, at, takes_data, .. }) => {
                let read = read_one(text);
                (read.map_err(|(off, reason)| (at.behind(&text[..off]), reason)), at, takes_data)
            }
        };
        let (directives, _) = directives_of(pieces);
        if !directives.transaction || directives.backfill.is_some() {
            let reason = format!(
                "a file larger than {} MiB is one transaction; leave transaction=off and backfill out, or cut \
                 the file into smaller ones",
                INLINE_FILE_BYTES >> 20
            );
            return Err((None, reason));
        }
        self.statements += 1;
        self.copies += u64::from(takes_data);
        if std::mem::replace(&mut self.is_copying, takes_data) {
            self.canonical.end_data();
        }
        let judged = read.and_then(|node| {
            let judge = self.judge.get_or_insert_with(|| Judge::new(directives, true));
            let judged = judge.judge(&node, takes_data);
            judged.map(|_| node).map_err(|reason| (at, reason))
        });
        match judged {
            Ok(node) => self.canonical.statement(&node),
            Err((at, reason)) => self.problems.push((Some(at), reason)),
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::parse;

    fn large(text: &[u8]) -> (tempfile::NamedTempFile, LargeFile) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let (raw, blocks, bytes) = measure(&mut &*text).unwrap();
        assert_eq!((raw, bytes), (Digest::of(text), text.len() as u64));
        let full = file.path().to_owned();
        (file, LargeFile { full, bytes, blocks })
    }

    fn surveyed(text: &[u8]) -> Result<Script, Vec<String>> {
        let (_kept, file) = large(text);
        survey(Path::new("m/1_a.sql"), &file).map_err(|complaints| {
            let show = |(position, reason): Complaint| match position {
                Some(position) => format!("{position}: {reason}"),
                None => reason,
            };
            complaints.into_iter().map(show).collect()
        })
    }

    #[test]
    fn a_streamed_file_says_what_the_same_file_says_whole() {
        let mut text =
            String::from("\u{feff}-- annals: lock_timeout=5s\r\ncreate table t (a text);\n");
        for n in 0..4_000 {
            text.push_str(&format!("insert into t values ('{n};''é'); -- {n}\r\n"));
        }
        text.push_str("copy t from stdin;\r\n");
        text.push_str(&"some data;\r\n".repeat(20_000));
        text.push_str("\\.\r\nselect 1");
        let whole = parse(text.strip_prefix('\u{feff}').unwrap()).unwrap();
        let streamed = surveyed(text.as_bytes()).unwrap();
        assert_eq!(streamed.canonical, whole.canonical);
        assert_eq!(streamed.directives, whole.directives);
        let file = streamed.streamed.unwrap();
        assert_eq!((file.statements, file.copies), (whole.statements.len() as u64, 1));
        assert_eq!((file.bytes, file.path.as_str()), (text.len() as u64, "m/1_a.sql"));
    }

    #[test]
    fn what_is_wrong_with_a_streamed_file_is_named_with_its_place() {
        let cases: &[(&str, &[&str])] = &[
            (
                "select 1;\n  selec 2;\n commit;",
                &["2:3: selec 2 begins no statement", "3:2: transaction control is"],
            ),
            ("select 1;\nselect 'a", &["2:8: this string is not closed"]),
            ("select 1,\n  from t;;\nvacuum;", &["1:9: ", "3:1: this statement cannot run inside"]),
            ("-- annals: transaction=off\nvacuum;", &["a file larger than 1 MiB is one"]),
            ("select 1;\n -- annals: transaction=off", &["2:2: a directive stands at the top"]),
            ("reset standard_conforming_strings;", &["1:1: what stands behind this would be"]),
            ("-- none\n;", &["1:1: the file has no statement"]),
            ("alter type t add value 'x';\nselect 'x';", &["2:1: the value 'x' was added"]),
        ];
        for (text, expected) in cases {
            let found = surveyed(text.as_bytes()).unwrap_err();
            assert_eq!(found.len(), expected.len(), "{text}\n  gave {found:?}");
            for (found, expected) in found.iter().zip(*expected) {
                assert!(found.starts_with(expected), "{text}\n  gave {found}");
            }
        }
        let many = surveyed("selec 1;\n".repeat(1_000).as_bytes()).unwrap_err();
        assert_eq!(many.len(), MAX_PROBLEMS);
    }

    #[test]
    fn no_byte_of_an_altered_block_is_given_out() {
        let text: Vec<u8> = (0..3 * BLOCK_BYTES + 5).map(|n| (n % 251) as u8).collect();
        let (_, blocks, _) = measure(&mut &*text).unwrap();
        assert_eq!(blocks.len(), 4);
        let read = |text: &[u8], blocks: &[Digest]| {
            let mut given = Vec::new();
            let end = Blocks::new(text, blocks.to_vec()).read_to_end(&mut given);
            (given, end.is_ok())
        };
        assert_eq!(read(&text, &blocks), (text.clone(), true));
        for (at, given) in [(0, 0), (BLOCK_BYTES + 7, 1), (3 * BLOCK_BYTES, 3)] {
            let mut other = text.clone();
            other[at] ^= 1;
            assert_eq!(read(&other, &blocks), (text[..given * BLOCK_BYTES].to_vec(), false));
        }
        let shorter = &text[..2 * BLOCK_BYTES];
        assert_eq!(read(shorter, &blocks), (shorter.to_vec(), false), "cut short");
        let longer = [&text[..], b"x"].concat();
        assert_eq!(read(&longer, &blocks), (text[..3 * BLOCK_BYTES].to_vec(), false), "grown");
        let behind = [shorter, b"x"].concat();
        assert_eq!(read(&behind, &blocks[..2]), (shorter.to_vec(), false), "a block more");
    }
}
