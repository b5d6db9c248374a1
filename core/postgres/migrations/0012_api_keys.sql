-- The API keys of the service. A row holds the SHA-256 of the whole key, never the key. Rows stay when a key is revoked, so that
-- a database in which a key was ever made is never open again.
CREATE TABLE panthera.api_key (
    key_id text PRIMARY KEY CHECK (key_id ~ '^[0-9a-f]{12}$'),
    environment text NOT NULL,
    name text,
    digest bytea NOT NULL UNIQUE CHECK (octet_length(digest) = 32),
    scopes text[] NOT NULL CHECK (
        cardinality(scopes) > 0 AND scopes <@ ARRAY['predict', 'features', 'outcomes', 'push', 'read', 'admin']
    ),
    rate double precision CHECK (rate > 0 AND rate < 'infinity'),
    expires_at timestamptz CHECK (isfinite(expires_at)),
    replaces text REFERENCES panthera.api_key
);

-- Who created and who revoked a key, when and why. A key is revoked if it has such a row.
CREATE TABLE panthera.api_key_change (
    change_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key_id text NOT NULL REFERENCES panthera.api_key,
    cause text NOT NULL CHECK (cause IN ('create', 'revoke')),
    actor text NOT NULL,
    reason text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (key_id, cause)
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON panthera.api_key
    FOR EACH STATEMENT EXECUTE FUNCTION panthera.refuse_rewriting();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON panthera.api_key_change
    FOR EACH STATEMENT EXECUTE FUNCTION panthera.refuse_rewriting();
