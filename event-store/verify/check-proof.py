#!/usr/bin/env python3
"""Verifies the evidence for one event, a `.tlog-proof` (c2sp.org/tlog-proof@v1), against pinned keys.

    check-proof.py --key log.pub PROOF

Needs Python 3.8 or later and verify.py beside it. Prints the event if the proof holds: the log that the
key stands for held exactly this event at this place when it signed a head of that size. Says nothing of
the events before and behind it. All but ASCII is escaped in what is printed; the exact line is `extra`.

Ends with 0 if all is well, 2 if it was called wrongly, 20 if the line is not an event, 22 if it is of another
place or log, 26 and 27 as verify.py (signature, unknown key), 29 if this is not a proof, 31 if the event is
not in the tree that was signed.
"""

import argparse
import json
import os
import sys

sys.dont_write_bytecode = True
import verify
from verify import Damage, sha256

PROOF_MAX = 256 * 1024  # a line in base64, 64 hashes and a note need less


def read_proof(data):
    """The line, its index, the hashes from the leaf's sibling upwards, and the note."""
    header, _, note = data.partition(b"\n\n")
    lines = header.decode("ascii", "replace").split("\n")
    if lines.pop(0) != "c2sp.org/tlog-proof@v1":
        raise Damage("unreadable", "not a proof of the form c2sp.org/tlog-proof@v1")
    if not lines or not lines[0].startswith("extra "):
        raise Damage("unreadable", "the proof does not hold the event: it has no `extra`")
    line = verify.strict_base64(lines.pop(0)[len("extra "):])
    index = lines.pop(0) if lines else ""
    hashes = [verify.strict_base64(each) for each in lines]
    if line is None or not index.startswith("index ") or not verify.DECIMAL.match(index[len("index "):]):
        raise Damage("unreadable", "`extra` or `index` of the proof is malformed")
    if len(hashes) > 64 or any(each is None or len(each) != 32 for each in hashes):
        raise Damage("unreadable", "the hashes of the proof are malformed")
    return line, int(index[len("index "):]), hashes, note


def root_of(leaf, index, size, hashes):
    """The root of `size` leaves that holds `leaf` at `index`, or None if the proof is not of that shape."""
    if index >= size:
        return None
    node, last = leaf, size - 1
    for sibling in hashes:
        if last == 0:
            return None
        if index % 2 or index == last:
            node = sha256(b"\1", sibling, node)
            while index % 2 == 0 and index:
                index, last = index // 2, last // 2
        else:
            node = sha256(b"\1", node, sibling)
        index, last = index // 2, last // 2
    return node if last == 0 else None


def check(path, keys):
    with open(path, "rb") as file:
        data = file.read(PROOF_MAX + 1)
    if len(data) > PROOF_MAX:
        raise Damage("unreadable", f"more than {PROOF_MAX} bytes")
    line, index, hashes, note = read_proof(data)
    head = verify.read_head(note, keys, "the checkpoint of the proof")
    event = verify.parse_event(line, index)
    if event["seq"] != index or event["origin"] != head.origin:
        raise Damage("order", f"it is event {event['seq']} of {event['origin']}, the proof is for {index} of {head.origin}", index)
    if root_of(sha256(b"\0", line), index, head.size, hashes) != head.root:
        raise Damage("not_what_was_signed", "it is not in the tree that was signed", index)
    return event, head


def main():
    parser = argparse.ArgumentParser(description="Verifies the proof of one event.", allow_abbrev=False)
    parser.add_argument("proof")
    parser.add_argument("--key", required=True, help="keys file, from elsewhere than the proof")
    options = parser.parse_args()
    try:
        event, head = check(options.proof, verify.read_keys(options.key))
    except verify.Usage as problem:
        print(f"check-proof.py: {problem}", file=sys.stderr)
        return 2
    except OSError as problem:
        damage = Damage("unreadable", f"{verify.shown(os.fspath(problem.filename or options.proof))}: {problem.strerror}")
    except Damage as problem:
        damage = problem
    else:
        signers = ", ".join(map(verify.shown, head.signers))
        print(f"OK: this event is in {head.origin} of {head.size} events, signed by {signers}")
        print(json.dumps(event, sort_keys=True, separators=(",", ":")))
        return 0
    place = "" if damage.seq is None else f" at event {damage.seq}"
    print(f"DAMAGED{place}: {damage.message} ({damage.kind}, {verify.CLASSES[damage.kind]})")
    return verify.CLASSES[damage.kind]


if __name__ == "__main__":
    sys.exit(main())
