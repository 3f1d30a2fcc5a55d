import flask

calls = 0


def init():
    pass


def run(data):
    global calls
    calls += 1
    if data == "fail":
        raise ValueError(f"call {calls}")
    flask.g.mine = calls
    flask.after_this_request(lambda response: response)
    return {"calls": calls, "data": data, "g": len(list(flask.g))}
