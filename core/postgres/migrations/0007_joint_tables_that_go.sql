-- As it was, but it asks whether the joint table is there by a query: while it waits for the lock somebody may drop that table,
-- and `to_regclass` answers from what the session knew before.
CREATE OR REPLACE FUNCTION panthera.keep_joint_table() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP <> 'TRUNCATE' THEN
        IF NOT EXISTS (SELECT FROM brought) THEN
            RETURN NULL;
        END IF;
    END IF;
    PERFORM pg_advisory_xact_lock(7205332, hashtext(TG_ARGV[0]));
    IF EXISTS (SELECT FROM pg_class WHERE relname = TG_ARGV[0] AND relnamespace = 'online'::regnamespace) THEN
        EXECUTE TG_ARGV[1];
    END IF;
    RETURN NULL;
END
$$;
