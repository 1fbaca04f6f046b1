//! RFC 8785: its published cases as far as a line may hold them, and what a line may not hold.
//!
//! The cases are those of `testdata` in <https://github.com/cyberphone/json-canonicalization> at
//! commit 19d51d7fe467d4706a3ff08adf8a748f29fc21e0, and of RFC 8785, appendix B.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use annals_events::{canonical_json, check_canonical};

/// What a reader of lines makes of the canonical text of a published case.
enum Verdict {
    Line,
    /// Refused at this byte, with this in the reason.
    Beyond(usize, &'static str),
}
use Verdict::{Beyond, Line};

#[test]
fn the_published_outputs_are_lines_or_name_the_limit_they_cross() {
    for (name, output, verdict) in [
        ("arrays", r#"[56,{"1":[],"10":null,"d":true}]"#, Beyond(0, "object")),
        (
            "french",
            r#"{"peach":"This sorting order","péché":"is wrong according to French","pêche":"but canonicalization MUST","sin":"ignore locale"}"#,
            Beyond(30, "printable ASCII"),
        ),
        (
            "structures",
            r#"{"":"empty","1":{"\n":56,"f":{"F":5,"f":"hi"}},"10":{},"111":[{"E":"no","e":"yes"}],"A":{},"a":{}}"#,
            Beyond(17, "without escapes"),
        ),
        ("unicode", "{\"Unnormalized Unicode\":\"A\u{30a}\"}", Line),
        (
            "values",
            r#"{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}"#,
            Beyond(41, "integers"),
        ),
        (
            "weird",
            "{\"\\n\":\"Newline\",\"\\r\":\"Carriage Return\",\"1\":\"One\",\"</script>\":\"Browser Challenge\",\"\u{80}\":\"Control\u{7f}\",\"ö\":\"Latin Small Letter O With Diaeresis\",\"€\":\"Euro Sign\",\"😂\":\"Smiley\",\"\u{fb33}\":\"Hebrew Letter Dalet With Dagesh\"}",
            Beyond(1, "without escapes"),
        ),
    ] {
        // The text is what the case says: an independent canonicaliser leaves it as it is.
        let value: serde_json::Value = serde_json::from_str(output).unwrap();
        assert_eq!(serde_json_canonicalizer::to_string(&value).unwrap(), output, "{name}");
        match (check_canonical(output.as_bytes()), verdict) {
            (Ok(()), Line) => {}
            (Err(error), Beyond(offset, reason)) => {
                assert_eq!(error.offset, offset, "{name}: {error}");
                assert!(error.to_string().contains(reason), "{name}: {error}");
            }
            (found, _) => panic!("{name}: {found:?}"),
        }
    }
}

#[test]
fn the_published_inputs_are_written_as_published_where_a_line_can_hold_them() {
    for (input, output) in [
        // arrays, as a member.
        (
            "{\"a\": [\n  56,\n  {\n    \"d\": true,\n    \"10\": null,\n    \"1\": [ ]\n  }\n]}",
            r#"{"a":[56,{"1":[],"10":null,"d":true}]}"#,
        ),
        // structures, without the key that needs an escape.
        (
            r#"{ "1": {"f": {"f": "hi","F": 5} }, "10": { }, "": "empty", "a": { }, "111": [ {"e": "yes","E": "no" } ], "A": { } }"#,
            r#"{"":"empty","1":{"f":{"F":5,"f":"hi"}},"10":{},"111":[{"E":"no","e":"yes"}],"A":{},"a":{}}"#,
        ),
        (r#"{ "Unnormalized Unicode":"A\u030a" }"#, "{\"Unnormalized Unicode\":\"A\u{30a}\"}"),
        // values, without its fractions.
        (
            r#"{ "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/", "literals": [null, true, false] }"#,
            r#"{"literals":[null,true,false],"string":"€$\u000f\nA'B\"\\\\\"/"}"#,
        ),
        // The values of weird.
        (
            r#"{ "a": "Control\u007f", "b": "\ud83d\ude02 \u00f6 \ufb33 </script>" }"#,
            "{\"a\":\"Control\u{7f}\",\"b\":\"😂 ö \u{fb33} </script>\"}",
        ),
    ] {
        let value = serde_json::from_str(input).unwrap();
        assert_eq!(canonical_json(&value).unwrap(), output);
        assert!(check_canonical(input.as_bytes()).is_err(), "{input}");
    }
}

/// RFC 8785, appendix B: the integers among its samples, as JavaScript writes them.
#[test]
fn the_published_integers_are_allowed_up_to_the_limit() {
    for (number, allowed) in [
        ("0", true),
        ("9007199254740991", true),
        ("-9007199254740991", true),
        ("9007199254740992", false),
        ("-9007199254740992", false),
        ("9007199254740994", false),
        ("295147905179352830000", false),
        ("999999999999999900000", false),
        ("1e+21", false),
        ("5e-324", false),
        ("333333333.3333332", false),
        ("-0", false),
    ] {
        let line = format!(r#"{{"a":{number}}}"#);
        assert_eq!(check_canonical(line.as_bytes()).is_ok(), allowed, "{number}");
    }
}

#[test]
fn what_only_looks_like_a_line_is_refused() {
    let refused: &[(&[u8], &str)] = &[
        (b"\xef\xbb\xbf{}", "a byte order mark"),
        (b"{}\n", "the line feed is not part of the line"),
        (b"{}\r", "a carriage return"),
        (b" {}", "white space before"),
        (b"{}{}", "two objects"),
        (b"{\"a\":1}\0", "NUL behind"),
        (b"\0{\"a\":1}", "NUL before"),
        (b"{\"a\":{\"b\":1,\"b\":1}}", "a duplicate key within"),
        (b"{\"a\":[{\"c\":1,\"b\":1}]}", "unsorted within"),
        (b"{\"ab\":1,\"a\":1}", "a prefix sorts first"),
        (b"{\"a\":1,}", "a comma too many"),
        (b"{\"a\":[1,]}", "a comma too many in an array"),
        (b"{\"a\":[,1]}", "a comma before"),
        (b"{,\"a\":1}", "a comma before a key"),
        (b"{\"a\":\t1}", "a tab"),
        (b"{\"a\":1\n}", "a line feed between tokens"),
        (b"{'a':1}", "single quotes"),
        (b"{a:1}", "a bare key"),
        (b"{\"a\":1/*x*/}", "a comment"),
        (b"{\"a\":+1}", "a plus"),
        (b"{\"a\":.5}", "no digit before the point"),
        (b"{\"a\":1.}", "no digit behind the point"),
        (b"{\"a\":-}", "only a minus"),
        (b"{\"a\":0x10}", "hexadecimal"),
        (b"{\"a\":1E2}", "an exponent"),
        (b"{\"a\":-9007199254740992}", "below the limit"),
        (b"{\"a\":TRUE}", "capitals"),
        (b"{\"a\":True}", "capitals"),
        (b"{\"a\":Infinity}", "infinity"),
        (b"{\"a\":undefined}", "undefined"),
        (b"{\"a\"}", "no value"),
        (b"{\"a\":}", "no value behind the colon"),
        (b"{\"a\":\"\\u0008\"}", "a backspace has a short form"),
        (b"{\"a\":\"\\u007f\"}", "DEL is not escaped"),
        (b"{\"a\":\"\\u00e9\"}", "a letter is not escaped"),
        (b"{\"a\":\"\\u202e\"}", "a bidi override is not escaped"),
        (b"{\"a\":\"\\ud83d\\ude02\"}", "a surrogate pair"),
        (b"{\"a\":\"\\ud800\"}", "a lone surrogate"),
        (b"{\"a\":\"\\u001\"}", "three digits"),
        (b"{\"a\":\"\\u000G\"}", "no digit"),
        (b"{\"a\":\"\\x41\"}", "another language's escape"),
        (b"{\"a\":\"\\0\"}", "another language's escape"),
        (b"{\"a\":\"\\", "cut within an escape"),
        (b"{\"a\":\"\\u00", "cut within an escape"),
        (b"{\"a\":\"\xc0\x80\"}", "NUL in two bytes"),
        (b"{\"a\":\"\xe0\x80\xaf\"}", "a slash in three bytes"),
        (b"{\"a\":\"\xed\xa0\x80\"}", "a surrogate in UTF-8"),
        (b"{\"a\":\"\xf4\x90\x80\x80\"}", "beyond Unicode"),
        (b"{\"a\":\"\xe2\x82\"}", "cut within a character"),
        (b"{\"\x7f\":1}", "DEL in a key"),
        (b"{\"a\\\"b\":1}", "a quote in a key"),
    ];
    for (line, what) in refused {
        assert!(check_canonical(line).is_err(), "{what}: {}", line.escape_ascii());
    }
    for line in ["{}", r#"{"":""}"#, "{\"a\":\"\u{7f}\u{202e}\u{feff}\"}", "{\"a\":-1}"] {
        assert_eq!(check_canonical(line.as_bytes()), Ok(()), "{line:?}");
    }
}
