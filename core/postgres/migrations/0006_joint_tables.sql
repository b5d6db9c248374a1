-- Every member of every joint table: a table that holds, in one row an entity, what all its members hold of that entity.
CREATE TABLE panthera.joint_table (
    online_table text PRIMARY KEY,
    joint_table text NOT NULL,
    position int NOT NULL,
    UNIQUE (joint_table, position)
);

-- The trigger of a member, called with the name of its joint table and the statements that bring there what a statement has
-- `brought` to the member, or taken from it. The lock is the one under which `feature_repo.online.tables` writes a table. A
-- joint table that has been dropped needs nothing more.
CREATE FUNCTION panthera.keep_joint_table() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP <> 'TRUNCATE' THEN
        IF NOT EXISTS (SELECT FROM brought) THEN
            RETURN NULL;
        END IF;
    END IF;
    PERFORM pg_advisory_xact_lock(7205332, hashtext(TG_ARGV[0]));
    IF to_regclass(format('online.%I', TG_ARGV[0])) IS NOT NULL THEN
        EXECUTE TG_ARGV[1];
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION panthera.refuse_another_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the key of a row of online.% stays as it is: delete the row, and insert another', TG_TABLE_NAME;
END
$$;

-- The first one executes what a trigger's maker wrote, as its owner: nobody else makes such triggers.
REVOKE EXECUTE ON FUNCTION panthera.keep_joint_table() FROM PUBLIC;
