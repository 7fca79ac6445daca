-- title: no document stands twice
-- why: a document that is made or released twice is trained on twice
-- severity: integrity
SELECT id, count(*) AS times, false AS released_before FROM documents GROUP BY id HAVING count(*) > 1
UNION ALL
SELECT d.id, count(*) AS times, true FROM documents d JOIN released_rows r ON r.doc_id = d.id GROUP BY d.id
