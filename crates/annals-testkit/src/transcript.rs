//! The transcripts of a page of the documentation: what it shows is run, in one shell, and what
//! comes out is compared with what it says.
//!
//! A block of `console` has commands behind `$ ` and what they print behind them. What another day
//! must make different may differ: versions of the day, times, durations, sizes, ids, hashes,
//! numbers of processes. Such a word stands for what was printed in its place, wherever the page
//! says it again: an id that the page shows once and types later is typed as it really was. `…` in
//! a line stands for anything there, alone in a line for any lines.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use regex::Regex;

/// Longest run of one command of a page.
const LIMIT: Duration = Duration::from_secs(120);

/// Stands before the number of a command that has ended.
const MARK: char = '\u{1}';

/// A page, by its blocks.
pub struct Page {
    name: String,
    blocks: Vec<Block>,
}

/// A fenced block.
#[derive(Debug)]
pub struct Block {
    /// The nearest heading above it, without its marks.
    pub heading: String,
    /// What stands behind the opening fence: `console`, `sh`, `toml`, nothing.
    pub language: String,
    /// Number of its first line of text, from 1.
    pub line: usize,
    /// The text.
    pub text: String,
}

impl Page {
    /// Reads a Markdown file of the repository.
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path);
        let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { name, blocks: blocks(&text) }
    }

    /// The name of its file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All blocks.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }
}

fn blocks(text: &str) -> Vec<Block> {
    let (mut blocks, mut heading) = (Vec::new(), String::new());
    let mut open: Option<Block> = None;
    for (at, line) in text.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => {
                let (heading, language) = (heading.clone(), language.to_owned());
                open = Some(Block { heading, language, line: at + 2, text: String::new() });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) if line.starts_with('#') => {
                line.trim_start_matches('#').trim().clone_into(&mut heading);
            }
            (None, None) => {}
        }
    }
    blocks
}

/// A shell in which pages are followed.
pub struct Shell {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    count: usize,
    words: BTreeMap<String, String>,
}

impl Shell {
    /// `bash` in `folder`, with nothing of the caller's environment but what finding a server
    /// takes; `programs` comes first on its `PATH`.
    pub fn new(folder: &Path, programs: &Path, variables: &[(&str, &str)]) -> Self {
        let (reader, writer) = std::io::pipe().expect("a pipe can be made");
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("bash");
        command.args(["--noprofile", "--norc"]).current_dir(folder).env_clear();
        for name in ["ANNALS_PG_BIN", "LD_LIBRARY_PATH", "TMPDIR"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.env("PATH", format!("{}:{path}", programs.display()));
        command.env("XDG_CACHE_HOME", crate::server::cache_home());
        command.env("HOME", folder).env("NO_COLOR", "1").env("LC_ALL", "C.UTF-8");
        command.envs(variables.iter().copied());
        let error = writer.try_clone().expect("a pipe has room for another end");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(writer)
            .stderr(error)
            .spawn()
            .expect("bash is installed");
        // The ends of ours go with the command, so that the pipe ends with the shell.
        drop(command);
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(reader).lines() {
                let Ok(line) = line else { return };
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        let input = child.stdin.take().expect("it was piped");
        Self { child, input, lines, count: 0, words: BTreeMap::new() }
    }

    /// `shown` of the page is `real` here, in commands and in what they print.
    pub fn says(&mut self, shown: &str, real: &str) {
        self.words.insert(shown.to_owned(), real.to_owned());
    }

    /// Runs a command in the shell, and returns what it prints on both of its outputs.
    pub fn run(&mut self, command: &str) -> String {
        self.count += 1;
        let (count, mark) = (self.count, MARK);
        // The code of a command is that of the next line, too; and nobody reads what is to be run.
        writeln!(
            self.input,
            "(exit ${{code:-0}}); {{ {command}\n}} < /dev/null; code=$?; printf '%s\\n' '{mark}{count}'"
        )
        .expect("the shell is there");
        let mut text = String::new();
        loop {
            let Ok(line) = self.lines.recv_timeout(LIMIT) else {
                panic!("{command}: did not end; it has printed\n{text}");
            };
            // What ends without a line's end has the mark behind it.
            match line.split_once(MARK) {
                Some((rest, number)) if number == count.to_string() => {
                    text.push_str(rest);
                    return text;
                }
                _ => {
                    text.push_str(&line);
                    text.push('\n');
                }
            }
        }
    }

    /// Runs the commands of a block of `console`, and compares. A command behind which the page
    /// shows nothing must end well, and may print.
    ///
    /// # Errors
    ///
    /// What the page says and what is printed, where they differ first in each command, and the
    /// block as it was here, with the words of the page as far as they are known.
    pub fn follow(&mut self, page: &Page, block: &Block) -> Result<(), (Vec<String>, String)> {
        let commands = transcript(block);
        let (mut wrong, mut text) = (Vec::new(), String::new());
        for (at, (line, command, expected)) in commands.iter().enumerate() {
            let real = self.real(command);
            let printed = self.run(&real);
            let told = commands.get(at + 1).is_some_and(|(_, next, _)| next == "echo $?");
            let same = match expected.is_empty() {
                true if told => Ok(()),
                true => match self.run("echo $?").trim() {
                    "0" => Ok(()),
                    code => Err(format!("it ended with {code}\n{}", self.whole(&printed))),
                },
                false => self.compare(expected, &printed),
            };
            let _ = writeln!(text, "$ {command}");
            match same {
                Ok(()) => text.push_str(expected),
                Err(why) => {
                    let name = &page.name;
                    wrong.push(format!("{name}:{line}: $ {command}\n(run as: {real})\n{why}"));
                    let shown = self.words.iter().fold(printed, |text, (shown, is)| {
                        if is.len() > 3 { text.replace(is, shown) } else { text }
                    });
                    text.push_str(shown.trim_end());
                }
            }
            if !text.ends_with('\n') {
                text.push('\n');
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err((wrong, text)) }
    }

    /// Runs the commands of a block whose world is part of the repository: what they print is what
    /// the page says, byte by byte (but for a `…` alone in a line). Returns the block as it should
    /// be, if it is not.
    pub fn follow_exactly(&mut self, block: &Block) -> Option<String> {
        let mut text = String::new();
        for (_, command, expected) in transcript(block) {
            let real = self.real(&command);
            let mut printed = self.run(&real);
            for (shown, is) in &self.words {
                printed = printed.replace(is, shown);
            }
            if printed.ends_with('\n') {
                printed.pop();
            }
            let (begin, rest) = expected.split_once("  …").unwrap_or((&expected, ""));
            let elided = begin != expected && rest.is_empty() && printed.starts_with(begin);
            let shown = if elided { &expected } else { &printed };
            let _ = writeln!(text, "$ {command}");
            if !shown.is_empty() {
                let _ = writeln!(text, "{shown}");
            }
        }
        (text != block.text).then_some(text)
    }

    /// A command with the words of this day.
    fn real(&self, command: &str) -> String {
        let mut real = String::new();
        for word in pieces(command) {
            real.push_str(&match word {
                Piece::Text(text) => text.to_owned(),
                Piece::Word(word, _) => self.bound(word).unwrap_or_else(|| word.to_owned()),
            });
        }
        for (shown, is) in self.words.iter().filter(|(shown, _)| token(shown).is_none()) {
            real = real.replace(shown, is);
        }
        real
    }

    /// What `word` stands for, or the beginning of it where the page shows the beginning of a word.
    fn bound(&self, word: &str) -> Option<String> {
        if let Some(real) = self.words.get(word) {
            return Some(real.clone());
        }
        let whole = self.words.iter().find(|(shown, real)| {
            shown.starts_with(word) && real.is_char_boundary(word.len()) && real.len() > word.len()
        });
        let end = || self.words.iter().find(|(shown, _)| shown.ends_with(word));
        whole.map(|(_, real)| real[..word.len()].to_owned()).or_else(|| {
            end()
                .and_then(|(_, real)| real.get(real.len().checked_sub(word.len())?..))
                .map(str::to_owned)
        })
    }

    /// Is what was printed what the page says?
    ///
    /// # Errors
    ///
    /// Where they differ first.
    pub fn compare(&mut self, expected: &str, printed: &str) -> Result<(), String> {
        let lines: Vec<&str> = printed.lines().collect();
        let mut at = 0;
        let mut any = false;
        for shown in expected.lines() {
            if shown.trim() == "…" {
                any = true;
                continue;
            }
            let found = match any {
                true => (at..lines.len()).find(|at| self.line(shown, lines[*at])),
                false => (at < lines.len() && self.line(shown, lines[at])).then_some(at),
            };
            let Some(found) = found else {
                return Err(format!(
                    "the page says\n{shown}\nhere is\n{}\n\n{}",
                    lines.get(at).unwrap_or(&"(nothing)"),
                    self.whole(printed)
                ));
            };
            (at, any) = (found + 1, false);
        }
        match any || at == lines.len() {
            true => Ok(()),
            false => {
                Err(format!("the page does not say\n{}\n\n{}", lines[at], self.whole(printed)))
            }
        }
    }

    fn whole(&self, printed: &str) -> String {
        let mut text = format!("it prints\n{printed}\nwords\n");
        for (shown, real) in &self.words {
            let _ = writeln!(text, "  {shown} is {real}");
        }
        text
    }

    /// Is `real` what the page shows as `shown`? Its words are taken down then.
    fn line(&mut self, shown: &str, real: &str) -> bool {
        let mut pattern = String::from(r"^\s*");
        let mut named = Vec::new();
        for piece in pieces(shown.trim()) {
            match piece {
                Piece::Text(text) => self.text(&mut pattern, text),
                Piece::Word(word, class) => match (class.named, self.bound(word)) {
                    (true, Some(real)) => pattern.push_str(&regex::escape(&real)),
                    (true, None) => {
                        let _ = write!(pattern, "({})", class.pattern(word));
                        named.push(word);
                    }
                    (false, _) => pattern.push_str(&class.pattern(word)),
                },
            }
        }
        pattern.push_str(r"\s*$");
        let regex = Regex::new(&pattern).unwrap_or_else(|error| panic!("{shown}: {error}"));
        let Some(found) = regex.captures(real) else { return false };
        for (word, group) in named.into_iter().zip(found.iter().skip(1)) {
            let group = group.map_or("", |group| group.as_str());
            self.words.insert(word.to_owned(), group.to_owned());
        }
        true
    }

    fn text(&self, pattern: &mut String, text: &str) {
        let mut text = text.to_owned();
        for (shown, real) in self.words.iter().filter(|(shown, _)| token(shown).is_none()) {
            text = text.replace(shown, real);
        }
        let mut blank = false;
        for char in text.chars() {
            match char {
                ' ' if blank => {}
                ' ' => pattern.push_str(r"\s+"),
                '…' => pattern.push_str(".*?"),
                char => pattern.push_str(&regex::escape(char.encode_utf8(&mut [0; 4]))),
            }
            blank = char == ' ';
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The commands of a block, each with its line in the page and with what it prints.
fn transcript(block: &Block) -> Vec<(usize, String, String)> {
    let mut found: Vec<(usize, String, String)> = Vec::new();
    for (at, line) in block.text.lines().enumerate() {
        match (line.strip_prefix("$ "), found.last_mut()) {
            (Some(command), _) => found.push((block.line + at, command.to_owned(), String::new())),
            (None, Some((_, _, expected))) => {
                expected.push_str(line);
                expected.push('\n');
            }
            (None, None) => panic!("line {}: {line:?} stands before any command", block.line + at),
        }
    }
    // An empty line in front of the next command parts them for the eye.
    for (_, _, expected) in &mut found {
        let end = expected.trim_end_matches('\n').len();
        expected.truncate(end);
    }
    found
}

enum Piece<'a> {
    Text(&'a str),
    Word(&'a str, &'static Class),
}

/// A kind of word that is another on another day.
struct Class {
    regex: Regex,
    /// What may stand in its place; `{n}` is its length.
    real: &'static str,
    /// Does it stand for one thing wherever the page says it?
    named: bool,
}

impl Class {
    fn pattern(&self, word: &str) -> String {
        self.real.replace("{n}", &format!("{{{}}}", word.chars().count()))
    }
}

static CLASSES: LazyLock<Vec<Class>> = LazyLock::new(|| {
    let class = |shown: &str, real, named| Class {
        regex: Regex::new(&format!("^(?:{shown})")).expect("it is a pattern"),
        real,
        named,
    };
    vec![
        class(r"/\S*annals-sandbox-\d+-[0-9a-f]+", r"/\S*annals-sandbox-\d+-[0-9a-f]+", false),
        class(
            r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b",
            r"[0-9a-f-]{36}",
            true,
        ),
        class(r"[0-9a-f]{8}-…", r"[0-9a-f-]{8,36}…?", false),
        class(
            r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?Z",
            r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?Z",
            false,
        ),
        class(r"\d{8}_\d{6}", r"\d{8}_\d{6}", true),
        class(
            r"\w+\+[0-9a-f]{8}\+[A-Za-z0-9+/]{40,}=*",
            r"\w+\+[0-9a-f]{8}\+[A-Za-z0-9+/]{40,}=*",
            false,
        ),
        class(r"\d+(?:\.\d+)? (?:µs|ms|s|min)\b", r"\d+(?:\.\d+)? (?:µs|ms|s|min)", false),
        class(
            r"\d+(?:\.\d+)? (?:B|KiB|MiB|GiB|bytes)\b",
            r"\d+(?:\.\d+)? (?:B|KiB|MiB|GiB|bytes)",
            false,
        ),
        class(r"PostgreSQL \d+\.\d+", r"PostgreSQL \d+(?:\.\d+|\w+)", false),
        class(
            r"(?:backend|event|process|transaction) \d+\b",
            r"(?:backend|event|process|transaction) \d+",
            false,
        ),
        class(
            r"\d+ (?:events|hashes|objects in the schema)\b",
            r"\d+ (?:events|hashes|objects in the schema)",
            false,
        ),
        class(r"\d{17,20}\b", r"\d{17,20}", false),
        class(r"\d{8}-\d{8}\b", r"\d{8}-\d{8}", false),
        class(r"[0-9a-f]{6,64}\b", r"[0-9a-f]{n}", true),
    ]
});

/// What kind of word begins `text`, and how long it is.
fn token(text: &str) -> Option<(&'static Class, usize)> {
    CLASSES.iter().find_map(|class| {
        let found = class.regex.find(text)?.as_str();
        // A word of letters alone is a word, and a number of digits alone a number.
        let hash = !class.real.starts_with("[0-9a-f]{n}")
            || (found.contains(|c: char| c.is_ascii_digit())
                && found.contains(|c: char| c.is_ascii_lowercase()));
        hash.then_some((class, found.len()))
    })
}

/// `text` in pieces: words that are others on another day, and what is between them.
fn pieces(text: &str) -> Vec<Piece<'_>> {
    let (mut found, mut begin, mut at) = (Vec::new(), 0, 0);
    let mut inside = false;
    while at < text.len() {
        let char = text[at..].chars().next().expect("there is more");
        // Only where a word begins.
        match token(&text[at..]).filter(|_| !inside) {
            Some((class, length)) => {
                found.push(Piece::Text(&text[begin..at]));
                found.push(Piece::Word(&text[at..at + length], class));
                at += length;
                begin = at;
                inside = text[..at].ends_with(char::is_alphanumeric);
            }
            None => {
                at += char.len_utf8();
                inside = char.is_alphanumeric();
            }
        }
    }
    found.push(Piece::Text(&text[begin..]));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell() -> (tempfile::TempDir, Shell) {
        let folder = tempfile::tempdir().unwrap();
        let shell = Shell::new(folder.path(), folder.path(), &[]);
        (folder, shell)
    }

    fn page(text: &str) -> Page {
        Page { name: "page.md".to_owned(), blocks: blocks(text) }
    }

    #[test]
    fn a_page_is_followed_in_one_shell() {
        let (_folder, mut shell) = shell();
        let text = "# One\n\n```console\n$ cd /; x=3\n$ echo $x in $PWD\n3 in /\n$ (exit 7)\n\
                    $ echo $?\n7\n```\n## Two\n```toml\na = 1\n```\n```console\n$ printf '%s' $x\n3\n\
                    $ cat\n$ seq 5\n1\n…\n4\n5\n```\n";
        let page = page(text);
        let heads: Vec<_> =
            page.blocks().iter().map(|b| (&*b.heading, &*b.language, b.line)).collect();
        assert_eq!(heads, [("One", "console", 4), ("Two", "toml", 13), ("Two", "console", 16)]);
        for block in page.blocks().iter().filter(|block| block.language == "console") {
            assert_eq!(shell.follow(&page, block), Ok(()));
        }
    }

    #[test]
    fn what_another_day_makes_different_may_differ_and_keeps_its_name() {
        let (_folder, mut shell) = shell();
        let shown = "run 0a1b2c3d of 20260101_000000_a ended after 3 ms, 2 rows";
        let real = "run 99ffee00 of   20261231_235959_a ended after 1.2 s, 2 rows";
        assert_eq!(shell.compare(shown, real), Ok(()));
        assert_eq!(
            shell.real("echo 0a1b2c3d 0a1b2c 20260101_000000"),
            "echo 99ffee00 99ffee 20261231_235959"
        );
        // The same word stands for the same thing behind it.
        assert_eq!(shell.compare("0a1b2c3d again", "99ffee00 again"), Ok(()));
        assert!(shell.compare("0a1b2c3d again", "99ffee01 again").is_err());
        // What the day does not change must be as the page says.
        assert!(shell.compare("2 rows", "3 rows").is_err());
        assert!(shell.compare("decade", "facade").is_err(), "words are words");
    }

    #[test]
    fn a_line_too_many_and_one_that_is_missing_are_found() {
        let (_folder, mut shell) = shell();
        assert!(
            shell
                .compare("a\nb", "a")
                .unwrap_err()
                .contains("the page says\nb\nhere is\n(nothing)")
        );
        assert!(shell.compare("a", "a\nb").unwrap_err().contains("the page does not say\nb"));
        assert_eq!(shell.compare("a\n…\nd", "a\nb\nc\nd"), Ok(()));
        assert_eq!(shell.compare("error: …: no", "error: x y: no"), Ok(()));
        assert!(shell.compare("a\n…\nd", "a\nb\nc").is_err());
    }

    #[test]
    fn what_a_page_says_wrongly_is_named_with_its_line() {
        let (_folder, mut shell) = shell();
        let page = page("```console\n$ true\n$ echo 2\n3\n```\n");
        let (wrong, block) = shell.follow(&page, &page.blocks()[0]).unwrap_err();
        assert!(wrong[0].starts_with("page.md:3: $ echo 2\n"), "{wrong:?}");
        assert_eq!((wrong.len(), &*block), (1, "$ true\n$ echo 2\n2\n"));
        let page = self::page("```console\n$ false\n```\n");
        let (wrong, _) = shell.follow(&page, &page.blocks()[0]).unwrap_err();
        assert!(wrong[0].contains("ended with 1"));
    }
}
