-- title: the parts of every document lie inside its text, on whole characters
-- why: copy checks, filters and masks read parts by their bytes; a wrong span blames or hides the wrong words
-- severity: integrity
WITH parts AS (
    SELECT id, encode(text) AS bytes, unnest(parts) AS part FROM documents
)
SELECT id, part.role AS role, part.start_byte AS start_byte, part.end_byte AS end_byte, octet_length(bytes) AS text_bytes
FROM parts
WHERE (coalesce(part.role, '') IN ('source', 'generated', 'thinking') AND part.start_byte >= 0
    AND part.start_byte < part.end_byte AND part.end_byte <= octet_length(bytes)
    AND try(decode(bytes[part.start_byte + 1 : part.end_byte])) IS NOT NULL) IS NOT TRUE
