-- title: every object's counts add up
-- why: what goes into a step is kept or dropped under exactly one first reason; a difference of one means that something was lost or counted twice
-- severity: integrity
SELECT object, step, items, kept, coalesce(list_sum(map_values(dropped)), 0)::BIGINT AS dropped_items
FROM objects
WHERE items <> kept + dropped_items OR kept < 0 OR list_min(map_values(dropped)) < 0
