-- title: few kept documents of a family begin with the same words
-- why: a beginning that comes back is a template in the making: look at the prompt before the share grows
-- severity: warning
SELECT family, opening, documents, family_documents, share, lower_bound, $warn_template_share AS allowed
FROM openings
WHERE family_documents >= $min_openings AND lower_bound > $warn_template_share
