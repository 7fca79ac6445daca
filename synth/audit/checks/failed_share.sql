-- title: not too many documents failed for reasons that are not about the text
-- why: errors of a family's code and rejected requests are losses that another run could have avoided
-- severity: gate
SELECT count(*) AS documents, count(*) FILTER (counted_as = 'generation_failed') AS failed, failed / documents AS share,
    $max_failed_share AS allowed
FROM documents d LEFT JOIN dropped x ON x.item_kind = 'document' AND x.item_id = d.id
HAVING documents >= $min_documents AND share > $max_failed_share
