-- title: what each rung of the verification ladder says of each family's documents
SELECT family, rung, judge, outcome, documents, round(100.0 * share, 1) AS percent
FROM verification ORDER BY recipe, family, rung, judge, documents DESC, outcome
