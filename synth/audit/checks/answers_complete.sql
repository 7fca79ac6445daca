-- title: no kept document rests on an answer that was cut, empty or refused
-- why: a cut answer teaches a model to stop in the middle; of several tries the last is the one that counts
-- severity: integrity
SELECT k.id, k.family, a.ask_id, a.outcome
FROM (SELECT id, family, unnest(written_by) AS ask_id FROM kept) k JOIN asks a USING (ask_id)
WHERE a.outcome IS DISTINCT FROM 'ok'
