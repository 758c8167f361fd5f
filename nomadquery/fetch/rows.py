"""Entries of a page → rows: from what the index gave, and from their archives, batch by batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from nomadquery.columns.arrays import Problem, arrow_schema
from nomadquery.columns.decode import decode
from nomadquery.columns.plain import compiled_plain
from nomadquery.fetch.archives import ArchiveReader, Batch
from nomadquery.fetch.pages import Document, Source

if TYPE_CHECKING:
    import pyarrow as pa


def reader_for(source: Source) -> ArchiveReader:
    """Return what reads the archives of a source's entries."""
    question, catalogue = source.question, source.catalogue
    plain = None
    if question.reads_archives:
        plain = compiled_plain(question.columns, catalogue, question.per, source="archive")
    return ArchiveReader(source.send, question, catalogue, source.declares, plain)


def entry_ids_of(documents: Sequence[Document]) -> list[str]:
    """Return the ids of the entries, in their order."""
    return [str(document["entry_id"]) for document in documents]


def rows_of(
    documents: Sequence[Document], source: Source, reader: ArchiveReader
) -> tuple[pa.RecordBatch, list[dict[str, str]]]:
    """Return the rows of the entries in their order, and lines about what some of them lack.

    Archives become rows batch by batch, so that those of one batch are in memory, not those of the page.
    """
    question, catalogue = source.question, source.catalogue
    if not (question.reads_archives and documents):
        rows, problems = decode(documents, question.columns, catalogue, per=question.per)
        return rows, [asdict(problem) for problem in problems]
    parts, problems = [], []
    for batch in reader.batches(documents):
        part, unreadable = rows_with_archives(batch, source)
        parts.append(part)
        problems += [*batch.problems, *unreadable]
    order = {entry_id: rank for rank, entry_id in enumerate(entry_ids_of(documents))}
    problems.sort(key=lambda problem: order.get(problem.entry_id, -1))
    return _in_order(parts, order), [asdict(problem) for problem in problems]


def rows_with_archives(batch: Batch, source: Source) -> tuple[pa.RecordBatch, list[Problem]]:
    """Return the rows of a batch, and what they lack."""
    import pyarrow as pa

    question, catalogue, documents = source.question, source.catalogue, batch.documents
    columns = question.columns
    if batch.arrays is None:
        return decode(documents, columns, catalogue, archives=batch.archives, per=question.per)
    of_index, problems = decode(documents, [one for one in columns if one.source == "search"], catalogue)
    sources = {"search": iter(of_index.columns[1:]), "archive": iter(batch.arrays)}
    arrays = [of_index.column(0), *(next(sources[column.source]) for column in columns)]
    return pa.record_batch(arrays, schema=arrow_schema(columns)), problems


def _in_order(parts: Sequence[pa.RecordBatch], order: Mapping[str, int]) -> pa.RecordBatch:
    import numpy as np
    import pyarrow as pa

    rows = pa.Table.from_batches(parts).combine_chunks()
    ranks = np.fromiter((order[one] for one in rows.column(0).to_pylist()), dtype=np.int64, count=len(rows))
    rows = rows.take(pa.array(np.argsort(ranks, kind="stable")))
    batches = rows.combine_chunks().to_batches()
    return batches[0] if batches else parts[0]
