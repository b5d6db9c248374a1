-- Roles with the privileges of the service and of readers. Roles belong to the server, so they may exist already; a user who may not
-- create them is told so by the result, and the service then runs as that user. `panthera up` calls it again.
CREATE FUNCTION panthera.grant_roles() RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    role_name text;
BEGIN
    -- Two databases of a server may come here at once.
    PERFORM pg_advisory_xact_lock(7205337);
    FOREACH role_name IN ARRAY ARRAY['panthera_service', 'panthera_reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
            END;
        END IF;
        EXECUTE format('GRANT USAGE ON SCHEMA panthera, online TO %I', role_name);
        EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA panthera, online TO %I', role_name);
        EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA panthera, online GRANT SELECT ON TABLES TO %I', role_name);
    END LOOP;
    REVOKE SELECT ON panthera.api_key FROM panthera_reader;
    GRANT INSERT ON panthera.prediction, panthera.exposure, panthera.outcome, panthera.experiment_phase, panthera.pushed_row
        TO panthera_service;
    -- The embedded server has no passwords: who can enter the folder of its socket may connect.
    IF current_setting('listen_addresses') = '' THEN
        ALTER ROLE panthera_service LOGIN;
        ALTER ROLE panthera_reader LOGIN;
    END IF;
    -- Pushed rows go to the online tables, of which later ones come.
    GRANT INSERT, UPDATE ON ALL TABLES IN SCHEMA online TO panthera_service;
    ALTER DEFAULT PRIVILEGES IN SCHEMA online GRANT INSERT, UPDATE ON TABLES TO panthera_service;
    RETURN NULL;
EXCEPTION WHEN insufficient_privilege THEN
    RETURN SQLERRM;
END
$$;
REVOKE EXECUTE ON FUNCTION panthera.grant_roles() FROM PUBLIC;
SELECT panthera.grant_roles();
