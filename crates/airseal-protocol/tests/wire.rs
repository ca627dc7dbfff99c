//! The bytes of every message, frozen: a failing case means that the code is wrong.

use airseal_protocol::{
    DeviceState, EnrollRequest, EnrollResponse, Message, PollRequest, PollResponse, Problem,
    ProblemCode, RecipientIds, Report, Stage, path,
};

const DIGEST: [u8; 32] = [0xD1; 32];
const DIGEST_CBOR: &str = "5820d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1";

#[track_caller]
fn frozen<'a, M: Message<'a> + PartialEq + std::fmt::Debug>(
    message: &M,
    expected: &str,
    parsed_from: &'a mut Vec<u8>,
) {
    let mut buffer = vec![0; M::MAX_LEN];
    let len = message.encode(&mut buffer).expect("encodes");
    buffer.truncate(len);
    assert_eq!(hex::encode(&buffer), expected);
    *parsed_from = buffer;
    assert_eq!(&M::parse(parsed_from).expect("parses"), message);
}

#[test]
fn enroll_request_bytes_are_frozen() {
    let ids = [[1; 16], [2; 16]].concat();
    let message = EnrollRequest {
        claim_token: "tok",
        vendor_id: [0xAA; 16],
        class_id: [0xBB; 16],
        hw_rev: 3,
        wrap_suite: 1,
        recipient_key: &[0xCC; 32],
        groups: RecipientIds::new(&ids).expect("ids"),
    };
    frozen(
        &message,
        concat!(
            "a7",
            "0063746f6b",
            "0150aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "0250bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
            "0303",
            "0401",
            "055820cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc",
            "0658200101010101010101010101010101010102020202020202020202020202020202",
        ),
        &mut Vec::new(),
    );
}

#[test]
fn enroll_response_bytes_are_frozen() {
    let message = EnrollResponse {
        device_id: "lamp-1",
        next_poll_s: 60,
    };
    frozen(&message, "a200666c616d702d3101183c", &mut Vec::new());
}

#[test]
fn poll_request_bytes_are_frozen() {
    let message = PollRequest {
        recipients: RecipientIds::new(&[7; 16]).expect("ids"),
        installed: Some(DIGEST),
        order_keyset: 1,
        release_seq: 1000,
        security_version: 2,
        keyset_version: 4,
        hw_rev: 5,
        state: DeviceState::Downloading,
    };
    let expected = format!(
        "a80050{}01{DIGEST_CBOR}0201031903e80402050406050701",
        "07".repeat(16)
    );
    frozen(&message, &expected, &mut Vec::new());
}

#[test]
fn first_poll_of_an_empty_device_bytes_are_frozen() {
    let message = PollRequest {
        recipients: RecipientIds::default(),
        installed: None,
        order_keyset: 0,
        release_seq: 0,
        security_version: 0,
        keyset_version: 0,
        hw_rev: 0,
        state: DeviceState::Idle,
    };
    frozen(&message, "a70040020003000400050006000700", &mut Vec::new());
}

#[test]
fn poll_response_bytes_are_frozen() {
    let cases = [
        (
            PollResponse::Nothing { next_poll_s: 60 },
            "a2000003183c".to_owned(),
        ),
        (
            PollResponse::Install {
                manifest_digest: DIGEST,
                payload_len: 70_000,
                next_poll_s: 60,
            },
            format!("a4000101{DIGEST_CBOR}021a0001117003183c"),
        ),
        (
            PollResponse::NoEnvelope {
                manifest_digest: DIGEST,
                next_poll_s: 60,
            },
            format!("a3000201{DIGEST_CBOR}03183c"),
        ),
        (
            PollResponse::Held {
                manifest_digest: DIGEST,
                next_poll_s: 60,
            },
            format!("a3000301{DIGEST_CBOR}03183c"),
        ),
    ];
    for (message, expected) in cases {
        frozen(&message, &expected, &mut Vec::new());
    }
}

#[test]
fn report_bytes_are_frozen() {
    let message = Report {
        manifest_digest: DIGEST,
        stage: Stage::Revert,
        code: 300,
        attempt: 2,
        detail: "self-test",
    };
    frozen(
        &message,
        &format!("a500{DIGEST_CBOR}01060219012c0302046973656c662d74657374"),
        &mut Vec::new(),
    );
}

#[test]
fn problem_bytes_are_frozen() {
    let message = Problem {
        code: ProblemCode::Revoked.number(),
        title: "no",
    };
    frozen(&message, "a20019044f01626e6f", &mut Vec::new());
}

#[test]
fn problem_numbers_are_frozen() {
    let table: Vec<_> = ProblemCode::ALL
        .iter()
        .map(|code| (code.number(), code.status(), format!("{code:?}")))
        .collect();
    let frozen = [
        (1001, 400, "Malformed"),
        (1002, 413, "TooLarge"),
        (1003, 404, "NoSuchPath"),
        (1004, 405, "WrongMethod"),
        (1005, 408, "TooSlow"),
        (1006, 415, "WrongMediaType"),
        (1101, 401, "UnknownDevice"),
        (1102, 403, "ClaimRefused"),
        (1103, 403, "Revoked"),
        (1106, 409, "KeyInUse"),
        (1107, 409, "RecipientInUse"),
        (1108, 403, "WrongClass"),
        (1201, 404, "NoSuchRelease"),
        (1202, 410, "Yanked"),
        (1203, 404, "NoEnvelope"),
        (1301, 416, "RangeNotSatisfiable"),
        (1302, 412, "PreconditionFailed"),
        (1901, 500, "Internal"),
        (1902, 503, "Busy"),
    ]
    .map(|(number, status, name)| (number, status, name.to_owned()));
    assert_eq!(table, frozen);
    for code in ProblemCode::ALL {
        assert_eq!(ProblemCode::from_number(code.number()), Some(*code));
        let mut buffer = [0; Problem::MAX_LEN];
        let problem = Problem {
            code: code.number(),
            title: code.title(),
        };
        problem.encode(&mut buffer).expect("every title fits");
    }
}

#[test]
fn paths_are_frozen_and_fit_small_buffers() {
    let digest = [0xAB; 32];
    let hex = "ab".repeat(32);
    assert_eq!(
        path::Path::manifest(&digest, u32::MAX).as_str(),
        format!("/d/v1/manifest/{hex}?ks=4294967295")
    );
    assert_eq!(
        path::Path::envelope(&digest).as_str(),
        format!("/d/v1/envelope/{hex}")
    );
    assert_eq!(
        path::Path::payload(&digest).as_str(),
        format!("/d/v1/payload/{hex}")
    );
    assert!(path::Path::manifest(&digest, u32::MAX).as_str().len() <= path::MAX_LEN);
    assert_eq!(path::digest_from_hex(&hex), Some(digest));
}

#[test]
fn a_digest_has_one_spelling() {
    for text in [
        "",
        "ab",
        &"AB".repeat(32),
        &"ab".repeat(33),
        &"zz".repeat(32),
        &"é".repeat(32),
    ] {
        assert_eq!(path::digest_from_hex(text), None, "{text}");
    }
}
