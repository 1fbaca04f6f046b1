#!/bin/sh
# Written by `annals init --hook`: no commit of migrations that a pipeline would refuse.
# `git commit --no-verify` goes around it.
if git diff --cached --quiet -- '@BELOW@@MIGRATIONS@' '@BELOW@@ROLLBACKS@' '@BELOW@annals.toml'; then
    exit 0
fi
@ENTER@exec annals ci validate
