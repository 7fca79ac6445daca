-- title: what was dropped, at which step, and under which first reason
SELECT step, counted_as, count(*) AS items
FROM dropped GROUP BY ALL ORDER BY items DESC, step, counted_as
