//! Databases in a sandbox: made like a target's, cloned, dropped.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use sqlx::Row;

use super::error::SandboxError;
use super::likeness::{Likeness, LocaleProvider, RoleSetting, Unlike, read_settings};
use super::server::{Sandbox, USER, prepare_database};
use crate::connect::ConnectionSpec;
use crate::fault::Fault;
use crate::platform::Platform;
use crate::session::{Session, SessionSettings};

/// How long somebody may still be in a database that is to be cloned.
const LEAVING: Duration = Duration::from_secs(5);

/// Strategies can be chosen since 15; before, files are copied. That is faster here than writing every
/// page to the WAL, for nothing is synced to disk (about 40 ms against 200 ms, 400 small tables).
const STRATEGIES_SINCE: u32 = 15;

/// Makes and drops databases, as the sandbox's superuser, from its first database. That one is never
/// a template here.
pub struct Databases {
    session: Session,
    folder: PathBuf,
    platform: Platform,
}

/// Settings whose value is a list of names, stored quoted (`variable_is_guc_list_quote` in
/// PostgreSQL's `src/bin/pg_dump/dumputils.c`).
const LISTS: &[&str] = &[
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

impl Sandbox {
    /// Opens a session that makes and drops databases.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached.
    pub async fn databases(&self) -> Result<Databases, SandboxError> {
        let settings = SessionSettings { lock_timeout_ms: 0, ..SessionSettings::default() };
        let session = self.superuser_spec(USER).connect("annals/sandbox", &settings).await?;
        let (folder, platform) = (self.folder().to_owned(), self.platform());
        Ok(Databases { session, folder, platform })
    }
}

impl Databases {
    /// Makes an empty database that is like another one, prepared for the platform, owned by the role
    /// that migrations run as. What could not be made like it is returned.
    ///
    /// # Errors
    ///
    /// When there is a database of that name, or the server fails.
    pub async fn create_like(
        &mut self,
        name: &str,
        likeness: &Likeness,
    ) -> Result<Vec<Unlike>, SandboxError> {
        let mut unlike = self.create_empty(name, likeness).await?;
        let spec = ConnectionSpec::from_socket(&self.folder, self.platform.superuser(), name);
        prepare_database(&spec, self.platform).await?;
        let settings: Vec<_> =
            likeness.server_settings.iter().chain(&likeness.settings).cloned().collect();
        for (what, sql) in settings_sql(name, &settings, &likeness.role_settings) {
            match self.session.run(&sql).await {
                Ok(()) => {}
                Err(Fault::Server(error)) => unlike.push(Unlike { what, reason: error.message }),
                Err(fault) => return Err(fault.into()),
            }
        }
        Ok(unlike)
    }

    /// The locale a target has may not exist here: then the first of those that come near it.
    async fn create_empty(
        &mut self,
        name: &str,
        likeness: &Likeness,
    ) -> Result<Vec<Unlike>, SandboxError> {
        let mut refused = None;
        for options in near(likeness) {
            let sql = format!(
                "CREATE DATABASE {} TEMPLATE template0 OWNER {USER} {options}{}",
                quoted(name),
                self.strategy()
            );
            match self.session.run(&sql).await {
                Ok(()) => {
                    let unlike = refused.map(|reason| Unlike {
                        what: format!("locale, which is {options}"),
                        reason,
                    });
                    return Ok(unlike.into_iter().collect());
                }
                // The locale has nothing to do with it.
                Err(Fault::Server(error)) if error.code == "42P04" => {
                    return Err(Fault::Server(error).into());
                }
                Err(Fault::Server(error)) => {
                    refused.get_or_insert(error.message);
                }
                Err(fault) => return Err(fault.into()),
            }
        }
        let what = refused.unwrap_or_default();
        Err(Fault::Protocol(format!("no database like the target's can be made: {what}")).into())
    }

    /// Clones a database nobody is in, with its settings; whoever has just left it is awaited.
    ///
    /// # Errors
    ///
    /// When somebody stays in it, or the server fails.
    pub async fn create_from(&mut self, template: &str, name: &str) -> Result<(), SandboxError> {
        self.wait_until_nobody_is_in(template).await?;
        let sql = format!(
            "CREATE DATABASE {} TEMPLATE {} OWNER {USER}{}",
            quoted(name),
            quoted(template),
            self.strategy()
        );
        self.session.run(&sql).await?;
        // They belong to the database, not to its content, so they are not cloned.
        let (settings, of_roles) = read_settings(&mut self.session, template).await?;
        for (_, sql) in settings_sql(name, &settings, &of_roles) {
            self.session.run(&sql).await?;
        }
        Ok(())
    }

    /// The server itself would look every tenth of a second only.
    async fn wait_until_nobody_is_in(&mut self, database: &str) -> Result<(), Fault> {
        let deadline = Instant::now() + LEAVING;
        loop {
            let sql = "SELECT count(*) AS there FROM pg_catalog.pg_stat_activity \
                WHERE datname = $1 AND backend_type = 'client backend'";
            let row = sqlx::query(sql).bind(database).fetch_one(self.session.connection()).await?;
            if row.try_get::<i64, _>("there")? == 0 || Instant::now() > deadline {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Drops a database with whoever is in it. None of that name is fine too.
    ///
    /// # Errors
    ///
    /// When the server fails.
    pub async fn drop(&mut self, name: &str) -> Result<(), SandboxError> {
        self.session.run(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quoted(name))).await?;
        Ok(())
    }

    /// Ends the session.
    pub async fn close(self) {
        self.session.close().await;
    }

    fn strategy(&self) -> &'static str {
        match self.session.facts().major() {
            STRATEGIES_SINCE.. => " STRATEGY file_copy",
            _ => "",
        }
    }
}

impl Likeness {
    /// SQL that makes an empty database like this one, on the server it was read from; then SQL that
    /// gives it its settings.
    pub fn create_sql(&self, name: &str) -> (String, Vec<String>) {
        let options = near(self).into_iter().next().unwrap_or_default();
        let create = format!("CREATE DATABASE {} TEMPLATE template0 {options}", quoted(name));
        let settings = settings_sql(name, &self.settings, &self.role_settings);
        (create, settings.into_iter().map(|(_, sql)| sql).collect())
    }
}

/// What sets a database, and roles in it, with what each statement sets.
fn settings_sql(
    database: &str,
    settings: &[(String, String)],
    of_roles: &[RoleSetting],
) -> Vec<(String, String)> {
    let database = quoted(database);
    let of_database = settings.iter().map(|(name, value)| {
        let sql = format!("ALTER DATABASE {database} SET {}", assignment(name, value));
        (format!("setting {name}"), sql)
    });
    let of_roles = of_roles.iter().map(|RoleSetting { role, name, value }| {
        let (who, what) = (quoted(role), assignment(name, value));
        let sql = format!("ALTER ROLE {who} IN DATABASE {database} SET {what}");
        (format!("setting {name} of role {role}"), sql)
    });
    of_database.chain(of_roles).collect()
}

/// What `CREATE DATABASE` is told, from what is wanted to what always works.
fn near(likeness: &Likeness) -> Vec<String> {
    let Likeness { encoding, collate, ctype, locale, icu_rules, .. } = likeness;
    let encoding = literal(encoding);
    let libc = |collate: &str, ctype: &str| {
        let (collate, ctype) = (literal(collate), literal(ctype));
        format!("ENCODING {encoding} LC_COLLATE {collate} LC_CTYPE {ctype}")
    };
    let mut places = vec![(collate.clone(), ctype.clone())];
    // One and the same locale goes by both names: en_US.UTF-8, en_US.utf8.
    for (written, other) in [(".UTF-8", ".utf8"), (".utf8", ".UTF-8")] {
        if collate.ends_with(written) || ctype.ends_with(written) {
            places.push((collate.replace(written, other), ctype.replace(written, other)));
        }
    }
    places.push(("C.UTF-8".to_owned(), "C.UTF-8".to_owned()));
    places.push(("C".to_owned(), "C".to_owned()));
    let mut all = Vec::new();
    let named = locale.as_deref().unwrap_or_default();
    for (collate, ctype) in &places {
        let libc = libc(collate, ctype);
        match likeness.provider {
            LocaleProvider::Libc => {}
            LocaleProvider::Icu => {
                let rules = icu_rules.as_ref().map(|it| format!(" ICU_RULES {}", literal(it)));
                let rules = rules.unwrap_or_default();
                let named = literal(named);
                all.push(format!("{libc} LOCALE_PROVIDER icu ICU_LOCALE {named}{rules}"));
            }
            LocaleProvider::Builtin => {
                let named = literal(named);
                all.push(format!("{libc} LOCALE_PROVIDER builtin BUILTIN_LOCALE {named}"));
            }
        }
    }
    let libc_provider = match likeness.server_major {
        // Behind a template of another provider it must be said; 15 brought the words.
        STRATEGIES_SINCE.. => " LOCALE_PROVIDER libc",
        _ => "",
    };
    all.extend(places.iter().map(|(collate, ctype)| libc(collate, ctype) + libc_provider));
    all.push("ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'".to_owned());
    all.dedup();
    all
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// `name TO value` for a value as the catalog stores it.
fn assignment(name: &str, value: &str) -> String {
    let name = name.split('.').map(quoted).collect::<Vec<_>>().join(".");
    let bare = name.trim_matches('"');
    if !LISTS.iter().any(|list| list.eq_ignore_ascii_case(bare)) {
        return format!("{name} TO {}", literal(value));
    }
    let items: Vec<String> = names_of(value).iter().map(|item| literal(item)).collect();
    match items.is_empty() {
        true => format!("{name} TO ''"),
        false => format!("{name} TO {}", items.join(", ")),
    }
}

/// The names of a stored list: `"$user", public`.
fn names_of(list: &str) -> Vec<String> {
    let mut names = vec![String::new()];
    let (mut inside, mut characters) = (false, list.chars().peekable());
    while let Some(character) = characters.next() {
        let name = names.last_mut().expect("one name is there from the beginning");
        match character {
            '"' if inside && characters.peek() == Some(&'"') => {
                characters.next();
                name.push('"');
            }
            '"' => inside = !inside,
            ',' if !inside => names.push(String::new()),
            ' ' if !inside => {}
            other => name.push(other),
        }
    }
    if list.trim().is_empty() {
        names.clear();
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_list_becomes_the_same_list_again() {
        let of = |value| assignment("search_path", value);
        assert_eq!(of("\"$user\", public"), "\"search_path\" TO '$user', 'public'");
        assert_eq!(of("\"a,\"\"b\", c"), "\"search_path\" TO 'a,\"b', 'c'");
        assert_eq!(of("\"\""), "\"search_path\" TO ''");
        assert_eq!(of(""), "\"search_path\" TO ''");
        assert_eq!(assignment("work_mem", "4MB"), "\"work_mem\" TO '4MB'");
        assert_eq!(assignment("app.x", "a'b, c"), "\"app\".\"x\" TO 'a''b, c'");
    }

    #[test]
    fn a_locale_that_is_missing_is_replaced_by_what_comes_near_it() {
        let likeness = Likeness {
            server_major: 15,
            encoding: "UTF8".into(),
            collate: "de_DE.UTF-8".into(),
            ctype: "de_DE.UTF-8".into(),
            provider: LocaleProvider::Icu,
            locale: Some("de".into()),
            icu_rules: None,
            server_settings: vec![],
            settings: vec![],
            role_settings: vec![],
        };
        let all = near(&likeness);
        let first = "ENCODING 'UTF8' LC_COLLATE 'de_DE.UTF-8' LC_CTYPE 'de_DE.UTF-8' \
                     LOCALE_PROVIDER icu ICU_LOCALE 'de'";
        assert_eq!(all[0], first);
        assert!(all[1].contains("de_DE.utf8") && all[1].contains("icu"));
        assert!(all.last().unwrap().ends_with("LC_CTYPE 'C'"));
    }
}
