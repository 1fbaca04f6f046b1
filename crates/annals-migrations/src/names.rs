//! File names: `<version>_<name>.sql` and `<version>_<name>_rollback.sql`.

use annals_events::Version;

/// Why a file name does not name a migration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not `<version>_<name>.sql`.
    #[error("the name is not <version>_<name>{suffix}, with digits or YYYYMMDD_HHMMSS as version")]
    Form {
        /// What the name should end in.
        suffix: &'static str,
    },
    /// The part after the version.
    #[error("the name {0:?} is not 1 to 100 characters of a-z, 0-9 and _")]
    Name(String),
}

const MAX_NAME_BYTES: usize = 100;

/// Whether `name` can name a migration: 1 to 100 characters of `a-z`, `0-9` and `_`.
pub fn name_is_valid(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// The file that applies a migration.
pub fn migration_file_name(version: &Version, name: &str) -> String {
    format!("{version}_{name}.sql")
}

/// The file that rolls it back.
pub fn rollback_file_name(version: &Version, name: &str) -> String {
    format!("{version}_{name}_rollback.sql")
}

/// Takes a file name apart; `suffix` is `.sql` or `_rollback.sql`.
pub(crate) fn parse_file_name(
    file: &str,
    suffix: &'static str,
) -> Result<(Version, String), NameError> {
    let form = NameError::Form { suffix };
    let stem = file.strip_suffix(suffix).ok_or_else(|| form.clone())?;
    let (version, name) = split_version(stem).ok_or(form)?;
    if name_is_valid(name) {
        Ok((version, name.to_owned()))
    } else {
        Err(NameError::Name(name.to_owned()))
    }
}

/// The version in the name of a migration file; none where it is no such name.
pub fn version_of(file: &str) -> Option<Version> {
    parse_file_name(file, ".sql").ok().map(|(version, _)| version)
}

/// `20250921_171500_x` holds a date and a time; `20250921_x` and `001_x` hold plain digits.
fn split_version(stem: &str) -> Option<(Version, &str)> {
    if let Some((stamp, rest)) = stem.split_at_checked(15)
        && let Some(name) = rest.strip_prefix('_')
        && stamp.contains('_')
        && let Ok(version) = stamp.parse()
    {
        return Some((version, name));
    }
    let (digits, name) = stem.split_once('_')?;
    Some((digits.parse().ok()?, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_split_at_the_version() {
        let cases = [
            ("001_init.sql", "001", "init"),
            ("20250921_171500_add_agents.sql", "20250921_171500", "add_agents"),
            ("20250921171500_add_agents.sql", "20250921171500", "add_agents"),
            ("20250921_17_up.sql", "20250921", "17_up"),
            ("1_2.sql", "1", "2"),
        ];
        for (file, version, name) in cases {
            let (found, found_name) = parse_file_name(file, ".sql").unwrap();
            assert_eq!((found.as_str(), found_name.as_str()), (version, name), "{file}");
        }
    }

    #[test]
    fn other_names_are_refused() {
        for bad in [
            "init.sql",
            "v1_init.sql",
            "001-init.sql",
            "001_.sql",
            "001_Init.sql",
            "001_ä.sql",
            "001.sql",
            "001_a.SQL",
            "001_a b.sql",
        ] {
            assert!(parse_file_name(bad, ".sql").is_err(), "{bad}");
        }
        let long = format!("1_{}.sql", "a".repeat(101));
        assert!(matches!(parse_file_name(&long, ".sql"), Err(NameError::Name(_))));
    }
}
