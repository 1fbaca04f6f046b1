//! The rules of the pipeline: what is looked for, how bad it is, what to do.

use crate::report::Severity;

/// What is looked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What it finds.
    pub what: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

macro_rules! rules {
    ($( $name:ident = $id:literal, $severity:ident, $what:literal, $remedy:literal; )*) => {
        /// Every rule.
        pub const RULES: &[&Rule] = &[$( &$name, )*];
        $(
            #[doc = $what]
            pub static $name: Rule = Rule {
                id: $id, severity: Severity::$severity, what: $what, remedy: $remedy,
            };
        )*
    };
}

rules! {
    FILE_REFUSED = "file-refused", Error,
        "a name, a pair or the text of a file is not what annals reads, a character that hides or reorders others among it",
        "correct the file; docs/reference/files.md says what is read";
    SQL_UNREADABLE = "sql-unreadable", Error,
        "SQL or a directive that cannot be read, or that no migration may hold",
        "correct the file where it says";
    SECRET = "secret", Error,
        "a password, key or token in SQL: it would stand in the repository and in the log for ever",
        "take it out and change it, for it has been seen; set passwords outside migrations, or from a variable of the server";
    VERSION_TAKEN = "version-taken", Error,
        "another file of the branch has the same version",
        "give the new migration a new version: annals create makes one";
    VERSION_BEHIND = "version-behind", Error,
        "a new migration sorts before one the branch has: where that is applied already, this one is refused",
        "give it a newer version";
    FILE_EDITED = "file-edited", Error,
        "the SQL of a file that the branch has, or that is applied, was changed",
        "restore the file, and write the change into a new migration";
    FILE_REFORMATTED = "file-reformatted", Note,
        "comments or white space of a file that the branch has, or that is applied, were changed",
        "nothing needs to be done";
    FILE_REMOVED = "file-removed", Error,
        "a file that the branch has, or that is applied, is gone",
        "restore the file; what it did is undone by a new migration or by a rollback";
    NO_WAY_BACK = "no-way-back", Note,
        "a migration is declared irreversible",
        "look whether the reason holds, and whether there is a backup to go back to";
    LINT = "lint", Warning,
        "a safety rule sees something in a statement: docs/reference/lint-rules.md",
        "look at what the rule says to do instead";
    MIGRATION_FAILS = "migration-fails", Error,
        "the migration fails on a fresh server, or behind those before it",
        "correct the migration";
    ROLLBACK_FAILS = "rollback-fails", Error,
        "the rollback fails, or does so where there are rows",
        "correct the rollback; or declare the migration irreversible, with the reason";
    ROLLBACK_DIFFERS = "rollback-differs", Error,
        "the schema behind the rollback is not the one before the migration",
        "let the rollback undo what is named";
    ROWS_LOST = "rows-lost", Error,
        "rows or values that were there before the migration are gone behind the rollback",
        "let the migration keep what the rollback needs; or accept it: accept = [\"loses_data\"] in [targets.<name>.proof]";
    COLUMN_ORDER = "column-order", Error,
        "the rollback leads back, but columns are in another order, and the target does not accept that",
        "accept it: accept = [\"column_order\"] in [targets.<name>.proof]; or build the table anew";
    IRREVERSIBLE = "irreversible", Error,
        "there is no way back from the migration, and the target does not accept that",
        "write a rollback; or accept it: accept = [\"irreversible\"] in [targets.<name>.proof]";
    CHAIN_DIFFERS = "chain-differs", Error,
        "rolled back alone it leads back, in the chain of all rollbacks it does not",
        "let the rollback undo what is named, also behind the migrations that follow";
    NOT_REACHED = "not-reached", Error,
        "the migration was not tried, because one before it failed",
        "correct the one before it";
    TABLE_REWRITTEN = "table-rewritten", Warning,
        "a table that was there before is written anew: nobody reads or writes it for that long",
        "look how large the table is; most changes of a type have a way in steps without it";
    OVER_BUDGET = "over-budget", Warning,
        "it took longer than its budget: [budgets] in annals.toml",
        "make it smaller or faster; or give it more time";
    SLOWER = "slower", Warning,
        "it took much longer than when the same files were last recorded",
        "look what has changed around it; run it again if the machine was busy";
}

/// The rule of a name; `lint/<rule>` is `lint`.
pub fn rule(id: &str) -> Option<&'static Rule> {
    let id = id.split('/').next().unwrap_or(id);
    RULES.iter().copied().find(|rule| rule.id == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_has_a_name_of_its_own_and_says_what_to_do() {
        let mut ids: Vec<&str> = RULES.iter().map(|rule| rule.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), RULES.len());
        for rule in RULES {
            assert!(!rule.what.is_empty() && !rule.remedy.is_empty());
            assert!(rule.id.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{}", rule.id);
            assert_eq!(super::rule(rule.id), Some(*rule));
        }
        assert_eq!(super::rule("lint/table-dropped"), Some(&LINT));
        assert_eq!(super::rule("nothing"), None);
    }
}
