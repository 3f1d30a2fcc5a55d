import xgboost


def init():
    pass


def run(raw_data):
    return xgboost.predict(raw_data)
