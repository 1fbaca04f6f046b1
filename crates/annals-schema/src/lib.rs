//! A picture of a database's schema: snapshot, fingerprint, diff.
