//! Why a request to a store failed, in words that hold nothing of the request and little of the
//! answer.

use std::error::Error;

use object_store::client::{HttpError, HttpErrorKind};

/// The longest message of a server that is repeated, in characters.
const MAX_MESSAGE_CHARS: usize = 200;

/// The deepest chain of causes that is followed.
const MAX_CAUSES: usize = 16;

type Cause = dyn Error + 'static;

fn causes(error: &Cause) -> impl Iterator<Item = &Cause> {
    fn next<'a>(error: &&'a Cause) -> Option<&'a Cause> {
        // A reference is an error too; its cause would live no longer than the reference.
        (**error).source()
    }
    std::iter::successors(Some(error), next).take(MAX_CAUSES)
}

/// How the transport failed, if it did: the request may or may not have reached the store.
pub(crate) fn transport(error: &object_store::Error) -> Option<HttpErrorKind> {
    causes(error).find_map(|cause| cause.downcast_ref::<HttpError>()).map(HttpError::kind)
}

/// Keeps a server's words on one short line.
fn tame(text: &str) -> String {
    let text: String = text.chars().take(MAX_MESSAGE_CHARS).collect();
    text.escape_debug().to_string()
}

fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(content, _)| content)
}

/// The error code of an S3 answer, as `NoSuchBucket`.
pub(crate) fn code(error: &object_store::Error) -> Option<String> {
    let text = error.to_string();
    element(&text, "Code").map(tame)
}

/// `error` in words: the status and the code and message of the answer, or how the transport failed.
///
/// The answer as it came is never repeated: some servers put the session token into it.
pub(crate) fn reason(error: &object_store::Error) -> String {
    if matches!(error, object_store::Error::Precondition { .. }) && code(error).is_none() {
        return "it was replaced meanwhile".to_owned();
    }
    if let Some(kind) = transport(error) {
        let what = match kind {
            HttpErrorKind::Connect => "cannot connect",
            HttpErrorKind::Timeout => return "no answer in time".to_owned(),
            HttpErrorKind::Decode => "the answer cannot be read",
            _ => "the connection was lost",
        };
        return match causes(error).last() {
            Some(last) => format!("{what}: {}", tame(&last.to_string())),
            None => what.to_owned(),
        };
    }
    let text = error.to_string();
    let status = text.split_once("status code: ").map(|(_, rest)| rest);
    let status = status.and_then(|rest| rest.split([':', '\n']).next()).map(tame);
    let code = element(&text, "Code").map(tame);
    let message = element(&text, "Message").map(tame);
    let known: Vec<String> = [status, code, message].into_iter().flatten().collect();
    if !known.is_empty() {
        return known.join(": ");
    }
    if text.contains("redirect") {
        return "the store redirects, which mostly means another region".to_owned();
    }
    "the store gave an answer that is not understood".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_answer_only_status_code_and_message_are_repeated() {
        let source = "Server returned non-2xx status code: 400 Bad Request: \
            <Error><Code>ExpiredToken</Code><Message>The token\nhas expired.</Message>\
            <Token-0>s3cret</Token-0></Error>";
        let error = object_store::Error::Generic { store: "S3", source: source.into() };
        assert_eq!(reason(&error), "400 Bad Request: ExpiredToken: The token\\nhas expired.");
        assert_eq!(code(&error).as_deref(), Some("ExpiredToken"));
    }

    #[test]
    fn an_answer_of_another_form_is_not_repeated() {
        let source = "<html>s3cret</html>";
        let error = object_store::Error::Generic { store: "S3", source: source.into() };
        assert!(!reason(&error).contains("s3cret"));
        let long = format!("status code: {}", "x".repeat(10_000));
        let error = object_store::Error::Generic { store: "S3", source: long.into() };
        assert!(reason(&error).len() <= MAX_MESSAGE_CHARS);
    }

    #[test]
    fn a_failed_transport_is_told_by_its_last_cause() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let source = Box::new(HttpError::new(HttpErrorKind::Connect, refused));
        let error = object_store::Error::Generic { store: "S3", source };
        assert_eq!(reason(&error), "cannot connect: connection refused");
    }
}
