//! From a house to the row of numbers that the trees take.

use serde::Deserialize;

use crate::House;

/// A feature as the model file describes it.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Description {
    /// A field's number, as it is: one column.
    Number(String),
    /// The place of a field's value in an order: one column.
    Order { field: String, values: Vec<String> },
    /// A column for each of a field's values: 1 in that of the value, 0 in the others.
    Category { field: String, values: Vec<String> },
}

/// A feature that knows where in a house to look.
pub enum Feature {
    Number { field: &'static str, get: Number },
    Order(Choice),
    Category(Choice),
}

/// A field that has one of several values.
pub struct Choice {
    field: &'static str,
    get: Text,
    values: Vec<String>,
}

/// A field's name and how to get at it.
type Field<T> = (&'static str, T);
type Number = fn(&House) -> f64;
type Text = fn(&House) -> &str;

const NUMBERS: [Field<Number>; 18] = [
    ("living_area", |house| house.living_area),
    ("lot_area", |house| house.lot_area),
    ("basement_area", |house| house.basement_area),
    ("first_floor_area", |house| house.first_floor_area),
    ("garage_area", |house| house.garage_area),
    ("garage_cars", |house| house.garage_cars),
    ("porch_area", |house| house.porch_area),
    ("deck_area", |house| house.deck_area),
    ("year_built", |house| house.year_built),
    ("year_remodelled", |house| house.year_remodelled),
    ("full_baths", |house| house.full_baths),
    ("half_baths", |house| house.half_baths),
    ("bedrooms", |house| house.bedrooms),
    ("rooms", |house| house.rooms),
    ("fireplaces", |house| house.fireplaces),
    ("year_sold", |house| house.year_sold),
    ("longitude", |house| house.longitude),
    ("latitude", |house| house.latitude),
];

const CHOICES: [Field<Text>; 5] = [
    ("condition", |house| &house.condition),
    ("heating_quality", |house| &house.heating_quality),
    ("neighborhood", |house| &house.neighborhood),
    ("building", |house| &house.building),
    ("central_air", |house| &house.central_air),
];

impl Feature {
    /// Fails when a house has no such field.
    pub fn new(description: Description) -> Result<Self, String> {
        Ok(match description {
            Description::Number(field) => {
                let (field, get) = find(&NUMBERS, &field)?;
                Self::Number { field, get }
            }
            Description::Order { field, values } => Self::Order(Choice::new(&field, values)?),
            Description::Category { field, values } => Self::Category(Choice::new(&field, values)?),
        })
    }

    /// How many numbers `write` adds.
    pub fn columns(&self) -> usize {
        match self {
            Self::Number { .. } | Self::Order(_) => 1,
            Self::Category(choice) => choice.values.len(),
        }
    }

    /// Adds the house's numbers to the row, as float32: that is what scikit-learn's trees compare.
    pub fn write(&self, house: &House, row: &mut Vec<f32>) -> Result<(), String> {
        match self {
            Self::Number { field, get } => {
                let value = get(house);
                let single = value as f32;
                if !single.is_finite() {
                    return Err(format!("'{field}' is {value:e}. It should be less than 3.4e38."));
                }
                row.push(single);
            }
            Self::Order(choice) => row.push(choice.place(house)? as f32),
            Self::Category(choice) => {
                let column = row.len() + choice.place(house)?;
                row.resize(row.len() + choice.values.len(), 0.0);
                row[column] = 1.0;
            }
        }
        Ok(())
    }
}

impl Choice {
    fn new(field: &str, values: Vec<String>) -> Result<Self, String> {
        let (field, get) = find(&CHOICES, field)?;
        Ok(Self { field, get, values })
    }

    fn place(&self, house: &House) -> Result<usize, String> {
        let value = (self.get)(house);
        self.values.iter().position(|known| known == value).ok_or_else(|| {
            let known = self.values.iter().map(|value| format!("'{value}'")).collect::<Vec<_>>().join(", ");
            format!("'{}' is '{value}'. It should be one of: {known}.", self.field)
        })
    }
}

fn find<T: Copy>(fields: &[Field<T>], name: &str) -> Result<Field<T>, String> {
    fields
        .iter()
        .find(|(field, _)| *field == name)
        .copied()
        .ok_or_else(|| format!("its feature '{name}' is no field of that kind in a house"))
}
