"""What is evaluated: documents with an id, from texts, files, tables, data sets or token ids."""

from __future__ import annotations

import hashlib
import json
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from .readers import FORMATS, SUFFIXES, DataError, Record, read

__all__ = ["DataError", "Document", "data_fingerprint", "groups_fingerprint", "read_documents"]

# what the fields of token ids are called, here and by transformers
TOKEN_FIELDS = ("tokens", "input_ids")


class Document(NamedTuple):
    """A text, or the tokens of one."""

    id: str
    text: str | None
    tokens: list[int] | None
    group: str | None
    units: str | None = None
    """Another text whose bytes and words are counted, where that of ``text`` is not meant to be."""


class Fields(NamedTuple):
    """Where in a record what stands."""

    text: str
    id: str | None
    group: str | None
    units: str | None
    tokens_only: bool


def read_documents(
    source: object,
    *,
    format: str = "auto",
    text_field: str = "text",
    id_field: str | None = None,
    group_field: str | None = None,
    units_from: str | None = None,
    limit: int | None = None,
) -> list[Document]:
    """The documents of a source, in its order, each with an id of its own.

    Args:
        source: a str is one text. A Path, or a list of them, is files: text (one document each), .jsonl, .json (a list), .csv,
            .parquet, .pt and .npy (token ids), any of them also as .gz or .zst, directories of them, or ``-`` for the
            standard input. Anything else is looped over: texts, mappings of fields (a ``datasets.Dataset``), rows of token ids,
            or a ``Document``, which stays as it is
        format: what the files hold: ``"text"``, ``"lines"``, ``"jsonl"``, ``"json"``, ``"csv"``, ``"parquet"``,
            ``"tokens"`` (JSONL of ids, .pt or .npy), or ``"auto"``, which goes by their names
        text_field: of a record, its text; one that has none may have token ids in ``tokens`` or ``input_ids``
        id_field: its id, in place of ``file``, ``file:line`` (of tables and lists ``file:number``), or the place in the source
        group_field: what it is counted with
        units_from: a text whose bytes, characters and words are counted in place of those of its text
        limit: so many documents and no more

    Raises:     DataError for what cannot be read or has no document; TypeError and ValueError for arguments.
    Example:
        >>> read_documents([{"text": "to be", "from": "Hamlet"}], group_field="from")
        [Document(id='0', text='to be', tokens=None, group='Hamlet', units=None)]
    """
    if format not in FORMATS:
        raise ValueError(f'"format" is {format!r}, expected {", ".join(map(repr, FORMATS))}')
    if limit is not None and (not isinstance(limit, int) or limit < 1):  # pyright: ignore[reportUnnecessaryIsInstance]  # 2.5
        raise ValueError(f'"limit" is {limit}, expected at least 1, or None for all')
    fields = Fields(text_field, id_field, group_field, units_from, format == "tokens")
    found: list[Document] = []
    places: dict[str, str] = {}
    for record in islice(_records(source, format, fields), limit):
        document = _document(record, fields)
        if document.id in places:
            first = places[document.id]
            raise DataError(f'{record.place}: the id "{document.id}" is taken by {first}, expected one for each document')
        places[document.id] = record.place
        found.append(document)
    if not found:
        raise DataError(f"no document in {_kind(source)}, expected at least one")
    return found


def _kind(source: object) -> str:
    if isinstance(source, Path):
        return f'"{source}"'
    return " ".join(f'"{each}"' for each in source) if isinstance(source, (list, tuple)) and source else "the source"


def _records(source: Any, format: str, fields: Fields) -> Iterator[Record]:
    paths = [source] if isinstance(source, Path) else source
    if isinstance(paths, (list, tuple)) and paths and all(isinstance(path, Path) for path in paths):
        return read(paths, format, [each for each in fields[:4] if each is not None])
    if format not in ("auto", "text", "tokens"):
        raise ValueError(f'"format" is "{format}", but "source" is no file: pass a Path, or leave it "auto"')
    if isinstance(source, str):
        if len(source) < 4096 and Path(source.removesuffix(".gz").removesuffix(".zst")).suffix in {*SUFFIXES, ".txt", ".md"}:
            _no_file(source)
        return iter([Record(source, "0", "the text")])
    if isinstance(source, (bytes, Mapping)) or not isinstance(source, Iterable):
        remedy = "decode them" if isinstance(source, bytes) else "a mapping of several is one of its values at a time"
        raise TypeError(f'"source" is a {type(source).__name__}, expected a text, paths, or an iterable of documents: {remedy}')
    source = _rows(source)
    items = [source] if getattr(source, "ndim", None) == 1 or isinstance(source, Document) else source
    return (Record(item, str(i), f"item {i}") for i, item in enumerate(items))


def _rows(source: Any) -> Any:
    """The rows of a table of polars or pandas, which would give the names of their columns."""
    if hasattr(source, "to_dicts"):
        return source.to_dicts()
    return source.to_dict("records") if hasattr(source, "to_dict") and hasattr(source, "columns") else source


def _no_file(text: str) -> None:
    try:
        exists = Path(text).is_file()
    except (OSError, ValueError):
        return
    if exists:
        raise DataError(f'"source" is the text "{text}", which is the name of a file: pass Path("{text}") for what is in it')


def _document(record: Record, fields: Fields) -> Document:
    item, place = record.item, record.place
    if isinstance(item, Document):
        return _whole(item, place)
    if isinstance(item, Mapping):
        body = _body(item, fields, place)
        name = record.id if fields.id is None else _label(item, fields.id, place)
        group = None if fields.group is None else _label(item, fields.group, place)
        units = None if fields.units is None else _text(_field(item, fields.units, place), f'{place}: field "{fields.units}"')
        place = f"{place}, document {name}" if fields.id else place
    else:
        for field in (fields.id, fields.group, fields.units):
            if field is not None:
                raise DataError(f'{place}: a {type(item).__name__} has no field "{field}", expected a record with fields')
        body, name, group, units = item, record.id, None, None
    if isinstance(body, str):
        if fields.tokens_only:
            raise DataError(f"{place}: a text, expected token ids: a list of int")
        return Document(name, _text(body, place), None, group, units)
    return Document(name, None, _ids(body, place), group, units)


def _whole(item: Document, place: str) -> Document:
    """A document as it was given, looked at like any other."""
    if not isinstance(item.id, str) or (item.text is None) == (item.tokens is None):  # pyright: ignore[reportUnnecessaryIsInstance]  # a tuple checks nothing
        raise DataError(f"{place}: {item!r}, expected a Document with a str as id, and a text or tokens but not both")
    for part in (item.id, item.group, item.text, item.units):
        if part is not None:
            _text(part, place)
    return item if item.tokens is None else item._replace(tokens=_ids(item.tokens, place))


def _body(item: Mapping[str, object], fields: Fields, place: str) -> object:
    """The text of a record, or its token ids."""
    names = (*TOKEN_FIELDS, fields.text) if fields.tokens_only else (fields.text, *TOKEN_FIELDS)
    for name in names:
        if name in item:
            return _field(item, name, place)
    return _field(item, fields.text, place)


def _field(item: Mapping[str, object], name: str, place: str) -> object:
    if name not in item:
        raise DataError(f'{place}: no field "{name}", there are {", ".join(map(str, item)) or "none"}')
    if item[name] is None:
        raise DataError(f'{place}: field "{name}" is null, expected a value in every record')
    return item[name]


def _label(item: Mapping[str, object], name: str, place: str) -> str:
    value = _field(item, name, place)
    if not isinstance(value, (str, int)):
        raise DataError(f'{place}: field "{name}" is a {type(value).__name__}, expected a str or an int')
    return _text(str(value), f'{place}: field "{name}"')


def _text(value: object, place: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"{place}: a {type(value).__name__}, expected a text")
    try:
        value.encode()
    except UnicodeEncodeError as bad:
        half = value[bad.start]
        raise DataError(f"{place}: character {bad.start} is {half!a}, half of a surrogate pair, expected Unicode text") from None
    return value


def _ids(value: Any, place: str) -> list[int]:
    found = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(found, Sequence) or isinstance(found, (bytes, bytearray)):
        raise DataError(f"{place}: a {type(value).__name__}, expected a text, a record with fields, or a list of token ids")
    for at, each in enumerate(found):
        if isinstance(each, bool) or not hasattr(each, "__index__") or each < 0:
            raise DataError(f"{place}: token {at} is {each!r}, expected a token id: an int of at least 0")
    return [operator.index(each) for each in found]


def data_fingerprint(documents: Iterable[Document]) -> str:
    """sha256 over ids, texts and tokens of the documents, in their order; in which group each is does not matter."""
    digest = hashlib.sha256()
    for each in documents:
        tokens = None if each.tokens is None else " ".join(map(str, each.tokens))
        for part in (each.id, each.text, tokens, each.units):
            data = None if part is None else part.encode()
            digest.update(b"-" if data is None else b"%d:" % len(data))  # a length before each: no two lists are one stream
            digest.update(data or b"")
    return digest.hexdigest()


def groups_fingerprint(found: Sequence[Document]) -> str:
    """sha256 over the groups of the documents."""
    return hashlib.sha256(json.dumps([one.group for one in found]).encode()).hexdigest()
