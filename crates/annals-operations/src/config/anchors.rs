//! `[anchors.<name>]`.

use std::path::PathBuf;

use annals_anchor::{AnchorPlace, S3Place};
use serde::Deserialize;

use super::{ConfigError, check_name, value_error};

/// A place for copies of a log, as the file says it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct AnchorTable {
    directory: Option<PathBuf>,
    s3: Option<String>,
    endpoint: Option<String>,
    region: Option<String>,
    #[serde(default)]
    allow_http: bool,
}

/// What the sandbox is to be like; without a word, like the default target or the only one.
pub(super) fn read_anchor(name: &str, table: AnchorTable) -> Result<AnchorPlace, ConfigError> {
    let key = format!("anchors.{name}");
    check_name(&key, name)?;
    let refused = |error: annals_anchor::ParsePlaceError| value_error(&key, error.to_string());
    match (table.directory, table.s3) {
        (Some(path), None) => {
            let only_s3 = [table.endpoint.is_some(), table.region.is_some(), table.allow_http];
            if only_s3.contains(&true) {
                let reason = "endpoint, region and allow_http belong to s3";
                return Err(value_error(key, reason));
            }
            Ok(AnchorPlace::Directory { path })
        }
        (None, Some(url)) => {
            let parsed: AnchorPlace = url.parse().map_err(refused)?;
            let AnchorPlace::S3(place) = parsed else {
                return Err(value_error(
                    format!("{key}.s3"),
                    "is s3://bucket or s3://bucket/prefix",
                ));
            };
            let (endpoint, region, allow_http) = (table.endpoint, table.region, table.allow_http);
            let place = S3Place { endpoint, region, allow_http, ..place };
            place.check().map_err(refused)?;
            Ok(AnchorPlace::S3(place))
        }
        _ => Err(value_error(key, "needs either directory or s3")),
    }
}
