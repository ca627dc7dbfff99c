//! What a hostile or broken client can take from a listener: not much, and not for long.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use airseal_protocol::path;
use airseal_server::Config;
use common::{Bench, post};

/// A limit that a test meets; a busy machine still gets a handshake done in it.
const SHORT: Duration = Duration::from_secs(2);

/// Until when what meets a short limit, or none, must have ended.
const SOON: Duration = Duration::from_secs(20);

/// A limit that no test meets.
const LONG: Duration = Duration::from_secs(60);

/// A server whose limits in time are long, but for what `change` shortens.
fn bench(change: impl FnOnce(&mut Config)) -> (tempfile::TempDir, Bench) {
    let data = tempfile::tempdir().expect("tempdir");
    let mut config = Config::local(data.path());
    config.limits.handshake = LONG;
    config.limits.request = LONG;
    config.limits.idle = LONG;
    change(&mut config);
    let bench = Bench::start_with(config);
    (data, bench)
}

/// Waits until the other side closes and says how long that took.
fn closed_after(stream: &mut impl Read) -> Duration {
    let start = Instant::now();
    let mut buffer = [0; 1024];
    while matches!(stream.read(&mut buffer), Ok(n) if n > 0) {}
    start.elapsed()
}

#[test]
fn a_connection_that_never_shakes_hands_is_closed() {
    let (_data, bench) = bench(|config| config.limits.handshake = SHORT);
    let mut stream = TcpStream::connect(bench.https()).expect("connects");
    assert!(closed_after(&mut stream) < SOON);
}

#[test]
fn bytes_that_are_no_tls_are_refused() {
    let (_data, bench) = bench(|_| {});
    let mut stream = TcpStream::connect(bench.https()).expect("connects");
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("sent");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/"));
}

#[test]
fn a_head_that_drips_is_closed() {
    let (_data, bench) = bench(|config| config.limits.request = SHORT);
    let device = bench.device("slow");
    let mut stream = device.connect();
    let start = Instant::now();
    while stream.write_all(b"G").and_then(|()| stream.flush()).is_ok() {
        assert!(start.elapsed() < SOON, "still open");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_body_that_never_comes_is_given_up() {
    let (_data, bench) = bench(|config| config.limits.request = SHORT);
    let device = bench.device("slow");
    let mut stream = device.connect();
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: x\r\nContent-Type: application/cbor\r\nContent-Length: 20\r\n\r\n",
        path::POLL
    );
    stream.write_all(head.as_bytes()).expect("sent");
    let answer = common::http::read_head(&mut stream).expect("an answer");
    assert_eq!(answer.status, 408);
}

#[test]
fn an_idle_connection_is_closed() {
    let (_data, bench) = bench(|config| config.limits.idle = SHORT);
    let device = bench.device("idle");
    let mut stream = device.connect();
    let request = device.poll_request();
    post(&mut stream, path::POLL, &request).expect("answer");
    let after = closed_after(&mut stream);
    assert!(after < SOON, "{after:?}");
}

#[test]
fn a_huge_head_is_refused() {
    let (_data, bench) = bench(|_| {});
    let device = bench.device("huge");
    let value = "x".repeat(64 * 1024);
    let answer = common::http::exchange(
        &mut device.connect(),
        "GET",
        path::POLL,
        &[("X-Padding", value.as_str())],
        b"",
    );
    assert!(answer.refused_with(431));
    let many: Vec<(&str, &str)> = (0..200).map(|_| ("X-One", "1")).collect();
    let answer = common::http::exchange(&mut device.connect(), "GET", path::POLL, &many, b"");
    assert!(answer.refused_with(431));
}

trait Refused {
    /// Whether the request was answered with `status` or not at all.
    fn refused_with(self, status: u16) -> bool;
}

impl Refused for std::io::Result<common::http::Answer> {
    fn refused_with(self, status: u16) -> bool {
        match self {
            Ok(answer) => answer.status == status,
            Err(_) => true,
        }
    }
}

#[test]
fn connections_over_the_limit_wait_and_are_served() {
    let (_data, bench) = bench(|config| {
        config.limits.connections = 2;
        config.limits.idle = SHORT;
    });
    let device = bench.device("busy");
    let request = device.poll_request();
    let open = [(); 2].map(|()| {
        let mut stream = device.connect();
        post(&mut stream, path::POLL, &request).expect("answer");
        stream
    });
    let mut third = device.connect();
    third.sock.set_read_timeout(Some(SOON)).expect("timeout");
    let answer =
        post(&mut third, path::POLL, &request).expect("served once the idle ones are gone");
    assert_eq!(answer.status, 200);
    drop(open);
}

#[test]
fn a_server_stops_although_a_client_holds_on() {
    let (_data, bench) = bench(|config| {
        config.limits.drain = Duration::from_millis(200);
    });
    let device = bench.device("clinging");
    let mut stream = device.connect();
    post(&mut stream, path::POLL, &device.poll_request()).expect("answer");
    stream.write_all(b"POST /d/v1/po").expect("half a request");
    stream.flush().expect("sent");
    let start = Instant::now();
    bench.server.stop();
    assert!(start.elapsed() < SOON);
}

#[test]
fn a_stranger_is_told_once_and_then_the_connection_is_closed() {
    let (_data, bench) = bench(|_| {});
    let stranger = bench.stranger("stranger");
    let mut stream = stranger.connect();
    let answer = post(&mut stream, path::POLL, &stranger.poll_request()).expect("answer");
    assert_eq!(answer.status, 401);
    assert!(closed_after(&mut stream) < SOON);
    let mut stream = TcpStream::connect(bench.admin().address).expect("connects");
    let answer = common::http::exchange(&mut stream, "GET", "/api/v1/server", &[], b"");
    assert_eq!(answer.expect("answer").status, 401);
    stream.set_read_timeout(Some(LONG)).expect("timeout");
    assert!(closed_after(&mut stream) < SOON);
}

#[test]
fn one_address_can_not_fill_the_room_with_connections_that_say_nothing() {
    let (_data, bench) = bench(|config| config.limits.newcomers = 6);
    let device = bench.device("lamp");
    let mut served = device.connect();
    let request = device.poll_request();
    post(&mut served, path::POLL, &request).expect("answer");
    let mut silent: Vec<_> = (0..20)
        .map(|_| TcpStream::connect(bench.https()).expect("connects"))
        .collect();
    let start = Instant::now();
    let mut closed = 0;
    while closed < 14 && start.elapsed() < SOON {
        silent.retain_mut(|stream| {
            let timeout = stream.set_read_timeout(Some(Duration::from_millis(50)));
            timeout.expect("timeout");
            let is_closed = matches!(stream.read(&mut [0]), Ok(0));
            closed += usize::from(is_closed);
            !is_closed
        });
    }
    assert_eq!((closed, silent.len()), (14, 6));
    let answer = post(&mut served, path::POLL, &request).expect("a device inside is not disturbed");
    assert_eq!(answer.status, 200);
    drop(silent);
    let start = Instant::now();
    let answer = loop {
        match post(&mut device.connect(), path::POLL, &request) {
            Ok(answer) => break answer,
            Err(_) if start.elapsed() < SOON => std::thread::sleep(Duration::from_millis(50)),
            Err(error) => panic!("not let in again: {error}"),
        }
    };
    assert_eq!(answer.status, 200);
}

#[test]
fn half_of_the_room_is_for_who_is_served() {
    let (_data, bench) = bench(|config| config.limits.connections = 8);
    let device = bench.device("lamp");
    let mut silent: Vec<_> = (0..8)
        .map(|_| TcpStream::connect(bench.https()).expect("connects"))
        .collect();
    let last = silent.split_off(4);
    for mut stream in last {
        stream.set_read_timeout(Some(SOON)).expect("timeout");
        assert!(matches!(stream.read(&mut [0]), Ok(0)), "no room");
    }
    drop(silent.pop());
    let request = device.poll_request();
    let start = Instant::now();
    let mut inside = Vec::new();
    while inside.len() < 5 && start.elapsed() < SOON {
        let mut stream = device.connect();
        match post(&mut stream, path::POLL, &request) {
            Ok(answer) => inside.push((stream, answer.status)),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
    assert!(inside.iter().all(|(_, status)| *status == 200));
    assert_eq!(inside.len(), 5, "as many as are left");
}

#[test]
fn a_device_with_many_connections_loses_its_oldest() {
    let (_data, bench) = bench(|config| {
        config.limits.per_key = 3;
    });
    let device = bench.device("greedy");
    let request = device.poll_request();
    let mut open: Vec<_> = (0..5)
        .map(|_| {
            let mut stream = device.connect();
            let answer = post(&mut stream, path::POLL, &request).expect("answer");
            assert_eq!(answer.status, 200);
            stream
        })
        .collect();
    for stream in &mut open[..2] {
        assert!(closed_after(stream) < SOON);
    }
    for stream in &mut open[2..] {
        let answer = post(stream, path::POLL, &request).expect("still open");
        assert_eq!(answer.status, 200);
    }
}
