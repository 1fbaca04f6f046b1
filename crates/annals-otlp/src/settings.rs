//! Where traces go: a URL, or the variables of the specification of the OpenTelemetry exporter.

use std::path::PathBuf;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, Uri};

/// Where a collector is when nobody says.
const USUAL: &str = "http://localhost:4318";

/// The path of traces below the address of a collector.
const TRACES: &str = "/v1/traces";

/// How long all of it may take when nobody says: the run is over, and somebody waits for its answer.
const USUAL_TIMEOUT_MS: u64 = 3_000;

/// The longest that is ever waited, whatever is said.
const MAX_TIMEOUT_MS: u64 = 10_000;

/// A setting that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting} {reason}")]
pub struct SettingError {
    /// The setting, by its name: its value may hold a secret.
    pub setting: String,
    /// What is wrong.
    pub reason: String,
}

/// One collector, ready to be spoken to.
pub struct Collector {
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) timeout: Duration,
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) resource: Vec<(String, String)>,
}

impl Collector {
    /// The collector that `asked` names (`Some(None)`: the usual one or that of the variables), else
    /// that of the variables; none if nobody names one.
    ///
    /// # Errors
    ///
    /// A setting that is wrong, by its name.
    pub fn find<'a>(
        asked: Option<Option<&str>>,
        variable: impl Fn(&str) -> Option<&'a str>,
    ) -> Result<Option<Self>, SettingError> {
        let is_off = variable("OTEL_SDK_DISABLED")
            .is_some_and(|off| off.eq_ignore_ascii_case("true"))
            || variable("OTEL_TRACES_EXPORTER").is_some_and(|name| name.trim() != "otlp");
        // What is said for this command counts more than what is said for all programs.
        if is_off && asked.is_none() {
            return Ok(None);
        }
        let own = variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
        let all = variable("OTEL_EXPORTER_OTLP_ENDPOINT");
        let uri = match (asked, own, all) {
            (Some(Some(url)), ..) => below("--otlp", url)?,
            (_, Some(url), _) => parse("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", url)?,
            (_, None, Some(url)) => below("OTEL_EXPORTER_OTLP_ENDPOINT", url)?,
            (Some(None), None, None) => below("--otlp", USUAL)?,
            (None, None, None) => return Ok(None),
        };
        let either = |name: &str| {
            let own = format!("OTEL_EXPORTER_OTLP_TRACES_{name}");
            let all = format!("OTEL_EXPORTER_OTLP_{name}");
            variable(&own)
                .map(|value| (own, value))
                .or_else(|| Some((all.clone(), variable(&all)?)))
        };
        if let Some((setting, value)) = either("PROTOCOL")
            && value != "http/protobuf"
        {
            let reason = format!("is {value:?}: annals speaks http/protobuf alone");
            return Err(SettingError { setting, reason });
        }
        let headers = match either("HEADERS") {
            Some((setting, value)) => headers(&setting, value)?,
            None => HeaderMap::new(),
        };
        let timeout_ms = match either("TIMEOUT") {
            Some((setting, value)) => match value.trim().parse::<u64>() {
                Ok(ms) if ms > 0 => ms.min(MAX_TIMEOUT_MS),
                _ => {
                    let reason = "is not a number of milliseconds from 1 on".to_owned();
                    return Err(SettingError { setting, reason });
                }
            },
            None => USUAL_TIMEOUT_MS,
        };
        let mut resource = match variable("OTEL_RESOURCE_ATTRIBUTES") {
            Some(text) => pairs("OTEL_RESOURCE_ATTRIBUTES", text)?,
            None => Vec::new(),
        };
        let named = variable("OTEL_SERVICE_NAME").map(str::to_owned);
        let is_name = |(name, _): &(String, String)| name == "service.name";
        if named.is_some() || !resource.iter().any(is_name) {
            resource.retain(|pair| !is_name(pair));
            let name = named.unwrap_or_else(|| "annals".to_owned());
            resource.insert(0, ("service.name".to_owned(), name));
        }
        resource.push(("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()));
        Ok(Some(Self {
            uri,
            headers,
            timeout: Duration::from_millis(timeout_ms),
            certificate: either("CERTIFICATE").map(|(_, path)| PathBuf::from(path)),
            resource,
        }))
    }

    /// The collector, for people: without anything that could be a secret.
    pub fn place(&self) -> String {
        let authority = self.uri.authority().map_or("", Authority::as_str);
        format!("{}://{authority}", self.uri.scheme_str().unwrap_or_default())
    }
}

/// The URL for traces below the address of a collector.
fn below(setting: &str, url: &str) -> Result<Uri, SettingError> {
    let base = url.trim().trim_end_matches('/');
    let path = if base.ends_with(TRACES) { "" } else { TRACES };
    parse(setting, &format!("{base}{path}"))
}

fn parse(setting: &str, url: &str) -> Result<Uri, SettingError> {
    let wrong = |reason: &str| SettingError { setting: setting.to_owned(), reason: reason.into() };
    let uri: Uri = url.trim().parse().map_err(|_| wrong("is no URL"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(wrong("is no URL that begins with http:// or https://"));
    }
    if uri.authority().is_none_or(|authority| authority.as_str().contains('@')) {
        return Err(wrong(
            "has a user in it: what authenticates belongs in OTEL_EXPORTER_OTLP_HEADERS",
        ));
    }
    Ok(uri)
}

fn headers(setting: &str, text: &str) -> Result<HeaderMap, SettingError> {
    let mut headers = HeaderMap::new();
    for (at, (name, value)) in pairs(setting, text)?.into_iter().enumerate() {
        let wrong = || SettingError {
            setting: setting.to_owned(),
            reason: format!("says no header in its part {}", at + 1),
        };
        let name: HeaderName = name.parse().map_err(|_| wrong())?;
        let mut value = HeaderValue::try_from(value).map_err(|_| wrong())?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// `name=value,name=value`, values with `%` for what cannot stand there, as W3C Baggage has them.
fn pairs(setting: &str, text: &str) -> Result<Vec<(String, String)>, SettingError> {
    let parts = text.split(',').map(str::trim).enumerate().filter(|(_, part)| !part.is_empty());
    let pairs = parts.map(|(at, part)| {
        let pair = part.split_once('=').and_then(|(name, value)| {
            let name = name.trim();
            (!name.is_empty()).then_some((name.to_owned(), decoded(value.trim())?))
        });
        pair.ok_or_else(|| SettingError {
            setting: setting.to_owned(),
            reason: format!("is not name=value in its part {}", at + 1),
        })
    });
    pairs.collect()
}

/// Text with `%` and two hexadecimal digits for a byte.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use super::*;

    fn find(
        asked: Option<Option<&str>>,
        variables: &[(&str, &'static str)],
    ) -> Result<Option<Collector>, SettingError> {
        let value = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
        Collector::find(asked, value)
    }

    fn goes_to(asked: Option<Option<&str>>, variables: &[(&str, &'static str)]) -> String {
        find(asked, variables).unwrap().map_or("nowhere".into(), |found| found.uri.to_string())
    }

    const ALL: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:4318/otel/");
    const OWN: (&str, &str) = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://own/in");

    #[test]
    fn the_command_goes_before_the_variable_for_traces_and_that_before_the_one_for_all() {
        assert_eq!(goes_to(None, &[]), "nowhere");
        assert_eq!(goes_to(None, &[ALL]), "http://all:4318/otel/v1/traces");
        assert_eq!(goes_to(None, &[ALL, OWN]), "https://own/in");
        assert_eq!(goes_to(Some(None), &[]), "http://localhost:4318/v1/traces");
        assert_eq!(goes_to(Some(None), &[ALL]), "http://all:4318/otel/v1/traces");
        assert_eq!(goes_to(Some(Some("http://c:1")), &[ALL, OWN]), "http://c:1/v1/traces");
        assert_eq!(goes_to(Some(Some("http://c:1/v1/traces")), &[]), "http://c:1/v1/traces");
    }

    #[test]
    fn what_is_switched_off_stays_off_unless_the_command_asks() {
        for off in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")] {
            assert_eq!(goes_to(None, &[ALL, off]), "nowhere", "{off:?}");
            assert_eq!(goes_to(Some(None), &[ALL, off]), "http://all:4318/otel/v1/traces");
        }
    }

    #[test]
    fn headers_are_decoded_and_those_for_traces_replace_those_for_all() {
        let all = ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20abc, x-scope = a=b");
        let found = find(None, &[ALL, all]).unwrap().unwrap();
        assert_eq!(found.headers["authorization"], "Bearer abc");
        assert_eq!(found.headers["x-scope"], "a=b");
        let own = ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "k=v");
        let found = find(None, &[ALL, all, own]).unwrap().unwrap();
        assert_eq!((found.headers.len(), &found.headers["k"]), (1, &HeaderValue::from_static("v")));
    }

    #[test]
    fn the_service_has_the_name_it_is_given() {
        let name = |variables: &[(&str, &'static str)]| {
            let found = find(None, variables).unwrap().unwrap();
            let of_name = found.resource.iter().filter(|(name, _)| name == "service.name");
            of_name.map(|(_, value)| value.clone()).collect::<Vec<_>>().join(" ")
        };
        let attributes =
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=x,deployment.environment.name=p");
        assert_eq!(name(&[ALL]), "annals");
        assert_eq!(name(&[ALL, attributes]), "x");
        assert_eq!(name(&[ALL, attributes, ("OTEL_SERVICE_NAME", "y")]), "y");
    }

    #[test]
    fn a_wrong_setting_is_named_and_its_value_is_not_said() {
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:secret@host"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "secret"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://secret"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "secret"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=secret%2"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a b=secret"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "secret"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ] {
            let usual = (name != ALL.0).then_some(ALL);
            let variables: Vec<_> = usual.into_iter().chain([(name, value)]).collect();
            let said = find(None, &variables).err().map(|error| error.to_string()).unwrap();
            assert!(said.starts_with(name) && !said.contains("secret"), "{said}");
        }
    }
}
