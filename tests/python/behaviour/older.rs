//! What scripts were written for: Linux, and Python 3.11.

use scorebox_tests::fixtures;
use serde_json::json;

use crate::{answer, serve};

#[test]
fn who_asks_for_an_event_loop_has_one_in_init_and_in_run() {
    for init in ["asyncio.get_event_loop().run_until_complete(double(1))", "None"] {
        let script = format!(
            "
import asyncio
import json


async def double(number):
    await asyncio.sleep(0)
    return 2 * number


def init():
    global doubled
    doubled = {init}


def run(data):
    number = json.loads(data)
    in_loop = asyncio.get_event_loop().run_until_complete(double(number))
    return [doubled, in_loop, asyncio.run(double(number))]
"
        );
        let folder = fixtures::folder(&[("score.py", &script)]);
        let server = serve(folder.path()).start();
        let doubled = if init == "None" { json!(null) } else { json!(2) };
        for number in [5, 6] {
            assert_eq!(answer(&server, &json!(number)), json!([doubled, 2 * number, 2 * number]), "{init}");
        }
    }
}

#[test]
fn who_sets_a_time_zone_goes_on_in_utc() {
    let script = "
import os
import time


def init():
    os.environ['TZ'] = 'Asia/Tokyo'
    time.tzset()


def run(data):
    return time.localtime(0).tm_hour
";
    let folder = fixtures::folder(&[("score.py", script)]);
    let server = serve(folder.path()).start();
    assert_eq!(answer(&server, &json!({})), json!(0));
}
