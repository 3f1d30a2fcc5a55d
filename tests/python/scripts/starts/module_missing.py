import helper_of_mine


def init():
    helper_of_mine.load()


def run(raw_data):
    return raw_data
