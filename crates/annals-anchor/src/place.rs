//! Where an anchor is, as a value of the configuration.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use annals_objects::{ParsePlaceError, S3Place};

/// Where an anchor is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnchorPlace {
    /// A folder, on another disk or machine if it is to be worth something. It must exist.
    Directory {
        /// The folder.
        path: PathBuf,
    },
    /// A bucket in an S3-compatible store.
    S3(S3Place),
}

impl FromStr for AnchorPlace {
    type Err = ParsePlaceError;

    /// Reads `s3://bucket/prefix` or the path of a directory.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with("s3://") {
            return text.parse().map(Self::S3);
        }
        if text.is_empty() || text.contains('\0') {
            return Err(ParsePlaceError::new("a directory has a path"));
        }
        if let Some((scheme, _)) = text.split_once("://") {
            return Err(ParsePlaceError::new(format!(
                "{scheme}:// is not a kind of anchor; there are s3://bucket/prefix and the path of a directory"
            )));
        }
        Ok(Self::Directory { path: text.into() })
    }
}

impl fmt::Display for AnchorPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory { path } => path.display().fmt(f),
            Self::S3(place) => place.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_survive_their_text() {
        for text in
            ["s3://annals-anchor", "s3://annals-anchor/shop/production", "/mnt/anchor", "a/b"]
        {
            assert_eq!(text.parse::<AnchorPlace>().unwrap().to_string(), text);
        }
        let place: AnchorPlace = "s3://bucket/a/b/".parse().unwrap();
        assert_eq!(place, AnchorPlace::S3(S3Place::new("bucket", "a/b").unwrap()));
    }

    #[test]
    fn other_texts_are_no_places() {
        for bad in [
            "",
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
            let error = bad.parse::<AnchorPlace>().unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
