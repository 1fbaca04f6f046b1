//! Before a run, and for a plan: who could keep it waiting, and what its changes set off. Read-only;
//! what it says are notes, and nothing is refused for them.

use std::collections::BTreeSet;

use annals_migrations::{Plan, STACK_BYTES, relations};
use annals_postgres::{
    EventTrigger, LongTransaction, PreparedTransaction, Publication, ReplicationSlot, Session,
    Surroundings, read_surroundings,
};

/// Of a plan's SQL so much is searched for names of relations: the rest is likely to be rows.
const SEARCHED_BYTES: usize = 4 << 20;

/// Of one statement so much is searched.
const SEARCHED_OF_STATEMENT: usize = 64 << 10;

/// The relations of a plan, on their way: they are looked for while the target is asked for other
/// things.
pub(crate) struct Touched {
    search: Search,
    is_concurrent: bool,
    is_empty: bool,
}

enum Search {
    Apart(std::thread::JoinHandle<BTreeSet<String>>),
    Here(Vec<String>),
}

impl Touched {
    /// Begins to look.
    pub(crate) fn by(plan: &Plan) -> Self {
        let texts = searched(plan);
        let search = match texts.len() {
            // Nobody waits for so few.
            0..16 => Search::Here(texts),
            _ => apart(texts),
        };
        let (is_concurrent, is_empty) = (is_concurrent(plan), plan.steps.is_empty());
        Self { search, is_concurrent, is_empty }
    }

    fn relations(self) -> BTreeSet<String> {
        match self.search {
            Search::Here(texts) => all_relations(&texts),
            Search::Apart(thread) => {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            }
        }
    }
}

/// Looks in a thread of its own; where there is none to be had, later.
fn apart(texts: Vec<String>) -> Search {
    let texts = std::sync::Arc::new(texts);
    let theirs = std::sync::Arc::clone(&texts);
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
    match thread.spawn(move || all_relations(&theirs)) {
        Ok(thread) => Search::Apart(thread),
        Err(_) => Search::Here(texts.to_vec()),
    }
}

fn all_relations(texts: &[String]) -> BTreeSet<String> {
    texts.iter().flat_map(|text| relations(text)).collect()
}

/// Looks at what stands around the relations of a plan. A look that fails is itself a note.
pub(crate) async fn preflight(
    session: &mut Session,
    touched: Touched,
    long_ms: u64,
) -> Vec<String> {
    if touched.is_empty {
        return Vec::new();
    }
    let is_concurrent = touched.is_concurrent;
    match read_surroundings(session, &touched.relations(), long_ms).await {
        Ok(found) => notes(&found, is_concurrent),
        Err(fault) => vec![format!(
            "what stands around the tables of this plan could not be looked at: {fault}"
        )],
    }
}

/// The text that is searched for relations.
fn searched(plan: &Plan) -> Vec<String> {
    let mut left = SEARCHED_BYTES;
    let mut texts = Vec::new();
    for statement in plan.steps.iter().flat_map(|step| &step.statements) {
        let end = statement.sql.floor_char_boundary(SEARCHED_OF_STATEMENT);
        let Some(rest) = left.checked_sub(end) else { break };
        left = rest;
        texts.push(statement.sql[..end].to_owned());
    }
    texts
}

/// Whether a statement of the plan waits for every older transaction of the database.
fn is_concurrent(plan: &Plan) -> bool {
    use annals_migrations::StatementClass::Transactional;
    let mut statements = plan.steps.iter().flat_map(|step| &step.statements);
    statements.any(|statement| statement.class != Transactional)
}

fn notes(found: &Surroundings, concurrent: bool) -> Vec<String> {
    let mut notes = Vec::new();
    let relevant =
        found.transactions.iter().filter(|transaction| concurrent || !transaction.holds.is_empty());
    notes.extend(relevant.map(|transaction| long_transaction(transaction, concurrent)));
    notes.extend(found.prepared.iter().map(prepared));
    if found.hidden > 0 {
        notes.push(format!(
            "{} with locks on tables of this plan; for how long is not visible to this role (it \
             would be as a member of pg_read_all_stats)",
            counted(found.hidden, "session")
        ));
    }
    if !found.event_triggers.is_empty() {
        let triggers: Vec<String> = found.event_triggers.iter().map(event_trigger).collect();
        notes.push(format!("event triggers fire on DDL here: {}", triggers.join("; ")));
    }
    notes.extend(found.publications.iter().map(publication));
    notes.extend(found.slots.iter().map(slot));
    notes
}

fn counted(n: i64, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

fn long_transaction(transaction: &LongTransaction, concurrent: bool) -> String {
    let LongTransaction { pid, user, application, state, age_s, holds } = transaction;
    let application = match application.as_str() {
        "" => String::new(),
        name => format!(", application {name}"),
    };
    let effect = match (holds.is_empty(), concurrent) {
        (false, _) => format!("it holds locks on {}", holds.join(", ")),
        (true, _) => "a concurrent index build waits for it".to_owned(),
    };
    format!(
        "backend {pid} (role {user}{application}, {state}) has had a transaction open for {age_s} s: \
         {effect}"
    )
}

fn prepared(transaction: &PreparedTransaction) -> String {
    let PreparedTransaction { name, owner, age_s, holds } = transaction;
    let holds = match holds.as_slice() {
        [] => String::new(),
        holds => format!(" and holds locks on {}", holds.join(", ")),
    };
    format!(
        "the transaction {name:?} of {owner} has been prepared for {age_s} s{holds}; it lasts until \
         somebody ends it with COMMIT PREPARED or ROLLBACK PREPARED"
    )
}

fn event_trigger(trigger: &EventTrigger) -> String {
    let EventTrigger { name, event, function, owner } = trigger;
    format!("{name} ({event}, calls {function}, of {owner})")
}

fn publication(publication: &Publication) -> String {
    let Publication { name, all_tables, tables } = publication;
    match (all_tables, tables.as_slice()) {
        (true, _) => format!(
            "publication {name} publishes all tables, new ones too: subscribers do not get DDL"
        ),
        (false, tables) => {
            format!(
                "publication {name} publishes {}: subscribers do not get DDL",
                tables.join(", ")
            )
        }
    }
}

fn slot(slot: &ReplicationSlot) -> String {
    let ReplicationSlot { name, active, lag_bytes } = slot;
    let active = if *active { "active" } else { "not active, so the server keeps WAL for it" };
    let lag = lag_bytes.map(|lag| format!(", {} kB behind", lag / 1024)).unwrap_or_default();
    format!("replication slot {name}: {active}{lag}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_is_told_where_it_could_be_in_the_way() {
        let idle = LongTransaction {
            pid: 7,
            user: "app".to_owned(),
            application: "web".to_owned(),
            state: "idle in transaction".to_owned(),
            age_s: 90,
            holds: Vec::new(),
        };
        let found = Surroundings { transactions: vec![idle.clone()], ..Surroundings::default() };
        assert!(notes(&found, false).is_empty());
        let waits = "backend 7 (role app, application web, idle in transaction) has had a \
            transaction open for 90 s: a concurrent index build waits for it";
        assert_eq!(notes(&found, true), [waits]);
        let holds = LongTransaction { holds: vec!["t".to_owned()], ..idle };
        let found = Surroundings { transactions: vec![holds], ..Surroundings::default() };
        assert!(notes(&found, false)[0].ends_with("it holds locks on t"));
    }
}
