//! How the way is cut into lanes that are rehearsed side by side, and when it may be.

use std::ops::Range;

use annals_migrations::{Migration, SourceFile};
use annals_postgres::{Fault, Session};

use crate::group::Group;
use crate::touched::is_followed;

/// What applying a group costs, to get where a lane begins, where proving it costs 1.
const FORWARD: f64 = 0.12;

/// What going down costs at the end, of each group.
const DOWN: f64 = 0.2;

/// Whatever is proven stands together, at the end.
pub(crate) fn is_contiguous(groups: &[(Group<'_>, bool)]) -> bool {
    let first = groups.iter().position(|(_, prove)| *prove).unwrap_or(groups.len());
    groups[first..].iter().all(|(_, prove)| *prove)
}

/// Cuts the way into at most `lanes` parts that take as long as each other. The first one begins with
/// what only has to be there.
pub(crate) fn cuts(groups: &[(Group<'_>, bool)], lanes: usize) -> Vec<Range<usize>> {
    let first = groups.iter().position(|(_, prove)| *prove).unwrap_or(groups.len());
    let may_be_cut = lanes > 1
        && is_contiguous(groups)
        && groups.iter().all(|(group, _)| {
            group.test_rows.is_none() && group.members.iter().all(|member| stays_inside(member))
        });
    let lengths = match may_be_cut {
        true => lengths(groups.len() - first, lanes),
        false => vec![groups.len() - first],
    };
    let (mut begin, mut end) = (0, first);
    let mut cuts = Vec::with_capacity(lengths.len());
    for length in lengths {
        end += length;
        cuts.push(begin..end);
        begin = end;
    }
    cuts
}

/// How many groups each lane proves. Each one applies first what is before it; the last one goes
/// down at the end.
fn lengths(count: usize, lanes: usize) -> Vec<usize> {
    let n = count as f64;
    for lanes in (2..=lanes.min(count)).rev() {
        // The first lane takes `time`; each next one has less of it for proving.
        let share = |lane: usize| (1.0 - FORWARD).powi(i32::try_from(lane).unwrap_or(i32::MAX));
        let time = n * (1.0 + DOWN) / (0..lanes).map(share).sum::<f64>();
        let mut lengths: Vec<usize> =
            (0..lanes - 1).map(|lane| (time * share(lane)).round() as usize).collect();
        let others: usize = lengths.iter().sum();
        if others < count && lengths.iter().all(|length| *length > 0) {
            lengths.push(count - others);
            return lengths;
        }
    }
    vec![count]
}

/// Pairs of words with which a statement changes what belongs to the server and not to a database.
const CHANGES: [&str; 3] = ["create", "alter", "drop"];
const OF_THE_SERVER: [&str; 8] =
    ["role", "user", "group", "database", "tablespace", "subscription", "system", "parameter"];

/// Words that say by themselves that it is about the server, or about other sessions.
const ALONE: [&str; 8] = [
    "reassign",
    "pg_reload_conf",
    "pg_rotate_logfile",
    "pg_stat_activity",
    "pg_stat_reset",
    "pg_switch_wal",
    "pg_terminate_backend",
    "pg_cancel_backend",
];
const BEGINNINGS: [&str; 4] =
    ["pg_create_", "pg_drop_replication_slot", "pg_replication_origin", "pg_logical_"];

/// Whether nothing a file does can be seen in another database, as far as its words tell. What they do
/// not tell, [`shared_by_databases`] does.
fn stays_inside(migration: &Migration) -> bool {
    let files = std::iter::once(&migration.up).chain(&migration.down);
    is_followed(migration)
        && files.map(SourceFile::script).all(|script| {
            script.is_ok_and(|script| {
                script.statements.iter().all(|statement| says_nothing_of_others(&statement.text))
            })
        })
}

fn says_nothing_of_others(sql: &str) -> bool {
    let text = sql.to_ascii_lowercase();
    let words: Vec<&str> = text
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
        .collect();
    let is_about_server = |pair: &[&str]| {
        let [first, second] = pair else { return false };
        // `COMMENT ON ROLE`, `GRANT … ON DATABASE`, `DROP OWNED`.
        (CHANGES.contains(first) || *first == "on") && OF_THE_SERVER.contains(second)
            || *first == "drop" && *second == "owned"
    };
    let says_so = |word: &&str| {
        ALONE.contains(word) || BEGINNINGS.iter().any(|begin| word.starts_with(begin))
    };
    // A right that is not on anything is membership in a role.
    let is_membership =
        matches!(words.first(), Some(&"grant" | &"revoke")) && !words.contains(&"on");
    !is_membership && !words.windows(2).any(is_about_server) && !words.iter().any(says_so)
}

/// What can be seen of what databases share: roles, members, settings, rights on databases. Those that a rehearsal
/// makes are left out but for the number of a lane's own.
pub(crate) async fn shared_by_databases(session: &mut Session) -> Result<String, Fault> {
    let rows = session
        .texts(
            "SELECT pg_catalog.concat_ws('/', \
             (SELECT pg_catalog.md5(pg_catalog.string_agg(r::pg_catalog.text, ',' ORDER BY r.oid)) \
                FROM pg_catalog.pg_roles r), \
             (SELECT pg_catalog.md5(pg_catalog.string_agg(m::pg_catalog.text, ',' \
                ORDER BY m.roleid, m.member, m.grantor)) FROM pg_catalog.pg_auth_members m), \
             (SELECT pg_catalog.md5(pg_catalog.string_agg(d.datname || pg_catalog.concat(d.datdba, \
                d.datacl, d.dattablespace), ',' ORDER BY d.oid)) FROM pg_catalog.pg_database d \
                WHERE d.datname !~ '^annals_proof'), \
             (SELECT pg_catalog.md5(pg_catalog.string_agg(pg_catalog.concat(d.datdba, d.datacl), ',' \
                ORDER BY d.oid)) FROM pg_catalog.pg_database d \
                WHERE d.datname ~ '^annals_proof(_[0-9]+)?$'), \
             (SELECT pg_catalog.md5(pg_catalog.string_agg(t::pg_catalog.text, ',' ORDER BY t.oid)) \
                FROM pg_catalog.pg_tablespace t), \
             (SELECT pg_catalog.md5(pg_catalog.string_agg(c::pg_catalog.text, ',' \
                ORDER BY c.classoid, c.objoid)) FROM pg_catalog.pg_shdescription c \
                WHERE c.classoid = 'pg_catalog.pg_authid'::pg_catalog.regclass), \
             (SELECT pg_catalog.md5(pg_catalog.string_agg(s::pg_catalog.text, ',' \
                ORDER BY s.setdatabase, s.setrole)) FROM pg_catalog.pg_db_role_setting s))",
        )
        .await?;
    Ok(rows.into_iter().flatten().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_take_as_long_as_each_other_and_the_last_has_time_to_go_down() {
        assert_eq!(lengths(300, 1), [300]);
        // With a fifth lane the last one would have nothing to do but to go down.
        assert_eq!(lengths(300, 8).len(), 4);
        for lanes in 2..=4 {
            let lengths = lengths(300, lanes);
            assert_eq!((lengths.len(), lengths.iter().sum::<usize>()), (lanes, 300));
            let mut before = 0;
            let times: Vec<f64> = lengths
                .iter()
                .enumerate()
                .map(|(at, length)| {
                    let down = if at == lanes - 1 { 300.0 * DOWN } else { 0.0 };
                    let time = before as f64 * FORWARD + *length as f64 + down;
                    before += length;
                    time
                })
                .collect();
            let (low, high) = (
                times.iter().copied().fold(f64::MAX, f64::min),
                times.iter().copied().fold(0.0, f64::max),
            );
            assert!(high - low < 4.0, "{lanes} lanes: {times:?}");
        }
    }

    #[test]
    fn few_groups_are_few_lanes_and_none_is_empty() {
        for count in 0..20 {
            for lanes in 1..6 {
                let lengths = lengths(count, lanes);
                assert_eq!(lengths.iter().sum::<usize>(), count);
                assert!(lengths.len() <= lanes && (count == 0 || !lengths.contains(&0)));
            }
        }
        assert_eq!(lengths(3, 2).len(), 2);
    }

    #[test]
    fn what_is_seen_from_another_database_is_told_by_its_words() {
        for sql in [
            "CREATE ROLE r",
            "DO $$ BEGIN EXECUTE 'CREATE  USER ' || n; END $$",
            "ALTER\n DATABASE d SET work_mem = '1MB'",
            "GRANT a TO b",
            "revoke a from b",
            "GRANT CONNECT ON DATABASE d TO r",
            "COMMENT ON ROLE r IS ''",
            "REASSIGN OWNED BY a TO b",
            "DROP OWNED BY a",
            "ALTER SYSTEM SET work_mem = '1MB'",
            "SELECT pg_create_physical_replication_slot('s')",
            "CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p",
        ] {
            assert!(!says_nothing_of_others(sql), "{sql}");
        }
        for sql in [
            "CREATE TABLE users (id int, role text, \"group\" text)",
            "GRANT SELECT ON t TO r",
            "ALTER DEFAULT PRIVILEGES FOR ROLE r GRANT SELECT ON TABLES TO s",
            "ALTER SEQUENCE s OWNED BY t.id",
            "SET ROLE r",
            "CREATE POLICY p ON t TO r USING (user_id = current_user)",
        ] {
            assert!(says_nothing_of_others(sql), "{sql}");
        }
    }
}
