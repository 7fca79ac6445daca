-- title: attempts that were made and gave no answer
SELECT endpoint, model, family, outcome, attempts, prompt_tokens, completion_tokens, dollars
FROM costs WHERE kind = 'failed_attempt' ORDER BY attempts DESC, endpoint, family, outcome
