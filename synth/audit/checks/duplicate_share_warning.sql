-- title: near-duplicates are few
-- why: a pool of synthetic text with many near-duplicates was made from too few prompts, or from seeds that repeat
-- severity: warning
WITH compared AS (
    SELECT coalesce(sum(items), 0)::BIGINT AS documents FROM objects WHERE step = 'resolve'
), removed AS (
    SELECT count(DISTINCT item_id) AS duplicates FROM drops WHERE item_kind = 'document' AND step = 'resolve'
)
SELECT documents, duplicates, duplicates / documents AS share, $warn_duplicate_share AS limit_share
FROM compared, removed WHERE documents >= $min_documents AND share > $warn_duplicate_share
