
SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

CREATE SCHEMA feast;

CREATE SCHEMA online;

CREATE SCHEMA panthera;

CREATE FUNCTION panthera.keep_joint_table() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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

CREATE FUNCTION panthera.refuse_another_key() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION 'the key of a row of online.% stays as it is: delete the row, and insert another', TG_TABLE_NAME;
END
$$;

CREATE FUNCTION panthera.refuse_rewriting() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION 'panthera.% is a history: rows are added to it, never changed or deleted', TG_TABLE_NAME;
END
$$;

SET default_tablespace = '';

SET default_table_access_method = heap;

CREATE TABLE feast.data_sources (
    data_source_name character varying(255) NOT NULL,
    project_id character varying(255) NOT NULL,
    last_updated_timestamp bigint NOT NULL,
    data_source_proto bytea NOT NULL
);

CREATE TABLE feast.entities (
    entity_name character varying(255) NOT NULL,
    project_id character varying(255) NOT NULL,
    last_updated_timestamp bigint NOT NULL,
    entity_proto bytea NOT NULL
);

CREATE TABLE feast.feast_metadata (
    project_id character varying(255) NOT NULL,
    metadata_key character varying(50) NOT NULL,
    metadata_value text NOT NULL,
    last_updated_timestamp bigint NOT NULL
);

CREATE TABLE feast.feature_services (
    feature_service_name character varying(255) NOT NULL,
    project_id character varying(255) NOT NULL,
    last_updated_timestamp bigint NOT NULL,
    feature_service_proto bytea NOT NULL
);

CREATE TABLE feast.feature_view_version_history (
    feature_view_name character varying(255) NOT NULL,
    project_id character varying(255) NOT NULL,
    version_number integer NOT NULL,
    feature_view_type character varying(50) NOT NULL,
    feature_view_proto bytea NOT NULL,
    created_timestamp bigint NOT NULL,
    description text,
    version_id character varying(36) NOT NULL
);

CREATE TABLE feast.feature_views (
    feature_view_name character varying(255) NOT NULL,
    project_id character varying(255) NOT NULL,
    last_updated_timestamp bigint NOT NULL,
    materialized_intervals bytea,
    feature_view_proto bytea NOT NULL,
    user_metadata bytea
);

CREATE TABLE feast.label_views (
    feature_view_name character varying(255) NOT NULL,
    project_id character varying(255) NOT NULL,
    last_updated_timestamp bigint NOT NULL,
    feature_view_proto bytea NOT NULL,
    user_metadata bytea
);

CREATE TABLE feast.managed_infra (
    infra_name character varying(255) NOT NULL,
    project_id character varying(255) NOT NULL,
    last_updated_timestamp bigint NOT NULL,
    infra_proto bytea NOT NULL
);

CREATE TABLE feast.on_demand_feature_views (
    feature_view_name character varying(255) NOT NULL,
    project_id character varying(255) NOT NULL,
    last_updated_timestamp bigint NOT NULL,
    feature_view_proto bytea NOT NULL,
    user_metadata bytea
);

CREATE TABLE feast.permissions (
    permission_name character varying(255) NOT NULL,
    project_id character varying(255) NOT NULL,
    last_updated_timestamp bigint NOT NULL,
    permission_proto bytea NOT NULL
);

CREATE TABLE feast.projects (
    project_id character varying(255) NOT NULL,
    project_name character varying(255) NOT NULL,
    last_updated_timestamp bigint NOT NULL,
    project_proto bytea NOT NULL
);

CREATE TABLE feast.saved_datasets (
    saved_dataset_name character varying(255) NOT NULL,
    project_id character varying(255) NOT NULL,
    last_updated_timestamp bigint NOT NULL,
    saved_dataset_proto bytea NOT NULL
);

CREATE TABLE feast.stream_feature_views (
    feature_view_name character varying(255) NOT NULL,
    project_id character varying(255) NOT NULL,
    last_updated_timestamp bigint NOT NULL,
    feature_view_proto bytea NOT NULL,
    user_metadata bytea
);

CREATE TABLE feast.validation_references (
    validation_reference_name character varying(255) NOT NULL,
    project_id character varying(255) NOT NULL,
    last_updated_timestamp bigint NOT NULL,
    validation_reference_proto bytea NOT NULL
);

CREATE TABLE online.history__91a48d141cc0 (
    customer_id bigint CONSTRAINT fresh_9ccd712ffc954563aa37e8cbf3394b9b_customer_id_not_null NOT NULL,
    event_timestamp timestamp with time zone CONSTRAINT fresh_9ccd712ffc954563aa37e8cbf3394b9b_event_timestamp_not_null NOT NULL,
    created_timestamp timestamp with time zone CONSTRAINT fresh_9ccd712ffc954563aa37e8cbf3394b_created_timestamp_not_null NOT NULL,
    days_since bigint,
    mean double precision,
    orders bigint,
    size text,
    spend_90d double precision
);

CREATE TABLE panthera.experiment_phase (
    phase_id integer NOT NULL,
    experiment text NOT NULL,
    salt text NOT NULL,
    champion_weight integer NOT NULL,
    challenger_weight integer NOT NULL,
    champion text NOT NULL,
    challenger text,
    since timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE panthera.experiment_phase ALTER COLUMN phase_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME panthera.experiment_phase_phase_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE panthera.exposure (
    experiment text NOT NULL,
    entity text NOT NULL,
    arm text NOT NULL,
    bucket integer NOT NULL,
    release_id text NOT NULL,
    prediction_id uuid NOT NULL,
    exposed_at timestamp with time zone NOT NULL,
    logged_at timestamp with time zone DEFAULT now() NOT NULL,
    phase_id integer,
    import_id integer
);

CREATE TABLE panthera.exposure_import (
    import_id integer NOT NULL,
    experiment text NOT NULL,
    after timestamp with time zone,
    until timestamp with time zone,
    actor text NOT NULL,
    reason text NOT NULL,
    imported_at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE panthera.exposure_import ALTER COLUMN import_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME panthera.exposure_import_import_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE panthera.feast_metric (
    kind text NOT NULL,
    identity jsonb NOT NULL,
    record jsonb NOT NULL,
    CONSTRAINT feast_metric_kind_check CHECK ((kind = ANY (ARRAY['feature'::text, 'feature_view'::text, 'feature_service'::text, 'job'::text])))
);

CREATE TABLE panthera.joint_table (
    online_table text NOT NULL,
    joint_table text NOT NULL,
    "position" integer NOT NULL
);

CREATE TABLE panthera.materialization (
    run_id uuid NOT NULL,
    view text NOT NULL,
    online_table text NOT NULL,
    as_of timestamp with time zone NOT NULL,
    rows_written bigint NOT NULL,
    finished_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    kind text DEFAULT 'full'::text NOT NULL,
    started_at timestamp with time zone DEFAULT now(),
    CONSTRAINT materialization_kind_check CHECK ((kind = ANY (ARRAY['full'::text, 'increment'::text, 'range'::text])))
);

CREATE TABLE panthera.migration (
    number integer NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE panthera.online_table (
    online_table text NOT NULL,
    project text NOT NULL,
    view text NOT NULL,
    applied_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    retired_at timestamp with time zone,
    made_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

CREATE TABLE panthera.outcome (
    outcome_id text NOT NULL,
    entity text NOT NULL,
    observed_at timestamp with time zone NOT NULL,
    value double precision NOT NULL,
    logged_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE panthera.prediction (
    prediction_id uuid NOT NULL,
    entity text NOT NULL,
    as_of timestamp with time zone NOT NULL,
    release_id text NOT NULL,
    experiment text NOT NULL,
    arm text NOT NULL,
    score double precision NOT NULL,
    decision text NOT NULL,
    features jsonb NOT NULL,
    event_times jsonb NOT NULL,
    statuses jsonb NOT NULL,
    logged_at timestamp with time zone DEFAULT now() NOT NULL,
    phase_id integer,
    replay boolean DEFAULT false NOT NULL
);

CREATE VIEW panthera.present_run AS
 SELECT run.run_id,
    run.view,
    run.online_table,
    run.as_of,
    run.rows_written,
    run.finished_at,
    run.kind,
    run.started_at
   FROM (panthera.materialization run
     LEFT JOIN panthera.online_table made USING (online_table))
  WHERE ((made.made_at IS NULL) OR (run.finished_at >= made.made_at));

CREATE TABLE panthera.pushed_row (
    online_table text NOT NULL,
    event_id text NOT NULL,
    digest bytea NOT NULL,
    pushed_at timestamp with time zone DEFAULT now() NOT NULL,
    entity text,
    event_timestamp timestamp with time zone
);

CREATE TABLE panthera.release (
    release_id text NOT NULL,
    format_version integer NOT NULL,
    model text NOT NULL,
    candidate text NOT NULL,
    bundle_digest text NOT NULL,
    feature_service text NOT NULL,
    data_revision text NOT NULL,
    code_revision text NOT NULL,
    registry_version text NOT NULL,
    metrics jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    registered_by text DEFAULT 'unknown'::text NOT NULL,
    lock text DEFAULT ''::text NOT NULL
);

CREATE TABLE panthera.release_role (
    change_id bigint NOT NULL,
    model text NOT NULL,
    role text NOT NULL,
    release_id text,
    reason text NOT NULL,
    since timestamp with time zone DEFAULT now() NOT NULL,
    replaced text,
    cause text NOT NULL,
    actor text NOT NULL,
    CONSTRAINT release_role_cause_check CHECK ((cause = ANY (ARRAY['register'::text, 'promote'::text, 'rollback'::text, 'retire'::text]))),
    CONSTRAINT release_role_role_check CHECK ((role = ANY (ARRAY['champion'::text, 'challenger'::text])))
);

ALTER TABLE panthera.release_role ALTER COLUMN change_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME panthera.release_role_change_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE panthera.release_table (
    release_id text NOT NULL,
    view text NOT NULL,
    online_table text NOT NULL
);

CREATE TABLE panthera.verdict (
    verdict_id bigint NOT NULL,
    format_version integer NOT NULL,
    model text NOT NULL,
    release_id text NOT NULL,
    against text,
    outcome text NOT NULL,
    reason text NOT NULL,
    checks jsonb NOT NULL,
    actor text NOT NULL,
    decided_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT verdict_outcome_check CHECK ((outcome = ANY (ARRAY['first'::text, 'won'::text, 'undecided'::text, 'lost'::text, 'not_comparable'::text])))
);

ALTER TABLE panthera.verdict ALTER COLUMN verdict_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME panthera.verdict_verdict_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE panthera.view_definition (
    online_table text NOT NULL,
    format_version integer NOT NULL,
    view text NOT NULL,
    fingerprint text NOT NULL,
    definition text NOT NULL,
    recorded_at timestamp with time zone DEFAULT now() NOT NULL
);

INSERT INTO feast.data_sources VALUES
	('history_snapshots', 'panthera', 1795822478, '\x08011a0f6576656e745f74696d657374616d702a11637265617465645f74696d657374616d705a280a020a0012222e2e2f646174612f66656174757265732f686973746f72792f2a2e70617271756574a20111686973746f72795f736e617073686f747392031c1a0c088ea7a8d80610e092b69d01220c088ea7a8d80610e092b69d01');

INSERT INTO feast.entities VALUES
	('customer', 'panthera', 1795822479, '\x0a190a08637573746f6d65721004220b637573746f6d65725f6964121a0a0b088fa7a8d8061090efe159120b088fa7a8d8061090efe159'),
	('__dummy', 'panthera', 1795822479, '\x0a150a075f5f64756d6d79220a5f5f64756d6d795f6964121c0a0c088fa7a8d80610b8a6dbda01120c088fa7a8d80610b8a6dbda01');

INSERT INTO feast.feast_metadata VALUES
	('panthera', 'project_uuid', 'df66a6a1-46c5-40ca-970b-5bf53e9aacc5', 1795822477),
	('panthera', 'last_updated_timestamp', '1795822479', 1795822479);

INSERT INTO feast.feature_services VALUES
	('all', 'panthera', 1795822479, '\x0ab4020a03616c6c1aac020a07686973746f727912190a066f72646572731004220d6f726465727320736f2066617212120a097370656e645f3930641005220345555212140a0a646179735f73696e6365100422046461797312140a0473697a651002220a757375616c2073697a65120d0a046d65616e100522034555522a11637265617465645f74696d657374616d703a11637265617465645f74696d657374616d7042830108011a0f6576656e745f74696d657374616d702a11637265617465645f74696d657374616d705a280a020a0012222e2e2f646174612f66656174757265732f686973746f72792f2a2e70617271756574a20111686973746f72795f736e617073686f747392031c1a0c088ea7a8d80610e092b69d01220c088ea7a8d80610e092b69d015a0b6665617475726556696577121c0a0c088fa7a8d80610a0ef96cb02120c088fa7a8d80610a0ef96cb02');

INSERT INTO feast.feature_view_version_history VALUES
	('history', 'panthera', 0, 'feature_view', '\x0a8b030a07686973746f7279120870616e74686572611a08637573746f6d657222190a066f72646572731004220d6f726465727320736f2066617222120a097370656e645f3930641005220345555222140a0a646179735f73696e6365100422046461797322140a0473697a651002220a757375616c2073697a65220d0a046d65616e100522034555522a250a0c6f6e6c696e655f7461626c651215686973746f72795f5f39316134386431343163633032050880c9b8013ab70108011a0f6576656e745f74696d657374616d702a11637265617465645f74696d657374616d705a280a020a0012222e2e2f646174612f66656174757265732f686973746f72792f2a2e706172717565748a013166656173742e696e6672612e6f66666c696e655f73746f7265732e66696c655f736f757263652e46696c65536f75726365a20111686973746f72795f736e617073686f747392031c1a0c088ea7a8d80610e092b69d01220c088ea7a8d80610e092b69d014001620f0a0b637573746f6d65725f696410049201066c6174657374121c0a0c088ea7a8d80610e882a28803120c088ea7a8d80610e882a28803', 1795822479, '', '3548b901-3671-4353-b03c-198431f5571f');

INSERT INTO feast.feature_views VALUES
	('history', 'panthera', 1795822478, NULL, '\x0a8b030a07686973746f7279120870616e74686572611a08637573746f6d657222190a066f72646572731004220d6f726465727320736f2066617222120a097370656e645f3930641005220345555222140a0a646179735f73696e6365100422046461797322140a0473697a651002220a757375616c2073697a65220d0a046d65616e100522034555522a250a0c6f6e6c696e655f7461626c651215686973746f72795f5f39316134386431343163633032050880c9b8013ab70108011a0f6576656e745f74696d657374616d702a11637265617465645f74696d657374616d705a280a020a0012222e2e2f646174612f66656174757265732f686973746f72792f2a2e706172717565748a013166656173742e696e6672612e6f66666c696e655f73746f7265732e66696c655f736f757263652e46696c65536f75726365a20111686973746f72795f736e617073686f747392031c1a0c088ea7a8d80610e092b69d01220c088ea7a8d80610e092b69d014001620f0a0b637573746f6d65725f696410049201066c6174657374121c0a0c088ea7a8d80610e882a28803120c088ea7a8d80610e882a28803', NULL);

INSERT INTO feast.projects VALUES
	('panthera', 'panthera', 1795822477, '\x0a0a0a0870616e7468657261121c0a0c088da7a8d80610e8cec0bb03120c088da7a8d80610e8cec0bb03');

INSERT INTO online.history__91a48d141cc0 VALUES
	(0, '2024-11-15 00:00:00+00', '2024-11-15 00:00:00+00', 65, 5.228, 5, 'large', 26.14),
	(1, '2024-11-15 00:00:00+00', '2024-11-15 00:00:00+00', 19, 12.733, 10, 'small', 127.33),
	(2, '2024-11-15 00:00:00+00', '2024-11-15 00:00:00+00', 23, 3.376, 5, 'large', 16.88),
	(3, '2024-11-15 00:00:00+00', '2024-11-15 00:00:00+00', 6, 19.935454545454547, 11, 'large', 219.29000000000002),
	(4, '2024-11-15 00:00:00+00', '2024-11-15 00:00:00+00', 60, 12.977272727272727, 11, 'large', 142.75),
	(5, '2024-11-15 00:00:00+00', '2024-11-15 00:00:00+00', 69, 8.008333333333333, 6, 'large', 48.05),
	(6, '2024-11-15 00:00:00+00', '2024-11-15 00:00:00+00', 7, 10.883333333333333, 6, 'large', 65.3),
	(7, '2024-11-15 00:00:00+00', '2024-11-15 00:00:00+00', 22, 21.978333333333335, 12, 'small', 263.74),
	(8, '2024-11-15 00:00:00+00', '2024-11-15 00:00:00+00', 185, NULL, 5, 'large', NULL),
	(9, '2024-11-15 00:00:00+00', '2024-11-15 00:00:00+00', 10, 5.402727272727272, 11, 'large', 59.43),
	(10, '2024-11-15 00:00:00+00', '2024-11-15 00:00:00+00', 148, NULL, 9, 'large', NULL),
	(11, '2024-11-15 00:00:00+00', '2024-11-15 00:00:00+00', 90, 0.8522222222222222, 9, 'small', 7.67),
	(12, '2024-11-15 00:00:00+00', '2024-11-15 00:00:00+00', 125, NULL, 9, 'large', NULL),
	(13, '2024-11-15 00:00:00+00', '2024-11-15 00:00:00+00', 30, 2.18125, 8, 'small', 17.45),
	(14, '2024-11-15 00:00:00+00', '2024-11-15 00:00:00+00', 63, 9.921666666666667, 12, 'large', 119.06),
	(15, '2024-11-15 00:00:00+00', '2024-11-15 00:00:00+00', 61, 12.216923076923077, 13, 'large', 158.82),
	(16, '2024-11-15 00:00:00+00', '2024-11-15 00:00:00+00', 31, 3.213, 10, 'large', 32.13),
	(17, '2024-11-15 00:00:00+00', '2024-11-15 00:00:00+00', 7, 15.414705882352942, 17, 'large', 262.05),
	(18, '2024-11-15 00:00:00+00', '2024-11-15 00:00:00+00', 16, 12.633333333333333, 6, 'large', 75.8),
	(19, '2024-11-15 00:00:00+00', '2024-11-15 00:00:00+00', 86, 8.9, 3, 'small', 26.7),
	(20, '2024-11-15 00:00:00+00', '2024-11-15 00:00:00+00', 8, 22.17833333333333, 6, 'large', 133.07),
	(21, '2024-11-15 00:00:00+00', '2024-11-15 00:00:00+00', 1, 19.743636363636366, 11, 'large', 217.18),
	(22, '2024-11-15 00:00:00+00', '2024-11-15 00:00:00+00', 4, 12.56, 6, 'small', 75.36),
	(23, '2024-11-15 00:00:00+00', '2024-11-15 00:00:00+00', 198, NULL, 5, 'small', NULL),
	(24, '2024-11-15 00:00:00+00', '2024-11-15 00:00:00+00', 141, NULL, 3, 'small', NULL),
	(25, '2024-11-15 00:00:00+00', '2024-11-15 00:00:00+00', 148, NULL, 8, 'large', NULL),
	(26, '2024-11-15 00:00:00+00', '2024-11-15 00:00:00+00', 68, 20.776666666666667, 3, 'large', 62.33),
	(27, '2024-11-15 00:00:00+00', '2024-11-15 00:00:00+00', 14, 5.390833333333333, 12, 'large', 64.69),
	(28, '2024-11-15 00:00:00+00', '2024-11-15 00:00:00+00', 132, NULL, 7, 'small', NULL),
	(29, '2024-11-15 00:00:00+00', '2024-11-15 00:00:00+00', 19, 10.075714285714286, 7, 'small', 70.53),
	(30, '2024-11-15 00:00:00+00', '2024-11-15 00:00:00+00', 188, NULL, 3, 'large', NULL),
	(31, '2024-11-15 00:00:00+00', '2024-11-15 00:00:00+00', 44, 10.25090909090909, 11, 'small', 112.75999999999999),
	(32, '2024-11-15 00:00:00+00', '2024-11-15 00:00:00+00', 1, 12.441428571428572, 7, 'small', 87.09),
	(33, '2024-11-15 00:00:00+00', '2024-11-15 00:00:00+00', 44, 11.95142857142857, 7, 'large', 83.66),
	(34, '2024-11-15 00:00:00+00', '2024-11-15 00:00:00+00', 59, 35.58, 2, 'large', 71.16),
	(35, '2024-11-15 00:00:00+00', '2024-11-15 00:00:00+00', 91, NULL, 6, 'large', NULL),
	(36, '2024-11-15 00:00:00+00', '2024-11-15 00:00:00+00', 13, 9.332857142857142, 7, 'small', 65.33),
	(37, '2024-11-15 00:00:00+00', '2024-11-15 00:00:00+00', 109, NULL, 6, 'large', NULL),
	(38, '2024-11-15 00:00:00+00', '2024-11-15 00:00:00+00', 7, 16.178571428571427, 7, 'large', 113.25),
	(39, '2024-11-15 00:00:00+00', '2024-11-15 00:00:00+00', 8, 14.434999999999999, 10, 'large', 144.35);

INSERT INTO panthera.experiment_phase OVERRIDING SYSTEM VALUE VALUES
	(1, 'kept', 'kept', 1, 1, 'trees-684246cfe04c', 'logistic-c34b22467b43', '2026-11-27 23:46:45.043356+00');

INSERT INTO panthera.materialization VALUES
	('e37d5260-fac5-4ea1-abc0-242d7c438508', 'history', 'history__91a48d141cc0', '2024-11-15 00:00:00+00', 40, '2026-11-27 23:44:28.567389+00', 'full', '2026-11-27 23:44:19.010574+00');

INSERT INTO panthera.migration VALUES
	(1, '2026-11-27 23:33:25.098552+00'),
	(2, '2026-11-27 23:33:25.098552+00'),
	(3, '2026-11-27 23:33:25.098552+00'),
	(4, '2026-11-27 23:33:25.098552+00'),
	(5, '2026-11-27 23:33:25.098552+00'),
	(6, '2026-11-27 23:33:25.098552+00'),
	(7, '2026-11-27 23:33:25.098552+00'),
	(8, '2026-11-27 23:33:25.098552+00'),
	(9, '2026-11-27 23:33:25.098552+00'),
	(10, '2026-11-27 23:33:25.098552+00'),
	(11, '2026-11-27 23:33:25.098552+00');

INSERT INTO panthera.online_table VALUES
	('history__91a48d141cc0', 'panthera', 'history', '2026-11-27 23:34:40.600074+00', NULL, '2026-11-27 23:34:40.602633+00');

INSERT INTO panthera.prediction VALUES
	('38e2b69e-f824-4f26-9b24-ba084e4d810a', '1', '2024-11-15 00:00:00+00', 'trees-684246cfe04c', 'kept', 'champion', 0.7274374203809946, 'call', '{"history__mean": 12.733, "history__size": "small", "history__orders": 10, "history__spend_90d": 127.33, "history__days_since": 19}', '{"history": "2024-11-15T00:00:00+00:00"}', '{"history": "FRESH"}', '2026-11-27 23:46:45.677546+00', 1, true),
	('a99fba5d-8a47-4a37-9c02-7b404056cb90', '2', '2024-11-15 00:00:00+00', 'trees-684246cfe04c', 'kept', 'champion', 0.6752314122184049, 'call', '{"history__mean": 3.376, "history__size": "large", "history__orders": 5, "history__spend_90d": 16.88, "history__days_since": 23}', '{"history": "2024-11-15T00:00:00+00:00"}', '{"history": "FRESH"}', '2026-11-27 23:46:45.677546+00', 1, true),
	('f5375b91-87ea-45f5-8f7a-0ba6721c570f', '3', '2024-11-15 00:00:00+00', 'trees-684246cfe04c', 'kept', 'champion', 0.6011018601014502, 'call', '{"history__mean": 19.935454545454547, "history__size": "large", "history__orders": 11, "history__spend_90d": 219.29000000000002, "history__days_since": 6}', '{"history": "2024-11-15T00:00:00+00:00"}', '{"history": "FRESH"}', '2026-11-27 23:46:45.677546+00', 1, true),
	('24e0b839-31a8-48fe-9289-123d0b4a885f', '4', '2024-11-15 00:00:00+00', 'trees-684246cfe04c', 'kept', 'champion', 0.7500512544409249, 'call', '{"history__mean": 12.977272727272727, "history__size": "large", "history__orders": 11, "history__spend_90d": 142.75, "history__days_since": 60}', '{"history": "2024-11-15T00:00:00+00:00"}', '{"history": "FRESH"}', '2026-11-27 23:46:45.677546+00', 1, true),
	('55c27c2c-736f-487f-803f-0bacc48f5126', '5', '2024-11-15 00:00:00+00', 'logistic-c34b22467b43', 'kept', 'challenger', 0.7382307465220376, 'call', '{"history__mean": 8.008333333333333, "history__size": "large", "history__orders": 6, "history__spend_90d": 48.05, "history__days_since": 69}', '{"history": "2024-11-15T00:00:00+00:00"}', '{"history": "FRESH"}', '2026-11-27 23:46:45.677546+00', 1, true);

INSERT INTO panthera.release VALUES
	('trees-684246cfe04c', 1, 'kept-orders', 'trees', '684246cfe04cd3c66b54da985be46c7588a1500eeca5b45ad20ad5b8c72f4ad4', 'all', 'md5:63349cad986648605dc1247a2ce60773', 'git:72d03549c4d3dfda6afe158e27778c465a7d2fb0', '1', '{"threshold": 0.4963755213798411, "test_log_loss": 0.7295345616525181, "validation_log_loss": 0.6640046334790551}', '2026-11-27 23:43:42.469554+00', 'somebody', 'sha256:04713a629fc3293d3523fa46e0e447a8c3b6fd8b814c91a234f1dfe7c6ceeb3b'),
	('logistic-c34b22467b43', 1, 'kept-orders', 'logistic', 'c34b22467b43ece0e8ffc9bc96b2ec1ae63251bf5ef859e5fb89686f64af4f23', 'all', 'md5:63349cad986648605dc1247a2ce60773', 'git:72d03549c4d3dfda6afe158e27778c465a7d2fb0', '2', '{"threshold": 0.45217757806835285, "test_log_loss": 0.7201522754857829, "validation_log_loss": 0.6641981569510272}', '2026-11-27 23:43:42.469554+00', 'somebody', 'sha256:04713a629fc3293d3523fa46e0e447a8c3b6fd8b814c91a234f1dfe7c6ceeb3b'),
	('one-432c4f064c61', 1, 'kept-orders', 'one', '432c4f064c61ad304a9292b0889170c595bfec9194c5c95fa7b661c13dc6c38d', 'all', 'md5:63349cad986648605dc1247a2ce60773', 'git:72d03549c4d3dfda6afe158e27778c465a7d2fb0', '3', '{"threshold": 0.545359869172936, "test_log_loss": 0.6711193673601752, "validation_log_loss": 0.6808096612572665}', '2026-11-27 23:43:42.469554+00', 'somebody', 'sha256:04713a629fc3293d3523fa46e0e447a8c3b6fd8b814c91a234f1dfe7c6ceeb3b');

INSERT INTO panthera.release_role OVERRIDING SYSTEM VALUE VALUES
	(1, 'kept-orders', 'champion', 'trees-684246cfe04c', 'first: ''kept-orders'' had no champion', '2026-11-27 23:43:42.633061+00', NULL, 'register', 'somebody'),
	(2, 'kept-orders', 'challenger', 'logistic-c34b22467b43', 'first: ''kept-orders'' had no champion', '2026-11-27 23:43:42.633061+00', NULL, 'register', 'somebody');

INSERT INTO panthera.release_table VALUES
	('trees-684246cfe04c', 'history', 'history__91a48d141cc0'),
	('logistic-c34b22467b43', 'history', 'history__91a48d141cc0'),
	('one-432c4f064c61', 'history', 'history__91a48d141cc0');

INSERT INTO panthera.verdict OVERRIDING SYSTEM VALUE VALUES
	(1, 1, 'kept-orders', 'trees-684246cfe04c', NULL, 'first', '''kept-orders'' had no champion', '[]', 'somebody', '2026-11-27 23:43:42.633061+00');

INSERT INTO panthera.view_definition VALUES
	('history__91a48d141cc0', 1, 'history', '91a48d141cc00507c6d62a3fe2e7e1a09fd7edece4ffdae7ec8d2b5c96288a30', '{"view": {"source": "orders", "ttl": "3024000s", "every": "1 week", "features": {"orders": {"sql": "count(*)", "dtype": "int64", "over": "rows", "unit": "", "meaning": "orders so far"}, "spend_90d": {"sql": "sum(amount)", "dtype": "float64", "window": "7776000s", "over": "rows", "unit": "EUR", "meaning": ""}, "days_since": {"sql": "date_diff(''day'', max(event_time), as_of)", "dtype": "int64", "over": "rows", "unit": "days", "meaning": ""}, "size": {"sql": "CASE WHEN avg(amount) > 40 THEN ''large'' ELSE ''small'' END", "dtype": "string", "over": "rows", "unit": "", "meaning": "usual size"}, "mean": {"sql": "spend_90d / nullif(orders, 0)", "dtype": "float64", "over": "features", "unit": "EUR", "meaning": ""}}}, "entity": {"key": "customer_id", "dtype": "int64", "source": "orders"}, "link": null, "holder": null}', '2026-11-27 23:34:41.065502+00');

SELECT pg_catalog.setval('panthera.experiment_phase_phase_id_seq', 1, true);

SELECT pg_catalog.setval('panthera.exposure_import_import_id_seq', 1, false);

SELECT pg_catalog.setval('panthera.release_role_change_id_seq', 2, true);

SELECT pg_catalog.setval('panthera.verdict_verdict_id_seq', 1, true);

ALTER TABLE ONLY feast.data_sources
    ADD CONSTRAINT data_sources_pkey PRIMARY KEY (data_source_name, project_id);

ALTER TABLE ONLY feast.entities
    ADD CONSTRAINT entities_pkey PRIMARY KEY (entity_name, project_id);

ALTER TABLE ONLY feast.feast_metadata
    ADD CONSTRAINT feast_metadata_pkey PRIMARY KEY (project_id, metadata_key);

ALTER TABLE ONLY feast.feature_services
    ADD CONSTRAINT feature_services_pkey PRIMARY KEY (feature_service_name, project_id);

ALTER TABLE ONLY feast.feature_view_version_history
    ADD CONSTRAINT feature_view_version_history_pkey PRIMARY KEY (feature_view_name, project_id, version_number);

ALTER TABLE ONLY feast.feature_views
    ADD CONSTRAINT feature_views_pkey PRIMARY KEY (feature_view_name, project_id);

ALTER TABLE ONLY feast.label_views
    ADD CONSTRAINT label_views_pkey PRIMARY KEY (feature_view_name, project_id);

ALTER TABLE ONLY feast.managed_infra
    ADD CONSTRAINT managed_infra_pkey PRIMARY KEY (infra_name, project_id);

ALTER TABLE ONLY feast.on_demand_feature_views
    ADD CONSTRAINT on_demand_feature_views_pkey PRIMARY KEY (feature_view_name, project_id);

ALTER TABLE ONLY feast.permissions
    ADD CONSTRAINT permissions_pkey PRIMARY KEY (permission_name, project_id);

ALTER TABLE ONLY feast.projects
    ADD CONSTRAINT projects_pkey PRIMARY KEY (project_id);

ALTER TABLE ONLY feast.saved_datasets
    ADD CONSTRAINT saved_datasets_pkey PRIMARY KEY (saved_dataset_name, project_id);

ALTER TABLE ONLY feast.stream_feature_views
    ADD CONSTRAINT stream_feature_views_pkey PRIMARY KEY (feature_view_name, project_id);

ALTER TABLE ONLY feast.validation_references
    ADD CONSTRAINT validation_references_pkey PRIMARY KEY (validation_reference_name, project_id);

ALTER TABLE ONLY online.history__91a48d141cc0
    ADD CONSTRAINT fresh_9ccd712ffc954563aa37e8cbf3394b9b_pkey PRIMARY KEY (customer_id);

ALTER TABLE ONLY panthera.experiment_phase
    ADD CONSTRAINT experiment_phase_pkey PRIMARY KEY (phase_id);

ALTER TABLE ONLY panthera.exposure_import
    ADD CONSTRAINT exposure_import_pkey PRIMARY KEY (import_id);

ALTER TABLE ONLY panthera.exposure
    ADD CONSTRAINT exposure_pkey PRIMARY KEY (experiment, entity);

ALTER TABLE ONLY panthera.feast_metric
    ADD CONSTRAINT feast_metric_pkey PRIMARY KEY (kind, identity);

ALTER TABLE ONLY panthera.joint_table
    ADD CONSTRAINT joint_table_joint_table_position_key UNIQUE (joint_table, "position");

ALTER TABLE ONLY panthera.joint_table
    ADD CONSTRAINT joint_table_pkey PRIMARY KEY (online_table);

ALTER TABLE ONLY panthera.materialization
    ADD CONSTRAINT materialization_pkey PRIMARY KEY (run_id);

ALTER TABLE ONLY panthera.migration
    ADD CONSTRAINT migration_pkey PRIMARY KEY (number);

ALTER TABLE ONLY panthera.online_table
    ADD CONSTRAINT online_table_pkey PRIMARY KEY (online_table);

ALTER TABLE ONLY panthera.outcome
    ADD CONSTRAINT outcome_pkey PRIMARY KEY (outcome_id);

ALTER TABLE ONLY panthera.prediction
    ADD CONSTRAINT prediction_pkey PRIMARY KEY (prediction_id);

ALTER TABLE ONLY panthera.pushed_row
    ADD CONSTRAINT pushed_row_pkey PRIMARY KEY (online_table, event_id);

ALTER TABLE ONLY panthera.release
    ADD CONSTRAINT release_pkey PRIMARY KEY (release_id);

ALTER TABLE ONLY panthera.release_role
    ADD CONSTRAINT release_role_pkey PRIMARY KEY (change_id);

ALTER TABLE ONLY panthera.release_table
    ADD CONSTRAINT release_table_pkey PRIMARY KEY (release_id, view);

ALTER TABLE ONLY panthera.verdict
    ADD CONSTRAINT verdict_pkey PRIMARY KEY (verdict_id);

ALTER TABLE ONLY panthera.view_definition
    ADD CONSTRAINT view_definition_pkey PRIMARY KEY (online_table);

CREATE INDEX idx_data_sources_project_id ON feast.data_sources USING btree (project_id);

CREATE INDEX idx_entities_project_id ON feast.entities USING btree (project_id);

CREATE INDEX idx_feast_metadata_project_id ON feast.feast_metadata USING btree (project_id);

CREATE INDEX idx_feature_services_project_id ON feast.feature_services USING btree (project_id);

CREATE INDEX idx_feature_views_project_id ON feast.feature_views USING btree (project_id);

CREATE INDEX idx_fv_version_history_project_id ON feast.feature_view_version_history USING btree (project_id);

CREATE INDEX idx_label_views_project_id ON feast.label_views USING btree (project_id);

CREATE INDEX idx_managed_infra_project_id ON feast.managed_infra USING btree (project_id);

CREATE INDEX idx_on_demand_feature_views_project_id ON feast.on_demand_feature_views USING btree (project_id);

CREATE INDEX idx_permissions_project_id ON feast.permissions USING btree (project_id);

CREATE INDEX idx_projects_project_id ON feast.projects USING btree (project_id);

CREATE INDEX idx_saved_datasets_project_id ON feast.saved_datasets USING btree (project_id);

CREATE INDEX idx_stream_feature_views_project_id ON feast.stream_feature_views USING btree (project_id);

CREATE INDEX idx_validation_references_project_id ON feast.validation_references USING btree (project_id);

CREATE UNIQUE INDEX experiment_phase_experiment_salt_champion_weight_challenger_idx ON panthera.experiment_phase USING btree (experiment, salt, champion_weight, challenger_weight, champion, COALESCE(challenger, ''::text));

CREATE INDEX materialization_online_table_finished_at_idx ON panthera.materialization USING btree (online_table, finished_at DESC);

CREATE INDEX online_table_project_view_idx ON panthera.online_table USING btree (project, view);

CREATE INDEX outcome_entity_observed_at_idx ON panthera.outcome USING btree (entity, observed_at);

CREATE INDEX prediction_as_of_idx ON panthera.prediction USING btree (as_of);

CREATE INDEX prediction_logged_at_idx ON panthera.prediction USING btree (logged_at);

CREATE INDEX pushed_row_entity_online_table_idx ON panthera.pushed_row USING btree (entity, online_table);

CREATE INDEX pushed_row_pushed_at_idx ON panthera.pushed_row USING btree (pushed_at);

CREATE INDEX release_role_model_role_change_id_idx ON panthera.release_role USING btree (model, role, change_id DESC);

CREATE INDEX verdict_release_id_idx ON panthera.verdict USING btree (release_id);

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON panthera.experiment_phase FOR EACH STATEMENT EXECUTE FUNCTION panthera.refuse_rewriting();

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON panthera.exposure_import FOR EACH STATEMENT EXECUTE FUNCTION panthera.refuse_rewriting();

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON panthera.release FOR EACH STATEMENT EXECUTE FUNCTION panthera.refuse_rewriting();

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON panthera.release_role FOR EACH STATEMENT EXECUTE FUNCTION panthera.refuse_rewriting();

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON panthera.verdict FOR EACH STATEMENT EXECUTE FUNCTION panthera.refuse_rewriting();

ALTER TABLE ONLY panthera.experiment_phase
    ADD CONSTRAINT experiment_phase_challenger_fkey FOREIGN KEY (challenger) REFERENCES panthera.release(release_id);

ALTER TABLE ONLY panthera.experiment_phase
    ADD CONSTRAINT experiment_phase_champion_fkey FOREIGN KEY (champion) REFERENCES panthera.release(release_id);

ALTER TABLE ONLY panthera.exposure
    ADD CONSTRAINT exposure_import_id_fkey FOREIGN KEY (import_id) REFERENCES panthera.exposure_import(import_id);

ALTER TABLE ONLY panthera.exposure
    ADD CONSTRAINT exposure_release_id_fkey FOREIGN KEY (release_id) REFERENCES panthera.release(release_id);

ALTER TABLE ONLY panthera.prediction
    ADD CONSTRAINT prediction_release_id_fkey FOREIGN KEY (release_id) REFERENCES panthera.release(release_id);

ALTER TABLE ONLY panthera.release_role
    ADD CONSTRAINT release_role_release_id_fkey FOREIGN KEY (release_id) REFERENCES panthera.release(release_id);

ALTER TABLE ONLY panthera.release_role
    ADD CONSTRAINT release_role_replaced_fkey FOREIGN KEY (replaced) REFERENCES panthera.release(release_id);

ALTER TABLE ONLY panthera.release_table
    ADD CONSTRAINT release_table_release_id_fkey FOREIGN KEY (release_id) REFERENCES panthera.release(release_id);

ALTER TABLE ONLY panthera.verdict
    ADD CONSTRAINT verdict_against_fkey FOREIGN KEY (against) REFERENCES panthera.release(release_id);

ALTER TABLE ONLY panthera.verdict
    ADD CONSTRAINT verdict_release_id_fkey FOREIGN KEY (release_id) REFERENCES panthera.release(release_id);

