-- title: every verdict is about a document or seed that is there
-- why: a verdict on nothing is one that is missing elsewhere
-- severity: integrity
SELECT rung, judge, outcome, item_kind, item_id FROM verdicts v
WHERE CASE item_kind
    WHEN 'seed' THEN NOT EXISTS (FROM seeds s WHERE s.id = v.item_id)
    WHEN 'document' THEN NOT EXISTS (FROM documents d WHERE d.id = v.item_id)
        AND NOT EXISTS (FROM released_rows r WHERE r.doc_id = v.item_id)
    ELSE true END
