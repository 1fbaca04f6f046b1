//! All that is said to a live target: session guards, lock, ledger, catalog, sandbox server.
