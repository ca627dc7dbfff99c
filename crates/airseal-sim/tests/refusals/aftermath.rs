//! A session that refused says so from then on, and does nothing more.

use airseal_format::bundle::{Section, SectionKind};
use airseal_sim::fixture::Sealed;
use airseal_update::blocking::block_on;
use airseal_update::{Action, Refusal, UpdateSession};

use crate::bench::{Bench, RUNNING, bad_signature, not_a_recipient, unwrap_failed};

/// Drives a session until it refuses, then asks it everything once more.
fn refuses_for_good(bench: &mut Bench, bad: &Sealed) -> Refusal {
    bench.untouched(|device| {
        device.with(|device, config, buffers| {
            block_on(async {
                let mut session = UpdateSession::begin(device, config, buffers).await?;
                let mut refused = session.accept_manifest(&bad.manifest_section()).await;
                if refused.is_ok() {
                    refused = match bad.envelopes.is_empty() {
                        false => session.accept_envelope(&bad.envelopes.concat()).await,
                        true => {
                            let kind = SectionKind::Payload;
                            let len = bad.payload.len() as u64;
                            session.begin_section(Section { kind, len }).await
                        }
                    };
                }
                while refused.is_ok() {
                    refused = session.push(&bad.payload[..64]).await.map(|_| ());
                }
                let refusal = refused.unwrap_err();
                assert_eq!(session.next(), Action::Refused(refusal));
                assert_eq!(session.push(&[0; 10]).await, Err(refusal));
                let manifest = bad.manifest_section();
                assert_eq!(session.accept_manifest(&manifest).await, Err(refusal));
                assert_eq!(session.accept_envelope(&[0; 60]).await, Err(refusal));
                assert_eq!(session.stage().await, Err(refusal));
                assert_eq!(session.next(), Action::Refused(refusal));
                assert_eq!((session.release(), session.progress()), (None, None));
                Err::<(), _>(refusal)
            })
        })
    })
}

#[test]
fn manifest_refused_for_good() {
    let mut bench = Bench::new();
    let older = bench.release(RUNNING - 1).seal();
    assert_eq!(refuses_for_good(&mut bench, &older), Refusal::Older);
    let mut forged = bench.next().seal();
    forged.manifest[64] ^= 4;
    assert_eq!(refuses_for_good(&mut bench, &forged), bad_signature());
}

#[test]
fn envelope_refused_for_good() {
    let mut bench = Bench::new();
    let mut spoilt = bench.next().seal();
    spoilt.envelopes[0][100] ^= 1;
    assert_eq!(refuses_for_good(&mut bench, &spoilt), unwrap_failed());
    spoilt.envelopes.clear();
    assert_eq!(refuses_for_good(&mut bench, &spoilt), not_a_recipient());
}

#[test]
fn payload_refused_for_good() {
    let mut bench = Bench::new();
    let mut spoilt = bench.next().seal();
    spoilt.payload[3] ^= 1;
    let refusal = refuses_for_good(&mut bench, &spoilt);
    assert_eq!(refusal.word(), "top-mismatch");
    bench.still_boots();
}
