-- title: the table of rows says what really stands in the shards
-- why: it is how an auditor finds a document in a shard, and how later releases know what was released
-- severity: integrity
SELECT object, shard, row, r.doc_id AS doc_id_in_table, s.doc_id AS doc_id_in_shard, r.split, s.text_bytes
FROM rows r FULL JOIN shard_rows s USING (object, shard, row)
WHERE r.doc_id IS DISTINCT FROM s.doc_id OR NOT starts_with(shard, r.split || '-') OR s.text_bytes = 0
