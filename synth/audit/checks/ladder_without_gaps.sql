-- title: the attempts of every ask climb its ladder step by step, each step after an answer to the one before
-- why: a step that is missing was paid and lost; a step without an answer before it was sent for nothing
-- severity: integrity
WITH steps AS (
    SELECT object, ask_id, step, count(verdict) AS answers FROM attempts GROUP BY ALL
), asked AS (
    SELECT object, ask_id, count(step) AS steps, min(step) AS first_step, max(step) AS last_step, list(answers ORDER BY step) AS answers
    FROM steps GROUP BY ALL
)
SELECT object, ask_id, steps, first_step, last_step, answers FROM asked
WHERE first_step IS DISTINCT FROM 0 OR steps <> last_step + 1 OR list_max(answers) > 1 OR list_min(answers[:-2]) < 1
