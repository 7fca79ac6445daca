-- title: every table has the rows that its manifest says
-- why: a table that was cut short or exchanged after it was published would make all other counts worthless
-- severity: integrity
SELECT r.table_name, r.object, r.name, r.rows_read, m.rows AS rows_in_manifest
FROM read_files r LEFT JOIN manifest_files m ON m.object = r.object AND m.name = r.name
WHERE m.rows IS DISTINCT FROM r.rows_read
