//! The console: what people do in a browser, done by a program in one.

mod asking;
mod browser;
mod components;
mod pictures;

use std::fs;
use std::path::PathBuf;

use scorebox_tests::host::{Host, TOKEN, address, score_request};
use scorebox_tests::wait::{PATIENCE, eventually};
use scorebox_tests::{Client, Request, fixtures, python};
use serde_json::{Value, json};
use tempfile::TempDir;

use self::browser::{Browser, key};

/// A script that says which version it is. Its schema has an array and a number.
fn script(version: u32) -> String {
    format!(
        r#"from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType as Sample
from inference_schema.schema_decorators import input_schema, output_schema

def init():
    pass

@input_schema("sepals", Sample([5.1, 3.5]))
@input_schema("scale", Sample(2))
@output_schema(Sample({{"version": 1, "sum": 17.2}}))
def run(sepals, scale):
    print("asked for", sepals)
    return {{"version": {version}, "sum": sum(sepals) * scale}}
"#
    )
}

/// A server, and a browser that shows its console.
struct Console {
    browser: Browser,
    host: Host,
    files: TempDir,
}

impl Console {
    /// Not logged in.
    fn open() -> Self {
        let cache = python::compiled_cache();
        Self::of(Host::start_as(|serve| serve.cache(&cache)))
    }

    fn of(host: Host) -> Self {
        let browser = Browser::start(host.admin);
        browser.goto("/");
        Self { browser, host, files: fixtures::folder(&[]) }
    }

    /// Logged in, in the way of people.
    fn logged_in() -> Self {
        Self::open().log_in()
    }

    /// The same of a server that needs no runtime, because it has components only.
    fn logged_in_without_scripts() -> Self {
        Self::of(Host::start()).log_in()
    }

    fn log_in(self) -> Self {
        self.browser.fill("#token", TOKEN);
        self.browser.click_on("Log in");
        self.browser.says("Log out");
        self
    }

    /// A file that can be chosen in the page.
    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.files.path().join(name);
        fs::create_dir_all(path.parent().expect("a file is in a folder"))
            .expect("a temporary folder can be written to");
        fs::write(&path, text).expect("a temporary folder can be written to");
        path
    }

    /// Creates an endpoint in the page. Returns its primary key, which is shown once.
    #[track_caller]
    fn create_endpoint(&self, tenant: &str, name: &str) -> String {
        let browser = &self.browser;
        browser.goto("/console/#/");
        browser.click("#new-endpoint");
        browser.fill("#new-endpoint-tenant", tenant);
        browser.fill("#new-endpoint-name", name);
        browser.click("dialog button[type=submit]");
        browser.says("it is not shown again");
        let key = browser.text("dialog .key");
        browser.click_on("I have it");
        browser.wait("document.querySelector('#deploy-files')");
        key
    }

    /// Deploys a script in the page. What becomes of it is not waited for.
    #[track_caller]
    fn deploy(&self, path: &str, script: &str) {
        let (endpoint, deployment) = path.rsplit_once('/').expect("an endpoint and a name");
        let file = self.file(&format!("{deployment}/score.py"), script);
        // The page that is there may be one of this kind already.
        self.browser.script("document.querySelector('.panel')?.setAttribute('data-before', '')");
        self.browser.goto(&format!("/console/#/{endpoint}/deploy/{deployment}"));
        self.browser.wait("document.querySelector('.panel:not([data-before]) #deploy-name')");
        assert_eq!(self.browser.value("#deploy-name"), deployment);
        self.browser.fill("#deploy-files", file.to_str().expect("a path is text"));
        self.browser.click("#deploy-submit");
    }

    /// The page of the deployments shows this state of one.
    #[track_caller]
    fn shows(&self, deployment: &str, state: &str) {
        self.browser.wait(&format!("document.querySelector('[data-deployment={deployment}] [data-state={state}]')"));
    }

    fn status(&self, path: &str) -> Value {
        self.host.read(&address(path)).json()
    }
}

#[test]
fn nobody_gets_in_without_the_operators_token() {
    let console = Console::open();
    let browser = &console.browser;
    assert_eq!(browser.script("return location.pathname"), "/console/");
    for wrong in ["x", "0123456789abcdef0123456789abcdeg", "not a token: \u{e9}"] {
        browser.fill("#token", wrong);
        browser.click_on("Log in");
        browser.says("This is not the token");
        assert_eq!(browser.script("return sessionStorage.length"), 0);
        browser.script("document.getElementById('login-problem').replaceChildren()");
    }
    browser.fill("#token", TOKEN);
    browser.press(key::ENTER, 1);
    browser.says("Nothing is served yet");
    // It is kept for the tab only, and no cookie says who it is.
    browser.goto("/console/");
    browser.says("Nothing is served yet");
    assert_eq!(
        browser.script("return [document.cookie, localStorage.length, location.href.includes('0123')]"),
        json!(["", 0, false])
    );
    browser.click_on("Log out");
    browser.says("Log in to Scorebox");
    assert_eq!(browser.script("return sessionStorage.length"), 0);
    browser.goto("/console/#/acme/iris");
    browser.says("Log in to Scorebox");
    browser.assert_clean();
}

#[test]
fn a_script_is_deployed_tried_out_shifted_and_rolled_back_in_the_page() {
    let console = Console::logged_in();
    let browser = &console.browser;
    let key_of_endpoint = console.create_endpoint("plants", "iris");

    // Deployed: the first deployment gets all traffic.
    let file = console.file("first/score.py", &script(1));
    assert_eq!(browser.value("#deploy-name"), "blue");
    browser.fill("#deploy-files", file.to_str().expect("a path is text"));
    browser.click("#deploy-submit");
    console.shows("blue", "ready");
    eventually(PATIENCE, "it has all traffic", || console.status("plants/iris")["traffic"] == json!({ "blue": 100 }));

    // Tried out, with a form by the schema that has the sample in it.
    browser.click_on("Test");
    assert_eq!(browser.value("#test-field-sepals"), "[5.1, 3.5]");
    assert_eq!(browser.value("#test-field-scale"), "2");
    browser.fill("#test-field-scale", "10");
    browser.click("#test-send");
    assert_eq!(browser.text("#test-status"), "200");
    let answer: Value = serde_json::from_str(&browser.text("#test-body")).expect("JSON");
    assert_eq!(answer, json!({ "version": 1, "sum": 86.0 }));
    let shown = browser.text("#test-result");
    for wanted in ["Answered by", "blue", "run()", "Round trip", "x-ms-client-request-id", "x-ms-request-id"] {
        assert!(shown.contains(wanted), "{wanted}: {shown}");
    }
    // What was typed is there as JSON as well; what is no JSON is not sent.
    browser.click("#test-mode-json");
    assert_eq!(
        serde_json::from_str::<Value>(&browser.value("#test-json")).expect("JSON"),
        json!({ "sepals": [5.1, 3.5], "scale": 10 })
    );
    browser.fill("#test-json", "{\"sepals\": [1, 2], ");
    browser.click("#test-send");
    browser.says("This is not JSON");
    browser.fill("#test-json", "{\"sepals\": \"many\"}");
    browser.click("#test-send");
    browser.wait("document.querySelector('#test-status')?.innerText === '500' || document.querySelector('#test-status')?.innerText === '400'");

    // Shifted, by the keyboard alone.
    console.deploy("plants/iris/green", &script(2));
    console.shows("green", "ready");
    browser.goto("/console/#/plants/iris/traffic");
    browser.wait("document.querySelector('#share-blue')");
    browser.script("document.getElementById('main').focus()");
    browser.tab_to("#share-blue");
    browser.press(key::HOME, 1);
    browser.press(key::RIGHT, 30);
    assert_eq!(
        browser.script("return ['blue', 'green'].map((name) => document.getElementById(`share-${name}`).value)"),
        json!(["30", "70"])
    );
    browser.tab_to("#save-traffic");
    browser.press(key::ENTER, 1);
    browser.says("Traffic saved");
    assert_eq!(console.status("plants/iris")["traffic"], json!({ "blue": 30, "green": 70 }));
    let mut seen = [0, 0];
    eventually(PATIENCE, "both answer", || {
        let answer =
            console.host.server.send(&score_request("plants/iris", &key_of_endpoint, r#"{"sepals": [1], "scale": 1}"#));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let version = answer.json()["version"].as_u64().expect("a version") as usize;
        seen[version - 1] += 1;
        seen.iter().all(|count| *count > 0)
    });

    // Not over what somebody else has saved meanwhile.
    let theirs = json!({ "traffic": { "green": 100 } });
    assert_eq!(console.host.put(&format!("{}/traffic", address("plants/iris")), &theirs).status, 200);
    browser.tab_to("#share-blue");
    browser.press(key::RIGHT, 5);
    browser.click("#save-traffic");
    browser.says("Somebody else has changed this endpoint");
    assert_eq!(console.status("plants/iris")["traffic"], json!({ "green": 100 }));
    browser.click_on("Show what it is now");
    browser.wait("document.querySelector('#share-green').value === '100'");

    // Rolled back.
    console.deploy("plants/iris/green", &script(3));
    let answers = |revision: u32| {
        let text = format!("revision {revision} answers");
        browser.wait(&format!("document.querySelector('[data-deployment=green]')?.innerText.includes('{text}')"));
    };
    answers(2);
    browser.click("#rollback-green-1");
    answers(1);
    assert_eq!(console.status("plants/iris/green")["current"], 1);
    let answer =
        console.host.server.send(&score_request("plants/iris", &key_of_endpoint, r#"{"sepals": [1], "scale": 1}"#));
    assert_eq!(answer.json()["version"], 2);

    // What was asked is in the charts.
    browser.wait("[...document.querySelectorAll('.chart svg')].some((chart) => /Requests.*green/.test(chart.getAttribute('aria-label')))");
    browser.wait("document.querySelectorAll('.chart path.line').length > 0");
    browser.assert_clean();
}

#[test]
fn what_a_scorer_says_is_text_and_runs_no_script() {
    const HOSTILE: &str =
        "<img src=x onerror='window.pwned=1'><script>window.pwned=1</script><svg onload='window.pwned=1'>";
    let console = Console::logged_in();
    let browser = &console.browser;
    let tenant = json!({ "description": HOSTILE });
    assert_eq!(console.host.put(&address("acme"), &tenant).status, 201);
    console.create_endpoint("acme", "iris");
    console.deploy(
        "acme/iris/blue",
        &format!("def init():\n    pass\n\ndef run(data):\n    print({HOSTILE:?})\n    return {HOSTILE:?}\n"),
    );
    console.shows("blue", "ready");
    browser.click_on("Test");
    browser.fill("#test-json", "{\"data\": 1}");
    browser.click("#test-send");
    assert_eq!(browser.text("#test-status"), "200");
    assert!(browser.text("#test-body").contains("<script>window.pwned=1</script>"), "{}", browser.text("#test-body"));
    browser.click("[aria-label=Endpoint] a[href$=logs]");
    browser.says(HOSTILE);

    // The reason of a failure is the script's as well. What answered goes on.
    console.deploy(
        "acme/iris/blue",
        &format!("def init():\n    raise ValueError({HOSTILE:?})\n\ndef run(data):\n    return data\n"),
    );
    browser.says("Revision 2 of blue failed. Revision 1 goes on answering.");
    browser.says("Traceback (most recent call last)");
    let reason = browser.text("#deploy-problem .reason");
    assert!(
        reason.contains("score.py\", line 2, in init") && reason.contains("ValueError") && reason.contains(HOSTILE),
        "{reason}"
    );
    browser.click("[aria-label=Endpoint] a[href$=deployments]");
    console.shows("blue", "failed");
    browser.says("Traceback (most recent call last)");
    assert_eq!(browser.text(".deployment .reason"), reason);
    browser.goto("/console/#/");
    browser.says(HOSTILE);

    assert_eq!(
        browser.script(
            "return [window.pwned ?? null, document.querySelectorAll('[onerror], [onload], main script').length]"
        ),
        json!([null, 0])
    );
    browser.assert_clean();
}

#[test]
fn keys_are_rotated_and_shown_once() {
    let console = Console::logged_in();
    let browser = &console.browser;
    let first = console.create_endpoint("acme", "iris");
    let status = |key: &str| console.host.score("acme/iris", key, "{}").status;
    assert_eq!((status(&first), status("0123456789abcdef0123456789abcdef")), (404, 401));
    browser.goto("/console/#/acme/iris/keys");
    browser.click("#rotate-primary");
    browser.says("Rotate the primary key?");
    browser.click("dialog button[type=submit]");
    browser.says("The new primary key");
    let second = browser.text("dialog .key");
    browser.click_on("I have it");
    browser.wait("!document.querySelector('dialog')");
    assert_eq!((status(&first), status(&second)), (401, 404));
    assert_eq!(
        browser.script(&format!("return document.documentElement.outerHTML.includes({})", json!(second))),
        false
    );
    browser.assert_clean();
}

#[test]
fn each_page_fits_a_phone_and_says_what_its_controls_are() {
    /// Controls without a name, and text that is cut off at the right.
    const PROBLEMS: &str = "
        const named = (one) => one.getAttribute('aria-label') || one.labels?.length || one.innerText?.trim() || one.getAttribute('aria-labelledby');
        const nameless = [...document.querySelectorAll('a, button, input, select, textarea, [role=img], [role=region], nav, dialog')].filter((one) => !named(one));
        const wide = document.documentElement.scrollWidth > innerWidth ? [document.documentElement.scrollWidth] : [];
        return [...nameless.map((one) => one.outerHTML), ...wide]";
    let console = Console::logged_in();
    let browser = &console.browser;
    console.create_endpoint("a-tenant-with-a-name-that-is-long", "an-endpoint-with-one-that-is-longer-still");
    let endpoint = "a-tenant-with-a-name-that-is-long/an-endpoint-with-one-that-is-longer-still";
    console.deploy(&format!("{endpoint}/blue"), &script(1));
    console.shows("blue", "ready");
    // Where a page is, and what is so when it is shown.
    let mut pages = ["deployments", "deploy", "traffic", "test", "logs", "keys"]
        .map(|page| (format!("/console/#/{endpoint}/{page}"), format!("document.querySelector('.tabs [aria-current][href$={page}]') && document.querySelector('.panel > *')")))
        .to_vec();
    pages.push(("/console/#/".to_owned(), "document.querySelector('.tile')".to_owned()));
    pages.push(("/console/docs.html".to_owned(), "document.querySelector('.operation')".to_owned()));
    let grounds: Vec<_> = ["light", "dark"]
        .iter()
        .map(|scheme| {
            browser.prefer("prefers-color-scheme", scheme);
            for (width, height) in [(360, 740), (1280, 860)] {
                browser.size(width, height);
                for (page, is_shown) in &pages {
                    browser.goto(page);
                    browser.wait(is_shown);
                    assert_eq!(browser.script(PROBLEMS), json!([]), "{page} at {width}");
                }
            }
            browser.script("return getComputedStyle(document.body).backgroundColor").to_string()
        })
        .collect();
    assert_ne!(grounds[0], grounds[1]);

    // Where the focus is can be seen, and all pages can be reached by the keyboard.
    browser.goto(&pages[0].0);
    browser.wait(&pages[0].1);
    for page in ["deploy", "traffic", "test", "logs", "keys"] {
        browser.tab_to(&format!(".tabs a[href$={page}]"));
        assert_ne!(browser.script("return getComputedStyle(document.activeElement).outlineStyle"), "none");
    }
    browser.press(key::ENTER, 1);
    browser.says("Rotate");
    browser.assert_clean();
}

#[test]
fn the_document_of_the_api_is_shown_with_all_operations() {
    let console = Console::open();
    let browser = &console.browser;
    browser.goto("/admin/v1/docs");
    browser.fill("#token", TOKEN);
    browser.click_on("Log in");
    browser.says("Scorebox API");
    let document = console.host.read("/openapi.json").json();
    let paths = document["paths"].as_object().expect("paths");
    assert!(paths.len() > 10);
    for (path, item) in paths {
        for method in item.as_object().expect("operations").keys().filter(|key| *key != "parameters") {
            let shown = format!("{} /admin/v1{path}", method.to_uppercase());
            browser.wait(&format!("[...document.querySelectorAll('.operation h3')].some((one) => one.innerText.replace(/\\s+/g, ' ') === {})", json!(shown)));
        }
    }
    for name in document["components"]["schemas"].as_object().expect("schemas").keys() {
        browser.wait(&format!("document.getElementById({})", json!(format!("schema-{name}"))));
    }
    browser.assert_clean();
}

#[test]
fn the_files_come_with_a_strict_policy_and_are_kept_until_they_change() {
    let host = Host::start();
    let ask =
        |request: &Request| Client::connect(host.admin).and_then(|mut client| client.send(request)).expect("an answer");
    let redirect = ask(&Request::get("/"));
    assert_eq!((redirect.status, redirect.header("location")), (303, Some("/console/")));
    for path in ["/console/", "/console/docs.html", "/console/style.css", "/console/main.js", "/console/icon.svg"] {
        let response = ask(&Request::get(path));
        let policy = response.header("content-security-policy").expect("a policy");
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "frame-ancestors 'none'",
            "form-action 'none'",
            "base-uri 'none'",
        ] {
            assert!(policy.split(';').any(|one| one.trim() == part), "{part}: {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(response.header("referrer-policy"), Some("no-referrer"));
        assert!(!response.text().contains(TOKEN));
        let tag = response.header("etag").expect("a tag");
        let again = ask(&Request::get(path).header("if-none-match", tag));
        assert_eq!((again.status, again.body.len()), (304, 0));
    }
    for path in ["/console/nothing.js", "/console/..%2fCargo.toml", "/console/%2e%2e"] {
        assert_eq!(ask(&Request::get(path)).status, 404, "{path}");
    }
    // What the API says is kept by nobody.
    assert_eq!(host.read("/tenants").header("cache-control"), Some("no-store"));
}
