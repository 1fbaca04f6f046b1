//! Cuts SQL text into statements by PostgreSQL's lexical rules: one pass, bounded memory.
//!
//! This is the first of two readers. It knows quotes, comments, parentheses, the bodies of routines
//! and the data behind `COPY … FROM stdin`, and nothing else of the language; the grammar is the
//! second one. Where the two disagree, a file is refused.

use std::io::Read;

use crate::position::Position;

/// The most brackets within each other: what reads SQL needs stack for each.
const MAX_NESTING: usize = 500;

/// The longest statement, and the longest comment.
pub const MAX_STATEMENT_BYTES: usize = 16 << 20;

/// What is read at once, and the most of a gap or of data that is given out at once.
const CHUNK_BYTES: usize = 64 << 10;

/// The most of a psql command that is shown: 40 characters of at most four bytes.
const MAX_SHOWN_BYTES: usize = 160;

/// The most comments that are kept because they may be directives.
const MAX_REMARKS: usize = 100;

const BOM: &str = "\u{feff}";

/// A part of a text. One behind the other, the parts are the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut<'a> {
    /// What is neither statement nor data: white space, comments, lone semicolons, the byte order
    /// mark, and the line that ends data.
    Gap(&'a str),
    /// A statement, with its semicolon where it has one.
    Statement {
        /// Its text.
        text: &'a str,
        /// Where it starts.
        at: Position,
        /// Byte of the text where it starts.
        start: u64,
        /// Whether data for it follows: `COPY … FROM stdin`.
        takes_data: bool,
    },
    /// Lines for the `COPY` before; of a long line, a part.
    Data(&'a str),
}

impl<'a> Cut<'a> {
    /// The part itself.
    pub fn text(&self) -> &'a str {
        match self {
            Self::Gap(text) | Self::Data(text) | Self::Statement { text, .. } => text,
        }
    }
}

/// Why a text cannot be cut.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{position}: {reason}")]
pub struct CutError {
    /// Byte of the text.
    pub offset: u64,
    /// The same as line and column.
    pub position: Position,
    /// What is wrong.
    pub reason: String,
}

/// A comment that may be a directive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remark {
    pub(crate) offset: u64,
    pub(crate) position: Position,
    pub(crate) text: String,
}

/// What stands next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expecting {
    /// A statement or a gap.
    Statement,
    /// The end of the line behind a `COPY … FROM stdin` that starts here.
    LineEnd(u64, Position),
    /// Lines of its data.
    Data(u64, Position),
}

/// Cuts what `reader` gives; see [`Cut`].
pub struct Cutter<R> {
    reader: R,
    is_at_end: bool,
    /// Bytes of a character of which the rest has not been read.
    torn: Vec<u8>,
    /// What has been read and not been given out, behind what was given out last.
    text: String,
    /// Where in `text` begins what has not been given out.
    start: usize,
    /// Where in `text` the next token begins.
    pos: usize,
    /// Byte of the whole text at which `text` begins.
    base: u64,
    /// The place of `start`.
    position: Position,
    expecting: Expecting,
    is_at_line_start: bool,
    first_statement: Option<u64>,
    remarks: Vec<Remark>,
}

/// The token before, as far as it decides what the next one means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Other,
    /// `FROM` of a `COPY`.
    From,
    /// `BEGIN` that may be followed by `ATOMIC`.
    Begin,
    /// `ATOMIC`, or a semicolon of the body it opens: only here `END` closes the body.
    Inside,
}

/// How far a statement's head has come on the way to `CREATE [OR REPLACE] FUNCTION` or `PROCEDURE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Head {
    Start,
    Create,
    Or,
    Replace,
    Routine,
    Copy,
    Other,
}

impl Head {
    fn then(self, word: &str) -> Self {
        let is = |wanted: &str| word.eq_ignore_ascii_case(wanted);
        match self {
            Self::Start if is("create") => Self::Create,
            Self::Start if is("copy") => Self::Copy,
            Self::Create if is("or") => Self::Or,
            Self::Or if is("replace") => Self::Replace,
            Self::Create | Self::Replace if is("function") || is("procedure") => Self::Routine,
            Self::Routine | Self::Copy => self,
            _ => Self::Other,
        }
    }
}

/// A statement under way.
struct Shape {
    head: Head,
    last: Last,
    depth: usize,
    /// Brackets of any kind within each other.
    nested: usize,
    in_body: bool,
    takes_data: bool,
    /// The last token was an `E'…'`, which goes on behind a line end with the same escapes.
    escapes_go_on: bool,
    line_ended: bool,
}

impl Shape {
    fn new() -> Self {
        Self {
            head: Head::Start,
            last: Last::Other,
            depth: 0,
            nested: 0,
            in_body: false,
            takes_data: false,
            escapes_go_on: false,
            line_ended: false,
        }
    }

    fn word(&mut self, word: &str) {
        let is = |wanted: &str| word.eq_ignore_ascii_case(wanted);
        let last = std::mem::replace(&mut self.last, Last::Other);
        if self.depth > 0 {
            return;
        }
        self.head = self.head.then(word);
        match self.head {
            Head::Copy if last == Last::From && is("stdin") => self.takes_data = true,
            Head::Copy if is("from") => self.last = Last::From,
            Head::Routine if self.in_body => {
                self.in_body = !(last == Last::Inside && is("end"));
            }
            Head::Routine if last == Last::Begin && is("atomic") => {
                self.in_body = true;
                self.last = Last::Inside;
            }
            Head::Routine if is("begin") => self.last = Last::Begin,
            _ => {}
        }
    }

    /// A token that is no word.
    fn other(&mut self) {
        self.last = Last::Other;
        if !matches!(self.head, Head::Routine | Head::Copy) {
            self.head = Head::Other;
        }
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

fn begins_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn is_in_tag(byte: u8) -> bool {
    begins_word(byte) || byte.is_ascii_digit()
}

/// Characters that make text read otherwise than it runs (Unicode's bidirectional controls).
fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}')
}

/// The first character SQL text cannot have, and what to say of it.
pub(crate) fn hidden_character(text: &str) -> Option<(usize, String)> {
    // Every one of them begins with one of these bytes.
    let is_suspect = |byte: &u8| matches!(byte, 0 | 0xe2 | 0xd8);
    let mut from = 0;
    while let Some(at) = text.as_bytes()[from..].iter().position(is_suspect) {
        let c = text[from + at..].chars().next()?;
        if c == '\0' || is_bidi_control(c) {
            let reason = format!("hidden character U+{:04X}; remove it", u32::from(c));
            return Some((from + at, reason));
        }
        from += at + c.len_utf8();
    }
    None
}

/// What is said of bytes that are not UTF-8.
pub(crate) const NOT_UTF8: &str = "not UTF-8; save the file as UTF-8";

impl<R: Read> Cutter<R> {
    /// Cuts from the beginning.
    pub fn new(reader: R) -> Self {
        Self {
            reader,
            is_at_end: false,
            torn: Vec::new(),
            text: String::new(),
            start: 0,
            pos: 0,
            base: 0,
            position: Position { line: 1, column: 1 },
            expecting: Expecting::Statement,
            is_at_line_start: true,
            first_statement: None,
            remarks: Vec::new(),
        }
    }

    /// The next part; none at the end.
    ///
    /// # Errors
    ///
    /// What ends nowhere (quotes, comments, data), what is no SQL (psql's commands, a lone `$`),
    /// what cannot be text, and what the reader says. There is nothing to go on with behind it.
    pub fn next_cut(&mut self) -> Result<Option<Cut<'_>>, CutError> {
        self.release();
        match self.expecting {
            Expecting::LineEnd(offset, position) => self.line_end(offset, position)?,
            Expecting::Data(offset, position) => {
                if self.data(offset, position)? {
                    return Ok(Some(Cut::Data(&self.text[self.start..self.pos])));
                }
            }
            Expecting::Statement => {
                self.gap()?;
                if self.pos == self.start {
                    return match self.peek(0)? {
                        None => Ok(None),
                        Some(_) => self.statement().map(Some),
                    };
                }
            }
        }
        Ok(Some(Cut::Gap(&self.text[self.start..self.pos])))
    }

    /// Comments that may be directives, seen so far, and the byte of the first statement.
    pub(crate) fn remarks(&self) -> (&[Remark], Option<u64>) {
        (&self.remarks, self.first_statement)
    }

    /// Forgets what was given out.
    fn release(&mut self) {
        self.position = self.place(self.pos);
        self.start = self.pos;
        if self.start >= CHUNK_BYTES {
            self.text.drain(..self.start);
            // One long statement must not cost its memory until the end of the file.
            self.text.shrink_to(4 * CHUNK_BYTES);
            self.base += self.start as u64;
            (self.start, self.pos) = (0, 0);
        }
    }

    /// Line and column of the byte `at` of `self.text`, which is not before `start`.
    fn place(&self, at: usize) -> Position {
        let mut passed = &self.text[self.start..at];
        if self.base == 0 && self.start == 0 {
            passed = passed.strip_prefix(BOM).unwrap_or(passed);
        }
        self.position.behind(passed)
    }

    fn offset(&self, at: usize) -> u64 {
        self.base + at as u64
    }

    fn error(&self, at: usize, reason: impl Into<String>) -> CutError {
        CutError { offset: self.offset(at), position: self.place(at), reason: reason.into() }
    }

    /// Reads on; whether there was anything.
    fn fill(&mut self) -> Result<bool, CutError> {
        if self.is_at_end {
            return Ok(false);
        }
        if self.text.len() - self.start > MAX_STATEMENT_BYTES {
            let reason = "a statement or comment larger than 16 MiB; cut it into several, or load \
                          the data with COPY … FROM stdin";
            return Err(self.error(self.start, reason));
        }
        let mut bytes = std::mem::take(&mut self.torn);
        let had = bytes.len();
        bytes.resize(had + CHUNK_BYTES, 0);
        let read = loop {
            match self.reader.read(&mut bytes[had..]) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        let end = self.text.len();
        let read = read.map_err(|error| self.error(end, format!("cannot be read: {error}")))?;
        bytes.truncate(had + read);
        self.is_at_end = read == 0;
        let (valid, is_text) = match std::str::from_utf8(&bytes) {
            Ok(_) => (bytes.len(), true),
            Err(error) => (error.valid_up_to(), error.error_len().is_none() && !self.is_at_end),
        };
        let text = std::str::from_utf8(&bytes[..valid]).expect("the bytes so far are UTF-8");
        self.text.push_str(text);
        if let Some((at, reason)) = hidden_character(text) {
            return Err(self.error(end + at, reason));
        }
        if !is_text {
            return Err(self.error(self.text.len(), NOT_UTF8));
        }
        self.torn = bytes.split_off(valid);
        Ok(!self.is_at_end)
    }

    /// The byte so far behind `pos`.
    fn peek(&mut self, ahead: usize) -> Result<Option<u8>, CutError> {
        loop {
            if let Some(byte) = self.text.as_bytes().get(self.pos + ahead) {
                return Ok(Some(*byte));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    fn skip_while(&mut self, wanted: impl Fn(u8) -> bool) -> Result<(), CutError> {
        loop {
            let rest = &self.text.as_bytes()[self.pos..];
            match rest.iter().position(|byte| !wanted(*byte)) {
                Some(length) => {
                    self.pos += length;
                    return Ok(());
                }
                None => self.pos += rest.len(),
            }
            if !self.fill()? {
                return Ok(());
            }
        }
    }

    /// White space, comments and lone semicolons.
    fn gap(&mut self) -> Result<(), CutError> {
        if self.base == 0
            && self.start == 0
            && self.peek(0)?.is_some()
            && self.text.starts_with(BOM)
        {
            self.pos += BOM.len();
        }
        while self.pos - self.start < CHUNK_BYTES {
            match self.peek(0)? {
                Some(byte) if is_space(byte) || byte == b';' => self.pos += 1,
                Some(_) if self.comment()? => {}
                _ => break,
            }
        }
        Ok(())
    }

    /// Passes a comment; whether there was one.
    fn comment(&mut self) -> Result<bool, CutError> {
        match (self.peek(0)?, self.peek(1)?) {
            (Some(b'-'), Some(b'-')) => self.line_comment().map(|()| true),
            (Some(b'/'), Some(b'*')) => self.block_comment().map(|()| true),
            _ => Ok(false),
        }
    }

    fn line_comment(&mut self) -> Result<(), CutError> {
        let from = self.pos;
        self.skip_while(|byte| !matches!(byte, b'\n' | b'\r'))?;
        let text = &self.text[from..self.pos];
        let offset = self.offset(from);
        // What stands behind the last statement is passed twice.
        let is_new = self.remarks.last().is_none_or(|last| last.offset < offset);
        if is_new
            && self.remarks.len() < MAX_REMARKS
            && text[2..].trim_start().starts_with("annals:")
        {
            let (text, position) = (text.to_owned(), self.place(from));
            self.remarks.push(Remark { offset, position, text });
        }
        Ok(())
    }

    fn block_comment(&mut self) -> Result<(), CutError> {
        let from = self.pos;
        self.pos += 2;
        let mut depth = 1;
        while depth > 0 {
            match (self.peek(0)?, self.peek(1)?) {
                (None, _) => return Err(self.error(from, "this comment is not closed")),
                (Some(b'/'), Some(b'*')) => (depth, self.pos) = (depth + 1, self.pos + 2),
                (Some(b'*'), Some(b'/')) => (depth, self.pos) = (depth - 1, self.pos + 2),
                _ => self.pos += 1,
            }
        }
        Ok(())
    }

    fn statement(&mut self) -> Result<Cut<'_>, CutError> {
        let offset = self.offset(self.start);
        self.first_statement.get_or_insert(offset);
        let mut shape = Shape::new();
        let mut end = self.pos;
        let is_ended = loop {
            let Some(byte) = self.peek(0)? else { break false };
            if is_space(byte) {
                shape.line_ended |= matches!(byte, b'\n' | b'\r');
                self.pos += 1;
                continue;
            }
            if byte == b'-' && self.comment()? {
                continue;
            }
            if byte == b'/' && self.comment()? {
                shape.escapes_go_on = false;
                continue;
            }
            if byte == b';' && shape.depth == 0 && !shape.in_body {
                self.pos += 1;
                break true;
            }
            self.token(byte, &mut shape)?;
            end = self.pos;
        };
        if !is_ended {
            self.pos = end;
        }
        let at = self.position;
        if shape.takes_data {
            if !is_ended {
                return Err(self.error(self.start, NO_DATA));
            }
            self.expecting = Expecting::LineEnd(offset, at);
        }
        let text = &self.text[self.start..self.pos];
        Ok(Cut::Statement { text, at, start: offset, takes_data: shape.takes_data })
    }

    fn token(&mut self, byte: u8, shape: &mut Shape) -> Result<(), CutError> {
        let escapes_go_on = std::mem::take(&mut shape.escapes_go_on);
        let line_ended = std::mem::take(&mut shape.line_ended);
        match byte {
            b'\'' => {
                let escapes = escapes_go_on && line_ended;
                self.quoted(b'\'', escapes)?;
                shape.escapes_go_on = escapes;
            }
            b'"' => self.quoted(b'"', false)?,
            b'$' => self.dollar()?,
            b'\\' => return self.meta_command(),
            b'0'..=b'9' => self.number()?,
            _ if begins_word(byte) => return self.word(shape),
            _ => self.pos += 1,
        }
        shape.other();
        match byte {
            b'(' | b'[' => shape.nested += 1,
            b')' | b']' => shape.nested = shape.nested.saturating_sub(1),
            _ => {}
        }
        if shape.nested > MAX_NESTING {
            let reason = format!(
                "more than {MAX_NESTING} brackets within each other; take the inner parts out of it"
            );
            return Err(self.error(self.pos - 1, reason));
        }
        match byte {
            b'(' => shape.depth += 1,
            b')' => shape.depth = shape.depth.saturating_sub(1),
            b';' if shape.in_body && shape.depth == 0 => shape.last = Last::Inside,
            _ => {}
        }
        Ok(())
    }

    fn word(&mut self, shape: &mut Shape) -> Result<(), CutError> {
        let from = self.pos;
        let prefix = (self.peek(0)?, self.peek(1)?, self.peek(2)?);
        match prefix {
            (Some(b'e' | b'E'), Some(b'\''), _) => {
                self.pos += 1;
                shape.other();
                self.quoted(b'\'', true)?;
                shape.escapes_go_on = true;
            }
            (Some(b'u' | b'U'), Some(b'&'), Some(quote @ (b'\'' | b'"'))) => {
                self.pos += 2;
                shape.other();
                self.quoted(quote, false)?;
            }
            _ => {
                self.skip_while(|byte| is_in_tag(byte) || byte == b'$')?;
                shape.word(&self.text[from..self.pos]);
            }
        }
        Ok(())
    }

    /// Passes what stands between two of `quote`; doubled, it is part of it.
    fn quoted(&mut self, quote: u8, escapes: bool) -> Result<(), CutError> {
        let from = self.pos;
        self.pos += 1;
        loop {
            self.skip_while(|byte| byte != quote && !(escapes && byte == b'\\'))?;
            match self.peek(0)? {
                None => {
                    let what = if quote == b'"' { "quoted name" } else { "string" };
                    return Err(self.error(from, format!("this {what} is not closed")));
                }
                Some(byte) if byte == quote => {
                    self.pos += 1;
                    if self.peek(0)? != Some(quote) {
                        return Ok(());
                    }
                    self.pos += 1;
                }
                Some(_) if self.peek(1)?.is_some() => self.pos += 2,
                Some(_) => self.pos += 1,
            }
        }
    }

    /// A parameter, or text between two of `$tag$`.
    fn dollar(&mut self) -> Result<(), CutError> {
        let from = self.pos;
        self.pos += 1;
        if self.peek(0)?.is_some_and(|byte| byte.is_ascii_digit()) {
            self.pos -= 1;
            return self.number();
        }
        self.skip_while(is_in_tag)?;
        if self.peek(0)? != Some(b'$') {
            let reason = "this $ begins neither $tag$ nor a parameter such as $1";
            return Err(self.error(from, reason));
        }
        self.pos += 1;
        let tag = self.text[from..self.pos].to_owned();
        let body = self.pos;
        loop {
            self.skip_while(|byte| byte != b'$')?;
            if self.peek(0)?.is_none() {
                return Err(self.error(from, format!("this {tag} is not closed")));
            }
            self.pos += 1;
            let may_end = self.pos >= body + tag.len();
            if may_end && self.text.as_bytes()[body..self.pos].ends_with(tag.as_bytes()) {
                return Ok(());
            }
        }
    }

    /// A number or a parameter. Versions of PostgreSQL disagree where it ends when a word runs into
    /// it, which matters if that word begins a quote.
    fn number(&mut self) -> Result<(), CutError> {
        let from = self.pos;
        self.pos += 1;
        self.skip_while(|byte| is_in_tag(byte) || byte == b'.')?;
        let has_word = self.text.as_bytes()[from..self.pos].iter().any(|byte| begins_word(*byte));
        if has_word && matches!(self.peek(0)?, Some(b'\'' | b'"' | b'$' | b'&')) {
            let reason = "a number runs into what stands behind it; put a space between them";
            return Err(self.error(from, reason));
        }
        Ok(())
    }

    fn meta_command(&mut self) -> Result<(), CutError> {
        let mut length = 0;
        while length < MAX_SHOWN_BYTES && self.peek(length)?.is_some_and(|byte| !is_space(byte)) {
            length += 1;
        }
        let rest = self.text[self.pos..].chars().take_while(|c| !c.is_whitespace());
        let word: String = rest.take(MAX_SHOWN_BYTES / 4).collect();
        Err(self.error(self.pos, format!("{word} is a psql meta-command, not SQL; remove it")))
    }

    /// What stands behind a `COPY … FROM stdin` in its line: nothing but a comment.
    fn line_end(&mut self, offset: u64, position: Position) -> Result<(), CutError> {
        self.skip_while(|byte| is_space(byte) && byte != b'\n')?;
        if (self.peek(0)?, self.peek(1)?) == (Some(b'-'), Some(b'-')) {
            let from = self.pos;
            self.skip_while(|byte| byte != b'\n')?;
            if self.text[from..self.pos].trim_end_matches('\r').contains('\r') {
                return Err(self.error(from, "a carriage return ends this comment; remove it"));
            }
        }
        match self.peek(0)? {
            None => return Err(CutError { offset, position, reason: NO_DATA.to_owned() }),
            Some(b'\n') => self.pos += 1,
            Some(_) => {
                let reason = "the data of COPY … FROM stdin begins on the next line; move what \
                              stands here behind it";
                return Err(self.error(self.pos, reason));
            }
        }
        self.is_at_line_start = true;
        self.expecting = Expecting::Data(offset, position);
        Ok(())
    }

    /// Passes lines of data, or the line that ends them; whether it was data.
    fn data(&mut self, offset: u64, position: Position) -> Result<bool, CutError> {
        while self.pos - self.start < CHUNK_BYTES {
            if self.is_at_line_start
                && let Some(length) = self.end_of_data()?
            {
                if self.pos > self.start {
                    return Ok(true);
                }
                self.pos += length;
                self.expecting = Expecting::Statement;
                return Ok(false);
            }
            if self.peek(0)?.is_none() {
                return Err(CutError { offset, position, reason: NO_DATA.to_owned() });
            }
            let rest = &self.text.as_bytes()[self.pos..];
            let end = rest.iter().position(|byte| *byte == b'\n');
            self.is_at_line_start = end.is_some();
            self.pos += end.map_or(rest.len(), |end| end + 1);
        }
        Ok(true)
    }

    /// The length of the line at `pos` if it is `\.`.
    fn end_of_data(&mut self) -> Result<Option<usize>, CutError> {
        if (self.peek(0)?, self.peek(1)?) != (Some(b'\\'), Some(b'.')) {
            return Ok(None);
        }
        Ok(match (self.peek(2)?, self.peek(3)?) {
            (None, _) => Some(2),
            (Some(b'\n'), _) => Some(3),
            (Some(b'\r'), Some(b'\n')) => Some(4),
            _ => None,
        })
    }
}

const NO_DATA: &str = "COPY … FROM stdin takes the lines behind it, up to one with \\. alone; they \
                       are missing, or have no end";
