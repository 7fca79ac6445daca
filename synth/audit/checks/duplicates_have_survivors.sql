-- title: every document dropped as a duplicate has a partner that stays
-- why: of a group of duplicates one must survive, else its content is lost
-- severity: integrity
SELECT d.item_id, d.rule, d.score, d.partner_id FROM drops d
WHERE d.step = 'resolve' AND NOT regexp_matches(coalesce(d.partner_id, ''), '^(pool|release):') AND NOT EXISTS (FROM kept k WHERE k.id = d.partner_id)
    AND NOT EXISTS (FROM released_rows r WHERE r.doc_id = d.partner_id)
    AND NOT EXISTS (FROM tombstones t WHERE t.doc_id = d.partner_id)
