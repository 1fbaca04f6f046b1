//! An event log that lives in the database a backup is brought back into. It is never taken back: what is there
//! stays, and what a backup has of one is left where it is.

/// What all objects of a log are called, as SQL spells it.
const OF_LOG: &str = "annals.log_";

/// What stands before the name of an object in the statements that make it what it is.
const SUBJECTS: [&str; 12] = [
    "CREATE TABLE ",
    "CREATE SEQUENCE ",
    "CREATE FUNCTION ",
    "CREATE TYPE ",
    "ALTER TABLE ONLY ",
    "ALTER TABLE ",
    "ALTER SEQUENCE ",
    "ALTER FUNCTION ",
    "COMMENT ON TABLE ",
    "COMMENT ON COLUMN ",
    "COMMENT ON FUNCTION ",
    "COMMENT ON SEQUENCE ",
];

/// What is on a table, or about the rights to something.
const ON: [&str; 8] = [
    "CREATE TRIGGER ",
    "CREATE INDEX ",
    "CREATE UNIQUE INDEX ",
    "CREATE POLICY ",
    "COMMENT ON TRIGGER ",
    "COMMENT ON CONSTRAINT ",
    "GRANT ",
    "REVOKE ",
];

/// Whether the table, sequence or function of that name is part of an event log.
pub(crate) fn is_of_log(name: &str) -> bool {
    name.starts_with(OF_LOG)
}

/// Whether a statement, as `pg_dump` writes it, is about an event log.
pub(crate) fn is_about_log(sql: &str) -> bool {
    if SUBJECTS.iter().any(|words| sql.strip_prefix(words).is_some_and(is_of_log)) {
        return true;
    }
    if sql.starts_with("COMMENT ON INDEX ") || sql.starts_with("ALTER INDEX ") {
        return sql.contains(" annals.log_");
    }
    let is_on = |sql: &str| {
        ["", "ONLY ", "TABLE ", "FUNCTION ", "SEQUENCE "]
            .iter()
            .any(|word| sql.contains(&format!(" ON {word}{OF_LOG}")))
    };
    ON.iter().any(|words| sql.starts_with(words)) && is_on(sql)
}

/// Whether a statement is about the schema a log is in, not about what is in it.
pub(crate) fn is_about_schema(sql: &str) -> bool {
    let is_named = |rest: &str| rest.starts_with("annals;") || rest.starts_with("annals ");
    let subjects = ["CREATE SCHEMA ", "ALTER SCHEMA ", "COMMENT ON SCHEMA "];
    let is_subject = subjects.iter().any(|words| sql.strip_prefix(words).is_some_and(is_named));
    let rights = ["GRANT ", "REVOKE "].iter().any(|words| sql.starts_with(words));
    let on = sql.split_once(" ON SCHEMA ").is_some_and(|(_, rest)| is_named(rest));
    let defaults =
        sql.starts_with("ALTER DEFAULT PRIVILEGES ") && sql.contains(" IN SCHEMA annals ");
    is_subject || rights && on || defaults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_about_a_log_are_told_from_those_that_only_use_it() {
        for about in [
            "CREATE TABLE annals.log_event (\n    origin text\n);",
            "ALTER TABLE ONLY annals.log_event\n    ADD CONSTRAINT log_event_pkey PRIMARY KEY (origin, seq);",
            "ALTER TABLE annals.log_event OWNER TO annals_owner;",
            "CREATE FUNCTION annals.log_append(a text) RETURNS bigint\n    LANGUAGE sql\n    AS $$SELECT 1$$;",
            "ALTER FUNCTION annals.log_append(a text) OWNER TO annals_owner;",
            "CREATE TRIGGER t BEFORE DELETE ON annals.log_event FOR EACH STATEMENT EXECUTE FUNCTION annals.log_refuse_change();",
            "CREATE INDEX i ON annals.log_event USING btree (seq);",
            "GRANT SELECT ON TABLE annals.log_event TO annals_auditor;",
            "REVOKE ALL ON FUNCTION annals.log_append(a text) FROM PUBLIC;",
            "COMMENT ON TABLE annals.log_store IS 'x';",
        ] {
            assert!(is_about_log(about), "{about}");
        }
        for other in [
            "CREATE TABLE annals.ledger (\n    log_origin text\n);",
            "CREATE VIEW public.events AS\n SELECT seq FROM annals.log_event;",
            "CREATE TRIGGER t AFTER INSERT ON public.t FOR EACH ROW EXECUTE FUNCTION annals.log_refuse_change();",
            "GRANT SELECT ON TABLE public.t TO anon;",
            "COMMENT ON TABLE public.t IS 'see annals.log_event';",
        ] {
            assert!(!is_about_log(other), "{other}");
        }
    }

    #[test]
    fn statements_about_its_schema_are_told_from_those_about_others() {
        for about in [
            "CREATE SCHEMA annals;",
            "ALTER SCHEMA annals OWNER TO annals_owner;",
            "COMMENT ON SCHEMA annals IS 'annals ledger format 3';",
            "GRANT USAGE ON SCHEMA annals TO annals_writer;",
            "ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA annals REVOKE ALL ON TABLES FROM annals_owner;",
        ] {
            assert!(is_about_schema(about), "{about}");
        }
        for other in [
            "CREATE SCHEMA annals2;",
            "CREATE TABLE annals.ledger (\n);",
            "GRANT SELECT ON TABLE annals.ledger TO x;",
            "GRANT USAGE ON SCHEMA shop TO annals;",
        ] {
            assert!(!is_about_schema(other), "{other}");
        }
    }
}
