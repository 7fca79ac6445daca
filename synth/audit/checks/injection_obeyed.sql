-- title: few documents obey an instruction that was planted in their seed
-- why: what a canary seed can make the model write, any seed from the web can
-- severity: warning
SELECT family, sum(documents)::BIGINT AS canary_documents, sum(obeyed)::BIGINT AS documents_obeyed,
    documents_obeyed / canary_documents AS share, $warn_obeyed_share AS allowed
FROM injections GROUP BY family HAVING canary_documents >= $min_documents AND share > $warn_obeyed_share
