//! Who speaks to an S3-compatible store.

use std::collections::HashMap;

use crate::place::ParsePlaceError;

/// Environment variables, handed in by the caller.
pub type Variables = HashMap<String, String>;

/// Who speaks to an S3-compatible store. It cannot be printed or copied, and is wiped on drop.
pub struct Credentials {
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
    pub(crate) session_token: Option<String>,
}

fn variable<'a>(variables: &'a Variables, name: &str) -> Option<&'a str> {
    variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
}

/// The first of `names` that is set.
pub(crate) fn first_of<'a>(variables: &'a Variables, names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| variable(variables, name))
}

impl Credentials {
    /// Reads `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and, for temporary ones,
    /// `AWS_SESSION_TOKEN`.
    ///
    /// # Errors
    ///
    /// When one of the first two is not set.
    pub fn from_variables(variables: &Variables) -> Result<Self, ParsePlaceError> {
        let required = |name: &str| {
            variable(variables, name)
                .map(str::to_owned)
                .ok_or_else(|| ParsePlaceError(format!("the variable {name} is not set")))
        };
        Ok(Self {
            access_key_id: required("AWS_ACCESS_KEY_ID")?,
            secret_access_key: required("AWS_SECRET_ACCESS_KEY")?,
            session_token: variable(variables, "AWS_SESSION_TOKEN").map(str::to_owned),
        })
    }

    /// `text` without any of them, should a server have repeated one.
    pub(crate) fn redact(&self, text: &str) -> String {
        let secrets = [Some(&self.access_key_id), Some(&self.secret_access_key)];
        let secrets = secrets.into_iter().chain([self.session_token.as_ref()]).flatten();
        secrets.fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "[redacted]"))
    }
}

/// Overwrites a secret in place.
fn wipe(secret: &mut String) {
    let mut bytes = std::mem::take(secret).into_bytes();
    bytes.fill(0);
    // Keeps the fill from being optimised away as a dead store.
    std::hint::black_box(&bytes);
}

impl Drop for Credentials {
    fn drop(&mut self) {
        wipe(&mut self.secret_access_key);
        if let Some(token) = &mut self.session_token {
            wipe(token);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_variable_is_named_and_a_repeated_secret_is_not_shown() {
        let mut variables = Variables::new();
        let missing = |variables: &Variables| {
            Credentials::from_variables(variables).err().map(|error| error.to_string())
        };
        assert!(missing(&variables).unwrap().contains("AWS_ACCESS_KEY_ID"));
        variables.insert("AWS_ACCESS_KEY_ID".into(), "who".into());
        variables.insert("AWS_SECRET_ACCESS_KEY".into(), String::new());
        assert!(missing(&variables).unwrap().contains("AWS_SECRET_ACCESS_KEY"));
        variables.insert("AWS_SECRET_ACCESS_KEY".into(), "s3cret".into());
        variables.insert("AWS_SESSION_TOKEN".into(), "t0ken".into());
        let credentials = Credentials::from_variables(&variables).ok().unwrap();
        assert_eq!(
            credentials.redact("who said s3cret and t0ken?"),
            "[redacted] said [redacted] and [redacted]?"
        );
    }
}
