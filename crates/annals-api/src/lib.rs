//! Public, versioned documents: what annals prints as JSON, and its exit codes.
