//! A private PostgreSQL: found where it is installed, started in a folder of its own, gone when
//! asked and after a crash.
//!
//! PostgreSQL refuses to run as root; as root the server runs as the user `postgres`.

mod binaries;
mod databases;
mod error;
mod identity;
mod likeness;
mod process;
mod server;
mod template;

pub(crate) use binaries::distribution_folders;
pub use binaries::{
    Binaries, INSTALL_LINE, InstalledServer, InstalledServers, ServerPlaces, find_binaries,
    install_line, major_of,
};
pub use databases::Databases;
pub use error::SandboxError;
pub use likeness::{Likeness, LocaleProvider, RoleSetting, Unlike, read_likeness};
pub use server::{Lifetime, Sandbox, SandboxOptions, default_folder, lock_folder};
pub use template::cache_folder;

/// Makes a plain PostgreSQL look like Supabase to migrations: roles, `auth`, `storage`, grants.
pub(crate) const SUPABASE_SQL: &str =
    concat!(include_str!("supabase.sql"), "\n", include_str!("supabase_schemas.sql"));

/// The part of it that is about schemas a project does not manage.
pub(crate) const SUPABASE_SCHEMAS_SQL: &str = include_str!("supabase_schemas.sql");
