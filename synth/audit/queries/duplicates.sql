-- title: the largest groups of duplicates, each with the document that stays
SELECT partner_id, count(*) AS dropped, round(min(score), 3) AS least_similar
FROM drops WHERE step = 'resolve' GROUP BY partner_id ORDER BY dropped DESC, partner_id LIMIT 10
