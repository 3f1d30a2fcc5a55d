//! Bodies that are compressed: the server inflates none, so none can be a bomb.

use scorebox_tests::fixtures::IRIS;
use scorebox_tests::{Request, Serve};

/// `gzip` of a million spaces.
fn bomb() -> Vec<u8> {
    // A block of deflate in the fixed code: a space, copies of 258 bytes from one byte before, and its end.
    let mut bits: Vec<bool> = vec![true, true, false];
    let mut code = |value: u32, length: u32| bits.extend((0..length).rev().map(|bit| value >> bit & 1 == 1));
    code(0x30 + u32::from(b' '), 8);
    for _ in 0..1_000_000 / 258 {
        code(0b1100_0101, 8);
        code(0, 5);
    }
    code(0, 7);
    let mut bytes = b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec();
    bytes.extend(bits.chunks(8).map(|byte| byte.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit))));
    bytes
}

#[test]
fn a_compressed_body_is_passed_on_as_it_is_with_the_header_that_says_so() {
    let server = Serve::guest("echo").args("--max-body 100kB").start();
    let bomb = bomb();
    assert!(bomb.len() < 10_000, "{}", bomb.len());
    for encoding in ["gzip", "deflate", "br", "zstd", "gzip, gzip"] {
        let told = server.send(&Request::score(bomb.clone()).header("content-encoding", encoding)).json();
        assert_eq!(told["body_bytes"], bomb.len(), "{encoding}");
        let headers = told["headers"].as_array().expect("headers");
        assert!(headers.iter().any(|header| header[0] == "content-encoding" && header[1] == encoding), "{headers:?}");
    }
}

#[test]
fn a_compressed_body_is_no_json_and_text_that_says_to_be_compressed_is_taken_for_what_it_is() {
    let server = Serve::example("iris-rust").start();
    let gzip = |body: Vec<u8>| server.send(&Request::json(body).header("content-encoding", "gzip"));
    gzip(bomb())
        .assert_error(400, "POST body could not be decoded as JSON: invalid utf-8 sequence of 1 bytes from index 1");
    assert_eq!(gzip(IRIS.into()).status, 200);
    // Nor can it be a coding of the transfer.
    let coded = Request::new("POST", "/score").header("transfer-encoding", "gzip, chunked");
    assert_eq!(server.connect().send(&coded).expect("an answer").status, 400);
}

#[test]
fn an_answer_is_not_compressed_whatever_the_client_takes() {
    let server = Serve::guest("echo").start();
    let response = server.send(&Request::score("a".repeat(100_000)).header("accept-encoding", "gzip, deflate, br"));
    assert_eq!((response.status, response.header("content-encoding")), (200, None));
    assert_eq!(response.json()["body_bytes"], 100_000);
}
