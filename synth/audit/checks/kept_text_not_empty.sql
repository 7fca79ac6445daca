-- title: no kept document is without generated text
-- why: a document in which the model wrote nothing is a copy of its seed, or nothing at all
-- severity: integrity
WITH written AS (
    SELECT id, part.role AS role, try(decode(encode(text)[part.start_byte + 1 : part.end_byte])) AS piece
    FROM (SELECT id, text, unnest(parts) AS part FROM kept)
)
SELECT id, family FROM kept
WHERE id NOT IN (SELECT id FROM written WHERE role = 'generated' AND regexp_matches(piece, '\S'))
