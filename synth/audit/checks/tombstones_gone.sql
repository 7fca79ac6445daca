-- title: nothing that was retracted is listed
-- why: what somebody asked to take out must be in no shard, in no table of rows, and must not speak for a document in later comparisons
-- severity: integrity
WITH listed AS (
    SELECT 'shard' AS place, shard AS name, doc_id FROM shard_rows
    UNION ALL SELECT 'rows', shard, doc_id FROM rows
    UNION ALL SELECT 'rows', filename, doc_id FROM rows_elsewhere
    UNION ALL SELECT 'released rows', shard, doc_id FROM released_rows
    UNION ALL SELECT 'index', filename, doc_id FROM index_entries
)
SELECT place, regexp_extract(name, '[^/]*/?[^/]+$') AS name, doc_id FROM listed SEMI JOIN tombstones USING (doc_id)
