//! The cutter: pieces and gaps are the text, and every construct that breaks a search for
//! semicolons.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::Read;

use annals_migrations::{Cut, CutError, Cutter, parse};
use proptest::prelude::*;

/// Gives so many bytes at a time.
struct Slow<'a>(&'a [u8], usize);

impl Read for Slow<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let length = out.len().min(self.1);
        self.0.read(&mut out[..length])
    }
}

/// What a text consists of: `S` statement, `D` data; gaps are checked and left out.
fn cut(text: &[u8], at_once: usize) -> Result<Vec<(char, String)>, CutError> {
    let mut cutter = Cutter::new(Slow(text, at_once));
    let (mut parts, mut all) = (Vec::<(char, String)>::new(), String::new());
    let mut is_new = true;
    while let Some(cut) = cutter.next_cut()? {
        let before = all.len();
        all.push_str(cut.text());
        assert!(!cut.text().is_empty(), "an empty part");
        match cut {
            Cut::Gap(gap) => {
                is_new = true;
                assert!(is_gap(gap), "{gap:?} is no gap");
            }
            Cut::Statement { text: own, at, start, .. } => {
                assert_eq!(start as usize, before, "where it starts");
                assert_eq!(at.line as usize, all[..before].matches('\n').count() + 1, "its line");
                let passed = all[..before].strip_prefix('\u{feff}').unwrap_or(&all[..before]);
                let line = passed.rsplit('\n').next().unwrap();
                assert_eq!(at.column as usize, line.chars().count() + 1, "its column");
                parts.push(('S', own.to_owned()));
            }
            Cut::Data(lines) if is_new => {
                is_new = false;
                parts.push(('D', lines.to_owned()));
            }
            Cut::Data(lines) => parts.last_mut().unwrap().1.push_str(lines),
        }
    }
    assert_eq!(all.as_bytes(), text, "pieces and gaps are the text");
    Ok(parts)
}

/// White space, comments, semicolons, a byte order mark, `\.`: by a reader of its own.
fn is_gap(gap: &str) -> bool {
    let mut rest = gap.trim_start_matches('\u{feff}');
    loop {
        rest =
            rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b' || c == ';');
        if rest.is_empty() {
            return true;
        } else if rest.starts_with("--") {
            rest = rest.trim_start_matches(|c| c != '\n' && c != '\r');
        } else if let Some(inside) = rest.strip_prefix("/*") {
            let (mut depth, mut at) = (1, 0);
            while depth > 0 {
                let (open, close) = (inside[at..].find("/*"), inside[at..].find("*/"));
                match (open, close) {
                    (Some(open), Some(close)) if open < close => {
                        (depth, at) = (depth + 1, at + open + 2)
                    }
                    (_, Some(close)) => (depth, at) = (depth - 1, at + close + 2),
                    (_, None) => return false,
                }
            }
            rest = &inside[at..];
        } else if let Some(behind) = rest.strip_prefix("\\.") {
            rest = behind;
        } else {
            return false;
        }
    }
}

/// Cuts at every speed; all must agree.
fn cut_all(text: &str) -> Result<Vec<(char, String)>, CutError> {
    let whole = cut(text.as_bytes(), usize::MAX);
    for at_once in [1, 3] {
        assert_eq!(cut(text.as_bytes(), at_once), whole, "{at_once} bytes at a time: {text:?}");
    }
    whole
}

#[test]
fn every_construct_that_breaks_a_search_for_semicolons() {
    // One statement each; what the second column says is whether the grammar reads it too.
    let one = [
        "select 1;",
        "select 1",
        "select 'a;''b;';",
        r"select 'a\';",
        r"select E'a\';b';",
        r"select e'a'';\\';",
        "select e'a'\n  'b\\';c';",
        "select e'a' -- ; it's\n -- ;\n'b\\';c';",
        r"select U&'\0061;' uescape '!';",
        "select u&\"a;\"\";b\";",
        "select B'01;', X'1F;', N'a;b', n'c;';",
        "select \"a;\"\"b;'\";",
        "select $$a;'b$$;",
        "select $a$ ; $b$ ; $$ ; $aa$ ; $a$;",
        "select $a$$b$a$;",
        "select $été$ ; $été$;",
        "select a$b$, c$1, d$ from t$;",
        "select größe, 名前 from \u{fc}bung where a = $1;",
        "select 1 /* ; /* ; */ ' ; */ + 2;",
        "select 1 - -- ; '\n 2;",
        "select 1 --;\r 2;",
        "select 1 +/* ; */ 2 */* ; */ 3;",
        "select 1 //* ; */ 2;",
        "create rule r as on insert to t do also (delete from a; delete from b;);",
        "select (1;2);",
        "select :a, b[1:2], 1::int, a->>';';",
        "create function f() returns int begin atomic; select 1; select case when a then 1 end; \
         select 2 as end; select 3 end; end;",
        "CREATE OR REPLACE PROCEDURE p(a int default case when true then 1 end) LANGUAGE sql BEGIN \
         /* ; */ ATOMIC INSERT INTO t VALUES (';'); END ;",
        "create function f() returns text language plpgsql as $x$ begin return $y$;$y$; end $x$;",
        "create function begin() returns int language sql as 'select 1;';",
        "create function f() returns int begin atomic end;",
        "create view begin_atomic as select 1 as \"begin\", 2 as atomic;",
        "copy t from 'stdin';",
        "copy (select 1 from stdin) to '/dev/null';",
    ];
    for text in one {
        let marker = "select 'next';";
        let file = match text.ends_with(';') {
            true => format!("\u{feff}-- ; first\r\n;{text} ; /* ; */\r\n{marker}\n-- ' end"),
            false => text.to_owned(),
        };
        let mut expected = vec![('S', text.to_owned())];
        if text.ends_with(';') {
            expected.push(('S', marker.to_owned()));
        }
        assert_eq!(cut_all(&file), Ok(expected), "{text}");
    }
}

#[test]
fn brackets_within_each_other_have_a_limit_that_is_said() {
    let nested = |open: &str, close: &str, n: usize| {
        format!("SELECT 1;\nSELECT {}1{};", open.repeat(n), close.repeat(n))
    };
    for (open, close) in [("(", ")"), ("ARRAY[", "]"), ("ARRAY[(", ")]")] {
        let each = open.matches(['(', '[']).count();
        assert_eq!(cut_all(&nested(open, close, 500 / each)).map(|cuts| cuts.len()), Ok(2));
        let refused = cut_all(&nested(open, close, 500 / each + 1)).unwrap_err();
        assert!(refused.reason.contains("more than 500 brackets"), "{refused:?}");
        assert_eq!(refused.position.line, 2);
    }
    let side_by_side = "SELECT (1), [2];".repeat(600);
    assert_eq!(cut_all(&side_by_side).map(|cuts| cuts.len()), Ok(600));
}

#[test]
fn data_stands_behind_its_copy() {
    let copy = "copy t (a, \"from\") from stdin with (format csv, null ';');";
    for line_end in ["\n", "\r\n", " \t-- ' ;\n"] {
        for data in ["", "1\ta;b\n", "'\n\\N\n$$\n/*\n", "\\.x\n \\.\n\\\\.\n", "1\r\n2\r\n", "ü\n"]
        {
            for end in ["\\.\n", "\\.\r\n", "\\."] {
                let file = format!("select 1;{copy}{line_end}{data}{end}");
                let mut expected = vec![('S', "select 1;".to_owned()), ('S', copy.to_owned())];
                if !data.is_empty() {
                    expected.push(('D', data.to_owned()));
                }
                assert_eq!(cut_all(&file), Ok(expected.clone()), "{file:?}");
                if end.ends_with('\n') {
                    expected.push(('S', "select 2".to_owned()));
                    assert_eq!(cut_all(&format!("{file}select 2")), Ok(expected), "{file:?}");
                }
            }
        }
    }
}

#[test]
fn parts_longer_than_what_is_read_at_once() {
    let long = "é".repeat(100_000);
    let statement = format!("select '{long}';");
    let data = format!("{long}\n1\n{long}\n");
    let comment = format!("/* {long} */\n-- {long}\n{}", " \n".repeat(100_000));
    let file = format!("{comment}{statement}\n{comment}copy t from stdin;\n{data}\\.\n{statement}");
    let expected = vec![
        ('S', statement.clone()),
        ('S', "copy t from stdin;".to_owned()),
        ('D', data),
        ('S', statement),
    ];
    for at_once in [usize::MAX, 4_095] {
        assert_eq!(cut(file.as_bytes(), at_once), Ok(expected.clone()));
    }
    let endless = format!("select '{}", "a;\n".repeat(6 << 20));
    let error = cut(endless.as_bytes(), usize::MAX).unwrap_err();
    assert_eq!(error.position.to_string(), "1:1");
    assert!(error.reason.contains("larger than 16 MiB"), "{error}");
}

#[test]
fn what_cannot_be_cut_is_refused_with_its_place() {
    let cases: &[(&[u8], &str)] = &[
        (b"select 1;\n select 'a\nb;", "2:9: this string is not closed"),
        (b"select E'a\\'", "1:9: this string is not closed"),
        (b"select E'\\", "1:9: this string is not closed"),
        (b"select \"a", "1:8: this quoted name is not closed"),
        (b"select U&\"a", "1:10: this quoted name is not closed"),
        (b"select 1;\n/* /* */ ;", "2:1: this comment is not closed"),
        (b"\xc3\xa9\xc3\xa9 $tag$ ; $tag ; $", "1:4: this $tag$ is not closed"),
        (b"select $$;$", "1:8: this $$ is not closed"),
        (b"select $a from t;", "1:8: this $ begins neither"),
        (b"select $1a$b$;$b$;", "1:8: a number runs into"),
        (b"select 1e'a\\';", "1:8: a number runs into"),
        (b"select 1a$b$;$b$", "1:8: a number runs into"),
        (b"select 1;\n  \\copy t from x\n", "2:3: \\copy is a psql meta-command"),
        (b"select 1 \\gset\n", "1:10: \\gset is a psql meta-command"),
        (b"select 1\\; select 2;", "1:9: \\; is a psql meta-command"),
        (b"select 1;\ncopy t from stdin;", "2:1: COPY … FROM stdin takes the lines"),
        (b"select 1;\ncopy t from stdin", "2:1: COPY … FROM stdin takes the lines"),
        (b"copy t from stdin;\n1\n2", "1:1: COPY … FROM stdin takes the lines"),
        (b"copy t from stdin; select 1;\n\\.\n", "1:20: the data of COPY"),
        (b"copy t from stdin; -- a\rselect 1;\n\\.\n", "1:20: a carriage return ends"),
        (b"select '\n\xff';", "2:1: not UTF-8; save the file as UTF-8"),
        (b"select '\xe2\x80\xae';", "1:9: hidden character U+202E; remove it"),
    ];
    for (text, expected) in cases {
        for at_once in [usize::MAX, 1] {
            let error = cut(text, at_once).unwrap_err().to_string();
            assert!(error.starts_with(*expected), "{}\n  gave {error}", text.escape_ascii());
        }
    }
    assert!(cut(b"select '\xc3", usize::MAX).unwrap_err().reason.starts_with("not UTF-8"));
}

/// Parts that are nasty alone and worse behind each other.
fn fragment() -> impl Strategy<Value = String> {
    let parts = prop_oneof![
        Just("select "),
        Just("1"),
        Just(" "),
        Just("\n"),
        Just("\r\n"),
        Just("\r"),
        Just(";"),
        Just("'"),
        Just("''"),
        Just("E'"),
        Just("e"),
        Just("\\"),
        Just("\\'"),
        Just("U&'"),
        Just("\""),
        Just("u&\""),
        Just("B'0'"),
        Just("$"),
        Just("$$"),
        Just("$a$"),
        Just("$1"),
        Just("a$b$"),
        Just("--"),
        Just("-- annals: x"),
        Just("/*"),
        Just("*/"),
        Just("-"),
        Just("/"),
        Just("("),
        Just(")"),
        Just("ü"),
        Just("名"),
        Just("create function f() "),
        Just("begin atomic "),
        Just("case "),
        Just("end "),
        Just("copy t from stdin;\n"),
        Just("\\.\n"),
        Just("\\.\r\n"),
        Just("1\t2\n"),
        Just("\u{feff}"),
        Just("0x1"),
        Just(".5e"),
        Just("insert into t values (1);"),
        Just("select $x$;$x$;"),
        Just("select 'a;''b';"),
    ];
    parts.prop_map(str::to_owned)
}

/// Whole statements, gaps and data: always a file.
fn sentence() -> impl Strategy<Value = (String, u32)> {
    let parts = prop_oneof![
        Just(("select 1;", 1)),
        Just(("select 'a;''', \";\"\"\", $$;'$$, $a$;$$;$b$;$a$;", 1)),
        Just(("select E'\\';', e'a''\\\\', U&'\\0061;', B'0', X'F';", 1)),
        Just(("select a$b$, größe from 名前;", 1)),
        Just(("select 1 /* ; /* ' */ ; */ - 2 -- ;'\n + 3;", 1)),
        Just((
            "create function f() returns int begin atomic; select case 1 when 1 then 2 end; end;",
            1
        )),
        Just(("create rule r as on insert to t do also (delete from a; delete from b);", 1)),
        Just(("copy t (a) from stdin with (format csv);\r\n1;'\n\\.x\n\\.\r\n", 1)),
        Just(("copy t from stdin;-- x\n\\.\n", 1)),
        Just(("-- ; ' $$ /*\n", 0)),
        Just(("/* ; -- ' /* $$ */ */", 0)),
        Just((";", 0)),
        Just((" \t\r\n", 0)),
    ];
    parts.prop_map(|(text, count)| (text.to_owned(), count))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn whatever_is_cut_gives_the_text_back(parts in proptest::collection::vec(fragment(), 0..40)) {
        let text = parts.concat();
        let _ = cut_all(&text);
        let _ = parse(&text);
    }

    #[test]
    fn any_text_is_cut_or_refused(text in any::<String>()) {
        let _ = cut_all(&text);
        let _ = parse(&text);
    }

    #[test]
    fn a_file_of_statements_is_cut_into_them(parts in proptest::collection::vec(sentence(), 1..20)) {
        let text: String = parts.iter().map(|(text, _)| text.as_str()).collect();
        let expected: u32 = parts.iter().map(|(_, count)| count).sum();
        let found = cut_all(&text).unwrap().iter().filter(|(kind, _)| *kind == 'S').count();
        prop_assert_eq!(found, expected as usize);
        let script = parse(&text);
        prop_assert_eq!(script.map(|script| script.statements.len()).unwrap_or(0), found);
    }
}
