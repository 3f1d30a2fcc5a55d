use scorebox_tests::http2;

use super::*;

#[test]
fn a_request_has_every_column_and_property_with_the_values_of_its_response() {
    let Recorded { items, .. } = recorded();
    let item = the(items, "RequestData", "R-ok");
    let host = rustix_host();
    assert_eq!(
        json!([item["ver"], item["name"], item["sampleRate"], item["iKey"], data(item)["ver"]]),
        json!([1, "Microsoft.ApplicationInsights.Request", 100.0, KEY, 2])
    );
    assert_eq!(shape(&item["time"]), "0000-00-00T00:00:00.000000Z");
    let tags = item["tags"].as_object().unwrap();
    for (name, value) in [
        ("ai.device.id", &*host),
        ("ai.device.locale", "en_US"),
        ("ai.device.type", "Other"),
        ("ai.cloud.role", "mysvc"),
        ("ai.cloud.roleInstance", "testhost"),
        ("ai.internal.nodeName", &*host),
        ("ai.operation.name", "/score"),
    ] {
        assert_eq!(tags[name], value, "{name}");
    }
    assert!(tags["ai.internal.sdkVersion"].as_str().unwrap().starts_with("scorebox:"));
    assert!(is_hex(&tags["ai.operation.id"], 32), "{tags:?}");
    assert!(!tags.contains_key("ai.operation.parentId"), "nobody asked for it: {tags:?}");

    let (data, properties) = (data(item), properties(item));
    assert!(is_hex(&data["id"], 16));
    assert_eq!(shape(&data["duration"]), "0.00:00:00.000000");
    assert_ne!(data["duration"], "0.00:00:00.000000");
    assert_eq!(shape(&properties["duration"]), "00:00:00.000");
    assert_eq!(shape(&properties["start_time"]), "0000-00-00T00:00:00.000000Z");
    assert_eq!(properties["start_time"], item["time"]);
    let mut rest = data.clone();
    for name in ["id", "duration"] {
        rest.as_object_mut().unwrap().remove(name);
    }
    for name in ["duration", "start_time"] {
        rest["properties"].as_object_mut().unwrap().remove(name);
    }
    assert_eq!(
        rest,
        json!({
            "ver": 2,
            "name": "/score",
            "success": true,
            "responseCode": "200",
            "url": "http://scorebox.test/score",
            "properties": {
                "Container Id": "testhost",
                "Request Id": "R-ok",
                "Client Request Id": "C-ok",
                "Response Value": "{\"done\": \"ok\"}",
                "name": "/score",
                "url": "http://scorebox.test/score",
                "resultCode": "200",
                "success": "True",
                "http_method": "POST",
                "Workspace Name": "myws",
                "Service Name": "mysvc",
            },
            "measurements": {},
        })
    );
}

fn rustix_host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").expect("the machine has a name");
    name.trim().to_owned()
}

#[test]
fn the_status_the_success_the_url_and_the_body_are_those_of_each_response() {
    let Recorded { items, .. } = recorded();
    let script_failed =
        r#"{"message": "An unexpected error occurred in scoring script. Check the logs for more info."}"#;
    for (id, method, target, status, body) in [
        ("R-query", "POST", "/score?x=1&y=%20", 500, script_failed),
        ("R-fail", "POST", "/score", 500, script_failed),
        ("R-sleep", "POST", "/score", 500, r#"{"message": "Scoring timeout after 3000 ms"}"#),
        ("R-response", "POST", "/score", 201, r#"{"status": "created"}"#),
        (
            "R-set",
            "POST",
            "/score",
            500,
            r#"{"message": "An unexpected internal error occurred. Check the logs for more info."}"#,
        ),
        ("R-options", "OPTIONS", "/score", 200, ""),
        (
            "R-swagger-9",
            "GET",
            "/swagger.json?version=9",
            404,
            r#"{"message": "Swagger version [9] is not valid. Supported versions: [2, 3, 3.1]."}"#,
        ),
        // An id that is too long is none.
        ("", "POST", "/score", 431, r#"{"message": "x-request-id must not exceed 100 characters"}"#),
    ] {
        let item = the(items, "RequestData", id);
        let (data, properties) = (data(item), properties(item));
        let (url, is_ok) = (format!("http://scorebox.test{target}"), status < 400);
        assert_eq!(
            json!([data["responseCode"], data["success"], data["url"], data["name"]]),
            json!([status.to_string(), is_ok, url, target.split('?').next()]),
            "{id}"
        );
        let success = if is_ok { "True" } else { "False" };
        assert_eq!(
            json!([
                properties["resultCode"],
                properties["success"],
                properties["url"],
                properties["http_method"],
                properties["Response Value"],
            ]),
            json!([status.to_string(), success, url, method, body]),
            "{id}"
        );
    }
    let took = data(the(items, "RequestData", "R-sleep"))["duration"].as_str().unwrap();
    assert!(took.starts_with("0.00:00:03."), "{took}");
}

#[test]
fn the_url_has_the_host_that_was_asked_over_http_2() {
    let watched = Watched::new();
    let items = watched.record(Serve::guest("echo"), |server| {
        let mut connection = http2::Connection::open(server.address(), &[]).expect("the server listens");
        connection.send(&http2::json(1, "{}")).expect("the server listens");
        connection.body(1).expect("an answer");
    });
    let requests = items.iter().filter(|item| item["data"]["baseType"] == "RequestData");
    let urls: Vec<_> = requests.map(|item| &data(item)["url"]).collect();
    assert_eq!(urls, ["http://scorebox.test/score"]);
}

#[test]
fn health_checks_and_what_no_route_takes_are_not_reported() {
    let Recorded { items, .. } = recorded();
    let requests = items.iter().filter(|item| item["data"]["baseType"] == "RequestData");
    let ids: Vec<_> = requests.map(|item| properties(item)["Request Id"].as_str().unwrap()).collect();
    let mut sorted = ids.clone();
    sorted.sort_unstable();
    assert_eq!(
        sorted,
        [
            "",
            "R-bytes",
            "R-cut",
            "R-fail",
            "R-log",
            "R-ok",
            "R-options",
            "R-query",
            "R-response",
            "R-set",
            "R-sleep",
            "R-stream",
            "R-swagger",
            "R-swagger-9",
        ]
    );
}

#[test]
fn a_response_that_is_no_text_is_recorded_as_a_sentence_that_says_so() {
    let Recorded { items, .. } = recorded();
    assert_eq!(
        properties(the(items, "RequestData", "R-bytes"))["Response Value"],
        "\"Scoring request response payload is a non serializable object or raw binary\""
    );
}

#[test]
fn a_stream_is_sent_as_it_is_made_and_recorded_as_a_whole() {
    let Recorded { items, stream: (first, last), .. } = recorded();
    assert!(*last >= *first + Duration::from_millis(450), "the first came at {first:?}, the last at {last:?}");
    let item = the(items, "RequestData", "R-stream");
    assert_eq!(properties(item)["Response Value"], "piece 0\npiece 1\npiece 2\n");
    let took = properties(item)["duration"].as_str().unwrap();
    assert!(("00:00:00.850".."00:00:03.000").contains(&took), "it ends with its last piece: {took}");
}

#[test]
fn a_stream_that_breaks_off_is_recorded_as_far_as_it_came_with_what_ended_it() {
    let Recorded { items, .. } = recorded();
    let item = the(items, "RequestData", "R-cut");
    assert_eq!(data(item)["responseCode"], "200", "which had been sent by then");
    assert_eq!(properties(item)["Response Value"], "the start");
    let exception = the(items, "ExceptionData", "R-cut");
    assert_eq!(data(exception)["exceptions"][0]["message"], "KeyError: 'the rest'");
}

#[test]
fn responses_are_left_out_when_they_are_not_to_be_logged() {
    let watched = Watched::new();
    let serve = Serve::guest("echo").env("APP_INSIGHTS_LOG_RESPONSE_ENABLED", "false");
    let items = watched.record(serve, |server| {
        server.send(&Request::score("private").header("x-request-id", "R-1"));
    });
    let item = the(&items, "RequestData", "R-1");
    assert_eq!(properties(item)["resultCode"], "200");
    assert_eq!(properties(item).get("Response Value"), None);
    assert!(!items.iter().any(|item| item.to_string().contains("private")), "{items:#?}");
}

#[test]
fn the_ids_are_those_of_the_response_whichever_the_client_gave() {
    const IDS: [&str; 3] = ["x-request-id", "x-ms-request-id", "x-ms-client-request-id"];
    let watched = Watched::new();
    let mut expected = Vec::new();
    let items = watched.record(Serve::guest("echo"), |server| {
        for row in 0..8 {
            let given = (0..3).filter(|column| row >> column & 1 == 1);
            let given: Vec<_> =
                given.map(|column| (IDS[column], format!("{}{row}", ["A", "B", "C"][column]))).collect();
            let request = Request::get(&format!("/score?row={row}"));
            let request = given.iter().fold(request, |request, (name, id)| request.header(name, id));
            let response = server.send(&request);
            let of_client = |name: &str| given.iter().find(|(other, _)| *other == name).map(|(_, id)| id.clone());
            // What the client calls its own wins over the name that it had before.
            let client = of_client(IDS[2]).or_else(|| of_client(IDS[1])).unwrap_or_default();
            let own = of_client(IDS[0]).unwrap_or_else(|| response.header(IDS[0]).unwrap().to_owned());
            assert_eq!(response.header(IDS[0]), Some(&*own));
            expected.push((format!("http://scorebox.test/score?row={row}"), own, client));
        }
    });
    for (url, own, client) in expected {
        let item = items.iter().find(|item| data(item)["url"] == *url).unwrap_or_else(|| panic!("no {url}"));
        let properties = properties(item);
        assert_eq!(json!([properties["Request Id"], properties["Client Request Id"]]), json!([own, client]), "{url}");
    }
}

#[test]
fn the_trace_of_the_caller_is_continued() {
    let Recorded { items, .. } = recorded();
    let item = the(items, "RequestData", "R-query");
    assert_eq!(item["tags"]["ai.operation.id"], TRACE);
    assert_eq!(item["tags"]["ai.operation.parentId"], CALLER);
    let exception = the(items, "ExceptionData", "R-query");
    assert_eq!(exception["tags"]["ai.operation.id"], TRACE);
    assert_eq!(exception["tags"]["ai.operation.parentId"], data(item)["id"]);
    assert_ne!(data(item)["id"], CALLER);
    let other = the(items, "RequestData", "R-ok");
    assert_ne!(other["tags"]["ai.operation.id"], the(items, "RequestData", "R-log")["tags"]["ai.operation.id"]);
}
