-- title: every drop names a reason and an item that is there
-- why: a drop without a reason cannot be questioned, and one of an unknown item hides a loss
-- severity: integrity
SELECT item_id, item_kind, step, rule, reason FROM drops d
WHERE coalesce(trim(rule), '') = '' OR coalesce(trim(reason), '') = '' OR item_id IS NULL
    OR coalesce(step, '') NOT IN ('ingest', 'screen', 'generate', 'keep', 'resolve', 'retract')
    OR CASE item_kind
        WHEN 'seed' THEN step <> 'ingest' AND NOT EXISTS (FROM seeds s WHERE s.id = d.item_id)
        WHEN 'document' THEN NOT EXISTS (FROM documents x WHERE x.id = d.item_id)
        ELSE true END
