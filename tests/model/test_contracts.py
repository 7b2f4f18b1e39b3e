"""The contracts of the model's tables speak of the columns that these have."""

import pyarrow as pa
import pytest

from features.other_tables import TABLES
from features.profiles import SCHEMA as PROFILES
from model.evaluation.stage import PREDICTIONS
from model.experiments import published
from model.records import ATTENTION, ATTRIBUTIONS, FACT_EFFECTS, FAITHFULNESS

SCHEMAS = {"predictions": PREDICTIONS, "attributions": ATTRIBUTIONS, "attention": ATTENTION,
           "faithfulness": FAITHFULNESS, "fact_effects": FACT_EFFECTS, "experiments": published.SCHEMA,
           "profiles": PROFILES}


def test_every_table_that_is_no_view_has_a_contract() -> None:
    assert TABLES.keys() == SCHEMAS.keys()
    assert TABLES["experiments"][0] == published.KEY


@pytest.mark.parametrize("name", SCHEMAS)
def test_rules_are_about_columns_that_there_are(name: str) -> None:
    schema: pa.Schema = SCHEMAS[name]
    key, rules = TABLES[name]
    assert set(key) <= set(schema.names)
    for rule in rules:
        assert set(rule.needs) <= set(schema.names), rule.rule
