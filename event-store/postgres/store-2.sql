-- Format 2: holds writers to the clock of this server.
--
-- In format 1 recorded_at had to increase and nothing more, so a client could date an event to any
-- moment behind the one before it, and one line dated far ahead kept all others from appending.
--
-- Now an appended event is recorded within the last minute and at most 6 seconds ahead: 5 by which
-- FORMAT.md lets a clock step back, and one for what the microseconds of a batch add. A log that
-- is begun in the same transaction may be older: that is how a log moves here byte for byte.

ALTER TABLE annals.log_head ADD COLUMN begun_in text;
ALTER TABLE annals.log_head ALTER COLUMN begun_in SET DEFAULT pg_catalog.pg_current_xact_id()::text;
COMMENT ON COLUMN annals.log_head.begun_in IS
    'The transaction that began the log here; none for logs begun under format 1.';

CREATE OR REPLACE FUNCTION annals.log_check_time(p_head annals.log_head, p_recorded_at bigint)
    RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    AS $function$
DECLARE
    clock CONSTANT bigint := extract(epoch FROM date_trunc('second', clock_timestamp()))::bigint * 1000000;
BEGIN
    IF p_recorded_at <= p_head.recorded_at THEN
        RAISE EXCEPTION 'event % is not recorded after the event before it', p_head.size
            USING ERRCODE = 'AN002';
    END IF;
    IF p_recorded_at > clock + 6000000 THEN
        RAISE EXCEPTION 'event % is recorded ahead of the clock of this server', p_head.size
            USING ERRCODE = 'AN002';
    END IF;
    IF p_recorded_at < clock - 60000000
        AND p_head.begun_in IS DISTINCT FROM pg_current_xact_id()::text
    THEN
        RAISE EXCEPTION 'event % is recorded more than a minute ago', p_head.size
            USING ERRCODE = 'AN002';
    END IF;
END
$function$;

UPDATE annals.log_store SET format = 2;
