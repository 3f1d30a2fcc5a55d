//! Tells the species of an iris from four measurements: a scaler and a multinomial logistic regression.

use schemars::JsonSchema;
use scorebox_guest::{Deployment, Result, Scorer};
use serde::{Deserialize, Serialize};

const FEATURES: usize = 4;
const SPECIES: usize = 3;

/// The parameters, as `train.py` writes them.
#[derive(Deserialize)]
struct Iris {
    species: [String; SPECIES],
    mean: [f64; FEATURES],
    scale: [f64; FEATURES],
    coefficients: [[f64; FEATURES]; SPECIES],
    intercepts: [f64; SPECIES],
}

/// Flowers to classify.
#[derive(Deserialize, JsonSchema)]
#[schemars(example = serde_json::json!({"data": [[5.1, 3.5, 1.4, 0.2], [6.2, 2.9, 4.3, 1.3]]}))]
struct Flowers {
    /// A row for each flower: sepal length, sepal width, petal length and petal width in cm.
    data: Vec<[f64; FEATURES]>,
}

/// The species of each flower, in the order of the rows.
#[derive(Serialize, JsonSchema)]
struct Classified {
    /// The most probable species.
    prediction: Vec<String>,
    /// The probabilities of setosa, versicolor and virginica; each row adds up to 1.
    probability: Vec<[f64; SPECIES]>,
}

impl Scorer for Iris {
    type Input = Flowers;
    type Output = Classified;

    fn init(deployment: &Deployment) -> Result<Self> {
        deployment.json("model/iris.json")
    }

    fn run(&self, flowers: Flowers) -> Result<Classified> {
        let probability: Vec<_> = flowers.data.iter().map(|row| self.probabilities(row)).collect();
        let prediction = probability.iter().map(|row| self.species[largest(row)].clone()).collect();
        Ok(Classified { prediction, probability })
    }
}

scorebox_guest::export!(Iris);

impl Iris {
    fn probabilities(&self, row: &[f64; FEATURES]) -> [f64; SPECIES] {
        let scaled: [f64; FEATURES] = std::array::from_fn(|i| (row[i] - self.mean[i]) / self.scale[i]);
        let scores: [f64; SPECIES] = std::array::from_fn(|k| {
            let weighted: f64 = self.coefficients[k].iter().zip(scaled).map(|(weight, value)| weight * value).sum();
            weighted + self.intercepts[k]
        });
        softmax(scores)
    }
}

/// Subtracts the largest score first, so that no exponential overflows.
fn softmax(scores: [f64; SPECIES]) -> [f64; SPECIES] {
    let most = scores[largest(&scores)];
    let exponentials = scores.map(|score| (score - most).exp());
    let sum: f64 = exponentials.iter().sum();
    exponentials.map(|exponential| exponential / sum)
}

/// Index of the largest value, the first of equal ones.
fn largest(values: &[f64; SPECIES]) -> usize {
    (1..SPECIES).fold(0, |best, i| if values[i] > values[best] { i } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;
    use scorebox_guest::File;

    #[derive(Deserialize)]
    struct Expected {
        data: Vec<[f64; FEATURES]>,
        prediction: Vec<String>,
        probability: Vec<[f64; SPECIES]>,
    }

    #[test]
    fn all_rows_are_classified_as_by_scikit_learn() {
        let file = File { path: "model/iris.json".into(), contents: include_bytes!("../model/iris.json").to_vec() };
        let iris = Iris::init(&Deployment {
            name: "iris".into(),
            version: "1".into(),
            environment: vec![],
            files: vec![file],
        })
        .unwrap();
        let expected: Expected = serde_json::from_str(include_str!("../expected.json")).unwrap();
        let classified = iris.run(Flowers { data: expected.data }).unwrap();
        assert_eq!(classified.prediction, expected.prediction);
        for (got, wanted) in classified.probability.iter().flatten().zip(expected.probability.iter().flatten()) {
            assert!((got - wanted).abs() <= 1e-9, "{got} instead of {wanted}");
        }
    }
}
