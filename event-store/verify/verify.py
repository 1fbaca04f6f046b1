#!/usr/bin/env python3
"""Verifies an annals event log with nothing but the Python standard library (3.8 or later).

    verify.py --key log.pub LOG [--known HEAD]... [--require-known N] [--checkpoint NOTE] [--json]

LOG is a folder (`segments/`, or `tile/entries/` where there are none), an export file, or `-` for an
export on standard input. Written from event-store/FORMAT.md alone; shares no code with annals.

Not checked: the members of `data` (but the blobs they name), whether events make sense together,
whether a time, an actor or a fact is true. Events of unknown kinds are checked like all others,
except for blobs, and counted.

Ends with 0 if all is well, 2 if it was called wrongly, and else with the number of the first damage
in CLASSES. One pass; memory does not grow with the log.
"""

import argparse
import base64
import binascii
import datetime
import hashlib
import json
import os
import re
import stat
import sys
from collections import OrderedDict, namedtuple

CLASSES = {
    "content": 20, "link": 21, "order": 22, "cut_tail": 23, "older_copy": 24, "fork": 25, "signature": 26,
    "unknown_key": 27, "not_enough_known": 28, "unreadable": 29, "nothing_to_check": 30, "not_what_was_signed": 31,
}
LINE_MAX, NOTE_MAX, SIGNATURES_MAX, DEPTH_MAX, INTEGER_MAX = 65_535, 65_536, 100, 32, 2**53 - 1
BESIDE_MAX = 10  # of what is beside the lines (blobs, tiles), so many damages are named
KINDS = set("""log_created target_registered plan_made run_started step_started statement_started
    statement_succeeded step_succeeded step_failed step_reconciled run_finished schema_recorded integrity_checked
    tail_repaired key_added key_retired checkpoint_anchored log_moved store_installed store_upgraded migrations_seen
    emergency_declared approval_given approval_revoked backup_taken backup_verified backup_failed
    backup_removed baseline_adopted drift_found drift_accepted proof_recorded restore_started target_restored backup_rekeyed
    emergency_finished emergency_rehearsed break_glass_used break_glass_reviewed approvers_changed
    rows_restore_started rows_restored external_backup_named""".split())
BLOBS = {"plan_made": "plan", "schema_recorded": "snapshot", "integrity_checked": "report",
         "migrations_seen": "set", "backup_taken": "manifest", "drift_found": "report",
         "drift_accepted": "report", "proof_recorded": "report", "approvers_changed": "list",
         "backup_rekeyed": "manifest"}
ORIGIN = re.compile(r"(?=.{1,200}\Z)[a-z0-9._-]+(/[a-z0-9._-]+)+\Z")
DIGEST = re.compile(r"[0-9a-f]{64}\Z")
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{6}Z\Z")
DECIMAL = re.compile(r"(0|[1-9][0-9]{0,15})\Z")


class Damage(Exception):
    """What is wrong, of which class, and with which event if it is with one."""

    def __init__(self, kind, message, seq=None):
        super().__init__(message)
        self.kind, self.message, self.seq = kind, message, seq


class Usage(Exception):
    """The script was called with something that cannot be used."""


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def shown(text):
    """Text from the log, cut and escaped: it may hold anything, and goes to a terminal."""
    return ascii(text if len(text) <= 80 else text[:80] + "...")


# --- Ed25519 (RFC 8032, 5.1), only to verify ---------------------------------------------------------

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P


def point(encoded):
    """The curve point of 32 bytes, or None if they are not the one spelling of a point."""
    y = int.from_bytes(encoded, "little")
    sign, y = y >> 255, y & (2**255 - 1)
    if y >= P:
        return None
    u, v = (y * y - 1) % P, (D * y * y + 1) % P
    x = u * v**3 * pow(u * v**7 % P, (P - 5) // 8, P) % P
    if v * x * x % P != u:
        x = x * pow(2, (P - 1) // 4, P) % P
    if v * x * x % P != u or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = P - x
    return x, y, 1, x * y % P


def add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def multiply(scalar, p):
    result = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = add(result, p)
        p, scalar = add(p, p), scalar >> 1
    return result


def signature_fits(public, message, signature):
    """Whether R is, byte by byte, the encoding of [S]B - [k]A; no S of ORDER or more."""
    a, s = point(public), int.from_bytes(signature[32:], "little")
    if a is None or len(signature) != 64 or s >= ORDER:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % ORDER
    base = point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))
    x, y, z, _ = add(multiply(s, base), multiply(k, (P - a[0], a[1], 1, P - a[3])))
    inverse = pow(z, P - 2, P)
    x, y = x * inverse % P, y * inverse % P
    return signature[:32] == (y | (x & 1) << 255).to_bytes(32, "little")


# --- Keys and signed heads ---------------------------------------------------------------------------

Key = namedtuple("Key", "name id public until")  # until: None, or the last size for each origin
Head = namedtuple("Head", "origin size root signers")


def strict_base64(text):
    """The bytes, or None unless `text` is their one spelling."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if base64.b64encode(data).decode() == text else None


def read_keys(path):
    """The keys file: one verifier key a line, a retired one followed by ` until <origin> <size>`."""
    keys = OrderedDict()
    for line in read_small(path, 1 << 20, Usage).decode("utf-8", "replace").split("\n"):
        if not line or line.startswith("#"):
            continue
        words = line.split(" ")
        name, identity, encoded = (words[0].split("+", 2) + ["", ""])[:3]
        data, until = strict_base64(encoded), {}
        for i in range(1, len(words), 3):
            origin, size = (words[i + 1:i + 3] + ["", ""])[:2]
            if words[i] != "until" or not ORIGIN.match(origin) or not DECIMAL.match(size) or origin in until:
                raise Usage(f"{path}: not `until <origin> <size>` in {shown(line)}")
            until[origin] = int(size)
        if not name or re.search(r"\s", name) or data is None or len(data) != 33 or data[0] != 1:
            raise Usage(f"{path}: not a verifier key: {shown(line)}")
        key = Key(name, sha256(name.encode(), b"\n", data)[:4], data[1:], until if len(words) > 1 else None)
        if key.id.hex() != identity or (name, key.id) in keys:
            raise Usage(f"{path}: the id does not fit its key, or the key is there twice: {shown(line)}")
        keys[name, key.id] = key
    if not keys:
        raise Usage(f"{path}: no key in it")
    return keys


def read_head(note, keys, what):
    """The head a signed note vouches for; raises unless a key that counts has signed it."""
    malformed = Damage("signature", f"{what} is not a signed checkpoint")
    try:
        text, _, signatures = note.decode("utf-8").rpartition("\n\n")
    except UnicodeDecodeError:
        raise malformed from None
    lines = signatures.split("\n")
    if len(note) > NOTE_MAX or any(byte < 32 and byte != 10 for byte in note) or lines.pop() != "":
        raise malformed
    if not text or not 1 <= len(lines) <= SIGNATURES_MAX:
        raise malformed
    text, signers = text + "\n", []
    for line in lines:
        dash, name, encoded = (line.split(" ") + ["", ""])[:3]
        data = strict_base64(encoded)
        if dash != "\u2014" or line.count(" ") != 2 or not name or re.search(r"[\s+]", name) or not data or len(data) < 5:
            raise malformed
        key = keys.get((name, data[:4]))
        if key and not signature_fits(key.public, text.encode(), data[4:]):
            raise Damage("signature", f"the signature of {shown(name)} does not fit {what}")
        signers += [key] if key else []
    if not signers:
        raise Damage("unknown_key", f"no key of the keys file has signed {what}")
    parts = text.split("\n")
    root = strict_base64(parts[2]) if len(parts) == 4 else None
    if root is None or len(root) != 32 or not ORIGIN.match(parts[0]) or not DECIMAL.match(parts[1]):
        raise malformed
    origin, size = parts[0], int(parts[1])
    counting = [key for key in signers if key.until is None or size <= key.until.get(origin, -1)]
    if not counting:
        raise Damage("unknown_key", f"{what} is of {size} events, signed only by a key that was retired before")
    return Head(origin, size, root, [f"{key.name}+{key.id.hex()}" for key in counting])


# --- Bytes to lines ----------------------------------------------------------------------------------

def open_regular(path):
    """A file for reading, refused unless it is one: a pipe or a device in a folder could block for ever."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise Damage("unreadable", f"{shown(os.fspath(path))} is not a file")
    return os.fdopen(handle, "rb")


def read_small(path, limit, error):
    try:
        with open(path, "rb") as file:
            data = file.read(limit + 1)
    except OSError as problem:
        raise error(f"{path}: {problem.strerror}") from None
    if len(data) > limit:
        raise error(f"{path}: more than {limit} bytes")
    return data


def lines_of(file, log, last):
    """The lines of a file, without LF. Bytes behind the last LF are a torn tail where a log may end."""
    while True:
        line = file.readline(LINE_MAX + 1)
        if line.endswith(b"\n"):
            yield line[:-1]
            continue
        size = len(line)
        while line and size > LINE_MAX:
            line = file.readline(LINE_MAX + 1)
            size += len(line)
            if line.endswith(b"\n"):
                raise Damage("content", f"a line of {size - 1} bytes", log.events)
        if size > LINE_MAX:
            raise Damage("content", f"{size} bytes without a line feed, which no line that was cut short has", log.events)
        if size and not last:
            raise Damage("content", "a segment that is not the last ends within a line", log.events)
        log.tail = size
        return


def has_segments(folder):
    try:
        return any(not name.startswith(".") for name in os.listdir(os.path.join(folder, "segments")))
    except OSError:
        return False


def lines_of_segments(folder, log):
    try:
        names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError:
        names = []
    if not names:
        raise Damage("unreadable", "neither segments/ nor tile/entries/ holds anything: this is not a log")
    for name in names:
        if not re.match(r"[0-9]{20}\.jsonl\Z", name):
            raise Damage("unreadable", f"{shown(name)} does not belong into segments/: this is not a log")
    for name in names:
        if int(name[:20]) != log.events:
            raise Damage("order", f"segment {name} follows {log.events} events", log.events)
        with open_regular(os.path.join(folder, name)) as file:
            yield from lines_of(file, log, name == names[-1])


def tile_path(index):
    parts = [f"{index % 1000:03}"]
    while index >= 1000:
        index //= 1000
        parts.insert(0, f"x{index % 1000:03}")
    return os.path.join(*parts)


def tile_widths(path):
    """What is stored of one tile or bundle: {width: path}."""
    widths = {256: path} if os.path.lexists(path) else {}
    if os.path.isdir(path + ".p"):
        widths.update((int(name), os.path.join(path + ".p", name)) for name in os.listdir(path + ".p")
                      if re.match(r"[1-9][0-9]{0,2}\Z", name) and int(name) < 256)
    return widths


def lines_of_bundles(folder, log):
    while True:
        widths = tile_widths(os.path.join(folder, tile_path(log.events // 256)))
        if not widths:
            return
        width = max(widths)
        with open_regular(widths[width]) as file:
            for _ in range(width):
                size = file.read(2)
                line = file.read(int.from_bytes(size, "big"))
                if len(size) != 2 or len(line) != int.from_bytes(size, "big"):
                    raise Damage("content", f"{widths[width]} holds less than {width} entries", log.events)
                yield line
            if file.read(1):
                raise Damage("content", f"{widths[width]} holds more than {width} entries", log.events)
        if width < 256:
            return


# --- One line ----------------------------------------------------------------------------------------

def integer(text):
    if len(text) > 17 or abs(int(text)) > INTEGER_MAX:
        raise ValueError(f"an integer beyond 2^53 - 1: {text[:20]}")
    return int(text)


def no_number(text):
    raise ValueError(f"a number that is not an integer: {text[:20]}")


def unique(pairs):
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key that is there twice")
    if any(not 0x20 <= ord(character) <= 0x7e or character in '"\\' for key in members for character in key):
        raise ValueError("a key that is not plain ASCII")
    return members


PARSER = json.JSONDecoder(object_pairs_hook=unique, parse_int=integer, parse_float=no_number, parse_constant=no_number)


def depth(value):
    inner = value.values() if type(value) is dict else value if type(value) is list else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


def parse_line(line):
    """The object of a line; raises ValueError unless the line is its canonical form."""
    if len(line) > LINE_MAX:
        raise ValueError(f"a line of {len(line)} bytes")
    try:
        event = PARSER.decode(line.decode("utf-8"))
        if type(event) is not dict:
            raise ValueError("not an object")
        if line.count(b"[") + line.count(b"{") > DEPTH_MAX and depth(event) > DEPTH_MAX + 1:
            raise ValueError("nested too deeply")
        # For what was accepted above, this is RFC 8785: keys sorted by byte, the same escapes, no white space.
        canonical = json.dumps(event, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode("utf-8")
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except json.JSONDecodeError as problem:
        raise ValueError(f"not JSON at character {problem.pos}") from None
    except UnicodeError:
        raise ValueError("not UTF-8") from None
    if canonical != line:
        raise ValueError("not the canonical spelling")
    return event


def matches(pattern):
    return lambda value: type(value) is str and bool(pattern.match(value))


def is_time(value):
    try:
        # A calendar repeats after 400 years, and `datetime` knows no year 0.
        return matches(TIME)(value) and bool(datetime.date(2000 + int(value[:4]) % 400, int(value[5:7]), int(value[8:10])))
    except ValueError:
        return False


def is_object(value, **members):
    return type(value) is dict and value.keys() == members.keys() and all(check(value[name]) for name, check in members.items())


def is_string(value):
    return type(value) is str


def is_integer(value, limit=INTEGER_MAX):
    return type(value) is int and 0 <= value <= limit


def is_u32(value):
    return is_integer(value, 2**32 - 1)


ENVELOPE = {
    "actor": lambda value: is_object(value, host=is_string, name=is_string, tool=is_string),
    "data": lambda value: type(value) is dict,
    "id": matches(UUID),
    "incarnation": is_integer,
    "kind": is_string,
    "occurred_at": is_time,
    "origin": matches(ORIGIN),
    "prev": matches(DIGEST),
    "recorded_at": is_time,
    "schema": is_u32,
    "seq": is_integer,
    "target": lambda value: value is None or is_object(
        value, database=is_string, system_identifier=is_string, timeline=is_u32),
}


def parse_event(line, seq):
    """The event of a line that stands at `seq`, its form and that of its envelope checked."""
    try:
        event = parse_line(line)
    except ValueError as problem:
        raise Damage("content", str(problem), seq) from None
    wrong = sorted(event.keys() ^ ENVELOPE.keys()) or [name for name in ENVELOPE if not ENVELOPE[name](event[name])]
    if wrong:
        raise Damage("content", f"the member {shown(wrong[0])} of the envelope is missing, unknown or of the wrong form", seq)
    return event


# --- The log -----------------------------------------------------------------------------------------

class Log:
    """Chain and tree of what was read so far, and what is stored beside the lines."""

    def __init__(self, folder, sizes):
        self.folder, self.events, self.bytes, self.tail, self.hashes = folder, 0, 0, 0, 0
        self.prev, self.recorded_at, self.origin, self.format = bytes(32), "", None, 1
        self.not_understood, self.blobs, self.tiles, self.beside = 0, 0, 0, []
        self.roots, self.stack = {size: sha256() for size in sizes}, []  # the stack: (height, hash) of whole subtrees
        self.levels, self.bundle, self.good_blobs = [], None, OrderedDict()

    def append(self, line):
        event = self.check(line)
        leaf = sha256(b"\0", line)
        if event["kind"] == "log_created":
            declared = event["data"].get("format")
            self.format = declared if is_u32(declared) else 1
        understood = event["kind"] in KINDS and event["schema"] == 1 and self.format == 1
        self.not_understood += not understood
        if understood and event["kind"] in BLOBS:
            self.check_blob(event["kind"], event["data"].get(BLOBS[event["kind"]]))
        self.prev, self.recorded_at, self.origin = leaf, event["recorded_at"], event["origin"]
        self.bytes += len(line) + 1
        self.check_bundle(line)
        self.grow(leaf)
        self.events += 1
        if self.events in self.roots:
            self.roots[self.events] = self.root()

    def check(self, line):
        event = parse_event(line, self.events)
        if event["seq"] != self.events:
            raise Damage("order", f"event {event['seq']} stands at place {self.events}", self.events)
        if event["prev"] != self.prev.hex():
            raise Damage("link", "it does not continue the event before it", self.events)
        if event["recorded_at"] <= self.recorded_at:
            raise Damage("order", "it is not later than the event before it", self.events)
        if self.origin not in (None, event["origin"]):
            raise Damage("order", f"it is of another log, {shown(event['origin'])}", self.events)
        if (event["kind"] == "log_created") != (self.events == 0):
            raise Damage("order", "log_created is not the first event, or not the only one", self.events)
        return event

    def grow(self, node, height=0):
        self.check_tile(0, node)
        while self.stack and self.stack[-1][0] == height:
            node, height = sha256(b"\1", self.stack.pop()[1], node), height + 1
            self.hashes += 1
            if height % 8 == 0:
                self.check_tile(height // 8, node)
        self.hashes += 1
        self.stack.append((height, node))

    def root(self):
        node = None
        for _, left in reversed(self.stack):
            node = left if node is None else sha256(b"\1", left, node)
        return node or sha256()

    def check_blob(self, kind, reference):
        if not is_object(reference, digest=matches(DIGEST), size=is_integer):
            raise Damage("content", f"{kind} names no blob", self.events)
        digest, size = reference["digest"], reference["size"]
        self.blobs += 1
        if not self.folder or self.good_blobs.get(digest) == size or len(self.beside) == BESIDE_MAX:
            return
        try:
            with open_regular(os.path.join(self.folder, "blobs", "sha256", digest)) as file:
                stored = os.fstat(file.fileno()).st_size
                if stored != size:
                    problem = f"has {stored} bytes, the event says {size}"
                else:
                    problem = None if digest_of(file) == digest else "has other content than its name says"
        except (OSError, Damage):
            problem = "cannot be read"
        if problem:
            self.beside.append(Damage("content", f"blob {digest} {problem}", self.events))
            return
        self.good_blobs[digest] = size
        if len(self.good_blobs) > 50_000:
            self.good_blobs.popitem(last=False)

    def check_tile(self, level, node):
        """Compares the tiles that end with this hash with what the lines give."""
        if not self.folder:
            return
        if level == len(self.levels):
            self.levels.append([0, bytearray(), {}])
        index, hashes, widths = self.levels[level]
        path = os.path.join(self.folder, "tile", str(level), tile_path(index))
        if not hashes:
            widths = self.levels[level][2] = tile_widths(path)
        hashes += node
        width = len(hashes) // 32
        if width in widths:
            self.compare(widths[width], len(hashes), sha256(hashes).hex(), index * 256 ** (level + 1))
        if width == 256:
            self.levels[level] = [index + 1, bytearray(), {}]

    def check_bundle(self, line):
        if not self.folder:
            return
        if self.events % 256 == 0:
            path = os.path.join(self.folder, "tile", "entries", tile_path(self.events // 256))
            self.bundle = [hashlib.sha256(), 0, tile_widths(path)]
        self.bundle[0].update(len(line).to_bytes(2, "big") + line)
        self.bundle[1] += 2 + len(line)
        path = self.bundle[2].get(self.events % 256 + 1)
        if path:
            self.compare(path, self.bundle[1], self.bundle[0].hexdigest(), self.events // 256 * 256)

    def compare(self, path, size, digest, seq):
        self.tiles += 1
        try:
            with open_regular(path) as file:
                same = os.fstat(file.fileno()).st_size == size and digest_of(file) == digest
        except (OSError, Damage):
            same = False
        if not same and len(self.beside) < BESIDE_MAX:
            self.beside.append(Damage("content", f"{path} is not what the lines give", seq))


def digest_of(file):
    digest = hashlib.sha256()
    for chunk in iter(lambda: file.read(1 << 16), b""):
        digest.update(chunk)
    return digest.hexdigest()


# --- The verdict -------------------------------------------------------------------------------------

def split_export(file):
    """The note at the head of an export, or None for bare lines; leaves the file at the first line."""
    if file.peek(1)[:1] in (b"{", b""):
        return None
    note, signed = b"", False
    while len(note) <= NOTE_MAX:
        line = file.readline(NOTE_MAX + 1)
        if line == b"\n" and signed:
            return note
        note += line
        signed = signed or line.startswith("\u2014 ".encode())
        if not line:
            if signed:
                return note
            break
    raise Damage("unreadable", "neither a checkpoint nor an event at the beginning")


def verify(options, keys, result):
    """Reads everything, fills `result`, returns every damage in the order of FORMAT.md's "Verifying"."""
    folder, file, note, found = None, None, None, []
    if options.log != "-" and os.path.isdir(options.log):
        folder = options.log
        path = os.path.join(folder, "checkpoint")
        if os.path.lexists(path):
            with open_regular(path) as stored:
                note = stored.read(NOTE_MAX + 1)
    else:
        file = sys.stdin.buffer if options.log == "-" else open(options.log, "rb")
        note = split_export(file)
    if options.checkpoint and note is not None:
        raise Usage("--checkpoint is for lines without one; give another head you hold as --known")
    if options.checkpoint:
        note = read_small(options.checkpoint, NOTE_MAX, Usage)

    head, known, refused = None, [], []
    try:
        if note is None:
            raise Damage("signature", "there is no checkpoint: nobody vouches for these lines")
        head = read_head(note, keys, "the checkpoint")
    except Damage as damage:
        refused.append(damage)
    for path in options.known:
        try:
            known.append((path, read_head(read_small(path, NOTE_MAX, Usage), keys, f"the known head {path}")))
        except Damage as damage:
            refused.append(damage)

    log = Log(folder, {each.size for each in [head] + [each for _, each in known] if each})
    whole = True
    try:
        if file:
            lines = lines_of(file, log, True)
        elif has_segments(folder) or not os.path.isdir(os.path.join(folder, "tile", "entries")):
            lines = lines_of_segments(os.path.join(folder, "segments"), log)
        else:
            lines = lines_of_bundles(os.path.join(folder, "tile", "entries"), log)
        for line in lines:
            log.append(line)
    except Damage as damage:
        whole = False
        found.append(damage)
    if not log.events and whole:
        found.append(Damage("nothing_to_check", "there is no event"))
    found += refused

    signed = covered = 0
    if head and log.events:
        standing = compare(log, head)
        if head.origin != log.origin:
            found.append(Damage("order", f"the checkpoint is of another log, {head.origin}", 0))
        elif standing == "same":
            signed = head.size
        elif standing == "other":
            found.append(Damage("not_what_was_signed", f"the first {head.size} events are not those the checkpoint vouches for"))
        elif whole:
            found.append(Damage("cut_tail", f"{log.events} whole events, the checkpoint vouches for {head.size}", log.events))
    fitting_sizes = set()  # the same head from two places is one witness
    for path, each in known if log.events else []:
        standing = compare(log, each)
        if each.origin != log.origin:
            found.append(Damage("order", f"the known head {path} is of another log, {each.origin}", 0))
        elif head and each.origin == head.origin and each.size == head.size and each.root != head.root:
            found.append(Damage("fork", f"the checkpoint and the known head {path} name two roots of {each.size} events"))
        elif standing == "same":
            covered = max(covered, each.size)
            fitting_sizes.update({each.size} - {0})  # a head of no event fits every log
        elif standing == "other" and each.size <= signed:
            found.append(Damage("fork", f"the checkpoint's first {each.size} events are not those of the known head {path}"))
        elif standing == "other":
            found.append(Damage("not_what_was_signed", f"the first {each.size} events are not those of the known head {path}"))
        elif whole:
            found.append(Damage("older_copy", f"{log.events} whole events, the known head {path} has {each.size}", log.events))
    if head and log.events and not found and not signed and not covered:
        found.append(Damage("nothing_to_check", "the checkpoint vouches for no event"))
    found += log.beside
    fitting = len(fitting_sizes)
    if fitting < options.require_known:
        found.append(Damage("not_enough_known", f"{fitting} known heads fit, {options.require_known} are required"))

    result.update(
        origin=log.origin, format=log.format, events=log.events, bytes=log.bytes, tail_bytes=log.tail, hashes=log.hashes,
        root=log.root().hex(), signed=signed, signed_root=head.root.hex() if head else None,
        signers=head.signers if head else [], known=fitting, known_covers=covered, not_covered=log.events - covered,
        not_understood=log.not_understood, blobs_named=log.blobs, blobs_checked=bool(folder), tiles_checked=log.tiles,
        tiles_not_read=(sum(len(names) for _, _, names in os.walk(os.path.join(folder, "tile"))) - log.tiles) if folder else 0)
    return found


def compare(log, head):
    """How the lines stand to a head: `same`, `other`, or `short` of its size."""
    if head.size > log.events:
        return "short"
    return "same" if (head.origin, head.root) == (log.origin, log.roots[head.size]) else "other"


def report(result, found):
    """The verdict for people: a line for each damage, or OK, then what was read."""
    lines = []
    for damage in found:
        place = "" if damage.seq is None else f" at event {damage.seq}"
        lines.append(f"DAMAGED{place}: {damage.message} ({damage.kind}, {CLASSES[damage.kind]})")
    if not result:
        return lines
    events, covered = result["events"], result["known_covers"]
    vouched = max(result["signed"], covered)
    if found:
        lines.append(f"  read         {events} events in good form and order, {result['bytes']} bytes")
    else:
        lines.append(f"OK: {result['origin']} is what was signed: {events} events, {result['bytes']} bytes")
    signers = ", ".join(map(shown, result["signers"])) or "nobody known"
    lines.append(f"  root         {result['root']}, {result['hashes']} hashes")
    lines.append(f"  signed       {result['signed']} events; the checkpoint is signed by {signers}")
    lines.append(f"  known heads  {result['known']} fit, they cover {covered} events")
    if events > covered:
        lines.append(f"  not covered  events {covered} to {events - 1}: no known head stands for them")
    if events > vouched:
        lines.append(f"  unsigned     events {vouched} to {events - 1}: they are chained, nobody vouches for them")
    lines.append(f"  blobs        {result['blobs_named']} named" + ("" if result["blobs_checked"] else ", none at hand: not checked"))
    lines.append(f"  tiles        {result['tiles_checked']} compared, {result['tiles_not_read']} files not: beyond the events, or no tiles")
    if result["not_understood"]:
        lines.append(f"  newer        {result['not_understood']} events of a kind, schema or format this script does not know")
    if result["tail_bytes"]:
        lines.append(f"  torn tail    {result['tail_bytes']} bytes behind the last event; they are not one")
    return lines


def main():
    parser = argparse.ArgumentParser(description="Verifies an annals event log.", allow_abbrev=False)
    parser.add_argument("log", help="folder, export file, or - for standard input")
    parser.add_argument("--key", required=True, help="keys file, from elsewhere than the log")
    parser.add_argument("--known", action="append", default=[], help="a checkpoint that was kept elsewhere; repeatable")
    parser.add_argument("--require-known", type=int, default=0, metavar="N", help="how many known heads must fit")
    parser.add_argument("--checkpoint", help="the checkpoint of a log that comes without one")
    parser.add_argument("--json", action="store_true")
    options, result = parser.parse_args(), {}
    sys.stdout.reconfigure(errors="backslashreplace")
    try:
        found = verify(options, read_keys(options.key), result)
    except Usage as problem:
        print(f"verify.py: {problem}", file=sys.stderr)
        return 2
    except Damage as damage:
        found = [damage]
    except OSError as problem:
        found = [Damage("unreadable", f"{shown(os.fspath(problem.filename or options.log))}: {problem.strerror}")]
    if options.json:
        damages = [{"class": each.kind, "code": CLASSES[each.kind], "seq": each.seq, "message": each.message} for each in found]
        print(json.dumps({"verdict": found[0].kind if found else "ok", "damages": damages, **result}, sort_keys=True))
    else:
        sys.stdout.write("\n".join(report(result, found)) + "\n")
    return CLASSES[found[0].kind] if found else 0


if __name__ == "__main__":
    sys.exit(main())
