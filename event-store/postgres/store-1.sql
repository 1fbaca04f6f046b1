-- The PostgreSQL home of annals event logs, format 1.
--
-- One database can hold many logs; each is named by its origin, <workspace>/<target>. What a line
-- is, how lines are linked and what a checkpoint vouches for is FORMAT.md, one folder up: the same
-- bytes as in a folder of files.
--
-- The bytes are the truth: lines, notes and content are bytea. Nothing here is jsonb or
-- timestamptz, which would keep a meaning and lose the spelling that was hashed. There is no
-- sequence either: numbers come from the one row of log_head, so they have no gaps.
--
-- annals runs this file inside one transaction, in which the schema annals is there and the role
-- that is to own all of this is the current one. rights.sql follows.
--
-- Functions that are SECURITY DEFINER have a fixed search_path and name everything in full. They
-- hold no backslash and compare nothing with NULL, so that no setting of the caller's session
-- changes what they mean.

-- The format of these tables and functions. Not to be mistaken for the format of the log itself,
-- nor for that of annals.ledger, which may live in the same schema.
CREATE TABLE annals.log_store (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    format   integer NOT NULL CHECK (format > 0)
);
COMMENT ON TABLE annals.log_store IS
    'The format of the tables and functions named log_… in this schema.';

-- The right edge of each log. Whoever appends locks this row, so appends come one after another.
CREATE TABLE annals.log_head (
    origin      text COLLATE "C" PRIMARY KEY
                CHECK (origin ~ '^[a-z0-9._-]+(/[a-z0-9._-]+)+$' AND length(origin) <= 200),
    -- Number of events; also the seq of the next one.
    size        bigint NOT NULL CHECK (size >= 0),
    -- Leaf hash of the last event, 32 zero bytes for none: the prev of the next one.
    leaf        bytea  NOT NULL CHECK (octet_length(leaf) = 32),
    -- RFC 6962: the roots of the perfect subtrees, largest first, 32 bytes each, one for each one
    -- bit of size. Enough to go on, and to know the root, without reading the log.
    edge        bytea  NOT NULL CHECK (octet_length(edge) % 32 = 0),
    -- recorded_at of the last event, in microseconds since 1970-01-01T00:00:00Z.
    recorded_at bigint CHECK ((recorded_at IS NULL) = (size = 0))
) WITH (fillfactor = 50);
COMMENT ON TABLE annals.log_head IS 'The right edge of each log: what the next event continues.';

-- The events.
CREATE TABLE annals.log_event (
    origin text COLLATE "C" NOT NULL REFERENCES annals.log_head (origin),
    seq    bigint NOT NULL CHECK (seq >= 0),
    -- The event's own id, taken from the line: an append whose outcome was lost is found by it.
    id     uuid   NOT NULL,
    -- The stored line without its line feed. This is what is hashed.
    line   bytea  NOT NULL CHECK (octet_length(line) BETWEEN 2 AND 65535),
    -- SHA-256(0x00 || line).
    leaf   bytea  NOT NULL CHECK (octet_length(leaf) = 32),
    PRIMARY KEY (origin, seq),
    UNIQUE (origin, id)
);
COMMENT ON TABLE annals.log_event IS 'The events of each log. Append only, by annals.log_append.';

-- The signed heads, all of them; the one with the highest number is in force.
CREATE TABLE annals.log_checkpoint (
    origin text COLLATE "C" NOT NULL REFERENCES annals.log_head (origin),
    number bigint NOT NULL CHECK (number >= 0),
    -- Events the note vouches for.
    size   bigint NOT NULL CHECK (size > 0),
    -- The C2SP signed note, as it is.
    note   bytea  NOT NULL CHECK (octet_length(note) <= 65536),
    PRIMARY KEY (origin, number)
);
COMMENT ON TABLE annals.log_checkpoint IS
    'The signed heads of each log, the newest with the highest number. Append only, by annals.log_publish.';

-- Content the events name by digest.
CREATE TABLE annals.log_blob (
    -- SHA-256 of the content.
    digest  bytea PRIMARY KEY CHECK (octet_length(digest) = 32),
    content bytea NOT NULL
);
COMMENT ON TABLE annals.log_blob IS
    'Content that events name by its SHA-256. Append only, by annals.log_put_blob.';

-- Hashes two subtrees into one: SHA-256(0x01 || left || right).
CREATE FUNCTION annals.log_node(p_left bytea, p_right bytea) RETURNS bytea
    LANGUAGE sql IMMUTABLE STRICT
    SET search_path = pg_catalog, pg_temp
    AS $function$ SELECT sha256(decode('01', 'hex') || p_left || p_right) $function$;

-- Adds a leaf to the edge of a tree of p_size leaves. Each trailing one bit of the size is a
-- perfect subtree that the new leaf completes.
CREATE FUNCTION annals.log_push(p_size bigint, p_edge bytea, p_leaf bytea) RETURNS bytea
    LANGUAGE plpgsql IMMUTABLE STRICT
    SET search_path = pg_catalog, pg_temp
    AS $function$
DECLARE
    hash  bytea  := p_leaf;
    rest  bytea  := p_edge;
    bits  bigint := p_size;
    total integer;
BEGIN
    WHILE bits % 2 = 1 LOOP
        total := octet_length(rest);
        hash := annals.log_node(substring(rest FROM total - 31 FOR 32), hash);
        rest := substring(rest FROM 1 FOR total - 32);
        bits := bits / 2;
    END LOOP;
    RETURN rest || hash;
END
$function$;

-- The RFC 6962 root over a tree with this edge.
CREATE FUNCTION annals.log_root(p_edge bytea) RETURNS bytea
    LANGUAGE plpgsql IMMUTABLE STRICT
    SET search_path = pg_catalog, pg_temp
    AS $function$
DECLARE
    at   integer := octet_length(p_edge) - 32;
    root bytea;
BEGIN
    IF at < 0 THEN
        RETURN sha256(decode('', 'hex'));
    END IF;
    root := substring(p_edge FROM at + 1 FOR 32);
    WHILE at > 0 LOOP
        at := at - 32;
        root := annals.log_node(substring(p_edge FROM at + 1 FOR 32), root);
    END LOOP;
    RETURN root;
END
$function$;

-- Takes a line apart, and refuses what is not spelled as an envelope of FORMAT.md: the twelve
-- members in their order, none twice, nothing between them. The payload is only parsed; whoever
-- opens the log judges all of it.
CREATE FUNCTION annals.log_envelope(
    p_line bytea,
    OUT seq bigint, OUT prev bytea, OUT origin text, OUT id uuid, OUT kind text,
    OUT recorded_at bigint
)
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    AS $function$
DECLARE
    spelled text;
    line    json;
    moment  text;
    time_form CONSTANT text :=
        '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[.][0-9]{6}Z$';
    number_form CONSTANT text := '^(0|[1-9][0-9]{0,15})$';
BEGIN
    IF p_line IS NULL OR octet_length(p_line) > 65535 THEN
        RAISE EXCEPTION 'a line has at most 65535 bytes' USING ERRCODE = 'AN002';
    END IF;
    -- A line may hold an escaped NUL, which the server cannot unescape; here it may be any other
    -- control character, as nothing that is read below holds one.
    spelled := replace(convert_from(p_line, 'UTF8'), chr(92) || 'u0000', chr(92) || 'u0001');
    line := spelled::json;
    moment := line ->> 'recorded_at';
    IF ((line ->> 'id') ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
        AND (line ->> 'prev') ~ '^[0-9a-f]{64}$'
        AND (line ->> 'occurred_at') ~ time_form
        AND moment ~ time_form
        AND (line -> 'incarnation')::text ~ number_form
        AND (line -> 'schema')::text ~ number_form
        AND (line -> 'seq')::text ~ number_form
        AND json_typeof(line -> 'kind') = 'string'
        AND spelled = '{"actor":' || (line -> 'actor')::text
            || ',"data":' || (line -> 'data')::text
            || ',"id":"' || (line ->> 'id')
            || '","incarnation":' || (line -> 'incarnation')::text
            || ',"kind":' || (line -> 'kind')::text
            || ',"occurred_at":"' || (line ->> 'occurred_at')
            || '","origin":"' || (line ->> 'origin')
            || '","prev":"' || (line ->> 'prev')
            || '","recorded_at":"' || moment
            || '","schema":' || (line -> 'schema')::text
            || ',"seq":' || (line -> 'seq')::text
            || ',"target":' || (line -> 'target')::text || '}'
    ) IS NOT TRUE THEN
        RAISE EXCEPTION 'the line is not spelled as an event' USING ERRCODE = 'AN002';
    END IF;
    IF to_char(substring(moment FROM 1 FOR 19)::timestamp, 'YYYY-MM-DD"T"HH24:MI:SS')
        <> substring(moment FROM 1 FOR 19)
    THEN
        RAISE EXCEPTION 'recorded_at is not a moment' USING ERRCODE = 'AN002';
    END IF;
    seq := (line -> 'seq')::text::bigint;
    prev := decode(line ->> 'prev', 'hex');
    origin := line ->> 'origin';
    id := (line ->> 'id')::uuid;
    kind := line ->> 'kind';
    -- Whole seconds and microseconds apart: before PostgreSQL 14 extract gives a float.
    recorded_at :=
        extract(epoch FROM substring(moment FROM 1 FOR 19)::timestamp)::bigint * 1000000
        + substring(moment FROM 21 FOR 6)::bigint;
END
$function$;

-- Whether an event recorded at p_recorded_at may follow p_head.
CREATE FUNCTION annals.log_check_time(p_head annals.log_head, p_recorded_at bigint) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    AS $function$
BEGIN
    IF p_recorded_at <= p_head.recorded_at THEN
        RAISE EXCEPTION 'event % is not recorded after the event before it', p_head.size
            USING ERRCODE = 'AN002';
    END IF;
END
$function$;

-- Begins a log without events; false if there is one. The transaction must go on to append and to
-- publish: see log_head_is_whole.
CREATE FUNCTION annals.log_begin(p_origin text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $function$
BEGIN
    INSERT INTO annals.log_head (origin, size, leaf, edge)
        VALUES (p_origin, 0, decode(repeat('00', 32), 'hex'), decode('', 'hex'))
        ON CONFLICT (origin) DO NOTHING;
    RETURN FOUND;
END
$function$;

-- Locks a log against all who append or publish until the transaction ends, and reads its right
-- edge, the size that is signed, and then the clock, in microseconds since 1970.
CREATE FUNCTION annals.log_lock(
    p_origin text,
    OUT size bigint, OUT leaf bytea, OUT edge bytea, OUT recorded_at bigint, OUT signed bigint,
    OUT clock bigint
)
    RETURNS SETOF record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $function$
DECLARE
    reading timestamptz;
BEGIN
    SELECT h.size, h.leaf, h.edge, h.recorded_at INTO size, leaf, edge, recorded_at
        FROM annals.log_head h WHERE h.origin = p_origin FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT c.size INTO signed
        FROM annals.log_checkpoint c WHERE c.origin = p_origin ORDER BY c.number DESC LIMIT 1;
    signed := coalesce(signed, 0);
    reading := clock_timestamp();
    clock := extract(epoch FROM date_trunc('second', reading))::bigint * 1000000
        + (extract(microseconds FROM reading)::bigint % 1000000);
    RETURN NEXT;
END
$function$;

-- Appends p_lines behind the event whose leaf hash is p_leaf and whose place is p_size - 1. Every
-- line is checked by the server itself: what does not link is refused, whoever sends it.
CREATE FUNCTION annals.log_append(
    p_origin text, p_size bigint, p_leaf bytea, p_lines bytea[],
    OUT size bigint, OUT leaf bytea, OUT edge bytea, OUT recorded_at bigint
)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $function$
DECLARE
    head  annals.log_head;
    bytes bytea;
    line  record;
BEGIN
    SELECT h.* INTO head FROM annals.log_head h WHERE h.origin = p_origin FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no log %', p_origin USING ERRCODE = 'AN003';
    END IF;
    IF (head.size = p_size AND head.leaf = p_leaf) IS NOT TRUE THEN
        RAISE EXCEPTION 'the log % has % events, expected %', p_origin, head.size, p_size
            USING ERRCODE = 'AN001';
    END IF;
    IF coalesce(array_length(p_lines, 1), 0) = 0 THEN
        RAISE EXCEPTION 'there is nothing to append' USING ERRCODE = 'AN002';
    END IF;
    FOREACH bytes IN ARRAY p_lines LOOP
        line := annals.log_envelope(bytes);
        IF line.seq <> head.size THEN
            RAISE EXCEPTION 'event %: the line says seq %', head.size, line.seq
                USING ERRCODE = 'AN002';
        END IF;
        IF line.prev <> head.leaf THEN
            RAISE EXCEPTION 'event %: prev is not the leaf hash of the event before', head.size
                USING ERRCODE = 'AN002';
        END IF;
        IF line.origin <> p_origin THEN
            RAISE EXCEPTION 'event %: the line belongs to another log', head.size
                USING ERRCODE = 'AN002';
        END IF;
        IF (line.kind = 'log_created') <> (head.size = 0) THEN
            RAISE EXCEPTION 'event %: a log begins with log_created, once', head.size
                USING ERRCODE = 'AN002';
        END IF;
        PERFORM annals.log_check_time(head, line.recorded_at);
        head.leaf := sha256(decode('00', 'hex') || bytes);
        INSERT INTO annals.log_event (origin, seq, id, line, leaf)
            VALUES (p_origin, head.size, line.id, bytes, head.leaf);
        head.edge := annals.log_push(head.size, head.edge, head.leaf);
        head.recorded_at := line.recorded_at;
        head.size := head.size + 1;
    END LOOP;
    UPDATE annals.log_head h
        SET size = head.size, leaf = head.leaf, edge = head.edge, recorded_at = head.recorded_at
        WHERE h.origin = p_origin;
    size := head.size;
    leaf := head.leaf;
    edge := head.edge;
    recorded_at := head.recorded_at;
END
$function$;

-- Publishes a signed head over p_size events. published is false, and nothing was done, if one
-- over more events is there; signed is the size in force afterwards. The signature is judged by
-- whoever opens the log; here the text must name this log and this size, and the root where the
-- size is the log's own.
CREATE FUNCTION annals.log_publish(
    p_origin text, p_size bigint, p_note bytea, OUT published boolean, OUT signed bigint
)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $function$
DECLARE
    head   annals.log_head;
    newest annals.log_checkpoint;
    opening text;
BEGIN
    SELECT h.* INTO head FROM annals.log_head h WHERE h.origin = p_origin FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no log %', p_origin USING ERRCODE = 'AN003';
    END IF;
    SELECT c.* INTO newest FROM annals.log_checkpoint c
        WHERE c.origin = p_origin ORDER BY c.number DESC LIMIT 1;
    IF newest.size > p_size THEN
        published := false;
        signed := newest.size;
        RETURN;
    END IF;
    opening := p_origin || chr(10) || p_size::text || chr(10);
    IF p_size = head.size THEN
        opening := opening || encode(annals.log_root(head.edge), 'base64') || chr(10) || chr(10);
    END IF;
    IF (p_size BETWEEN 1 AND head.size
        AND octet_length(p_note) <= 65536
        AND substring(p_note FROM 1 FOR octet_length(opening)) = convert_to(opening, 'UTF8')
    ) IS NOT TRUE THEN
        RAISE EXCEPTION 'the note does not vouch for % events of the log %', p_size, p_origin
            USING ERRCODE = 'AN004';
    END IF;
    -- The same note again is the same checkpoint: who lost the answer may ask again.
    IF newest.note IS DISTINCT FROM p_note THEN
        INSERT INTO annals.log_checkpoint (origin, number, size, note)
            VALUES (p_origin, coalesce(newest.number + 1, 0), p_size, p_note);
    END IF;
    published := true;
    signed := p_size;
END
$function$;

-- Stores content under its SHA-256; true if it was not there. Content that is there and is
-- something else than its name says is refused: it has been altered.
CREATE FUNCTION annals.log_put_blob(p_digest bytea, p_content bytea) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $function$
BEGIN
    IF (sha256(p_content) = p_digest) IS NOT TRUE THEN
        RAISE EXCEPTION 'the content is not what its digest says' USING ERRCODE = 'AN005';
    END IF;
    INSERT INTO annals.log_blob (digest, content) VALUES (p_digest, p_content)
        ON CONFLICT (digest) DO NOTHING;
    IF FOUND THEN
        RETURN true;
    END IF;
    PERFORM FROM annals.log_blob b WHERE b.digest = p_digest AND b.content = p_content;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the stored content was altered' USING ERRCODE = 'AN006';
    END IF;
    RETURN false;
END
$function$;

-- Tripwires. They do not stop an owner or a superuser, who can remove them; they stop a slip of
-- the hand, and they cannot be passed by session_replication_role.

CREATE FUNCTION annals.log_refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    AS $function$
BEGIN
    RAISE EXCEPTION '% of annals.%: an event log is append only', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'AN007';
END
$function$;

CREATE FUNCTION annals.log_head_goes_on() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    AS $function$
BEGIN
    IF (NEW.origin = OLD.origin AND NEW.size > OLD.size) IS NOT TRUE THEN
        RAISE EXCEPTION 'the head of log % only goes on', OLD.origin USING ERRCODE = 'AN007';
    END IF;
    RETURN NEW;
END
$function$;

-- A log becomes visible with its first event and a checkpoint, or not at all.
CREATE FUNCTION annals.log_head_is_whole() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $function$
BEGIN
    PERFORM FROM annals.log_checkpoint c WHERE c.origin = NEW.origin;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the log % has no checkpoint', NEW.origin USING ERRCODE = 'AN004';
    END IF;
    RETURN NEW;
END
$function$;

CREATE TRIGGER log_event_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON annals.log_event
    FOR EACH STATEMENT EXECUTE FUNCTION annals.log_refuse_change();
CREATE TRIGGER log_checkpoint_is_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON annals.log_checkpoint
    FOR EACH STATEMENT EXECUTE FUNCTION annals.log_refuse_change();
CREATE TRIGGER log_blob_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON annals.log_blob
    FOR EACH STATEMENT EXECUTE FUNCTION annals.log_refuse_change();
CREATE TRIGGER log_head_stays BEFORE DELETE OR TRUNCATE ON annals.log_head
    FOR EACH STATEMENT EXECUTE FUNCTION annals.log_refuse_change();
CREATE TRIGGER log_head_goes_on BEFORE UPDATE ON annals.log_head
    FOR EACH ROW EXECUTE FUNCTION annals.log_head_goes_on();
CREATE CONSTRAINT TRIGGER log_head_is_whole AFTER INSERT ON annals.log_head
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION annals.log_head_is_whole();

ALTER TABLE annals.log_event ENABLE ALWAYS TRIGGER log_event_is_append_only;
ALTER TABLE annals.log_checkpoint ENABLE ALWAYS TRIGGER log_checkpoint_is_append_only;
ALTER TABLE annals.log_blob ENABLE ALWAYS TRIGGER log_blob_is_append_only;
ALTER TABLE annals.log_head ENABLE ALWAYS TRIGGER log_head_stays;
ALTER TABLE annals.log_head ENABLE ALWAYS TRIGGER log_head_goes_on;
ALTER TABLE annals.log_head ENABLE ALWAYS TRIGGER log_head_is_whole;

INSERT INTO annals.log_store (format) VALUES (1);
