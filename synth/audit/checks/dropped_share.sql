-- title: no family loses more than the allowed share of its documents
-- why: a family that is dropped almost whole points to a broken prompt, a wrong model or a misplaced threshold
-- severity: gate
SELECT d.family, count(*) AS documents, count(x.item_id) AS dropped, count(x.item_id) / count(*) AS share, $max_dropped_share AS allowed
FROM documents d LEFT JOIN dropped x ON x.item_kind = 'document' AND x.item_id = d.id AND x.step <> 'retract'
GROUP BY d.family HAVING count(*) >= $min_documents AND share > $max_dropped_share
