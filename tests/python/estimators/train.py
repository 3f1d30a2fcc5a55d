"""Trains one of each kind of estimator, and writes them and what they predict here.

    python train.py FOLDER

Writes FOLDER/model/*, half of them by pickle and half by joblib, and FOLDER/cases.json: for each estimator its file,
some rows that it was not trained on, and for each of its methods what it answers to them.

All data is what scikit-learn carries. Texts are the lines of its descriptions of the datasets. There are no splines:
SciPy 1.18 does not read those that an older SciPy has pickled, on any machine.
"""

import json
import pickle
import sys
import warnings
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from scipy import sparse
from sklearn import datasets
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector
from sklearn.cross_decomposition import PLSRegression
from sklearn.decomposition import NMF, PCA, TruncatedSVD
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.impute import SimpleImputer
from sklearn.isotonic import IsotonicRegression
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import (
    ElasticNet,
    HuberRegressor,
    Lasso,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    SGDClassifier,
)
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import MultiOutputRegressor
from sklearn.naive_bayes import GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, LocalOutlierFactor, NearestCentroid
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    KBinsDiscretizer,
    LabelEncoder,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import SVC, SVR, LinearSVC, OneClassSVM
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

ROWS = 12


class Data:
    """Inputs and targets to train on, and rows that are kept back for the cases."""

    def __init__(self, inputs, targets, dtype=np.float64):
        order = np.random.default_rng(0).permutation(len(targets))
        inputs = inputs if sparse.issparse(inputs) or isinstance(inputs, pd.DataFrame) else np.asarray(inputs, dtype)
        take = (lambda rows: inputs.iloc[rows]) if isinstance(inputs, pd.DataFrame) else (lambda rows: inputs[rows])
        self.train, self.rows = take(order[ROWS:]), take(order[:ROWS])
        self.targets = np.asarray(targets)[order[ROWS:]]


def texts() -> Data:
    """Lines of the descriptions of some datasets; the target is which dataset it is."""
    lines, targets = [], []
    for name in ["iris", "wine", "breast_cancer", "diabetes", "digits"]:
        description = getattr(datasets, f"load_{name}")().DESCR
        for line in description.splitlines():
            if len(line.split()) >= 5:
                lines.append(line.strip())
                targets.append(name)
    return Data(np.array(lines, dtype=object), targets, dtype=object)


def mixed() -> Data:
    """Wines as a table with numbers, categories and gaps."""
    wine = datasets.load_wine(as_frame=True)
    table = wine.frame[["alcohol", "malic_acid", "hue", "proline"]].copy()
    table["strength"] = pd.cut(table["alcohol"], [0, 12.5, 13.2, 20], labels=["light", "medium", "strong"]).astype(str)
    table["dark"] = np.where(wine.frame["color_intensity"] > 5, "yes", "no")
    table.loc[::7, "hue"] = np.nan
    return Data(table, wine.target_names[wine.target])


def estimators() -> dict:
    """Name: estimator, data, methods."""
    iris = Data(*datasets.load_iris(return_X_y=True))
    species = Data(datasets.load_iris().data, datasets.load_iris().target_names[datasets.load_iris().target])
    wine = Data(*datasets.load_wine(return_X_y=True))
    cancer = Data(*datasets.load_breast_cancer(return_X_y=True))
    digits = Data(*datasets.load_digits(return_X_y=True))
    diabetes = Data(*datasets.load_diabetes(return_X_y=True))
    exercise = Data(*datasets.load_linnerud(return_X_y=True))
    counts = Data(sparse.csr_matrix(datasets.load_digits().data), datasets.load_digits().target)
    iris32 = Data(*datasets.load_iris(return_X_y=True), dtype=np.float32)
    cancer32 = Data(*datasets.load_breast_cancer(return_X_y=True), dtype=np.float32)
    diabetes32 = Data(*datasets.load_diabetes(return_X_y=True), dtype=np.float32)
    digits32 = Data(*datasets.load_digits(return_X_y=True), dtype=np.float32)
    prose, table = texts(), mixed()
    line = Data(datasets.load_diabetes().data[:, 2], datasets.load_diabetes().target)
    words = Data(np.asarray(table.train[["strength", "dark"]], dtype=object), table.targets, dtype=object)

    scaled = lambda last: make_pipeline(StandardScaler(), last)
    columns = lambda last: make_pipeline(
        ColumnTransformer(
            [
                (
                    "numbers",
                    make_pipeline(SimpleImputer(), StandardScaler()),
                    make_column_selector(dtype_include="number"),
                ),
                ("categories", OneHotEncoder(handle_unknown="ignore"), ["strength", "dark"]),
            ]
        ),
        last,
    )
    some = [("tree", DecisionTreeClassifier(max_depth=3, random_state=0)), ("bayes", GaussianNB())]

    value = label = ["predict"]
    odds, margin, change = ["predict_proba"], ["decision_function"], ["transform"]
    return {
        # Linear models
        "linear": (LinearRegression(), diabetes, value),
        "ridge": (Ridge(), diabetes, value),
        "lasso": (Lasso(0.1), diabetes, value),
        "elastic_net": (ElasticNet(0.01), diabetes, value),
        "huber": (HuberRegressor(max_iter=1000), diabetes, value),
        "poisson": (PoissonRegressor(), diabetes, value),
        "logistic": (scaled(LogisticRegression()), iris, label + odds + margin),
        "logistic_of_names": (LogisticRegression(max_iter=1000), species, label + odds),
        "logistic_float32": (LogisticRegression(max_iter=5000), iris32, label + odds),
        "sgd": (scaled(SGDClassifier(loss="log_loss", random_state=0)), cancer, label + odds + margin),
        # Support vector machines
        "svc_rbf": (scaled(SVC()), wine, label + margin),
        "svc_poly_float32": (SVC(kernel="poly"), iris32, label + margin),
        "svc_of_names": (SVC(decision_function_shape="ovo"), species, label + margin),
        "svr": (scaled(SVR(C=100)), diabetes, value),
        "linear_svc": (scaled(LinearSVC()), cancer, label + margin),
        "svc_sparse": (SVC(), counts, label + margin),
        "one_class_svm": (scaled(OneClassSVM(nu=0.1)), wine, label + margin),
        # Neighbours
        "knn_kd_tree": (KNeighborsClassifier(algorithm="kd_tree"), iris, label + odds + ["kneighbors"]),
        "knn_ball_tree": (KNeighborsRegressor(weights="distance", algorithm="ball_tree"), diabetes, value),
        "knn_brute_float32": (KNeighborsClassifier(3, algorithm="brute"), digits32, label + odds),
        "knn_all_cores": (KNeighborsClassifier(algorithm="brute", n_jobs=-1), digits, label + odds),
        "nearest_centroid": (NearestCentroid(), wine, label),
        "local_outlier_factor": (LocalOutlierFactor(novelty=True), wine, label + margin),
        # Naive Bayes and discriminants
        "gaussian_nb": (GaussianNB(), wine, label + odds),
        "multinomial_nb": (MultinomialNB(), digits, label + odds),
        "multinomial_nb_sparse": (MultinomialNB(), counts, label + odds),
        "linear_discriminant": (LinearDiscriminantAnalysis(), wine, label + odds + change),
        "quadratic_discriminant": (QuadraticDiscriminantAnalysis(reg_param=0.1), wine, label + odds),
        # Trees
        "tree": (DecisionTreeClassifier(random_state=0), cancer, label + odds + ["apply"]),
        "tree_regressor": (DecisionTreeRegressor(max_depth=5, random_state=0), diabetes, value),
        "random_forest": (RandomForestClassifier(n_estimators=50, n_jobs=-1, random_state=0), digits, label + odds),
        "random_forest_regressor": (RandomForestRegressor(n_estimators=30, n_jobs=2), diabetes, value),
        "random_forest_float32": (RandomForestClassifier(n_estimators=20, random_state=0), cancer32, label + odds),
        "extra_trees": (ExtraTreesClassifier(n_estimators=30, n_jobs=-1, random_state=0), wine, label + odds),
        "gradient_boosting": (GradientBoostingClassifier(n_estimators=40), wine, label + odds + margin),
        "gradient_boosting_regressor": (GradientBoostingRegressor(n_estimators=60, random_state=0), diabetes, value),
        "hist_gradient_boosting": (HistGradientBoostingClassifier(max_iter=30), cancer, label + odds + margin),
        "hist_gradient_boosting_regressor": (HistGradientBoostingRegressor(max_iter=40), diabetes, value),
        "hist_gradient_boosting_float32": (HistGradientBoostingRegressor(max_iter=30), diabetes32, value),
        "hist_gradient_boosting_of_table": (
            make_pipeline(
                ColumnTransformer(
                    [("categories", OrdinalEncoder(), ["strength", "dark"])],
                    remainder="passthrough",
                    verbose_feature_names_out=False,
                ),
                HistGradientBoostingClassifier(max_iter=20, categorical_features=[0, 1]),
            ),
            table,
            label + odds,
        ),
        "ada_boost": (AdaBoostClassifier(n_estimators=20, random_state=0), wine, label + odds),
        "bagging": (BaggingRegressor(n_estimators=8, n_jobs=2, random_state=0), diabetes, value),
        "isolation_forest": (IsolationForest(random_state=0), wine, label + margin + ["score_samples"]),
        # Neural networks
        "mlp": (scaled(MLPClassifier(hidden_layer_sizes=(32,), max_iter=200, random_state=0)), digits, label + odds),
        "mlp_regressor": (scaled(MLPRegressor(hidden_layer_sizes=(16,), random_state=0)), diabetes, value),
        "mlp_float32": (MLPClassifier(hidden_layer_sizes=(16,), max_iter=200, random_state=0), digits32, label + odds),
        # Decompositions and clusters
        "pca": (PCA(10), digits, change),
        "pca_whiten_float32": (PCA(5, whiten=True), digits32, change),
        "truncated_svd_sparse": (TruncatedSVD(10, random_state=0), counts, change),
        "nmf": (NMF(5, init="nndsvda", max_iter=500, tol=1e-8), digits, change),
        "kmeans": (KMeans(n_clusters=5, n_init=2, random_state=0), wine, label + change),
        "kmeans_mini_batch": (MiniBatchKMeans(n_clusters=10, n_init=2, random_state=0), digits, label + change),
        "gaussian_mixture": (GaussianMixture(3, random_state=0), iris, label + odds + ["score_samples"]),
        "pls": (PLSRegression(2), exercise, value + change),
        # Preparation
        "standard_scaler": (StandardScaler(), wine, change),
        "standard_scaler_float32": (StandardScaler(), cancer32, change),
        "min_max_scaler": (MinMaxScaler(), wine, change),
        "robust_scaler": (RobustScaler(), wine, change),
        "quantile_transformer": (QuantileTransformer(n_quantiles=100, output_distribution="normal"), diabetes, change),
        "power_transformer": (PowerTransformer(), wine, change),
        "bins": (KBinsDiscretizer(n_bins=5, encode="onehot", quantile_method="averaged_inverted_cdf"), wine, change),
        "polynomial": (make_pipeline(PolynomialFeatures(2), Ridge()), diabetes, value),
        "one_hot": (OneHotEncoder(handle_unknown="ignore"), words, change),
        "ordinal": (OrdinalEncoder(), words, change),
        "select_k_best": (SelectKBest(f_classif, k=5), wine, change),
        "nystroem": (make_pipeline(Nystroem(n_components=50, random_state=0), LinearSVC()), iris, label + margin),
        # Text
        "tfidf": (make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression()), prose, label + odds),
        "tfidf_alone": (TfidfVectorizer(sublinear_tf=True, max_features=200), prose, change),
        "hashed_text": (make_pipeline(HashingVectorizer(n_features=2**12), LinearSVC()), prose, label + margin),
        # Tables
        "columns_logistic": (columns(LogisticRegression(max_iter=1000)), table, label + odds),
        "columns_forest": (columns(RandomForestClassifier(n_estimators=20, random_state=0)), table, label + odds),
        # Estimators of estimators
        "calibrated": (CalibratedClassifierCV(LinearSVC(), cv=3), cancer, label + odds),
        "calibrated_isotonic": (CalibratedClassifierCV(GaussianNB(), method="isotonic", cv=3), wine, label + odds),
        "voting": (VotingClassifier(some, voting="soft"), wine, label + odds),
        "stacking": (StackingClassifier(some, LogisticRegression()), wine, label + odds),
        "grid_search": (GridSearchCV(Ridge(), {"alpha": [0.1, 1.0]}), diabetes, value),
        "target_transformed": (
            TransformedTargetRegressor(LinearRegression(), func=np.log1p, inverse_func=np.expm1),
            diabetes,
            value,
        ),
        "many_outputs": (MultiOutputRegressor(Ridge()), exercise, value),
        # The rest
        "gaussian_process": (
            GaussianProcessRegressor(RBF() + WhiteKernel(), normalize_y=True, random_state=0),
            diabetes,
            value,
        ),
        "isotonic": (IsotonicRegression(out_of_bounds="clip"), line, value),
        "label_encoder": (LabelEncoder(), Data(species.targets, species.targets, dtype=object), change),
    }


def as_json(rows) -> dict:
    """The rows as score.py takes them."""
    if sparse.issparse(rows):
        rows = rows.tocsr()
        return {
            "kind": "sparse",
            "shape": list(rows.shape),
            "values": rows.data.tolist(),
            "columns": rows.indices.tolist(),
            "starts": rows.indptr.tolist(),
        }
    if isinstance(rows, pd.DataFrame):
        # JSON as the standard has it knows no NaN.
        return {"kind": "table", "rows": rows.astype(object).where(rows.notna(), None).to_dict("records")}
    return {"kind": str(rows.dtype), "rows": rows.tolist()}


def plain(answer):
    """An answer as JSON has it: with lists for arrays, and all digits."""
    if isinstance(answer, tuple):
        return [plain(part) for part in answer]
    return (answer.toarray() if sparse.issparse(answer) else np.asarray(answer)).tolist()


def main(folder: Path) -> None:
    (folder / "model").mkdir(parents=True, exist_ok=True)
    cases = []
    for index, (name, (estimator, data, methods)) in enumerate(estimators().items()):
        inputs = data.targets if isinstance(estimator, LabelEncoder) else data.train
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            estimator.fit(inputs) if isinstance(estimator, LabelEncoder) else estimator.fit(inputs, data.targets)
        if index % 2:
            file = f"{name}.joblib"
            joblib.dump(estimator, folder / "model" / file, compress=3 if index % 4 == 1 else 0)
        else:
            file = f"{name}.pkl"
            (folder / "model" / file).write_bytes(pickle.dumps(estimator))
        cases.append(
            {
                "name": name,
                "class": type(estimator[-1] if hasattr(estimator, "steps") else estimator).__name__,
                "file": file,
                "input": as_json(data.rows),
                "expected": {method: plain(getattr(estimator, method)(data.rows)) for method in methods},
                "single": name.endswith("float32"),
            }
        )
    (folder / "cases.json").write_text(json.dumps(cases, allow_nan=False))
    print(f"trained {len(cases)} estimators")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
