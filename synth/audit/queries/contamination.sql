-- title: what stands of each evaluation set in seeds, in documents, and in what a trainer gets
SELECT benchmark, kind, items, items_hit, texts_hit, kept_texts_hit, hits_a, hits_b, hits_c,
    round(longest_coverage, 2) AS longest_coverage, longest_words
FROM contamination ORDER BY recipe, benchmark, list_position(['seed', 'document', 'rendered'], kind)
