//! How large relations are.

use std::collections::BTreeSet;

use sqlx::Row;

use crate::fault::Fault;
use crate::session::Session;

const LARGE: &str = "SELECT n.name FROM pg_catalog.unnest($1::text[]) AS n(name), \
    LATERAL (SELECT pg_catalog.to_regclass(n.name) AS oid) AS r \
    WHERE r.oid IS NOT NULL AND coalesce((SELECT pg_catalog.sum(pg_catalog.pg_total_relation_size(t.relid)) \
    FROM pg_catalog.pg_partition_tree(r.oid) AS t), pg_catalog.pg_total_relation_size(r.oid)) >= $2::bigint";

impl Session {
    /// Of `names`, as statements spell them, those that are relations of `bytes` or more: all
    /// partitions, indexes and large values together.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub async fn large_relations(
        &mut self,
        names: &BTreeSet<String>,
        bytes: u64,
    ) -> Result<BTreeSet<String>, Fault> {
        let names: Vec<String> = names.iter().cloned().collect();
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let rows = sqlx::query(LARGE).bind(names).bind(bytes).fetch_all(self.connection()).await?;
        rows.iter().map(|row| row.try_get("name").map_err(Fault::from)).collect()
    }
}
