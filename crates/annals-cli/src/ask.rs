//! Asks for a passphrase at the terminal, without showing what is typed.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};

use annals_operations::{Question, SecretText};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};

const CTRL_C: u8 = 0x03;
const CTRL_D: u8 = 0x04;
const CTRL_U: u8 = 0x15;
const BACKSPACES: [u8; 2] = [0x08, 0x7f];
const LINE_ENDS: [u8; 2] = [b'\n', b'\r'];

/// A terminal that shows nothing of what is typed, until it is dropped.
struct Quiet {
    terminal: File,
    before: Termios,
}

impl Quiet {
    fn begin(terminal: File) -> io::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let mut quiet = before.clone();
        // Keys arrive as they are pressed, Ctrl-C too: whoever leaves, leaves an echo behind.
        quiet.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&terminal, OptionalActions::Flush, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.terminal, OptionalActions::Flush, &self.before);
    }
}

/// Asks a question; none where it was refused by Ctrl-C or Ctrl-D.
pub(crate) fn at_terminal(question: Question<'_>) -> io::Result<Option<SecretText>> {
    let no_terminal = |error: io::Error| {
        io::Error::new(error.kind(), "there is no terminal to ask at (see passphrase_env)")
    };
    let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty");
    let mut quiet = Quiet::begin(terminal.map_err(no_terminal)?).map_err(no_terminal)?;
    let text = match question {
        Question::Passphrase { target } => format!("passphrase of the backups of {target}: "),
        Question::PassphraseAgain { target } => {
            format!("the same again, {target} is about to be sealed with it: ")
        }
    };
    quiet.terminal.write_all(text.as_bytes())?;
    let answer = read_line(&mut quiet.terminal);
    quiet.terminal.write_all(b"\r\n")?;
    answer
}

fn read_line(keys: &mut impl Read) -> io::Result<Option<SecretText>> {
    // Room for all of it from the start: growing would leave copies behind.
    let mut typed = Vec::with_capacity(SecretText::MAX_BYTES);
    let mut key = [0];
    loop {
        let read = match keys.read(&mut key) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        match key[0] {
            _ if read == 0 => return Ok(refused(typed)),
            CTRL_C | CTRL_D => return Ok(refused(typed)),
            end if LINE_ENDS.contains(&end) => return Ok(Some(SecretText::new(typed))),
            CTRL_U => typed.fill_and_clear(),
            back if BACKSPACES.contains(&back) => {
                // A character may be of several bytes.
                while typed.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
            }
            byte if typed.len() < typed.capacity() => typed.push(byte),
            _ => return Err(io::Error::other("it is too long")),
        }
    }
}

fn refused(typed: Vec<u8>) -> Option<SecretText> {
    // Wiped as it is dropped.
    drop(SecretText::new(typed));
    None
}

trait Wipe {
    fn fill_and_clear(&mut self);
}

impl Wipe for Vec<u8> {
    fn fill_and_clear(&mut self) {
        self.fill(0);
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &[u8]) -> Option<SecretText> {
        read_line(&mut &keys[..]).expect("a slice is readable")
    }

    #[test]
    fn what_is_typed_and_taken_back_is_no_part_of_it() {
        for (keys, text) in [
            (&b"correct horse\r"[..], "correct horse"),
            (b"wrong\x15right\n", "right"),
            ("gr\u{fc}n\u{e9}\x7f\x7fner\r".as_bytes(), "gr\u{fc}ner"),
            (b"\x7f\x7fa\r", "a"),
        ] {
            let found = typed(keys).expect("a line");
            assert!(found.is_same(&SecretText::new(text.as_bytes().to_vec())), "{text}");
        }
        for keys in [&b"secret\x03"[..], b"secret\x04", b"secret"] {
            assert!(typed(keys).is_none());
        }
    }
}
