-- title: how evenly each axis is covered, and which values are dropped most
SELECT family, axis, value, documents, round(100.0 * share, 1) AS percent, kept, round(100.0 * kept_share, 1) AS kept_percent
FROM axis_coverage ORDER BY recipe, family, axis, documents DESC, value
