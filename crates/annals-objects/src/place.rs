//! Where in a store objects are, as a value of the configuration.

use std::fmt;
use std::str::FromStr;

use http::Uri;

/// Where in an S3-compatible store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Place {
    /// The bucket. It must exist.
    pub bucket: String,
    /// What the key of every object begins with, without `/` at its ends; may be empty.
    pub prefix: String,
    /// The store, where it is not AWS: `https://host[:port]`.
    pub endpoint: Option<String>,
    /// The region; for a store with an endpoint of its own `us-east-1` by default.
    pub region: Option<String>,
    /// Whether `endpoint` may be `http://`. Only an endpoint on loopback may.
    pub allow_http: bool,
}

/// Text that does not say where something is kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParsePlaceError(pub(crate) String);

impl ParsePlaceError {
    /// With the reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// The longest prefix, in bytes: a key has at most 1,024, a path of ours 255.
const MAX_PREFIX_BYTES: usize = 512;

fn refuse<T>(reason: impl Into<String>) -> Result<T, ParsePlaceError> {
    Err(ParsePlaceError(reason.into()))
}

fn check_bucket(bucket: &str) -> Result<(), ParsePlaceError> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-".contains(&b);
    if !(3..=63).contains(&bucket.len()) || !bucket.bytes().all(allowed) {
        return refuse("a bucket's name has 3 to 63 characters of a-z 0-9 . -");
    }
    Ok(())
}

fn check_prefix(prefix: &str) -> Result<(), ParsePlaceError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    let part_is_safe = |part: &str| {
        !part.is_empty() && part.bytes().all(allowed) && !part.trim_matches('.').is_empty()
    };
    if prefix.is_empty() || prefix.len() <= MAX_PREFIX_BYTES && prefix.split('/').all(part_is_safe)
    {
        return Ok(());
    }
    refuse("a prefix has parts of A-Z a-z 0-9 . _ - joined by '/', at most 512 characters")
}

/// Checks that requests to `endpoint` are encrypted, or never leave this machine.
fn check_endpoint(endpoint: &str, allow_http: bool) -> Result<(), ParsePlaceError> {
    let Ok(uri) = endpoint.parse::<Uri>() else {
        return refuse("the endpoint is not a URL");
    };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return refuse("an endpoint is https://host[:port]");
    };
    if authority.as_str().contains('@') {
        // The text is not repeated: it holds a secret.
        return refuse("an endpoint holds no user and no password");
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return refuse("an endpoint is https://host[:port] without a path");
    }
    let host = authority.host().trim_matches(['[', ']']);
    let loopback = host == "localhost"
        || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
    match scheme {
        "https" => Ok(()),
        "http" if !loopback => {
            refuse(format!("the endpoint {endpoint} is http, which only loopback may be"))
        }
        "http" if !allow_http => refuse(format!("the endpoint {endpoint} is http: set allow_http")),
        "http" => Ok(()),
        _ => refuse("an endpoint is https://host[:port]"),
    }
}

impl S3Place {
    /// A place in AWS, or wherever the variables given later say.
    ///
    /// # Errors
    ///
    /// When bucket or prefix has another form.
    pub fn new(bucket: &str, prefix: &str) -> Result<Self, ParsePlaceError> {
        let place = Self {
            bucket: bucket.to_owned(),
            prefix: prefix.trim_end_matches('/').to_owned(),
            endpoint: None,
            region: None,
            allow_http: false,
        };
        place.check()?;
        Ok(place)
    }

    /// Checks every part.
    ///
    /// # Errors
    ///
    /// Naming the part that has another form.
    pub fn check(&self) -> Result<(), ParsePlaceError> {
        check_bucket(&self.bucket)?;
        check_prefix(&self.prefix)?;
        if let Some(endpoint) = &self.endpoint {
            check_endpoint(endpoint, self.allow_http)?;
        }
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        match &self.region {
            Some(region) if region.is_empty() || !region.bytes().all(allowed) => {
                refuse("a region has characters of a-z 0-9 -")
            }
            _ => Ok(()),
        }
    }
}

impl FromStr for S3Place {
    type Err = ParsePlaceError;

    /// Reads `s3://bucket/prefix`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some(rest) = text.strip_prefix("s3://") else {
            return refuse("it is not s3://bucket or s3://bucket/prefix");
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        Self::new(bucket, prefix)
    }
}

impl fmt::Display for S3Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}", self.bucket)?;
        if !self.prefix.is_empty() {
            write!(f, "/{}", self.prefix)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_survive_their_text() {
        for text in ["s3://annals-anchor", "s3://annals-anchor/shop/production"] {
            assert_eq!(text.parse::<S3Place>().unwrap().to_string(), text);
        }
        let place: S3Place = "s3://bucket/a/b/".parse().unwrap();
        assert_eq!(place, S3Place::new("bucket", "a/b").unwrap());
    }

    #[test]
    fn other_texts_are_no_places() {
        for bad in [
            "",
            "/mnt/anchor",
            "s3://",
            "s3://ab",
            "s3://Bucket/a",
            "s3://bucket/a//b",
            "s3://bucket/../b",
            "s3://bucket//a",
            "s3://bucket/a b",
            "gs://bucket/a",
            "https://user:hunter2@host/",
        ] {
            let error = bad.parse::<S3Place>().unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn only_loopback_is_spoken_to_without_encryption() {
        let check = |endpoint: &str, allow_http| {
            let place = S3Place::new("bucket", "").unwrap();
            S3Place { endpoint: Some(endpoint.to_owned()), allow_http, ..place }.check()
        };
        for good in ["http://127.0.0.1:9000", "http://localhost:1", "http://[::1]:9000/"] {
            check(good, true).unwrap();
            check(good, false).unwrap_err();
        }
        check("https://minio.example:9000", false).unwrap();
        for bad in [
            "http://minio.example",
            "http://127.0.0.1.example",
            "http://10.0.0.1",
            "ftp://127.0.0.1",
            "127.0.0.1:9000",
            "https://host/path",
            "https://key:hunter2@host",
        ] {
            let error = check(bad, true).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
