//! Estimates what a house sells for: 600 gradient-boosted trees, evaluated as scikit-learn does.

mod features;
mod trees;

use schemars::JsonSchema;
use scorebox_guest::{Deployment, Fault, Result, Scorer};
use serde::{Deserialize, Serialize};

use features::Feature;
use trees::Trees;

struct HousePrice {
    features: Vec<Feature>,
    trees: Trees,
}

/// The file that `train.py` writes.
#[derive(Deserialize)]
struct Model {
    features: Vec<features::Description>,
    #[serde(flatten)]
    trees: trees::Description,
}

/// Houses to estimate.
#[derive(Deserialize, JsonSchema)]
#[schemars(example = serde_json::from_str::<serde_json::Value>(include_str!("../request.json")).ok())]
struct Houses {
    houses: Vec<House>,
}

/// A house in Ames, Iowa. Areas are in square feet.
#[derive(Deserialize, JsonSchema)]
struct House {
    living_area: f64,
    lot_area: f64,
    basement_area: f64,
    first_floor_area: f64,
    garage_area: f64,
    /// Cars that fit into the garage.
    garage_cars: f64,
    porch_area: f64,
    deck_area: f64,
    year_built: f64,
    year_remodelled: f64,
    full_baths: f64,
    half_baths: f64,
    bedrooms: f64,
    /// Rooms above ground, bathrooms left out.
    rooms: f64,
    fireplaces: f64,
    /// The year that the estimate is for: 2006 to 2010 were seen in training.
    year_sold: f64,
    /// Degrees east.
    longitude: f64,
    /// Degrees north.
    latitude: f64,
    /// `Very_Poor` to `Excellent`.
    condition: String,
    /// `Poor`, `Fair`, `Typical`, `Good` or `Excellent`.
    heating_quality: String,
    /// `North_Ames`, `Crawford`, ...
    neighborhood: String,
    /// `OneFam`, `TwoFmCon`, `Duplex`, `Twnhs` or `TwnhsE`.
    building: String,
    /// `Y` or `N`.
    central_air: String,
}

/// The estimates, in the order of the houses.
#[derive(Serialize, JsonSchema)]
struct Prices {
    /// In US dollars.
    price: Vec<f64>,
}

impl Scorer for HousePrice {
    type Input = Houses;
    type Output = Prices;

    fn init(deployment: &Deployment) -> Result<Self> {
        const PATH: &str = "model/house-price.json";
        let model: Model = deployment.json(PATH)?;
        let in_file = |reason| Fault::failed(format_args!("The file '{PATH}' of the bundle cannot be used: {reason}"));
        let features = model.features.into_iter().map(Feature::new).collect::<Result<Vec<_>, _>>().map_err(in_file)?;
        let columns = features.iter().map(Feature::columns).sum();
        let trees = Trees::new(&model.trees, columns).map_err(in_file)?;
        tracing::info!(trees = model.trees.trees.len(), columns, "the model is loaded");
        Ok(Self { features, trees })
    }

    fn run(&self, input: Houses) -> Result<Prices> {
        let mut price = Vec::with_capacity(input.houses.len());
        let mut row = Vec::with_capacity(self.trees.columns());
        for (index, house) in input.houses.iter().enumerate() {
            row.clear();
            for feature in &self.features {
                feature
                    .write(house, &mut row)
                    .map_err(|reason| Fault::bad_input(format!("houses[{index}]: {reason}")))?;
            }
            price.push(self.trees.sum(&row));
        }
        Ok(Prices { price })
    }
}

scorebox_guest::export!(HousePrice);

#[cfg(test)]
mod tests {
    use super::*;
    use scorebox_guest::File;

    #[derive(Deserialize)]
    struct Expected {
        houses: Vec<House>,
        price: Vec<f64>,
    }

    fn model() -> HousePrice {
        let contents = include_bytes!("../model/house-price.json").to_vec();
        let files = vec![File { path: "model/house-price.json".into(), contents }];
        HousePrice::init(&Deployment { name: "house-price".into(), version: "1".into(), environment: vec![], files })
            .unwrap()
    }

    fn expected() -> Expected {
        serde_json::from_str(include_str!("../expected.json")).unwrap()
    }

    #[test]
    fn all_houses_are_estimated_as_by_scikit_learn() {
        let Expected { houses, price } = expected();
        let estimated = model().run(Houses { houses }).unwrap();
        assert_eq!(estimated.price.len(), price.len());
        for (got, wanted) in estimated.price.iter().zip(price) {
            assert!((got - wanted).abs() <= 1e-9, "{got} instead of {wanted}");
        }
    }

    #[test]
    fn a_category_that_was_not_seen_is_refused_with_those_that_were() {
        let mut houses = expected().houses;
        houses[1].central_air = "maybe".into();
        let fault = model().run(Houses { houses }).err().unwrap();
        assert_eq!(fault, Fault::bad_input("houses[1]: 'central_air' is 'maybe'. It should be one of: 'N', 'Y'."),);
    }

    #[test]
    fn a_number_that_no_float32_can_hold_is_refused() {
        let mut houses = expected().houses;
        houses[0].lot_area = 1e300;
        let fault = model().run(Houses { houses }).err().unwrap();
        assert_eq!(fault, Fault::bad_input("houses[0]: 'lot_area' is 1e300. It should be less than 3.4e38."));
    }
}
