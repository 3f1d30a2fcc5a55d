use super::*;

#[test]
fn items_are_posted_as_arrays_of_json_to_the_path_of_the_service() {
    let Recorded { posts, .. } = recorded();
    assert!(!posts.is_empty());
    for post in posts {
        assert_eq!(post.path, "/v2.1/track");
        assert_eq!(post.header("content-type"), Some("application/json"));
        assert_eq!(post.header("content-encoding"), None);
        assert!((1..=BATCH).contains(&post.items().len()));
    }
}

#[test]
fn keys_are_never_in_the_log() {
    let Recorded { ended, .. } = recorded();
    assert!(ended.stdout.contains("telemetry goes to Application Insights at http://127.0.0.1:"), "{}", ended.stdout);
    for key in [KEY, OTHER_KEY, "InstrumentationKey"] {
        assert!(!ended.stdout.contains(key) && !ended.stderr.contains(key), "{ended:?}");
    }
}

#[test]
fn what_waits_is_sent_when_the_server_is_told_to_end() {
    let watched = Watched::new();
    let server = watched.serve(Serve::guest("echo")).start();
    let begin = Instant::now();
    server.send(&Request::score("x").header("x-request-id", "R-last"));
    assert_eq!(server.stop().code, Some(0));
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(4), "what waits for others is not waited for: {took:?}");
    the(&watched.sink.items(), "RequestData", "R-last");
}

#[test]
fn what_waits_is_sent_after_some_seconds_and_a_full_batch_at_once() {
    let watched = Watched::new();
    let server = watched.serve(Serve::guest("echo")).start();
    let begin = Instant::now();
    let mut client = server.connect();
    for _ in 0..BATCH {
        client.send(&Request::score("x")).unwrap();
    }
    let posts = watched.sink.wait("a full batch", |posts| !posts.is_empty());
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    assert_eq!(posts[0].items().len(), BATCH);
    watched.sink.wait("the rest", |posts| posts.iter().map(|post| post.items().len()).sum::<usize>() > BATCH);
}

#[test]
fn a_key_in_capitals_and_the_endpoint_of_the_platform_are_taken() {
    let watched = Watched::new();
    let key = "ABCDEF00-2222-4222-8222-22222222ABCD";
    let endpoint = format!("{}/v2/track", watched.sink.url());
    let serve = Serve::guest("echo")
        .env("AML_APP_INSIGHTS_ENDPOINT", endpoint)
        .env("SCOREBOX_TELEMETRY_BUFFER", watched.buffer.path())
        .arg("--appinsights_instrumentation_key")
        .arg(key);
    let server = serve.start();
    server.send(&Request::score("x").header("x-request-id", "R-1"));
    assert_eq!(server.stop().code, Some(0));
    let items = watched.sink.items();
    let item = the(&items, "RequestData", "R-1");
    assert_eq!(item["iKey"], key.to_lowercase());
    assert_eq!(properties(item)["Container Id"], "Unknown");
}

#[test]
fn nothing_is_sent_when_it_is_not_switched_on() {
    let watched = Watched::new();
    for enabled in ["false", "True", "1"] {
        let serve = watched.serve(Serve::guest("echo")).env("AML_APP_INSIGHTS_ENABLED", enabled);
        let server = serve.start();
        assert_eq!(server.score("x").status, 200);
        assert_eq!(server.stop().code, Some(0));
    }
    assert_eq!(watched.sink.posts().len(), 0);
}

/// Has as many requests scored as make a full batch.
fn full_batch(server: &Server) {
    let mut client = server.connect();
    for _ in 0..BATCH {
        assert_eq!(client.send(&Request::score("x")).expect("a response").status, 200);
    }
}

#[test]
fn what_the_endpoint_cannot_take_now_is_sent_again() {
    let watched = Watched::new();
    watched.sink.answer([Answer::status(500), Answer::status(429), Answer::status(200)]);
    let server = watched.serve(Serve::guest("echo")).start();
    full_batch(&server);
    let posts = watched.sink.wait("a third attempt", |posts| posts.len() >= 3);
    assert_eq!(posts[0].body, posts[1].body);
    assert_eq!(posts[1].body, posts[2].body);
    server.logged("Telemetry for");
    assert_eq!(server.stop().code, Some(0));
    let requests = watched.sink.items().iter().filter(|item| item["data"]["baseType"] == "RequestData").count();
    assert_eq!(requests, BATCH, "each is taken once");
}

#[test]
fn an_endpoint_that_asks_for_no_delay_is_not_asked_without_a_pause() {
    for delay in ["0", "Thu, 01 Jan 1970 00:00:00 GMT"] {
        let watched = Watched::new();
        watched.sink.answer([Answer::Busy(delay)]);
        let server = watched.serve(Serve::guest("echo")).start();
        full_batch(&server);
        watched.sink.wait("a second attempt", |posts| posts.len() >= 2);
        std::thread::sleep(Duration::from_secs(5));
        let posts = watched.sink.posts().len();
        // After 1 s, 2 s and 4 s, or a little less.
        assert!((3..=5).contains(&posts), "{delay}: {posts} posts");
        assert_eq!(server.stop().code, Some(0));
    }
}

#[test]
fn of_a_batch_that_is_taken_in_part_only_what_may_be_taken_later_is_sent_again() {
    let watched = Watched::new();
    let partly = json!({
        "itemsReceived": BATCH,
        "itemsAccepted": BATCH - 2,
        "errors": [
            {"index": 3, "statusCode": 503, "message": "busy"},
            {"index": 5, "statusCode": 400, "message": "wrong"},
        ],
    });
    watched.sink.answer([Answer::Status(206, partly.to_string()), Answer::status(200)]);
    let server = watched.serve(Serve::guest("echo")).start();
    full_batch(&server);
    let posts = watched.sink.wait("the rest", |posts| posts.len() >= 2);
    let (all, again) = (posts[0].items(), posts[1].items());
    assert_eq!(all.len(), BATCH);
    assert_eq!(again[0], all[3]);
    assert!(!again.contains(&all[5]));
    assert_eq!(server.stop().code, Some(0));
    assert!(!watched.sink.items().contains(&all[5]));
}

#[test]
fn what_the_endpoint_refuses_is_not_sent_again_and_said_in_the_log() {
    let watched = Watched::new();
    watched.sink.answer([Answer::status(400), Answer::status(200)]);
    let server = watched.serve(Serve::guest("echo")).start();
    full_batch(&server);
    let line = server.logged("Telemetry was refused by");
    assert!(line.contains(" W [") && line.contains("100 items are dropped"), "{line}");
    assert_eq!(server.stop().code, Some(0));
    let posts = watched.sink.posts();
    let refused = posts[0].items();
    assert!(!watched.sink.items().iter().any(|item| refused.contains(item)));
}

/// The median time of a request.
fn time(server: &Server) -> Duration {
    let mut client = server.connect();
    let times: Vec<_> = (0..3 * BATCH)
        .map(|_| {
            let begin = Instant::now();
            assert_eq!(client.send(&Request::score("x")).expect("a response").status, 200);
            begin.elapsed()
        })
        .collect();
    median(&times)
}

#[test]
fn requests_are_as_fast_while_the_endpoint_does_not_answer_or_is_not_there() {
    let without = time(&Serve::guest("echo").start());
    let watched = Watched::new();
    watched.sink.answer([Answer::Nothing]);
    let silent = watched.serve(Serve::guest("echo")).start();
    let with_silence = time(&silent);
    watched.sink.wait("a post is waiting for its answer", |posts| !posts.is_empty());
    let with_silence = with_silence.max(time(&silent));
    let buffer = tempfile::tempdir().unwrap();
    let url = format!("http://127.0.0.1:{}", free_port());
    let away = to_app_insights(Serve::guest("echo"), &url, buffer.path()).start();
    let with_none = time(&away);
    println!("without telemetry {without:?}, endpoint silent {with_silence:?}, endpoint away {with_none:?}");
    // Far less than any attempt takes, and room for a machine that does other things.
    let limit = 4 * without + Duration::from_millis(5);
    assert!(with_silence < limit && with_none < limit, "{without:?}, {with_silence:?}, {with_none:?}");
    let begin = Instant::now();
    silent.terminate();
    assert_eq!(silent.wait(PATIENCE).code, Some(0));
    assert!(begin.elapsed() < Duration::from_secs(12), "an endpoint that is silent holds up the end for some seconds");
}

#[test]
fn what_could_not_be_sent_is_kept_on_disk_and_sent_by_the_next_server() {
    let buffer = tempfile::tempdir().unwrap();
    let port = free_port();
    let serve = to_app_insights(Serve::guest("echo"), &format!("http://127.0.0.1:{port}"), buffer.path());
    let server = serve.start();
    for number in 0..3 {
        server.send(&Request::score("x").header("x-request-id", format!("R-{number}")));
    }
    let ended = server.stop();
    assert_eq!(ended.code, Some(0));
    assert!(ended.stdout.contains("It is kept on disk and tried again."), "{}", ended.stdout);

    let sink = Sink::on(port);
    let server = serve.start();
    let posts = sink.wait("what was kept", |posts| !posts.is_empty());
    let kept = posts[0].items();
    for number in 0..3 {
        the(&kept, "RequestData", &format!("R-{number}"));
    }
    assert_eq!(server.stop().code, Some(0));
    let all = sink.items();
    for number in 0..3 {
        the(&all, "RequestData", &format!("R-{number}"));
    }
    // Nothing waits any more.
    let server = serve.start();
    assert_eq!(server.stop().code, Some(0));
    assert_eq!(of_request(&sink.items(), "RequestData", "R-0").len(), 1);
}

#[test]
fn of_two_servers_with_one_buffer_the_second_says_that_it_does_without() {
    let watched = Watched::new();
    let serve = watched.serve(Serve::guest("echo"));
    let (first, second) = (serve.start(), serve.start());
    let line = second.logged("is used by another process");
    assert!(line.contains(" W [") && line.contains("kept in memory only"), "{line}");
    for (server, id) in [(first, "R-first"), (second, "R-second")] {
        server.send(&Request::score("x").header("x-request-id", id));
        assert_eq!(server.stop().code, Some(0));
        the(&watched.sink.items(), "RequestData", id);
    }
}

#[test]
fn a_buffer_that_cannot_be_written_to_is_an_error_where_it_is_named_and_else_a_warning() {
    let home = folder(&[(".cache", "a file where a folder should be")]);
    let watched = Watched::new();
    let serve = Serve::guest("echo")
        .env("AML_APP_INSIGHTS_ENABLED", "true")
        .env("AML_APP_INSIGHTS_KEY", KEY)
        .env("AML_APP_INSIGHTS_ENDPOINT", watched.sink.url())
        .env("HOME", home.path());
    let server = serve.start();
    let line = server.logged("telemetry that cannot be sent is not kept on disk");
    assert!(line.contains(" W [") && line.contains("scorebox-telemetry"), "{line}");
    server.send(&Request::score("x").header("x-request-id", "R-1"));
    assert_eq!(server.stop().code, Some(0));
    the(&watched.sink.items(), "RequestData", "R-1");

    let buffer = home.path().join(".cache/buffer");
    let ended = serve.arg("--telemetry-buffer").arg(&buffer).refused();
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stderr.contains(&buffer.display().to_string()), "{}", ended.stderr);
}

#[test]
fn what_waits_on_disk_is_for_nobody_else_to_read() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().unwrap();
    let buffer = folder.path().join("buffer");
    let url = format!("http://127.0.0.1:{}", free_port());
    let server = to_app_insights(Serve::guest("echo"), &url, &buffer).start();
    server.score("private");
    assert_eq!(server.stop().code, Some(0));
    let (mut folders, mut files) = (vec![buffer], Vec::new());
    while let Some(folder) = folders.pop() {
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
        for entry in folder.read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                assert_eq!(mode(&path), 0o600, "{}", path.display());
                files.push(path);
            }
        }
    }
    assert!(files.iter().any(|path| path.extension().is_some_and(|extension| extension == "batch")), "{files:?}");
}
