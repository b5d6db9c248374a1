-- When an online table was made. Runs from before it filled an earlier table of that name, whose rows are gone.
ALTER TABLE panthera.online_table ADD COLUMN made_at timestamptz NOT NULL DEFAULT '-infinity';
ALTER TABLE panthera.online_table ALTER COLUMN made_at SET DEFAULT clock_timestamp();

-- The runs whose rows are in the table of today.
CREATE VIEW panthera.present_run AS
SELECT run.*
FROM panthera.materialization AS run LEFT JOIN panthera.online_table AS made USING (online_table)
WHERE made.made_at IS NULL OR run.finished_at >= made.made_at;
