"""The recipe: canonical, closed, digest-stable."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainbrr.eeg.signal.montage import TEN_TWENTY
from brainbrr.eeg.signal.recipe import PRESETS, Recipe, load_recipe
from brainbrr.errors import ConfigError

GOLDEN = {
    "default": "766ac533504548de38039f6044284f29",
    "10-20-ears": "50e67f115658481703852303a9207f26",
    "chb-mit": "3ae4b726bc14ec0c7fd9c9dabc6c6a80",
    "upstream": "6870cc033ac3382b58f9f182488f15a8",
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_digest_of_each_preset(name: str) -> None:
    assert PRESETS[name].digest == GOLDEN[name]


def test_the_shipped_recipe_file_spells_out_the_default() -> None:
    file = Path(__file__).parents[3] / "configs" / "recipe.toml"
    assert load_recipe(str(file)) == Recipe()


def test_aliases_are_one_value_in_any_order_and_case() -> None:
    one, other = Recipe(aliases={"fpl": "Fp1", "FPR ": "Fp2"}), Recipe(aliases={"FPR": "Fp2", "FPL": "Fp1"})
    assert one == other and one.digest == other.digest
    assert Recipe.from_identity(one.identity(), name="default") == one


def test_display_name_is_outside_identity() -> None:
    assert Recipe(name="other").digest == Recipe().digest


changed_fields = st.sampled_from(
    [
        {"rate_hz": 250},
        {"channels": TEN_TWENTY[::-1]},
        {"channels": TEN_TWENTY[:-1]},
        {"bandpass_hz": ("1", "120")},
        {"bandpass_hz": ("0.5", "100")},
        {"bandpass_hz": None},
        {"notch_hz": "50"},
        {"notch_hz": None},
        {"quantum_uv": "0.25"},
        {"unit": "uV"},
        {"aliases": {"FPL": "Fp1"}},
    ]
)


@given(changed_fields)
def test_key_changes_when_a_recipe_field_changes(change: dict[str, object]) -> None:
    assert Recipe.model_validate({**Recipe().identity(), **change}).digest != Recipe().digest


@pytest.mark.parametrize("text", ["0.5", "0.50", "5E-1", ".5", 0.5])
def test_one_number_has_one_text(text: object) -> None:
    assert Recipe.model_validate({"bandpass_hz": [text, "120"]}).digest == Recipe().digest


@pytest.mark.parametrize(
    ("field", "fragment"),
    [
        ("chache_dir = 'x'", "chache_dir"),
        ("cache_dir = 'x'", "cache_dir is obsolete: there is one store"),
        ("[data]\ncache_dir = 'x'", "data.cache_dir is obsolete: there is one store"),
        ("[experiment]\ncache_dir = 'x'", "experiment.cache_dir is obsolete: there is one store"),
        ("rate_hz = 0", "rate_hz"),
        ("rate_hz = 256.0", "rate_hz"),
        ("bandpass_hz = ['120', '0.5']", "low < high"),
        ("bandpass_hz = ['0.5', '129']", "rate_hz / 2"),
        ("notch_hz = 'sixty'", "not a decimal"),
        ("notch_hz = nan", "finite"),
        ("quantum_uv = '0'", "above 0"),
        ("channels = []", "at least one"),
        ("unit = 'uv'", "unit"),
        ("[aliases]\nFPL = 'FP1'", "aliases.FPL: 'FP1': write Fp1"),
        ("[aliases]\nFPL = 'EKG1'", "aliases.FPL: 'EKG1': not an electrode"),
        ("[aliases]\nFPL = 'Fp1'\nfpl = 'Fp2'", "each label once, whatever its case"),
        ("[aliases]\n'' = 'Fp1'", "none empty"),
        ("aliases = ['FPL']", "aliases: a table"),
        ("channels = ['Cz', 'Cz']", "each once"),
        ("channels = ['Cz', 'T7']", "'T7': write T3"),
        ("channels = ['FP1']", "'FP1': write Fp1"),
        ("channels = ['T7-P7']", "'T7-P7': write T3-T5"),
        ("channels = ['EEG Cz-REF']", "'EEG Cz-REF': write Cz"),
        ("channels = ['Cz', '']", "'': not an electrode of the 10-20 system, A1, A2, or a pair of them"),
        ("channels = ['EKG1']", "'EKG1': not an electrode"),
        ("quantum_uv = '1e5000000'", "quantum_uv: .*not a decimal"),
        ("quantum_uv = '1e-25'", "quantum_uv: .*not a decimal"),
        ("quantum_uv = true", "quantum_uv: .*not a decimal"),
        ("notch_hz = '6_0'", "notch_hz: .*not a decimal"),
        ("notch_hz = '６０'", "notch_hz: .*not a decimal"),
        ("bandpass_hz = [true, '120']", "bandpass_hz: .*not a decimal"),
        pytest.param("rate_hz = " + "9" * 5000, "not TOML", id="an integer of 5000 digits"),
        ("revision = 99", "revision"),
        ("rate_hz = [", "not TOML"),
    ],
)
def test_a_wrong_recipe_file_is_refused_by_name(tmp_path: Path, field: str, fragment: str) -> None:
    file = tmp_path / "r.toml"
    file.write_text(field)
    with pytest.raises(ConfigError, match=fragment) as caught:
        load_recipe(str(file))
    assert str(file) in str(caught.value)


def test_a_recipe_file_without_a_name_is_called_as_the_file_is(tmp_path: Path) -> None:
    file = tmp_path / "slow-waves.toml"
    file.write_text("bandpass_hz = ['0.5', '30']")
    assert load_recipe(str(file)).name == "slow-waves"
    file.write_text("name = 'delta'\nbandpass_hz = ['0.5', '30']")
    assert load_recipe(str(file)).name == "delta"


@pytest.mark.parametrize("name", PRESETS)
def test_a_presets_name_on_another_recipe_is_refused(tmp_path: Path, name: str) -> None:
    for stem, text in (("r", f"name = '{name}'\nnotch_hz = '50'"), (name, "notch_hz = '50'")):
        file = tmp_path / f"{stem}.toml"
        file.write_text(text)
        with pytest.raises(ConfigError, match=f"'{name}' is a preset's") as caught:
            load_recipe(str(file))
        assert caught.value.where == str(file)


def test_an_unknown_recipe_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="10-20-ears"):
        load_recipe("nonsense")
