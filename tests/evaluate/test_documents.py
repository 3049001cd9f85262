"""Documents come in order and with ids of their own from anything that holds them; what is wrong is named with its place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from evaluate_helpers_documents import refused, texts, written
from losskit.evaluate.text.documents import Document, data_fingerprint, read_documents

numpy = pytest.importorskip("numpy", reason="some hand token ids over in its arrays")


# in memory


def test_a_str_is_one_text() -> None:
    assert read_documents("to be\nor not") == [Document("0", "to be\nor not", None, None, None)]


def test_texts_records_and_ids_may_stand_in_one_list() -> None:
    rows = [[1, 2], {"tokens": [3]}, {"input_ids": torch.tensor([4])}, torch.tensor([5, 6]), []]
    found = read_documents(["a", {"text": "b"}, *rows])
    assert [each.text for each in found] == ["a", "b", None, None, None, None, None]
    assert [each.tokens for each in found] == [None, None, [1, 2], [3], [4], [5, 6], []]
    assert [each.id for each in found] == [str(i) for i in range(7)]


def test_fields_are_named_by_the_caller() -> None:
    row = {"body": "a b", "name": 7, "domain": "code", "raw": "a  b"}
    found = read_documents([row], text_field="body", id_field="name", group_field="domain", units_from="raw")
    assert found == [Document("7", "a b", None, "code", "a  b")]


def test_a_tensor_is_one_document_and_a_matrix_one_of_each_row() -> None:
    assert [each.tokens for each in read_documents(torch.tensor([1, 2, 3]))] == [[1, 2, 3]]
    assert [each.tokens for each in read_documents(torch.tensor([[1, 2], [3, 4]]))] == [[1, 2], [3, 4]]
    assert [each.tokens for each in read_documents(numpy.array([[1, 2], [3, 4]]))] == [[1, 2], [3, 4]]
    assert [each.tokens for each in read_documents([list(numpy.array([1, 2]))])] == [[1, 2]]


class DataSet:
    """As ``datasets.Dataset`` is looped over."""

    column_names = ("text",)

    def __iter__(self) -> Iterator[dict[str, str]]:
        return iter([{"text": "a"}, {"text": ""}])


def test_a_data_set_is_looped_over_and_empty_documents_are_kept() -> None:
    assert texts(DataSet()) == ["a", ""]


def test_no_more_than_the_limit_is_read() -> None:
    def endless() -> Iterator[str]:
        while True:
            yield "a"

    assert len(read_documents(endless(), limit=3)) == 3
    with pytest.raises(ValueError, match='"limit" is 0, expected at least 1'):
        read_documents("a", limit=0)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ([], "no document in the source"),
        ([1, 2], "item 0: a int, expected a text, a record with fields, or a list of token ids"),
        ([b"a"], "item 0: a bytes, expected a text"),
        (["a", None], "item 1: a NoneType"),
        ([[1, -100]], "item 0: token 1 is -100, expected a token id"),
        ([[True]], "item 0: token 0 is True"),
        ([[0.5]], "item 0: token 0 is 0.5"),
        ([torch.tensor([0.5])], "item 0: token 0 is 0.5"),
        (torch.tensor([[[1]]]), r"item 0: token 0 is \[1\]"),
        ([{"body": "a", "n": 1}], 'item 0: no field "text", there are body, n'),
        ([{"text": None}], 'item 0: field "text" is null'),
        ([{"text": 3}], "item 0: a int, expected a text"),
        ([{"text": "ab\ud800"}], r"item 0: character 2 is '\\ud800', half of a surrogate pair"),
    ],
)
def test_what_is_no_document_is_named_with_its_place(source: object, message: str) -> None:
    refused(message, source)


def test_fields_that_are_asked_for_must_be_there() -> None:
    refused('item 1: no field "name"', [{"text": "a", "name": "x"}, {"text": "b"}], id_field="name")
    refused('item 0: field "name" is a float, expected a str or an int', [{"text": "a", "name": 0.5}], id_field="name")
    refused('item 0: no field "raw"', [{"text": "a"}], units_from="raw")
    refused('item 0: field "raw": a int, expected a text', [{"text": "a", "raw": 1}], units_from="raw")
    refused('item 0: a str has no field "domain", expected a record with fields', ["a"], group_field="domain")


def test_an_id_is_given_once() -> None:
    refused('item 2: the id "x" is taken by item 0', [{"text": "a", "n": each} for each in "xyx"], id_field="n")


@pytest.mark.parametrize("source", [{"train": ["a"]}, b"a", 3])
def test_what_is_no_source_is_a_type_error(source: object) -> None:
    with pytest.raises(TypeError, match=f'"source" is a {type(source).__name__}, expected a text, paths'):
        read_documents(source)


def test_a_format_is_of_files() -> None:
    with pytest.raises(ValueError, match="\"format\" is 'xml', expected 'auto', 'text'"):
        read_documents("a", format="xml")
    with pytest.raises(ValueError, match='"format" is "lines", but "source" is no file'):
        read_documents("a", format="lines")
    refused("item 0: a text, expected token ids", ["a"], format="tokens")


def test_the_name_of_a_file_is_not_taken_for_a_text(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", "{}")
    refused("is the name of a file: pass Path", str(path))
    assert texts("no such file.txt") == ["no such file.txt"]


# fingerprint


def test_a_fingerprint_changes_with_every_part_and_with_the_order() -> None:
    one, two = Document("x", "ab", None, "g", None), Document("y", None, [1, 23], None, None)
    lists = [
        [one, two],
        [two, one],
        [one],
        [one._replace(id="z"), two],
        [one._replace(text="a"), two],
        [one._replace(text=None, tokens=[1]), two],
        [one._replace(units="ab"), two],
        [one, two._replace(tokens=[12, 3])],
        [one, two._replace(tokens=None)],
        [one, two._replace(tokens=[])],
    ]
    assert len({data_fingerprint(each) for each in lists}) == len(lists)
    assert data_fingerprint([one._replace(group=None), two]) == data_fingerprint([one, two])  # a group is no text
    assert data_fingerprint(lists[0]) == data_fingerprint(iter(list(lists[0])))
    assert data_fingerprint(lists[0]) == data_fingerprint([one._replace(group=None), two])  # a group is no text


def test_parts_that_run_together_differ() -> None:
    assert data_fingerprint([Document("ab", "c", None, "")]) != data_fingerprint([Document("a", "c", None, "b")])
