//! The peer: the iris example as a plain axum handler, compiled natively, with nothing between requests.

use std::fs;
use std::net::Ipv4Addr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderName};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::{Result, example};

const FEATURES: usize = 4;
const SPECIES: usize = 3;

/// The model, as in the example.
#[derive(Debug, Deserialize)]
struct Iris {
    species: [String; SPECIES],
    mean: [f64; FEATURES],
    scale: [f64; FEATURES],
    coefficients: [[f64; FEATURES]; SPECIES],
    intercepts: [f64; SPECIES],
}

#[derive(Debug, Deserialize)]
struct Flowers {
    data: Vec<[f64; FEATURES]>,
}

#[derive(Debug, Serialize)]
struct Classified {
    prediction: Vec<String>,
    probability: Vec<[f64; SPECIES]>,
}

/// Serves on `port` until it is killed.
pub(crate) fn serve(port: u16) -> Result {
    let model: Iris = serde_json::from_slice(&fs::read(example().join("model/iris.json"))?)?;
    let router = Router::new().route("/score", post(score)).with_state(Arc::new(model));
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        #[expect(clippy::disallowed_methods, reason = "the plain server is the one that everybody writes")]
        axum::serve(listener, router).await?;
        Ok(())
    })
}

type Answer = ([(HeaderName, &'static str); 1], Vec<u8>);

async fn score(State(model): State<Arc<Iris>>, body: Bytes) -> std::result::Result<Answer, StatusCode> {
    let flowers: Flowers = serde_json::from_slice(&body).map_err(|_| StatusCode::BAD_REQUEST)?;
    let answer = serde_json::to_vec(&model.classify(&flowers)).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(([(CONTENT_TYPE, "application/json")], answer))
}

impl Iris {
    fn classify(&self, flowers: &Flowers) -> Classified {
        let probability: Vec<_> = flowers.data.iter().map(|row| self.probabilities(row)).collect();
        let prediction = probability.iter().map(|row| self.species[largest(row)].clone()).collect();
        Classified { prediction, probability }
    }

    fn probabilities(&self, row: &[f64; FEATURES]) -> [f64; SPECIES] {
        let scaled: [f64; FEATURES] = std::array::from_fn(|i| (row[i] - self.mean[i]) / self.scale[i]);
        let scores: [f64; SPECIES] = std::array::from_fn(|k| {
            let weighted: f64 = self.coefficients[k].iter().zip(scaled).map(|(weight, value)| weight * value).sum();
            weighted + self.intercepts[k]
        });
        let most = scores[largest(&scores)];
        let exponentials = scores.map(|score| (score - most).exp());
        let sum: f64 = exponentials.iter().sum();
        exponentials.map(|exponential| exponential / sum)
    }
}

fn largest(values: &[f64; SPECIES]) -> usize {
    (1..SPECIES).fold(0, |best, i| if values[i] > values[best] { i } else { best })
}
