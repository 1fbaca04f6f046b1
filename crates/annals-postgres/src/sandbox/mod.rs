//! A private PostgreSQL: found where it is installed, started in a folder of its own, gone when
//! asked and after a crash.
//!
//! PostgreSQL refuses to run as root; as root the server runs as the user `postgres`.

mod binaries;
mod server;

pub use binaries::{Binaries, INSTALL_LINE, find_binaries};
pub use server::{Lifetime, Sandbox, SandboxError, SandboxOptions, default_folder, lock_folder};

/// Makes a plain PostgreSQL look like Supabase to migrations: roles, `auth`, `storage`, grants.
pub(crate) const SUPABASE_SQL: &str = include_str!("supabase.sql");
