-- title: no family begins too many kept documents with the same words
-- why: a model that is trained on one beginning learns to write it; the corpus is less diverse than its size says
-- severity: gate
SELECT family, opening, documents, family_documents, share, lower_bound, $max_template_share AS allowed
FROM openings
WHERE family_documents >= $min_openings AND lower_bound > $max_template_share
