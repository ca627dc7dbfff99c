//! Response heads from a hostile server: any cut into pieces gives the same answer, and a
//! part that is accepted is the part that was asked for.
#![no_main]

use airseal_update::transport::http::HeadReader;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(([cut, offset, len], bytes)) = data.split_first_chunk::<3>() else {
        return;
    };
    let (offset, len) = (u64::from(*offset), u64::from(*len));
    let (mut whole, mut pieces) = ([0; 512], [0; 512]);
    let mut whole = HeadReader::new(&mut whole);
    let mut pieces = HeadReader::new(&mut pieces);
    let taken = whole.push(bytes);
    let (first, second) = bytes.split_at(usize::from(*cut).min(bytes.len()));
    let again = pieces
        .push(first)
        .and_then(|a| Ok(a + pieces.push(second)?));
    assert_eq!(taken, again);
    if taken.is_err() || !whole.is_complete() {
        return;
    }
    let Ok(head) = whole.head() else { return };
    assert_eq!(Ok(head), pieces.head());
    assert!((100..1000).contains(&head.status));
    let _ = (head.whole(), head.body_len());
    if let Ok(body) = head.part(offset, len) {
        assert!(body.skip == 0 || body.skip == offset);
        assert!(body.skip + len <= body.len, "the part lies inside the body");
        assert!(body.len <= body.total);
    }
});
