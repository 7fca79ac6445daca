-- title: how often instructions that were planted in seeds are obeyed, by kind
SELECT family, canary_kind, documents, obeyed, round(100.0 * share, 1) AS obeyed_percent
FROM injections ORDER BY recipe, obeyed DESC NULLS LAST, family, canary_kind
