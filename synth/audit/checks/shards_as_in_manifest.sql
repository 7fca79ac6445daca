-- title: every shard has the rows and bytes that its manifest says
-- why: Arrow files carry no checksum: a flipped bit or a lost tail shows nowhere else
-- severity: integrity
WITH promised AS (
    FROM manifest_files m ANTI JOIN replaced_shards x ON x.object = m.object AND x.shard = m.name
    WHERE step IN ('shards', 'retract') AND name LIKE '%.arrow'
)
SELECT coalesce(s.object, p.object) AS object, coalesce(s.shard, p.name) AS shard, s.problem,
    s.rows_read, p.rows AS rows_in_manifest, s.sha256 AS sha256_read, p.sha256 AS sha256_in_manifest
FROM shard_files s FULL JOIN promised p ON p.object = s.object AND p.name = s.shard
WHERE s.rows_read IS DISTINCT FROM p.rows OR s.sha256 IS DISTINCT FROM p.sha256 OR s.problem IS NOT NULL
