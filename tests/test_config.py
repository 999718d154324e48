"""Settings: bounds, choices, combinations, and the JSON that a run directory holds."""

import dataclasses
import json

import pytest

from tf_simclr.config import Config, from_json, replace, sections, to_json, used_settings
from tf_simclr.errors import UsageError
from tf_simclr.option import options


def test_every_option_explains_itself_and_has_a_default_of_its_own_type():
    for name, section in sections(Config()).items():
        for field in options(section):
            assert field.type in (str, int, float, bool), (name, field.name)
            assert type(field.default) is field.type, (name, field.name)
            assert field.metadata["help"], (name, field.name)


def test_json_round_trip():
    config = replace(
        Config(), stage="finetune", from_run="runs/pre", model__sk=True, model__width=0.25, finetune__steps=7, data__label_fraction=0.1
    )
    assert from_json(to_json(config)) == config
    assert config != Config()


def test_what_was_given_of_the_architecture_is_known():
    """A default that was given is told from one that was not; a whole section gives nothing."""
    config = replace(replace(Config(), model__depth=18, seed=7), stage="finetune")
    assert config.given == {"model__depth"} and config == replace(Config(), seed=7, stage="finetune")
    assert not replace(config, model=config.model).given and not Config().given
    assert "given" not in json.loads(to_json(config))


@pytest.mark.parametrize("path", [(), ("data",), ("student",)])
def test_json_with_an_unknown_key_is_refused_by_name(path):
    plain = json.loads(to_json(Config()))
    part = plain
    for key in path:
        part = part[key]
    part["colour_of_the_sky"] = "blue"
    with pytest.raises(UsageError, match="colour_of_the_sky.*" + ".".join(("config", *path))):
        from_json(json.dumps(plain))


def test_json_with_a_value_out_of_bounds_is_refused():
    plain = json.loads(to_json(Config()))
    plain["pretrain"]["temperature"] = 0
    with pytest.raises(UsageError, match="temperature must be above 0, got 0"):
        from_json(json.dumps(plain))


@pytest.mark.parametrize(
    "setting, value, words",
    [
        ("stage", "train", "stage must be one of inspect, preview, pretrain, .*got 'train'"),
        ("seed", -1, "seed must be at least 0, got -1"),
        ("seed", 1.5, "seed must be int, got 1.5"),
        ("from_run", 3, "from must be str, got 3"),
        ("model__depth", 7, "depth must be one of 10, 18, .*got 7"),
        ("model__depth", "18", "depth must be int, got '18'"),
        ("model__width", 0.0, "width must be above 0, got 0"),
        ("model__sk", 1, "sk must be bool, got 1"),
        ("model__channels", 2, "channels must be one of 0, 1, 3, got 2"),
        ("pretrain__batch_size", True, "batch_size must be int, got True"),
        ("pretrain__learning_rate", float("nan"), "learning_rate must be a finite number, got nan"),
        ("pretrain__temperature", -0.1, "temperature must be above 0, got -0.1"),
        ("pretrain__hue", 0.51, "hue must be at most 0.5, got 0.51"),
        ("finetune__augment", "autoaugment", "augment must be one of custom, crop_flip, randaugment, simclr, got 'autoaugment'"),
        ("finetune__randaugment_magnitude", 1.1, "randaugment_magnitude must be at most 1, got 1.1"),
        ("supervised__randaugment_layers", 0, "randaugment_layers must be at least 1, got 0"),
        ("finetune__optimizer", "adam", "optimizer must be one of lars, .*got 'adam'"),
        ("distill__alpha", 1.01, "alpha must be at most 1, got 1.01"),
        ("student__width", -1.0, "width must be at least 0, got -1"),
        ("data__label_fraction", 1.1, "label_fraction must be at most 1, got 1.1"),
        ("data__eval_on", "train", "eval_on must be one of .*test, holdout, got 'train'"),
    ],
)
def test_a_value_outside_its_type_choices_or_bounds_is_refused(setting, value, words):
    with pytest.raises(UsageError, match=words):
        replace(Config(), **{setting: value})


@pytest.mark.parametrize(
    "setting, value",
    [
        ("pretrain__hue", 0.5),
        ("distill__alpha", 0),
        ("distill__alpha", 1),
        ("data__label_fraction", 1.0),
        ("seed", 0),
        ("model__width", 0.01),
    ],
)
def test_bounds_themselves_are_allowed(setting, value):
    section, _, name = setting.rpartition("__")
    assert getattr(sections(replace(Config(), **{setting: value}))[section], name) == value


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"data__labels_per_class": 1, "data__num_labels": 10}, "at most one of .*got labels_per_class and num_labels"),
        ({"data__num_labels": 10, "data__label_fraction": 0.1}, "at most one of .*got num_labels and label_fraction"),
        ({"model__head_layers": 1, "finetune__selector": 2}, "finetune_selector must be at most head_layers=1, got 2"),
        ({"finetune__epochs": 0.0}, "finetune_epochs or finetune_steps must be above 0, got 0 for both; give one of them"),
        ({"label_seeds": "1,3000000000"}, "label_seeds must be from 0 to 2147483647, got 1,3000000000; choose others"),
        (
            {"supervised__augment": "crop_flip", "supervised__grey": 0.2},
            "supervised_augment=crop_flip says .* supervised_grey must be 0, got 0.2; give --supervised_grey=0, or leave --.*_augment out",
        ),
        ({"finetune__augment": "simclr", "finetune__jitter": 0.8}, "finetune_jitter must be 0, got 0.8"),
        ({"finetune__augment": "randaugment", "finetune__blur": 0.5}, "finetune_blur must be 0, got 0.5"),
        ({"methods": "finetune,magic"}, "methods must be among .*got 'magic'"),
        ({"tflite": "float32,int4"}, "tflite must be among float32, float16, int8, got 'int4'"),
        ({"label_seeds": "1,two"}, "label_seeds must be whole numbers .*got '1,two'"),
    ],
)
def test_combinations_that_cannot_be_are_refused(changes, words):
    with pytest.raises(UsageError, match=words):
        replace(Config(), **changes)


def test_lists_are_read():
    config = replace(Config(), methods="supervised, finetune", label_seeds="1,2,5", tflite="float32, int8")
    assert config.method_names == ("supervised", "finetune")
    assert config.label_seed_list == (1, 2, 5)
    assert config.tflite_kinds == ("float32", "int8") and Config().tflite_kinds == ()


@pytest.mark.parametrize("setting", ["colour", "model__colour", "colour__depth", "pretrain__depth", "pretrain__augment"])
def test_an_unknown_setting_is_refused(setting):
    with pytest.raises(UsageError, match=setting):
        replace(Config(), **{setting: 1})


def test_replace_changes_a_copy_and_the_original_is_frozen():
    config = Config()
    assert replace(config, model__depth=50).model.depth == 50
    assert config == Config()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.seed = 2


def test_a_run_is_known_by_the_settings_that_its_stage_reads():
    one = Config()
    for setting, value in (("finetune__learning_rate", 0.5), ("data__label_seed", 7), ("label_seeds", "1,2"), ("keep_checkpoints", 9)):
        assert used_settings(replace(one, **{setting: value})) == used_settings(one), setting
    for setting, value in (("pretrain__learning_rate", 0.5), ("model__depth", 50), ("data__dataset", "idx"), ("seed", 2)):
        assert used_settings(replace(one, **{setting: value})) != used_settings(one), setting
    fine, supervised = replace(one, stage="finetune", from_run="runs/pre"), replace(one, stage="finetune")
    assert "supervised" not in used_settings(fine) and "finetune" not in used_settings(supervised)
    assert used_settings(replace(fine, data__label_seed=7)) != used_settings(fine)
    pipeline = replace(one, stage="pipeline")
    for setting, value in (("finetune__learning_rate", 0.5), ("label_seeds", "1,2")):
        assert used_settings(replace(pipeline, **{setting: value})) != used_settings(pipeline)
