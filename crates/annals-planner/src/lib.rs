//! Files and history in, a plan or a refusal out.
