-- title: no row of a shard holds an item of an evaluation set
-- why: masks and the reasoning change what a trainer reads after score looked at it; with documents = drop nothing of a set may be trained on
-- severity: gate
SELECT r.shard, r.row, v.item_id AS doc_id, v.evidence ->> '$.item' AS item, v.evidence ->> '$.rule' AS rule,
    v.evidence ->> '$.part' AS part, v.score AS coverage, v.evidence ->> '$.ngram' AS ngram
FROM verdicts v JOIN objects o USING (object) JOIN rows r ON r.doc_id = v.item_id
WHERE v.rung = 'decontamination_rendered' AND v.outcome = 'failed' AND o.config ->> '$.contaminated' = 'drop'
