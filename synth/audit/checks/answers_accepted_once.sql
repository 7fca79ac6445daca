-- title: every answer has exactly one accepted attempt, the one that it names
-- why: an answer accepted twice was paid twice, one accepted nowhere was never paid; a dead letter ends with an attempt that failed
-- severity: integrity
WITH counted AS (
    SELECT t.object, t.ask_id, any_value(k.outcome) AS outcome, count(*) FILTER (t.verdict = 'accepted') AS accepted,
        count(*) FILTER (t.attempt_id = k.accepted_attempt) AS named,
        count(*) FILTER (t.attempt_id = k.accepted_attempt AND t.verdict = 'accepted') AS agreed
    FROM attempts t LEFT JOIN asks k ON k.object = t.object AND k.ask_id = t.ask_id GROUP BY t.object, t.ask_id
)
SELECT object, ask_id, outcome, accepted, named FROM counted
WHERE accepted <> agreed
    OR (outcome IS NOT NULL AND (named <> 1 OR accepted <> CASE outcome WHEN 'dead_letter' THEN 0 ELSE 1 END))
