//! The contract of every home, held by a database.

annals_conformance::conformance!(crate::home::in_database);
