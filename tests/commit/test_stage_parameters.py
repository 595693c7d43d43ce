"""Parameters: as people write them, checked before any work, and part of the fingerprint."""

from __future__ import annotations

from typing import Any

import pytest

from fae.commit.stage_parameters import StageParameters
from fae.dataset.parameters import PartitionParameters
from fae.format.budget import Embedding
from fae.format.errors import ParameterError
from fae.hotset.parameters import CalibrateParameters
from fae.ingestion.parameters import IngestParameters
from fae.profiling.parameters import ProfileParameters, parse_min_counts
from fae.profiling.splits import HeldOut


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("512KiB", 512 * 1024),
        ("256MiB", 256 * 2**20),
        ("256 MiB", 256 * 2**20),
        ("1.5GiB", 3 * 2**29),
        ("2GB", 2 * 10**9),
        ("256mib", 256 * 2**20),
        ("1000", 1000),
        (1000, 1000),
    ],
)
def test_a_size_is_as_people_write_it(text: Any, expected: int) -> None:
    assert CalibrateParameters.of(hot_budget=text).hot_budget == expected


@pytest.mark.parametrize("text", ["much", "256 MBytes", "", "MiB", "1,5GiB"])
def test_what_is_no_size_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ParameterError, match=r"--hot-budget .*is not a valid size.*256MiB"):
        CalibrateParameters.of(hot_budget=text)


@pytest.mark.parametrize(
    ("stage", "values", "message"),
    [
        (CalibrateParameters, {"hot_budget": "0"}, "--hot-budget 0"),
        (CalibrateParameters, {"hot_budget": "-5MiB"}, "--hot-budget '-5MiB'"),
        (
            CalibrateParameters,
            {"hot_budget": 1, "dtype": "int8"},
            "--dtype 'int8': must be one of float32, float16, bfloat16, float64",
        ),
        (
            CalibrateParameters,
            {"hot_budget": 1, "optimizer": "lamb"},
            "--optimizer 'lamb': must be one of sgd, rowwise_adagrad, adagrad, adam",
        ),
        (CalibrateParameters, {"hot_budget": 1, "rule": "best"}, "--rule 'best': must be one of"),
        (ProfileParameters, {"sample": 0}, "--sample 0"),
        (ProfileParameters, {"sample": 1.01}, "--sample 1.01"),
        (ProfileParameters, {"sample": float("nan")}, "--sample nan"),
        (ProfileParameters, {"seed": -1}, "--seed -1"),
        (ProfileParameters, {"seed": 2**63}, "--seed 9223372036854775808"),
        (ProfileParameters, {"min_count": {"C1": 0}}, "--min-count"),
        (IngestParameters, {"max_reject_share": 1.5}, "--max-reject-share 1.5"),
        (IngestParameters, {"max_reject_share": float("nan")}, "--max-reject-share nan"),
        (PartitionParameters, {"seed": 1.5}, "--seed 1.5"),
        (PartitionParameters, {"sed": 1}, "--sed 1"),
    ],
)
def test_a_mistake_names_its_option(
    stage: type[StageParameters], values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ParameterError) as caught:
        stage.of(**values)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_share_to_hold_out_is_read_as_on_the_command_line() -> None:
    found = ProfileParameters.of(valid="0.2", test="1d")
    assert (found.valid, found.test) == (HeldOut(share=0.2), HeldOut(days=1))
    assert ProfileParameters.of(valid=0.2).valid == HeldOut(share=0.2)
    with pytest.raises(ParameterError, match="--valid 'most': must be a share"):
        ProfileParameters.of(valid="most")


def test_fewest_accesses_are_by_table_or_for_all() -> None:
    found = ProfileParameters.of(min_count={"": 5, "C1": 2})
    assert (found.get_min_count("C1"), found.get_min_count("C2")) == (2, 5)
    assert ProfileParameters.of().get_min_count("C1") == 1


def test_min_counts_are_read() -> None:
    assert parse_min_counts([]) == {}
    assert parse_min_counts(["10", "C3=20", "a=b=4"]) == {"": 10, "C3": 20, "a=b": 4}


@pytest.mark.parametrize("text", ["", "ten", "0", "-1", "C1=", "C1=0", "1.5", "C1=x"])
def test_what_is_no_min_count_is_refused(text: str) -> None:
    with pytest.raises(ParameterError, match="a number of 1 or more for every table, or TABLE=N"):
        parse_min_counts([text])


@pytest.mark.parametrize(("texts", "whom"), [(["1", "2"], "every table"), (["C1=1", "C1=1"], "C1")])
def test_a_min_count_given_twice_is_refused(texts: list[str], whom: str) -> None:
    with pytest.raises(ParameterError, match=f"given twice for {whom}"):
        parse_min_counts(texts)


def test_an_embedding_is_its_dtype_and_its_state() -> None:
    found = CalibrateParameters.of(hot_budget=1, dtype="float16", optimizer="adam").embedding
    assert found == Embedding("float16", "adam")


def test_every_parameter_is_part_of_the_fingerprint_but_the_share_of_rejects() -> None:
    found = [
        ProfileParameters.of(),
        ProfileParameters.of(valid="0.2"),
        ProfileParameters.of(test="0.2"),
        ProfileParameters.of(valid="1d"),
        ProfileParameters.of(min_count={"": 2}),
        ProfileParameters.of(sample=0.5),
        ProfileParameters.of(seed=1),
        PartitionParameters.of(),
        PartitionParameters.of(seed=1),
        CalibrateParameters.of(hot_budget=1),
        CalibrateParameters.of(hot_budget=2),
        CalibrateParameters.of(hot_budget=1, dtype="float16"),
        CalibrateParameters.of(hot_budget=1, optimizer="sgd"),
        CalibrateParameters.of(hot_budget=1, rule="inputs"),
    ]
    assert len({one.fingerprint("x") for one in found}) == len(found)
    assert found[0].fingerprint("x") != found[0].fingerprint("y")
    assert ProfileParameters.of(valid="0.10").fingerprint("x") == found[0].fingerprint("x")
    strict, lax = IngestParameters.of(max_reject_share=0), IngestParameters.of(max_reject_share=1)
    assert strict.fingerprint("x") == lax.fingerprint("x") != strict.fingerprint("y")


def test_the_budget_is_the_same_however_it_is_written() -> None:
    one, two = (CalibrateParameters.of(hot_budget=text) for text in ("1KiB", "1024"))
    assert one.fingerprint() == two.fingerprint()
