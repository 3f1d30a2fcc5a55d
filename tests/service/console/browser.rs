//! Chromium without a window, driven as `WebDriver` (W3C) has it: a few requests with JSON.
//!
//! They are written here, because the crates that do it would change the features of what the engine is built of.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use scorebox_tests::Client;
use scorebox_tests::process::{Process, hermetic};
use scorebox_tests::wait::{PATIENCE, eventually, holds_within};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Debian's, from the package chromium-driver.
const DRIVER: &str = "/usr/bin/chromedriver";
const CHROMIUM: &str = "/usr/bin/chromium";
/// What the standard calls an element, in JSON.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Keys that are no text, as the standard has them.
pub(crate) mod key {
    pub(crate) const TAB: &str = "\u{e004}";
    pub(crate) const ENTER: &str = "\u{e007}";
    pub(crate) const END: &str = "\u{e010}";
    pub(crate) const HOME: &str = "\u{e011}";
    pub(crate) const RIGHT: &str = "\u{e014}";
}

/// A browser with one page.
#[derive(Debug)]
pub(crate) struct Browser {
    client: RefCell<Client>,
    session: String,
    /// Where all is that the page may ask.
    origin: String,
    _driver: Process,
    _profile: TempDir,
}

impl Browser {
    /// Starts one, of which the page may ask a server at `server` and nobody else.
    pub(crate) fn start(server: SocketAddr) -> Self {
        for program in [DRIVER, CHROMIUM] {
            assert!(Path::new(program).exists(), "{program} is not there; install it with scripts/setup.sh test");
        }
        let profile = tempfile::tempdir().expect("a temporary folder can be made");
        let data = format!("--user-data-dir={}", profile.path().join("data").display());
        let mut command = hermetic(DRIVER);
        let driver = Process::start(command.arg("--port=0").env("HOME", profile.path()));
        let started = driver.line(PATIENCE, |line| line.contains("started successfully on port"));
        let started = started.unwrap_or_else(|| panic!("the driver does not start; {}", driver.said()));
        let port = started.trim_end_matches('.').rsplit(' ').next().and_then(|port| port.parse().ok());
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.expect("it says its port")));
        let client = RefCell::new(Client::connect(address).expect("the driver listens"));
        let mut browser = Self {
            client,
            session: String::new(),
            origin: format!("http://{server}"),
            _driver: driver,
            _profile: profile,
        };
        let arguments = json!([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--lang=en-GB",
            data,
        ]);
        let capabilities = json!({
            "browserName": "chrome",
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
            "goog:chromeOptions": { "binary": CHROMIUM, "args": arguments },
        });
        let session = browser.ask("POST", "/session", &json!({ "capabilities": { "alwaysMatch": capabilities } }));
        browser.session = format!("/session/{}", session["sessionId"].as_str().expect("a session has an id"));
        browser.size(1280, 860);
        browser
    }

    /// Goes to a path of the server.
    #[track_caller]
    pub(crate) fn goto(&self, path: &str) {
        self.command("POST", "/url", &json!({ "url": format!("{}{path}", self.origin) }));
    }

    /// Runs a script in the page, and gives what it returns.
    #[track_caller]
    pub(crate) fn script(&self, script: &str) -> Value {
        self.command("POST", "/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Waits until an expression of the page's is true.
    #[track_caller]
    pub(crate) fn wait(&self, expression: &str) {
        let script = format!("return Boolean({expression})");
        if !holds_within(PATIENCE, || self.script(&script) == true) {
            let shown = self.script("return document.body.innerText");
            panic!("{expression} did not come true; the page says:\n{}", shown.as_str().unwrap_or_default());
        }
    }

    /// The text of the first element that a selector takes, when there is one.
    #[track_caller]
    pub(crate) fn text(&self, selector: &str) -> String {
        self.wait(&format!("document.querySelector({})", json!(selector)));
        let text = self.script(&format!("return document.querySelector({}).innerText", json!(selector)));
        text.as_str().unwrap_or_default().to_owned()
    }

    /// The value of a field, when it is there.
    #[track_caller]
    pub(crate) fn value(&self, selector: &str) -> String {
        self.wait(&format!("document.querySelector({})", json!(selector)));
        let value = self.script(&format!("return document.querySelector({}).value", json!(selector)));
        value.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the page says something.
    #[track_caller]
    pub(crate) fn says(&self, text: &str) {
        self.wait(&format!("document.body.innerText.includes({})", json!(text)));
    }

    /// Clicks on an element, as a hand would.
    #[track_caller]
    pub(crate) fn click(&self, selector: &str) {
        let is = format!("document.querySelector({})", json!(selector));
        self.wait(&format!("{is} && !{is}.disabled"));
        // Between finding it and clicking on it the page may have put another in its place, as it does where something is new.
        let clicked = || {
            let path = format!("{}/element/{}/click", self.session, self.find(selector));
            match self.try_ask("POST", &path, &json!({})) {
                Ok(_) => true,
                Err(error) if error["error"] == "stale element reference" => false,
                Err(error) => panic!("{selector} cannot be clicked on: {error}"),
            }
        };
        eventually(PATIENCE, selector, clicked);
    }

    /// Clicks on the link or the button that has this text.
    #[track_caller]
    pub(crate) fn click_on(&self, text: &str) {
        let find =
            format!("[...document.querySelectorAll('a, button')].find((one) => one.innerText === {})", json!(text));
        self.wait(&find);
        self.script(&format!("{find}.setAttribute('data-clicked', '')"));
        self.click("[data-clicked]");
        self.script("document.querySelector('[data-clicked]')?.removeAttribute('data-clicked')");
    }

    /// Types into a field, in the place of what is in it. Into a field for files: their paths, one a line.
    #[track_caller]
    pub(crate) fn fill(&self, selector: &str, text: &str) {
        self.wait(&format!("document.querySelector({})", json!(selector)));
        let element = self.find(selector);
        if self.script(&format!("return document.querySelector({}).type", json!(selector))) != "file" {
            self.command("POST", &format!("/element/{element}/clear"), &json!({}));
        }
        self.command("POST", &format!("/element/{element}/value"), &json!({ "text": text }));
    }

    /// Presses keys, where the focus is.
    #[track_caller]
    pub(crate) fn press(&self, key: &str, times: usize) {
        let stroke = ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key }));
        let strokes: Vec<_> = std::iter::repeat_n(stroke, times).flatten().collect();
        self.command("POST", "/actions", &json!({ "actions": [{ "type": "key", "id": "keys", "actions": strokes }] }));
    }

    /// Presses the tabulator until an element has the focus. It must not take more than that of a page.
    #[track_caller]
    pub(crate) fn tab_to(&self, selector: &str) {
        let has = format!("return document.activeElement?.matches({})", json!(selector));
        for _ in 0..60 {
            if self.script(&has) == true {
                return;
            }
            self.press(key::TAB, 1);
        }
        panic!("{selector} cannot be reached with the keyboard");
    }

    /// Makes the page this large, in CSS pixels.
    #[track_caller]
    pub(crate) fn size(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.cdp("Emulation.setDeviceMetricsOverride", &size);
    }

    /// Has the system prefer something: `prefers-color-scheme`, `dark`.
    #[track_caller]
    pub(crate) fn prefer(&self, feature: &str, value: &str) {
        let features = json!([{ "name": feature, "value": value }]);
        self.cdp("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }

    /// What is seen of the page, as PNG.
    #[track_caller]
    pub(crate) fn picture(&self) -> Vec<u8> {
        base64(self.cdp("Page.captureScreenshot", &json!({ "format": "png" }))["data"].as_str().expect("a picture"))
    }

    /// What the console of the browser says is wrong, but for answers of the server with a status that the page shows.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let log = self.command("POST", "/se/log", &json!({ "type": "browser" }));
        let entries = log.as_array().cloned().unwrap_or_default();
        entries.iter().filter(|entry| entry["source"] != "network").map(Value::to_string).collect()
    }

    /// Where the page sent requests to that is not its server.
    pub(crate) fn strangers(&self) -> Vec<String> {
        let log = self.command("POST", "/se/log", &json!({ "type": "performance" }));
        let mut strangers = Vec::new();
        let mut asked = 0;
        for entry in log.as_array().cloned().unwrap_or_default() {
            let message: Value =
                serde_json::from_str(entry["message"].as_str().unwrap_or_default()).unwrap_or_default();
            let message = &message["message"];
            if message["method"] != "Network.requestWillBeSent" {
                continue;
            }
            let url = message["params"]["request"]["url"].as_str().unwrap_or_default();
            let is_own = url.starts_with(&format!("{}/", self.origin));
            asked += usize::from(is_own);
            // The browser's own pages are within it.
            if !is_own && !url.starts_with("data:") && !url.starts_with("chrome:") {
                strangers.push(url.to_owned());
            }
        }
        assert!(asked > 0, "the browser does not say what it asked");
        strangers
    }

    /// That nothing was refused by the policy, nothing went wrong, and nothing left the server.
    #[track_caller]
    pub(crate) fn assert_clean(&self) {
        assert_eq!(self.complaints(), Vec::<String>::new());
        assert_eq!(self.strangers(), Vec::<String>::new());
    }

    fn find(&self, selector: &str) -> String {
        let found = self.command("POST", "/element", &json!({ "using": "css selector", "value": selector }));
        found[ELEMENT].as_str().unwrap_or_else(|| panic!("{selector}: {found}")).to_owned()
    }

    #[track_caller]
    fn cdp(&self, command: &str, parameters: &Value) -> Value {
        self.command("POST", "/goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    #[track_caller]
    fn command(&self, method: &str, path: &str, body: &Value) -> Value {
        self.ask(method, &format!("{}{path}", self.session), body)
    }

    #[track_caller]
    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        self.try_ask(method, path, body).unwrap_or_else(|error| panic!("{method} {path} {body}: {error}"))
    }

    /// Asks the driver; or what it says is wrong.
    #[track_caller]
    fn try_ask(&self, method: &str, path: &str, body: &Value) -> Result<Value, Value> {
        let mut client = self.client.borrow_mut();
        let (address, body) = (client.address(), body.to_string());
        // It answers only those who call it by its address.
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n");
        write!(request, "content-length: {}\r\n\r\n{body}", body.len()).expect("a text takes all");
        let response = client.write(request.as_bytes()).and_then(|()| client.read());
        let response =
            response.unwrap_or_else(|error| panic!("the driver does not answer to {method} {path}: {error}"));
        let value = response.json()["value"].clone();
        if response.status == 200 { Ok(value) } else { Err(value) }
    }
}

impl Drop for Browser {
    /// Ends the browser with its session; the driver ends after it.
    fn drop(&mut self) {
        let mut client = self.client.borrow_mut();
        let request = format!("DELETE {} HTTP/1.1\r\nhost: {}\r\n\r\n", self.session, client.address());
        let _ = client.write(request.as_bytes()).and_then(|()| client.read());
    }
}

/// The bytes that a text in Base64 stands for.
fn base64(text: &str) -> Vec<u8> {
    let value = |byte: u8| -> u32 {
        match byte {
            b'A'..=b'Z' => u32::from(byte - b'A'),
            b'a'..=b'z' => u32::from(byte - b'a') + 26,
            b'0'..=b'9' => u32::from(byte - b'0') + 52,
            b'+' => 62,
            _ => 63,
        }
    };
    let digits: Vec<_> = text.bytes().filter(|byte| *byte != b'=').map(value).collect();
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    for group in digits.chunks(4) {
        let bits = group.iter().enumerate().fold(0, |bits, (place, digit)| bits | digit << (18 - 6 * place));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    bytes
}
