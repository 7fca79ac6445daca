"""Compiled: what a fastText classifier says of texts, from the bytes of an Arrow column. Importing this imports numba.

The words of a text are those of `filters.fasttext_model.flatten`. Sums are of float32, in the order of the library's, so that
they are the library's to the last bit. A text goes through whole loops, one after the other: its words, their entries in the
dictionary, the numbers of the rows it stands for, their mean, and what the loss makes of it.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from filters.fasttext_file import HIERARCHICAL, SOFTMAX
from filters.fasttext_tables import OFFSET, compiled, find_number, find_word, hashed, inlined, same_bytes

_END_HASH = np.int64(np.int32(3617362777 - (1 << 32)))  # of `</s>`, with which the library ends each text
_NGRAM_FACTOR = np.uint64(116049371)
_LESS, _GREATER = np.uint8(60), np.uint8(62)  # < and >, which the library puts around a word before it takes it apart
_SPACE, _MARK, _WIDE = 1, 2, 3
_CLASSES = np.zeros(256, np.uint8)  # of bytes: 0 belongs to a word, _MARK and _WIDE may begin what separates words
_CLASSES[[0, *range(9, 14), *range(28, 33)]] = _SPACE
_CLASSES[[ord("<"), ord("_")]] = _MARK
_CLASSES[[0xC2, 0xE1, 0xE2, 0xE3]] = _WIDE
_END_MARK = np.frombuffer(b"</s>", np.uint8)
_LABEL_MARK = np.frombuffer(b"__label__", np.uint8)
ROOM = 1 << 16  # rows that are collected before they are added up
_MAX_KNOWN_BYTES = 64  # of a word that is worth remembering
_TINY = 1e-5  # which the library adds to each probability
_LEAST_SCORE = np.float32(math.log(_TINY))
_SIGMOID_REACH, _SIGMOID_STEPS = np.float32(8), np.float32(32)  # its table: from -8 to 8, so many values per 1


class Model(NamedTuple):
    """A model as arrays, all read-only. Rows are those of `dense`, or where that is empty those of `codes`."""

    file: Any  # its bytes
    spans: Any  # of each entry of the dictionary, words then labels: its first byte and its length
    table: Any  # finds the entry of a word
    kept: Any  # a bit per bucket: whether the model kept its row; all of them where it is empty
    pruned: Any  # finds the row of a bucket that was kept
    dense: Any
    codes: Any
    centroids: Any
    norm_codes: Any
    norm_values: Any
    output: Any
    output_norms: Any
    children: Any
    parents: Any
    part: int
    words: int
    end: int  # the entry of `</s>`, -1 when there is none
    word_ngrams: int
    minn: int
    maxn: int
    bucket: int
    loss: int


class Scratch(NamedTuple):
    """What a call writes on, of its own."""

    hidden: Any  # float32: the mean of a text's rows
    outputs: Any  # float32: a number per label
    word_starts: Any  # int64, as the three below: a number per word of the longest text, and one more
    word_ends: Any
    hashes: Any
    entries: Any
    rows: Any  # int32: room for those of the longest text, if it were one word
    known: Any  # int64, a power of two of rows: start and length (0: none) of a word met before, where in
    # `pool`, (of the first: how much of it is taken), how many
    pool: Any  # int32: the rows of words met before
    path: Any  # int64: a number per node of the tree, and one more
    scores: Any  # float32


@inlined
def _gap(data: Any, at: Any, end: Any) -> Any:
    """The length of what separates words at `at`: Unicode whitespace, a NUL, `</s>` or `__label__`; 0 within a word."""
    kind, size = _CLASSES[data[at]], 0
    if kind == _SPACE:
        size = 1
    elif kind == _MARK:
        if data[at] == _LESS:
            size = 4 if at + 4 <= end and same_bytes(_END_MARK, 0, data, at, 4) else 0
        else:
            size = 9 if at + 9 <= end and same_bytes(_LABEL_MARK, 0, data, at, 9) else 0
    elif kind == _WIDE:
        first, second = data[at], data[at + 1]
        if first == 0xC2:
            size = 2 if second == 0x85 or second == 0xA0 else 0
        else:
            third = data[at + 2]
            if first == 0xE1:
                is_space = second == 0x9A and third == 0x80  # U+1680
            elif first == 0xE3:
                is_space = second == 0x80 and third == 0x80  # U+3000
            elif second == 0x80:  # U+2000 to U+200A, U+2028, U+2029, U+202F
                is_space = third <= 0x8A or third == 0xA8 or third == 0xA9 or third == 0xAF
            else:
                is_space = second == 0x81 and third == 0x9F  # U+205F
            size = 3 if is_space else 0
    return size


@compiled
def _split(data: Any, at: Any, end: Any, starts: Any, ends: Any, hashes: Any) -> Any:
    """Where the words of a text begin and end, and their hashes, as signed numbers of 32 bits; how many there are."""
    value, inside = OFFSET, False
    count: Any = np.int64(0)
    while at < end:
        gap = _gap(data, at, end)
        if gap == 0:
            if not inside:
                starts[count], inside, value = at, True, OFFSET
            value = hashed(value, data[at])
            at += 1
        else:
            if inside:
                ends[count], hashes[count], inside = at, np.int32(value), False
                count += 1
            at += gap
    if inside:
        ends[count], hashes[count] = end, np.int32(value)
        count += 1
    return count


@inlined
def _kept_row(bucket: Any, kept: Any, pruned: Any) -> Any:
    """The row of a bucket, after those of words; -1 when the model did not keep it."""
    row = bucket
    if len(kept) > 0:
        row = find_number(pruned, bucket) if kept[bucket >> 3] >> (bucket & 7) & 1 else -1
    return row


@compiled
def _parts(model: Model, data: Any, start: Any, end: Any, entry: Any, rows: Any, used: Any) -> Any:
    """Write the rows of a word that is entry `entry` of the dictionary (-1: none), and of its n-grams of characters, to
    `rows`, of which `used` are taken; how many are taken then."""
    bucket, words, minn, maxn = np.uint32(model.bucket), model.words, model.minn, model.maxn
    kept, pruned = model.kept, model.pruned
    if entry >= 0:
        rows[used] = entry
        used += 1
    for first in range(start - 1, end + 1):
        if start <= first < end and data[first] & 0xC0 == 0x80:
            continue
        value, at, length = OFFSET, first, 0
        while at <= end and length < maxn:
            value = hashed(value, _LESS if at < start else _GREATER if at == end else data[at])
            at += 1
            while start < at < end and data[at] & 0xC0 == 0x80:
                value = hashed(value, data[at])
                at += 1
            length += 1
            if length >= minn and not (length == 1 and (first < start or at > end)):
                row = _kept_row(np.int64(value % bucket), kept, pruned)
                if row >= 0:
                    rows[used] = words + row
                    used += 1
    return used


@compiled
def _add_rows(model: Model, rows: Any, count: Any, hidden: Any) -> None:
    """Add these rows to `hidden`, in their order."""
    dense, columns = model.dense, len(hidden)
    if len(dense) == 0:
        _add_coded(model, rows, count, hidden)
        return
    whole = count & ~7
    for at in range(0, whole, 8):  # eight at a time: more of them are on their way from memory at once
        one, two, three, four = rows[at], rows[at + 1], rows[at + 2], rows[at + 3]
        five, six, seven, eight = rows[at + 4], rows[at + 5], rows[at + 6], rows[at + 7]
        for column in range(columns):
            total = hidden[column] + dense[one, column]
            total = total + dense[two, column]
            total = total + dense[three, column]
            total = total + dense[four, column]
            total = total + dense[five, column]
            total = total + dense[six, column]
            total = total + dense[seven, column]
            hidden[column] = total + dense[eight, column]
    for at in range(whole, count):
        row = rows[at]
        for column in range(columns):
            hidden[column] += dense[row, column]


@compiled
def _add_coded(model: Model, rows: Any, count: Any, hidden: Any) -> None:
    codes, centroids, norm_codes, norm_values = model.codes, model.centroids, model.norm_codes, model.norm_values
    columns, norm = len(hidden), np.float32(1)
    for each in range(count):
        row = rows[each]
        if len(norm_codes) > 0:
            norm = norm_values[norm_codes[row]]
        for part in range(codes.shape[1]):
            start = part * model.part
            size = min(model.part, columns - start)
            centroid = 256 * start + np.int64(codes[row, part]) * size
            for at in range(size):
                hidden[start + at] += norm * centroids[centroid + at]


@compiled
def _fetch(model: Model, words: Any, hashes: Any, entries: Any) -> None:
    """Bring what `_find` will most likely read from memory into the cache, for all words at a time: one after the other they
    would be waited for. `entries` is scratch."""
    file, spans, table, mask = model.file, model.spans, model.table, len(model.table) - 1
    for word in range(words):
        entries[word] = table[hashes[word] & mask]
    for word in range(words):
        entries[word] = spans[max((entries[word] & 0xFFFFFFFF) - 1, 0), 0]
    for word in range(words):
        entries[words] += file[entries[word]]  # kept, so that no compiler leaves the reading out


@compiled
def _fetch_known(data: Any, words: Any, scratch: Scratch) -> None:
    """As `_fetch`, for `_known_rows`."""
    hashes, known, pool, mask = scratch.hashes, scratch.known, scratch.pool, len(scratch.known) - 1
    for word in range(words):
        slot = hashes[word] & mask
        scratch.path[0] += data[known[slot, 0]] + pool[known[slot, 2]]


@compiled
def _find(model: Model, data: Any, words: Any, scratch: Scratch) -> Any:
    """Fill `entries` with the words' entries in the dictionary, -1 for those that are not in it. The entries of labels count
    as no words: how many are left without them."""
    file, spans, table = model.file, model.spans, model.table
    word_starts, word_ends, hashes, entries = scratch.word_starts, scratch.word_ends, scratch.hashes, scratch.entries
    _fetch(model, words, hashes, entries)
    kept = 0
    for word in range(words):
        start, end, value = word_starts[word], word_ends[word], hashes[word]
        entry = find_word(table, file, spans, data, start, end, value)
        if entry < model.words:
            word_starts[kept], word_ends[kept], hashes[kept], entries[kept] = start, end, value, entry
            kept += 1
    return kept


@compiled
def _word_rows(model: Model, data: Any, word: Any, words: Any, scratch: Scratch) -> tuple[Any, Any]:
    """Write the rows of the words from `word` on to `rows`, as long as there is room: the first word that is left, how many
    rows there are."""
    word_starts, word_ends, entries, hashes = scratch.word_starts, scratch.word_ends, scratch.entries, scratch.hashes
    rows, maxn = scratch.rows, model.maxn
    used: Any = np.int64(0)
    while word < words and used < ROOM:
        start, end, entry = word_starts[word], word_ends[word], entries[word]
        if used + 1 + (end - start + 2) * maxn > len(rows):
            break
        if maxn == 0:
            if entry >= 0:
                rows[used] = entry
                used += 1
        elif end - start > _MAX_KNOWN_BYTES:
            used = _parts(model, data, start, end, entry, rows, used)
        else:
            used = _known_rows(model, data, start, end, entry, hashes[word], scratch, used)
        word += 1
    return word, used


@compiled
def _known_rows(
    model: Model, data: Any, start: Any, end: Any, entry: Any, value: Any, scratch: Scratch, used: int
) -> Any:
    """As `_parts`, but a word is taken apart once only, as long as it is remembered."""
    known, pool, rows, length = scratch.known, scratch.pool, scratch.rows, end - start
    slot = value & (len(known) - 1)
    if known[slot, 1] != length or not same_bytes(data, known[slot, 0], data, start, length):
        first = known[0, 3]
        if first + 1 + (length + 2) * model.maxn > len(pool):
            for each in range(len(known)):
                known[each, 1] = 0
            first = np.int64(0)
        last = _parts(model, data, start, end, entry, pool, first)
        known[slot, 0], known[slot, 1], known[slot, 2] = start, length, first
        known[slot, 4], known[0, 3] = last - first, last
    first = known[slot, 2]
    for at in range(first, first + known[slot, 4]):
        rows[used] = pool[at]
        used += 1
    return used


@compiled
def _ngram_rows(model: Model, first: Any, words: Any, hashes: Any, rows: Any) -> tuple[Any, Any]:
    """Write the rows of the n-grams of words that begin at `first` and after it to `rows`, as long as there is room: the
    first word that is left, how many rows there are."""
    kept, pruned, bucket, most = model.kept, model.pruned, np.uint64(model.bucket), model.word_ngrams
    offset, used = model.words, np.int64(0)
    while first < words and used + most < ROOM:
        value = np.uint64(hashes[first])
        for at in range(first + 1, min(words, first + most)):
            value = value * _NGRAM_FACTOR + np.uint64(hashes[at])
            row = _kept_row(np.int64(value % bucket), kept, pruned)
            if row >= 0:
                rows[used] = offset + row
                used += 1
        first += 1
    return first, used


@compiled
def _mean(model: Model, data: Any, start: Any, end: Any, scratch: Scratch) -> tuple[Any, Any]:
    """Make `hidden` the mean of a text's rows; how many there are, and whether any is of a word or of a part of one."""
    hidden, rows, hashes = scratch.hidden, scratch.rows, scratch.hashes
    count: Any = np.int64(0)
    for column in range(len(hidden)):
        hidden[column] = 0
    words = _split(data, start, end, scratch.word_starts, scratch.word_ends, hashes)
    words = _find(model, data, words, scratch)
    if model.maxn > 0:
        _fetch_known(data, words, scratch)
    word: Any = np.int64(0)
    while word < words:
        word, used = _word_rows(model, data, word, words, scratch)
        _add_rows(model, rows, used, hidden)
        count += used
    is_known = count > 0
    if model.end >= 0:
        rows[0] = model.end
        _add_rows(model, rows, np.int64(1), hidden)
        count += 1
    if model.word_ngrams > 1:
        hashes[words], word = _END_HASH, np.int64(0)
        while word <= words:
            word, used = _ngram_rows(model, word, words + 1, hashes, rows)
            _add_rows(model, rows, used, hidden)
            count += used
    share = np.float32(1 / max(count, 1))
    for column in range(len(hidden)):
        hidden[column] *= share
    return count, is_known


@compiled
def _output(model: Model, hidden: Any, row: Any) -> Any:
    output, total = model.output, np.float32(0)
    for column in range(len(hidden)):
        total += hidden[column] * output[row, column]
    return total * model.output_norms[row]


@compiled
def _softmax(model: Model, hidden: Any, wanted: Any, outputs: Any) -> tuple[Any, Any]:
    best = 0
    for label in range(len(outputs)):
        outputs[label] = _output(model, hidden, label)
        if outputs[label] >= outputs[best]:  # of equals the last, as the library has it
            best = label
    total = 0.0
    for label in range(len(outputs)):
        total += math.exp(np.float64(outputs[label]) - outputs[best])
    label = best if wanted < 0 else wanted
    return label, math.exp(np.float64(outputs[label]) - outputs[best]) / total + _TINY


@compiled
def _sigmoid(value: Any) -> float:
    """As the library's table has it, where a value stands for all up to the next one."""
    if value < -_SIGMOID_REACH:
        return 0.0
    if value > _SIGMOID_REACH:
        return 1.0
    step = np.int64((value + _SIGMOID_REACH) * _SIGMOID_STEPS)
    return 1 / (1 + math.exp(8.0 - step / 32.0))


@compiled
def _one_vs_all(model: Model, hidden: Any, wanted: Any, labels: Any) -> tuple[Any, Any]:
    if wanted >= 0:
        return wanted, _sigmoid(_output(model, hidden, wanted)) + _TINY
    best, most = 0, -1.0
    for label in range(labels):
        value = _sigmoid(_output(model, hidden, label))
        if value >= most:
            best, most = label, value
    return best, most + _TINY


@compiled
def _branch(model: Model, hidden: Any, node: Any, side: Any, score: Any) -> Any:
    """The score (float32) of a node's child, from that of the node."""
    right = np.float32(1 / (1 + math.exp(-np.float64(_output(model, hidden, node - len(model.output_norms))))))
    share = right if side == 1 else np.float32(1) - right
    return np.float32(score + np.float32(math.log(share + _TINY)))


@compiled
def _leaf_score(model: Model, hidden: Any, label: Any, path: Any) -> Any:
    """The score of a label, by way of the nodes above it; the least there is where the library goes no further."""
    depth, node = 0, label
    while model.parents[node] >= 0:
        path[depth] = node
        depth, node = depth + 1, model.parents[node]
    score = np.float32(0)
    for at in range(depth - 1, -1, -1):
        parent = model.parents[path[at]]
        score = _branch(model, hidden, parent, 1 if model.children[parent, 1] == path[at] else 0, score)
        if score < _LEAST_SCORE:
            return np.float32(-np.inf)
    return score


@compiled
def _hierarchical(model: Model, hidden: Any, wanted: Any, path: Any, scores: Any) -> tuple[Any, Any]:
    if wanted >= 0:
        return wanted, math.exp(_leaf_score(model, hidden, wanted, path))
    best, most, waiting = 0, np.float32(-np.inf), 1
    path[0], scores[0] = len(model.parents) - 1, 0
    while waiting > 0:
        waiting -= 1
        node, score = path[waiting], scores[waiting]
        if score < _LEAST_SCORE or score < most:
            continue
        if node < len(model.output_norms):
            best, most = node, score
            continue
        for side in (np.int64(1), np.int64(0)):  # the left one is looked at first
            path[waiting], scores[waiting] = model.children[node, side], _branch(model, hidden, node, side, score)
            waiting += 1
    return best, math.exp(most)


@compiled
def score_texts(
    model: Model,
    data: Any,
    starts: Any,
    ends: Any,
    wanted: Any,
    scratch: Scratch,
    labels: Any,
    probabilities: Any,
    is_known: Any,
) -> None:
    """Of each text, `data[starts[k] : ends[k]]`, the label (its number) `wanted`, or the most probable one for -1, and its
    probability as the library gives it; whether anything of the text is known to the model. Where nothing is, the
    probability is what the library would say, or 0 where that would be nothing."""
    for text in range(len(starts)):
        count, is_known[text] = _mean(model, data, starts[text], ends[text], scratch)
        label, value = -1, 0.0
        if count > 0:
            if model.loss == HIERARCHICAL:
                label, value = _hierarchical(model, scratch.hidden, wanted, scratch.path, scratch.scores)
            elif model.loss == SOFTMAX:
                label, value = _softmax(model, scratch.hidden, wanted, scratch.outputs)
            else:
                label, value = _one_vs_all(model, scratch.hidden, wanted, len(scratch.outputs))
        labels[text], probabilities[text] = label, min(value, 1.0)


# Of the files whose parts are compiled into these kernels, see tests/test_kernel_caches.py: 1e15082c
