-- title: counts in manifests are the numbers of rows
-- why: people read the counts, trainers read the rows; they must not tell two stories
-- severity: integrity
WITH counted AS (SELECT object, table_name, sum(rows_read)::BIGINT AS rows_read FROM read_files GROUP BY ALL)
SELECT o.object, o.step, o.items, o.kept, c.table_name, c.rows_read
FROM objects o JOIN counted c ON c.object = o.object
WHERE (o.step = 'screen' AND c.table_name = 'seed_scores' AND o.items <> c.rows_read)
    OR (o.step = 'generate' AND c.table_name = 'documents' AND o.items <> c.rows_read)
    OR (o.step = 'generate' AND c.table_name = 'asks' AND o.notes['asks'] <> c.rows_read)
    OR (o.step = 'generate' AND c.table_name = 'attempts' AND o.notes['attempts'] <> c.rows_read)
    OR (o.step = 'score' AND c.table_name = 'scores' AND (o.items <> c.rows_read OR o.kept <> c.rows_read))
    OR (o.step = 'shards' AND c.table_name = 'rows' AND (o.items <> c.rows_read OR o.kept <> c.rows_read))
    OR (o.step = 'retract' AND c.table_name = 'rows' AND o.kept <> c.rows_read)
    OR (o.step = 'retract' AND c.table_name = 'drops' AND o.items - o.kept <> c.rows_read)
UNION ALL
SELECT o.object, o.step, o.items, o.kept, 'seeds', sum(m.rows)::BIGINT
FROM objects o LEFT JOIN manifest_files m ON m.object = o.object AND m.table_name = 'seeds'
WHERE o.step = 'ingest' GROUP BY ALL HAVING o.kept <> coalesce(sum(m.rows), 0)
