-- title: drops are counted under their first reason
-- why: the reasons that a release reports must be those that its drops record, each dropped item once
-- severity: integrity
WITH recorded AS (
    SELECT object, counted_as, count(*) AS drops FROM dropped_per_object GROUP BY ALL
), counted AS (
    SELECT object, unnest(map_keys(dropped)) AS counted_as, unnest(map_values(dropped)) AS drops FROM objects
)
SELECT object, counted_as, coalesce(c.drops, 0) AS in_manifest, coalesce(r.drops, 0) AS in_table
FROM counted c FULL JOIN recorded r USING (object, counted_as)
WHERE in_manifest <> in_table
