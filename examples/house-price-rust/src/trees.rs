//! The trees, laid out for speed, with exactly scikit-learn's arithmetic.

use serde::Deserialize;

/// The trees as the model file describes them.
#[derive(Deserialize)]
pub struct Description {
    start: f64,
    learning_rate: f64,
    pub trees: Vec<TreeDescription>,
}

/// A tree: the same index in every list is the same node, and the first is the root.
#[derive(Deserialize)]
pub struct TreeDescription {
    /// The column that is compared, -1 in a leaf.
    feature: Vec<i32>,
    left: Vec<u32>,
    right: Vec<u32>,
    threshold_or_value: Vec<f64>,
}

/// All trees in one list of nodes of 16 bytes, four to a cache line, siblings beside each other.
pub struct Trees {
    /// What the sum starts with.
    start: f64,
    /// Length of a row.
    columns: usize,
    /// Index of each tree's root.
    roots: Vec<u32>,
    nodes: Vec<Node>,
}

#[derive(Clone, Copy)]
struct Node {
    /// A leaf's value times the learning rate; any other's threshold.
    number: f64,
    /// The column to compare, or `LEAF`.
    feature: u32,
    /// Index of the left child; the right one is the next.
    left: u32,
}

const LEAF: u32 = u32::MAX;

impl Trees {
    /// Checks that rows of `columns` numbers can be led through the trees, and that each walk ends.
    pub fn new(description: &Description, columns: usize) -> Result<Self, String> {
        let mut trees = Self { start: description.start, columns, roots: Vec::new(), nodes: Vec::new() };
        for (index, tree) in description.trees.iter().enumerate() {
            trees.add(tree, description.learning_rate).map_err(|reason| format!("trees[{index}]: {reason}"))?;
        }
        Ok(trees)
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Lays the nodes out level by level.
    fn add(&mut self, tree: &TreeDescription, learning_rate: f64) -> Result<(), String> {
        let count = tree.feature.len();
        if count == 0 || [tree.left.len(), tree.right.len(), tree.threshold_or_value.len()] != [count; 3] {
            return Err("its lists are empty or differ in length".to_owned());
        }
        let root = self.nodes.len();
        self.roots.push(index(root)?);
        // Node of the description for each place of the layout from the root on; a place is filled when it is reached.
        let mut order = vec![0_u32];
        let mut place = 0;
        while let Some(&source) = order.get(place) {
            let source = source as usize;
            let number = tree.threshold_or_value[source];
            self.nodes.push(match u32::try_from(tree.feature[source]) {
                Err(_) => Node { number: learning_rate * number, feature: LEAF, left: 0 },
                Ok(feature) if feature as usize >= self.columns => {
                    return Err(format!("node {source} compares column {feature}, but a row has {}", self.columns));
                }
                Ok(feature) => {
                    let left = index(root + order.len())?;
                    for child in [tree.left[source], tree.right[source]] {
                        // Children come after their parent, so no walk runs in a circle.
                        if child as usize <= source || child as usize >= count {
                            return Err(format!("node {source} has node {child} as a child, of {count} nodes"));
                        }
                        order.push(child);
                    }
                    if order.len() > count {
                        return Err("a node is the child of two".to_owned());
                    }
                    Node { number, feature, left }
                }
            });
            place += 1;
        }
        Ok(())
    }

    /// The sum for one row, added in scikit-learn's order: the start, then tree by tree.
    pub fn sum(&self, row: &[f32]) -> f64 {
        self.roots.iter().fold(self.start, |sum, &root| sum + self.leaf(root, row))
    }

    fn leaf(&self, root: u32, row: &[f32]) -> f64 {
        let mut node = self.nodes[root as usize];
        while node.feature != LEAF {
            let right = f64::from(row[node.feature as usize]) > node.number;
            node = self.nodes[(node.left + u32::from(right)) as usize];
        }
        node.number
    }
}

fn index(place: usize) -> Result<u32, String> {
    u32::try_from(place).map_err(|_| "the model has more than 2^32 nodes".to_owned())
}
