-- title: nothing that had to be masked is left in a shard
-- why: an address or a key that stands in a released text is trained on, and the model can be asked for it
-- severity: integrity
WITH spans_in AS (
    SELECT doc_id, 'text' AS field, rule, replacement, start_byte, end_byte FROM spans
    UNION ALL
    SELECT doc_id, 'reasoning', rule, replacement, start_byte, end_byte FROM reasoning_spans
), released AS (
    SELECT s.*, r.object, r.shard, r.row, r.masked_text, coalesce(r.masked_reasoning, '') AS masked_reasoning
    FROM spans_in s JOIN shard_rows r USING (doc_id) JOIN masks m ON m.object = r.object AND m.rule = s.rule
    WHERE s.replacement <> ''
), found AS (
    SELECT r.* EXCLUDE replacement,
        try(decode(encode(CASE field WHEN 'text' THEN d.text ELSE d.reasoning END)[start_byte + 1 : end_byte])) AS value
    FROM released r JOIN documents d ON d.id = r.doc_id
)
SELECT object, shard, row, doc_id, field, rule, start_byte, end_byte FROM found
WHERE (contains(masked_text, value) OR contains(masked_reasoning, value)) IS NOT FALSE
