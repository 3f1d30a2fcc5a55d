def init():
    while True:
        pass


def run(raw_data):
    return raw_data
