-- title: every span lies inside its document's text, on whole characters
-- why: shards replaces these bytes: a wrong span hides the wrong words and leaves what had to be hidden
-- severity: integrity
WITH fitting AS (
    SELECT DISTINCT s.* FROM spans s JOIN documents d ON d.id = s.doc_id
    WHERE s.start_byte >= 0 AND s.start_byte < s.end_byte AND s.end_byte <= octet_length(encode(d.text))
        AND try(decode(encode(d.text)[s.start_byte + 1 : s.end_byte])) IS NOT NULL
)
SELECT doc_id, rule, start_byte, end_byte FROM spans EXCEPT SELECT doc_id, rule, start_byte, end_byte FROM fitting
