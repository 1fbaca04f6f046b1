//! The rules, one file each.

pub(crate) mod add_constraint_scans;
pub(crate) mod column_dropped;
pub(crate) mod column_type_changed;
pub(crate) mod index_blocks_writes;
pub(crate) mod name_changed;
pub(crate) mod not_null_scans;
pub(crate) mod rows_without_where;
pub(crate) mod table_dropped;
