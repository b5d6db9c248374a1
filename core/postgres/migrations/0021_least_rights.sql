-- The readiness check allocates pages where the log is, and releases them. The role of the service may create nothing in a
-- tablespace, so this runs with the rights of the owner. A temporary table of that name that the caller made is refused, since its
-- triggers would have those rights too.
CREATE FUNCTION panthera.check_disk() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_class
        WHERE relname = 'panthera_room' AND relnamespace = pg_my_temp_schema() AND relowner = current_user::regrole
    ) THEN
        EXECUTE 'CREATE TEMPORARY TABLE panthera_room (filler text) ON COMMIT DELETE ROWS' || coalesce((
            SELECT format(' TABLESPACE %I', spcname) FROM pg_class JOIN pg_tablespace ON pg_tablespace.oid = reltablespace
            WHERE pg_class.oid = 'panthera.prediction'::regclass
        ), '');
    END IF;
    -- Ten pages; rows this short are not compressed. A temporary table leaves nothing to vacuum and allocates anew each time.
    INSERT INTO pg_temp.panthera_room SELECT repeat('x', 1600) FROM generate_series(1, 40);
END
$$;
REVOKE EXECUTE ON FUNCTION panthera.check_disk() FROM PUBLIC;

-- As it was, with a role for the shadow scorer, and with all that later migrations granted: roles that could not be created then have
-- these rights when `panthera up` creates them. The function grants all or nothing, the right to `check_disk` included.
CREATE OR REPLACE FUNCTION panthera.grant_roles() RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    role_name text;
BEGIN
    -- Two databases of a server may come here at once.
    PERFORM pg_advisory_xact_lock(7205337);
    FOREACH role_name IN ARRAY ARRAY['panthera_service', 'panthera_shadow', 'panthera_reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
            END;
        END IF;
        -- Since PostgreSQL 16, who creates a role may grant it but not take it.
        IF pg_has_role(current_user, role_name, 'MEMBER WITH ADMIN OPTION')
            AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
            EXECUTE format('GRANT %I TO %I', role_name, current_user);
        END IF;
        EXECUTE format('GRANT USAGE ON SCHEMA panthera, online TO %I', role_name);
        EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA panthera, online TO %I', role_name);
        EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA panthera, online GRANT SELECT ON TABLES TO %I', role_name);
        -- The embedded server has no passwords: who can enter the folder of its socket may connect.
        IF current_setting('listen_addresses') = '' AND NOT (SELECT rolcanlogin FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format('ALTER ROLE %I LOGIN', role_name);
        END IF;
    END LOOP;
    REVOKE SELECT ON panthera.api_key FROM panthera_reader, panthera_shadow;
    GRANT INSERT ON panthera.prediction, panthera.exposure, panthera.outcome, panthera.experiment_phase, panthera.pushed_row,
        panthera.experiment_change TO panthera_service;
    GRANT INSERT, DELETE ON panthera.release_measure TO panthera_service;
    GRANT INSERT ON panthera.shadow_score TO panthera_shadow;
    -- Pushed rows go to the online tables, of which later ones come.
    GRANT INSERT, UPDATE ON ALL TABLES IN SCHEMA online TO panthera_service;
    ALTER DEFAULT PRIVILEGES IN SCHEMA online GRANT INSERT, UPDATE ON TABLES TO panthera_service;
    GRANT EXECUTE ON FUNCTION panthera.check_disk() TO panthera_service;
    RETURN NULL;
EXCEPTION WHEN insufficient_privilege THEN
    RETURN SQLERRM;
END
$$;
SELECT panthera.grant_roles();
