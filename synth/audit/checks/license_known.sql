-- title: every kept document has a known licence
-- why: a document made from a text of unknown licence must not be released by accident
-- severity: gate
SELECT id, family, license FROM kept
WHERE NOT $allow_unknown_license AND lower(trim(coalesce(license, ''))) IN ('', 'unknown', 'noassertion', 'none')
