//! The console with components of Rust, which are ready at once.

use std::fs;

use scorebox_tests::host::{API, address, sha256};
use scorebox_tests::wait::{PATIENCE, eventually};
use scorebox_tests::{Request, fixtures};
use serde_json::json;

use super::Console;
use super::browser::key;

/// To the page a deployment takes until something has changed.
const HOLD_WHO_WAITS: &str = "
    const ask = window.fetch;
    const changed = new Promise((resolve) => { window.goOn = resolve; });
    window.fetch = async (path, options) => {
      if (path.includes('?wait=')) {
        window.waits = true;
        await changed;
      }
      return ask(path, options);
    };";

#[test]
fn an_upload_that_broke_off_goes_on_in_the_page() {
    let console = Console::logged_in_without_scripts();
    let browser = &console.browser;
    let component = fixtures::guest("echo");
    let bytes = fs::read(&component).expect("a component");
    let (digest, size, half) = (sha256(&bytes), bytes.len(), bytes.len() / 2);
    let first = Request::new("PUT", &format!("{API}/bundles/{digest}")).body(&bytes[..half]);
    let response = console.host.ask(&first.header("content-range", format!("bytes 0-{}/{size}", half - 1)));
    assert_eq!(response.header("upload-offset"), Some(&*half.to_string()), "{response:?}");

    console.create_endpoint("plants", "iris");
    browser.script(
        "window.sent = [];
        const [header, send] = [XMLHttpRequest.prototype.setRequestHeader, XMLHttpRequest.prototype.send];
        XMLHttpRequest.prototype.setRequestHeader = function (name, value) {
          if (name === 'content-range') window.sent.push(value);
          return header.call(this, name, value);
        };
        XMLHttpRequest.prototype.send = function (body) { window.sent.push(body.size); return send.call(this, body); };",
    );
    browser.fill("#deploy-files", component.to_str().expect("a path is text"));
    browser.click("#deploy-submit");
    console.shows("blue", "ready");
    let range = format!("bytes {half}-{}/{size}", size - 1);
    assert_eq!(browser.script("return window.sent"), json!([range, size - half]), "only the rest is sent");
    assert_eq!(console.host.read(&format!("/bundles/{digest}")).json()["size"], size);
    browser.assert_clean();
}

#[test]
fn an_upload_of_which_all_has_come_is_finished_in_the_page_and_what_is_no_part_of_it_is_uploaded_anew() {
    let console = Console::logged_in_without_scripts();
    console.create_endpoint("plants", "iris");
    for (deployment, guest, whole) in [("blue", "echo", true), ("green", "says", false)] {
        let component = fixtures::guest(guest);
        let bytes = fs::read(&component).expect("a component");
        let (digest, size) = (sha256(&bytes), bytes.len());
        let left = if whole { bytes } else { vec![0; size] };
        // It says to have one byte more, so that it stays as it is.
        let put = Request::new("PUT", &format!("{API}/bundles/{digest}")).body(left);
        let response = console.host.ask(&put.header("content-range", format!("bytes 0-{}/{}", size - 1, size + 1)));
        assert_eq!(response.header("upload-offset"), Some(&*size.to_string()), "{response:?}");
        console.browser.goto("/console/#/plants/iris/deploy");
        console.browser.wait("document.querySelector('#deploy-files')");
        console.browser.fill("#deploy-files", component.to_str().expect("a path is text"));
        console.browser.click("#deploy-submit");
        console.shows(deployment, "ready");
        assert_eq!(console.host.read(&format!("/bundles/{digest}")).json()["size"], size);
    }
}

#[test]
fn a_mirror_is_given_its_share_with_the_keyboard_and_taken_back() {
    let console = Console::logged_in_without_scripts();
    let browser = &console.browser;
    let endpoint_key = console.host.serving("plants/iris", "echo");
    console.host.deploy("plants/iris/green", "echo");
    let mirror = || console.status("plants/iris")["mirror"].clone();
    let show = || {
        browser.goto("/console/#/plants/iris/traffic");
        browser.wait("document.querySelector('#mirror-share')");
        browser.script("document.getElementById('main').focus()");
    };
    let save = || {
        browser.script("document.querySelectorAll('.toast').forEach((one) => one.remove())");
        browser.tab_to("#save-traffic");
        browser.press(key::ENTER, 1);
        browser.says("Traffic saved");
    };
    show();
    assert_eq!(browser.script("return document.getElementById('mirror-share').disabled"), true);
    browser.tab_to("#mirror-to");
    browser.press("g", 1);
    assert_eq!((browser.value("#mirror-to"), browser.value("#mirror-share")), ("green".to_owned(), "10".to_owned()));
    browser.tab_to("#mirror-share");
    browser.press(key::RIGHT, 15);
    assert_eq!(browser.value("[aria-label='Copies of requests, as a number']"), "25");
    save();
    assert_eq!(mirror(), json!({ "green": 25 }));
    for _ in 0..40 {
        assert_eq!(console.host.score("plants/iris", &endpoint_key, "{}").status, 200);
    }

    // Half of the requests is the most; nobody is chosen to take it back.
    show();
    browser.tab_to("#mirror-share");
    browser.press(key::END, 1);
    assert_eq!(browser.value("#mirror-share"), "50");
    save();
    assert_eq!(mirror(), json!({ "green": 50 }));
    // A mirror that has traffic is refused, and nothing is saved.
    show();
    browser.tab_to("#share-blue");
    browser.press(key::HOME, 1);
    browser.click("#save-traffic");
    browser.wait("document.querySelector('#traffic-problem')?.innerText.includes('green')");
    assert_eq!(mirror(), json!({ "green": 50 }));
    assert_eq!(console.status("plants/iris")["traffic"], json!({ "blue": 100 }));
    browser.script("location.reload()");
    show();
    eventually(PATIENCE, "it is as it was saved", || browser.value("#mirror-to") == "green");
    browser.tab_to("#mirror-to");
    browser.press("N", 1);
    assert_eq!(browser.script("return document.getElementById('mirror-share').disabled"), true);
    save();
    assert_eq!(mirror(), json!({}));
    assert_eq!(console.host.read(&address("plants/iris")).json()["traffic"], json!({ "blue": 100 }));
    browser.assert_clean();
}

#[test]
fn traffic_that_somebody_changes_during_a_deployment_is_left_as_it_is() {
    let console = Console::logged_in_without_scripts();
    let browser = &console.browser;
    console.host.serving("plants/iris", "echo");
    console.host.deploy("plants/iris/red", "echo");
    browser.goto("/console/#/plants/iris/deploy/green");
    browser.fill("#deploy-files", fixtures::guest("echo").to_str().expect("a path is text"));
    browser.click("#deploy-all-traffic");
    assert_eq!(browser.script("return document.getElementById('deploy-all-traffic').checked"), true);
    browser.script(HOLD_WHO_WAITS);
    browser.click("#deploy-submit");
    browser.wait("window.waits");
    let theirs = json!({ "traffic": { "red": 100 }, "mirror": { "blue": 20 } });
    assert_eq!(console.host.put(&format!("{}/traffic", address("plants/iris")), &theirs).status, 200);
    browser.script("window.goOn()");
    browser.says("Revision 1 of green is ready. Somebody else has changed this endpoint meanwhile");
    let endpoint = console.status("plants/iris");
    assert_eq!((&endpoint["traffic"], &endpoint["mirror"]), (&json!({ "red": 100 }), &json!({ "blue": 20 })));

    // Who has been told so, and deploys it again, gives it all traffic.
    browser.click("#deploy-submit");
    browser.says("Revision 1 of green answers");
    let endpoint = console.status("plants/iris");
    assert_eq!((&endpoint["traffic"], &endpoint["mirror"]), (&json!({ "green": 100 }), &json!({})));
    browser.assert_clean();
}

#[test]
fn a_deployment_that_somebody_puts_in_the_place_of_the_one_that_is_waited_for_gets_no_traffic() {
    let console = Console::logged_in_without_scripts();
    let browser = &console.browser;
    console.host.serving("plants/iris", "echo");
    console.host.deploy("plants/iris/green", "says");
    browser.goto("/console/#/plants/iris/deploy/green");
    browser.fill("#deploy-files", fixtures::guest("echo").to_str().expect("a path is text"));
    browser.click("#deploy-all-traffic");
    browser.script(HOLD_WHO_WAITS);
    browser.click("#deploy-submit");
    browser.wait("window.waits");
    assert_eq!(console.host.delete(&address("plants/iris/green")).status, 204);
    console.host.deploy("plants/iris/green", "says");
    browser.script("window.goOn()");
    browser.says("Revision 2 of green is not there any more. Somebody else has changed the deployment meanwhile.");
    assert_eq!(console.status("plants/iris")["traffic"], json!({ "blue": 100 }));
    browser.assert_clean();
}

#[test]
fn a_tenant_that_somebody_creates_while_an_endpoint_is_named_keeps_its_quotas() {
    let console = Console::logged_in_without_scripts();
    let browser = &console.browser;
    browser.click("#new-endpoint");
    browser.fill("#new-endpoint-tenant", "plants");
    browser.fill("#new-endpoint-name", "iris");
    let theirs = json!({ "description": "Flowers", "quotas": { "requests_per_second": 10 } });
    assert_eq!(console.host.put(&address("plants"), &theirs).status, 201);
    let tenant = console.status("plants");
    browser.click("dialog button[type=submit]");
    browser.says("it is not shown again");
    assert_eq!(console.status("plants"), tenant);
    assert_eq!(console.host.read(&address("plants/iris")).status, 200);
    browser.assert_clean();
}

#[test]
fn nothing_moves_for_who_wants_less_motion() {
    /// What would move: those of the elements that are there, and a message as it is shown.
    const MOVING: &str = "
        const toast = document.createElement('div');
        toast.className = 'toast';
        document.body.append(toast);
        const moves = [...document.querySelectorAll('*')].filter((one) => {
          const style = getComputedStyle(one);
          return style.animationName !== 'none' || (style.transitionProperty !== 'none' && parseFloat(style.transitionDuration) > 0);
        }).map((one) => one.className || one.localName);
        toast.remove();
        return moves";
    let console = Console::logged_in_without_scripts();
    let browser = &console.browser;
    console.host.serving("plants/iris", "echo");
    for (motion, moves) in [("no-preference", true), ("reduce", false)] {
        browser.prefer("prefers-reduced-motion", motion);
        for page in ["/", "/plants/iris/traffic"] {
            browser.goto(&format!("/console/#{page}"));
            browser.wait("document.querySelector('.shares i')");
            let moving = browser.script(MOVING);
            let moving = moving.as_array().expect("elements");
            assert_eq!(!moving.is_empty(), moves, "{page}, {motion}: {moving:?}");
        }
        assert_eq!(browser.script("return document.getAnimations().length > 0"), false);
    }
    browser.assert_clean();
}
