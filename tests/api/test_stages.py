"""The stages as functions: the names, defaults and bytes of the commands."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import yaml

import fae
from fae.dataset.parameters import PartitionParameters
from fae.format.errors import FaeError, MissingExtraError, ParameterError, require
from fae.hotset.parameters import CalibrateParameters
from fae.ingestion.parameters import IngestParameters
from fae.profiling.parameters import ProfileParameters
from tests.support import command_line
from tests.support.shop_days import NEWS, assert_same
from tests.support.small_logs import SHOP, SHOP_LOG, digests, written

CHOICE = {"hot_budget": "120", "rule": "accesses"}


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The twenty rows, in the working directory."""
    monkeypatch.chdir(tmp_path)
    (path,) = written(tmp_path, {"shop.csv": SHOP_LOG})
    return Path(path)


def test_prepare_writes_what_the_command_writes(log: Path) -> None:
    schema = yaml.safe_dump(SHOP.document(), allow_unicode=True)
    written(log.parent, {"shop.yaml": schema})
    dataset = fae.prepare(log, schema="shop.yaml", out="function", min_count={"city": 2}, **CHOICE)
    done = command_line.fae(
        *("prepare", log, "--schema", "shop.yaml", "--out", "command", "--min-count", "city=2"),
        *("--hot-budget", "120", "--rule", "accesses"),
    )
    assert done.exit_code == 0, done.output
    assert digests(Path("function")) == digests(Path("command"))
    assert dataset.manifest == fae.open_dataset("command").manifest


def test_the_stages_one_by_one_give_the_same_data_set(log: Path) -> None:
    staging = fae.ingest([log], schema=SHOP, out="1")
    frequencies = fae.profile(staging, out="2")
    hot_set = fae.calibrate(staging, frequencies, out="3", **CHOICE)
    dataset = fae.partition("1", "2", "3", out="4")
    assert hot_set.budget.bytes == 120
    assert dataset.manifest == fae.prepare(log, schema=SHOP, out="whole", **CHOICE).manifest
    assert digests(Path("4")) == digests(Path("whole"))


def test_append_gives_the_data_set_of_all_logs(log: Path) -> None:
    written(log.parent, {"news.csv": NEWS})
    fae.prepare("shop.csv", schema=SHOP, out="added", keep_work=True, seed=5, **CHOICE)
    dataset = fae.append(["news.csv"], out="added")
    fae.prepare(["shop.csv", "news.csv"], schema=SHOP, out="whole", seed=5, **CHOICE)
    assert_same(Path("added"), Path("whole"))
    assert dataset.splits == fae.open_dataset("whole").splits
    with pytest.raises(ParameterError, match="exclude each other"):
        fae.append("news.csv", out="added", overwrite=True)


def test_prepare_again_does_nothing_and_says_so(
    log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        dataset = fae.prepare(log, schema=SHOP, out="ds", hot_budget=120)
    assert "nothing to do" in capsys.readouterr().err
    assert dataset.splits["train"].rows == 16


@pytest.mark.parametrize(
    ("function", "models"),
    [
        (
            "prepare",
            [IngestParameters, ProfileParameters, CalibrateParameters, PartitionParameters],
        ),
        ("ingest", [IngestParameters]),
        ("profile", [ProfileParameters]),
        ("calibrate", [CalibrateParameters]),
        ("partition", [PartitionParameters]),
    ],
)
def test_functions_have_the_stages_parameters_and_defaults(
    function: str, models: list[type[IngestParameters]]
) -> None:
    parameters = inspect.signature(getattr(fae, function)).parameters
    for model in models:
        for name, field in model.model_fields.items():
            default = parameters[name].default
            if name in ("valid", "test"):
                default = getattr(ProfileParameters.of(**{name: default}), name)
            expected = field.get_default(call_default_factory=True)
            assert (default or None) == (expected or None), name


def test_a_mistake_is_a_fae_error(log: Path) -> None:
    with pytest.raises(FaeError, match="--rule 'best'"):
        fae.prepare(log, schema=SHOP, out="ds", hot_budget=120, rule="best")
    with pytest.raises(fae.FaeError, match=r"no log found at none\.csv"):
        fae.ingest("none.csv", schema=SHOP, out="ds")


def test_what_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'fae' has no attribute 'train_all'"):
        fae.train_all  # noqa: B018


def test_a_missing_library_is_named_with_its_extra() -> None:
    require("json", "report", "The report")
    with pytest.raises(MissingExtraError, match=r"pip install 'fae-recsys\[report\]'"):
        require("a_library_that_nobody_has", "report", "The report")
