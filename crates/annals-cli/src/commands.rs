//! One file a command; its doc comment is its help.

pub(crate) mod adopt;
pub(crate) mod completions;
pub(crate) mod create;
pub(crate) mod diff;
pub(crate) mod drift;
pub(crate) mod explain;
pub(crate) mod export;
pub(crate) mod history;
pub(crate) mod init;
pub(crate) mod keys;
pub(crate) mod locks;
pub(crate) mod log;
pub(crate) mod migrate;
pub(crate) mod plan;
pub(crate) mod progress;
pub(crate) mod proof;
pub(crate) mod render;
pub(crate) mod rollback;
pub(crate) mod sandbox;
pub(crate) mod schema;
pub(crate) mod source;
pub(crate) mod state;
pub(crate) mod status;
pub(crate) mod target;
pub(crate) mod timeline;
pub(crate) mod verify;
