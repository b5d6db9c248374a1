-- Of which entity a pushed row is, and when it happened, so that a value that somebody pushed is known as such.
ALTER TABLE panthera.pushed_row ADD COLUMN entity text, ADD COLUMN event_timestamp timestamptz;
CREATE INDEX ON panthera.pushed_row (entity, online_table);
