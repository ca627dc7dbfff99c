//! Every message of the device protocol: what parses can be written and reads the same again.
#![no_main]

use airseal_protocol::{
    EnrollRequest, EnrollResponse, Message, PollRequest, PollResponse, Problem, Report, path,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((kind, body)) = data.split_first() else {
        return;
    };
    match kind % 7 {
        0 => again::<EnrollRequest<'_>>(body, |bytes, old| {
            EnrollRequest::parse(bytes).is_ok_and(|new| new == *old)
        }),
        1 => again::<EnrollResponse<'_>>(body, |bytes, old| {
            EnrollResponse::parse(bytes).is_ok_and(|new| new == *old)
        }),
        2 => again::<PollRequest<'_>>(body, |bytes, old| {
            PollRequest::parse(bytes).is_ok_and(|new| new == *old)
        }),
        3 => again::<PollResponse>(body, |bytes, old| {
            PollResponse::parse(bytes).is_ok_and(|new| new == *old)
        }),
        4 => again::<Problem<'_>>(body, |bytes, old| {
            Problem::parse(bytes).is_ok_and(|new| new == *old)
        }),
        5 => again::<Report<'_>>(body, |bytes, old| {
            Report::parse(bytes).is_ok_and(|new| new == *old)
        }),
        _ => {
            let _ = str::from_utf8(body).map(path::digest_from_hex);
        }
    }
});

fn again<'a, M: Message<'a>>(bytes: &'a [u8], reads_the_same: impl FnOnce(&[u8], &M) -> bool) {
    let Ok(message) = M::parse(bytes) else { return };
    let mut buffer = vec![0; M::MAX_LEN];
    let len = message
        .encode(&mut buffer)
        .expect("what was read can be written");
    assert!(reads_the_same(&buffer[..len], &message));
}
