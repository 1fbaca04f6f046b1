//! Changes to valid inputs that parsers tend to get wrong.

/// A small deterministic generator (SplitMix64): the same seed gives the same inputs everywhere.
#[derive(Debug, Clone)]
pub struct Numbers(u64);

impl Numbers {
    /// Starts the sequence of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 if there is none.
    pub fn below(&mut self, end: usize) -> usize {
        (self.draw() % end.max(1) as u64) as usize
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len()))
    }
}

/// Words that mean something to one parser or another.
const WORDS: &[&[u8]] = &[
    b"\n",
    b"\n\n",
    b"\r\n",
    b" ",
    b"\t",
    b"\0",
    b"\x7f",
    b"\xff",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xae",
    b"\xc2\xa0",
    b"\xe2\x80\x94 ",
    b"+",
    b"-",
    b"/",
    b"=",
    b"==",
    b"x",
    b"x000/",
    b"000",
    b".p/",
    b".p/256",
    b"tile/",
    b"entries/",
    b"extra ",
    b"index ",
    b"index 0\n",
    b"c2sp.org/tlog-proof@v1\n",
    b"AA==",
    b"AB==",
    b"AAA=",
    b"AAB=",
    b"\"",
    b"\\",
    b"\\\"",
    b"\\/",
    b"\\u0000",
    b"\\u0008",
    b"\\u001f",
    b"\\u001F",
    b"\\u0041",
    b"\\ud800",
    b"\\ud83d\\ude02",
    b"{}",
    b"[]",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"null",
    b"true",
    b"false",
    b"1.0",
    b"1e2",
    b"-0",
    b"\"a\":1,",
    b",\"z\":1",
    b"\"a\":1,\"a\":1",
];

/// Numbers at the edges of what fits.
const EDGES: &[&str] = &[
    "0",
    "1",
    "-1",
    "00",
    "01",
    "9",
    "10",
    "63",
    "64",
    "65",
    "99",
    "100",
    "255",
    "256",
    "257",
    "999",
    "1000",
    "65535",
    "65536",
    "2147483648",
    "4294967295",
    "4294967296",
    "9007199254740991",
    "9007199254740992",
    "-9007199254740991",
    "-9007199254740992",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "340282366920938463463374607431768211456",
    "+1",
    "1.0",
    "1e2",
    "-0",
];

/// Changes inputs at random, with a few words of what they consist of.
#[derive(Debug)]
pub struct Mutator {
    numbers: Numbers,
}

impl Mutator {
    /// Goes through the mutations of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { numbers: Numbers::new(seed) }
    }

    /// One of `corpus`, changed one to four times.
    pub fn mutate(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut input = self.numbers.pick(corpus).cloned().unwrap_or_default();
        // Mostly a single change: what is nearly right tests most.
        let changes = 1 + self.numbers.below(4) * self.numbers.below(2);
        for _ in 0..changes {
            self.change(&mut input, corpus);
        }
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let numbers = &mut self.numbers;
        let at = place(input, numbers);
        match numbers.below(13) {
            0 => with_byte(input, at, |byte| byte ^ (1 << numbers.below(8))),
            1 => with_byte(input, at, |_| numbers.draw() as u8),
            2 => with_byte(input, at, |byte| byte ^ 0x20),
            3 => drop(input.drain(piece(input, numbers))),
            4 => {
                let copy = input[piece(input, numbers)].to_vec();
                input.splice(at..at, copy);
            }
            5 => input.truncate(at),
            6 | 7 => {
                let word = numbers.pick(WORDS).copied().unwrap_or_default();
                let range = if numbers.below(2) == 0 { at..at } else { piece(input, numbers) };
                input.splice(range, word.iter().copied());
            }
            8 => number(input, numbers),
            9 => {
                let other = numbers.pick(corpus).cloned().unwrap_or_default();
                let part = &other[piece(&other, numbers)];
                input.splice(piece(input, numbers), part.iter().copied());
            }
            10 => lines(input, numbers),
            11 => {
                // As long as a hash, so that only the number of hashes is another one.
                let other = numbers.pick(corpus).cloned().unwrap_or_default();
                let from = numbers.below(other.len().saturating_sub(31));
                let block = other.get(from..from + 32).unwrap_or_default();
                let removed = if numbers.below(2) == 0 { at } else { (at + 32).min(input.len()) };
                input.splice(at..removed, block.iter().copied());
            }
            _ => {
                let width = [2, 4, 8][numbers.below(3)];
                let value = [0, 1, 2, 255, 256, u64::MAX, u64::MAX - 1, 1 << 63][numbers.below(8)];
                if let Some(place) = input.get_mut(at..at + width) {
                    place.copy_from_slice(&value.to_be_bytes()[8 - width..]);
                }
            }
        }
    }
}

/// Anywhere up to the end, every other time beside what is neither letter nor digit.
fn place(input: &[u8], numbers: &mut Numbers) -> usize {
    let at = numbers.below(input.len() + 1);
    if numbers.below(2) == 0 {
        return at;
    }
    let mark = input[at..].iter().position(|byte| !byte.is_ascii_alphanumeric());
    mark.map_or(at, |distance| at + distance + numbers.below(2))
}

/// A part from such a place on: up to the next mark, to the end, or a few bytes.
fn piece(input: &[u8], numbers: &mut Numbers) -> std::ops::Range<usize> {
    let start = place(input, numbers);
    let rest = &input[start..];
    let length = match numbers.below(8) {
        0 => rest.len(),
        1..4 => rest.iter().position(|b| !b.is_ascii_alphanumeric()).unwrap_or(rest.len()),
        _ => numbers.below(rest.len().min(8) + 1),
    };
    start..start + length
}

fn with_byte(input: &mut [u8], at: usize, change: impl FnOnce(u8) -> u8) {
    if let Some(byte) = input.get_mut(at) {
        *byte = change(*byte);
    }
}

/// Puts another number in the place of one that is written in decimal.
fn number(input: &mut Vec<u8>, numbers: &mut Numbers) {
    let digit = |at: usize| input.get(at).is_some_and(u8::is_ascii_digit);
    let starts: Vec<usize> =
        (0..input.len()).filter(|&at| digit(at) && (at == 0 || !digit(at - 1))).collect();
    let Some(&start) = numbers.pick(&starts) else {
        return;
    };
    let end = (start..).find(|&at| !digit(at)).unwrap_or(input.len());
    let other = match numbers.below(3) {
        0 => [b"0", &input[start..end]].concat(),
        _ => numbers.pick(EDGES).map(|edge| edge.as_bytes().to_vec()).unwrap_or_default(),
    };
    input.splice(start..end, other);
}

/// Leaves a line out, says it twice, or exchanges it with another.
fn lines(input: &mut Vec<u8>, numbers: &mut Numbers) {
    let mut lines: Vec<&[u8]> = input.split_inclusive(|&b| b == b'\n').collect();
    let (a, b) = (numbers.below(lines.len()), numbers.below(lines.len()));
    match numbers.below(3) {
        _ if lines.is_empty() => {}
        0 => drop(lines.remove(a)),
        1 => lines.insert(b, lines[a]),
        _ => lines.swap(a, b),
    }
    *input = lines.concat();
}
