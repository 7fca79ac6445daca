-- title: nothing that was dropped is in a shard
-- why: a trainer must never see a document that a filter, a judge or deduplication removed
-- severity: integrity
SELECT s.shard, s.row, s.doc_id, d.step, d.counted_as
FROM shard_rows s JOIN dropped d ON d.item_kind = 'document' AND d.item_id = s.doc_id
