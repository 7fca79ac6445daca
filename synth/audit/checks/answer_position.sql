-- title: right answers are shown at every position alike
-- why: a corpus in which the second option is right too often teaches to guess the second option
-- severity: warning
WITH counted AS (
    SELECT family, options, sum(shown)::BIGINT AS answers, sum(shown ^ 2) * options / sum(shown) - sum(shown) AS chi_square,
        -- the value that chi-square passes by chance once in a thousand, for 2 to 10 options
        [10.828, 13.816, 16.266, 18.467, 20.515, 22.458, 24.322, 26.124, 27.877][options - 1] AS allowed,
        map(list(answer ORDER BY answer), list(shown ORDER BY answer)) AS by_position
    FROM answer_bias WHERE kind = 'position' GROUP BY family, options
)
SELECT family, options, answers, chi_square, allowed, by_position FROM counted WHERE answers >= 200 AND chi_square > allowed
