//! What is refused, and that reading never panics.

use airseal_protocol::{
    DeviceState, EnrollRequest, EnrollResponse, Message, MessageError, PollRequest, PollResponse,
    Problem, RecipientIds, Report, Stage,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn encoded<'a, M: Message<'a>>(message: &M) -> Vec<u8> {
    let mut buffer = vec![0; M::MAX_LEN];
    let len = message.encode(&mut buffer).expect("encodes");
    buffer.truncate(len);
    buffer
}

fn enroll<'a>(claim_token: &'a str, wrap_suite: u8, recipient_key: &'a [u8]) -> EnrollRequest<'a> {
    EnrollRequest {
        claim_token,
        vendor_id: [1; 16],
        class_id: [2; 16],
        hw_rev: 0,
        wrap_suite,
        recipient_key,
        groups: RecipientIds::default(),
    }
}

#[track_caller]
fn refused<'a, M: Message<'a>>(message: &M, field: &str) {
    match message.encode(&mut vec![0; 4096]) {
        Err(MessageError::Field { name, .. }) => assert_eq!(name, field),
        other => panic!("expected a refusal of {field}, got {other:?}"),
    }
}

#[test]
fn enroll_refuses_values_outside_their_limits() {
    refused(&enroll("", 1, &[0; 32]), "claim_token");
    refused(&enroll(&"x".repeat(65), 1, &[0; 32]), "claim_token");
    refused(&enroll("a b", 1, &[0; 32]), "claim_token");
    refused(&enroll("t", 0, &[0; 32]), "wrap_suite");
    refused(&enroll("t", 3, &[0; 32]), "wrap_suite");
    refused(&enroll("t", 1, &[0; 65]), "recipient_key");
    refused(&enroll("t", 2, &[0; 32]), "recipient_key");
}

#[test]
fn the_largest_enroll_request_fits() {
    let ids: Vec<u8> = (0..16).flat_map(|n| [n; 16]).collect();
    let mut message = enroll("", 2, &[4; 65]);
    let token = "x".repeat(64);
    message.claim_token = &token;
    message.hw_rev = u16::MAX;
    message.groups = RecipientIds::new(&ids).expect("ids");
    let bytes = encoded(&message);
    assert!(bytes.len() <= EnrollRequest::MAX_LEN, "{}", bytes.len());
    assert!(EnrollRequest::parse(&bytes).expect("parses") == message);
}

#[test]
fn the_claim_token_is_not_in_debug_output() {
    assert!(!format!("{:?}", enroll("s3cr3t", 1, &[0; 32])).contains("s3cr3t"));
}

#[test]
fn recipient_ids_are_whole_few_and_ascending() {
    assert!(RecipientIds::new(&[0; 15]).is_err());
    assert!(RecipientIds::new(&[0; 32]).is_err(), "twice the same");
    assert!(RecipientIds::new(&[[2; 16], [1; 16]].concat()).is_err());
    let many: Vec<u8> = (0..17).flat_map(|n| [n; 16]).collect();
    assert!(RecipientIds::new(&many).is_err());
    let ids = RecipientIds::new(&many[..256]).expect("16 ids");
    assert_eq!(ids.iter().len(), 16);
    assert!(ids.contains(&[3; 16]) && !ids.contains(&[16; 16]));
}

#[test]
fn text_for_people_has_no_control_characters() {
    fn report(detail: &str) -> Report<'_> {
        Report {
            manifest_digest: [0; 32],
            stage: Stage::Check,
            code: 1,
            attempt: 1,
            detail,
        }
    }
    refused(&report("\u{1b}[2J"), "detail");
    refused(&report(&"x".repeat(97)), "detail");
    let problem = Problem {
        code: 1,
        title: "a\nb",
    };
    refused(&problem, "title");
    let mut bytes = encoded(&report("a.b"));
    let dot = bytes.len() - 2;
    bytes[dot] = b'\n';
    assert!(Report::parse(&bytes).is_err());
}

#[test]
fn trailing_bytes_are_refused() {
    let mut bytes = encoded(&PollResponse::Nothing { next_poll_s: 1 });
    let len = bytes.len();
    bytes.push(0);
    assert_eq!(
        PollResponse::parse(&bytes),
        Err(MessageError::Trailing { offset: len })
    );
}

#[test]
fn truncation_at_every_byte_is_refused() {
    let bytes = encoded(&enroll("token", 1, &[9; 32]));
    for end in 0..bytes.len() {
        assert!(EnrollRequest::parse(&bytes[..end]).is_err(), "{end}");
    }
}

#[test]
fn a_message_over_its_limit_is_refused_before_it_is_read() {
    let bytes = vec![0xA0; PollRequest::MAX_LEN + 1];
    assert_eq!(
        PollRequest::parse(&bytes),
        Err(MessageError::TooLong {
            len: PollRequest::MAX_LEN + 1,
            max: PollRequest::MAX_LEN
        })
    );
}

#[test]
fn a_field_from_the_future_is_skipped() {
    let bytes = hex::decode("a3000003183c186381820102").expect("hex");
    assert_eq!(
        PollResponse::parse(&bytes),
        Ok(PollResponse::Nothing { next_poll_s: 60 })
    );
}

#[test]
fn an_unknown_poll_action_is_refused_by_name() {
    let bytes = hex::decode("a2000903183c").expect("hex");
    assert!(matches!(
        PollResponse::parse(&bytes),
        Err(MessageError::Field { name: "action", .. })
    ));
}

fn states() -> impl Strategy<Value = DeviceState> {
    prop_oneof![
        Just(DeviceState::Idle),
        Just(DeviceState::Downloading),
        Just(DeviceState::Staged),
        Just(DeviceState::Trial),
    ]
}

proptest! {
    #[test]
    fn poll_request_round_trip(
        ids in prop::collection::btree_set(any::<[u8; 16]>(), 0..=16),
        installed in any::<Option<[u8; 32]>>(),
        numbers in any::<(u32, u64, u32, u32, u16)>(),
        state in states(),
    ) {
        let ids: Vec<u8> = ids.into_iter().flatten().collect();
        let (order_keyset, release_seq, security_version, keyset_version, hw_rev) = numbers;
        let message = PollRequest {
            recipients: RecipientIds::new(&ids).expect("a set ascends"),
            installed,
            order_keyset,
            release_seq,
            security_version,
            keyset_version,
            hw_rev,
            state,
        };
        let bytes = encoded(&message);
        prop_assert_eq!(PollRequest::parse(&bytes), Ok(message));
    }

    #[test]
    fn poll_response_round_trip(action in 0u8..4, manifest_digest: [u8; 32], payload_len: u64, next_poll_s: u32) {
        let message = match action {
            0 => PollResponse::Nothing { next_poll_s },
            1 => PollResponse::Install { manifest_digest, payload_len, next_poll_s },
            2 => PollResponse::NoEnvelope { manifest_digest, next_poll_s },
            _ => PollResponse::Held { manifest_digest, next_poll_s },
        };
        prop_assert_eq!(PollResponse::parse(&encoded(&message)), Ok(message));
    }

    #[test]
    fn report_round_trip(
        manifest_digest: [u8; 32],
        stage in prop::sample::select(&Stage::ALL[..]),
        code: u16,
        attempt: u32,
        detail in "[ -~äß]{0,48}",
    ) {
        let message = Report { manifest_digest, stage, code, attempt, detail: &detail };
        let bytes = encoded(&message);
        prop_assert_eq!(Report::parse(&bytes), Ok(message));
    }

    #[test]
    fn reading_anything_never_panics(bytes in vec(any::<u8>(), 0..600)) {
        let _ = EnrollRequest::parse(&bytes);
        let _ = EnrollResponse::parse(&bytes);
        let _ = PollRequest::parse(&bytes);
        let _ = PollResponse::parse(&bytes);
        let _ = Report::parse(&bytes);
        let _ = Problem::parse(&bytes);
    }

    #[test]
    fn reading_a_damaged_message_never_panics(at in 0usize..200, value: u8) {
        let mut bytes = encoded(&enroll("token", 2, &[9; 65]));
        let at = at % bytes.len();
        bytes[at] = value;
        let _ = EnrollRequest::parse(&bytes);
    }
}
