//! Slow streams, power that comes and goes, and a floor that waits for the confirmation
//! (field reports R30, R36 and R40).

use std::io::{self, Read};

use airseal_format::SecurityVersion;
use airseal_format::payload::Profile;
use airseal_sim::fault::{FaultPlan, Faulty};
use airseal_sim::random::Noise;
use airseal_sim::{Cut, FaultTransport, PowerCut, SimDevice, Torn};
use airseal_update::Refusal;
use airseal_update::boot::ResetReason;

use crate::bench::{Bench, RUNNING, image, serve_counting};

/// One byte at a time, with pauses.
struct Serial<'a> {
    bytes: &'a [u8],
    reads: u64,
}

impl Read for Serial<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reads += 1;
        if self.reads.is_multiple_of(4096) {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        if self.reads.is_multiple_of(7) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let one = buffer.len().min(1);
        self.bytes.read(&mut buffer[..one])
    }
}

#[test]
fn r30_bundle_over_a_slow_stream_byte_by_byte() {
    let mut bench = Bench::new();
    let next = bench.next().seal();
    let bundle = next.bundle();
    let mut serial = Serial {
        bytes: &bundle,
        reads: 0,
    };
    let mut last = (0, 0);
    bench
        .device
        .update_from(&mut serial, None, &mut |done, all| {
            assert!(done >= last.0);
            last = (done, all);
        })
        .unwrap();
    assert!(serial.reads > bundle.len() as u64);
    assert_eq!(last.0, last.1);
    assert_eq!(last.1, image(RUNNING + 1).len() as u64);
    bench.confirms(&next);
    assert_eq!(bench.device.image(last.1 as usize), image(RUNNING + 1));
}

#[test]
fn r30_bundle_over_a_cable_that_breaks() {
    let mut bench = Bench::new();
    let next = bench.next().seal();
    let bundle = next.bundle();
    let plan = "short@10\nstall@3000:2ms\ncut@15000\ncut@45000\ncut@80000";
    let plan = FaultPlan::parse(plan).unwrap();
    let mut faults = FaultTransport::new(&plan, bundle.len() as u64);
    let mut attempts = 0;
    loop {
        attempts += 1;
        let mut cable = Faulty {
            stream: &bundle[..],
            faults: Some(&mut faults),
        };
        match bench.device.update_from(&mut cable, None, &mut |_, _| {}) {
            Ok(()) => break,
            Err(refusal) => assert_eq!(refusal, Refusal::Transport),
        }
        bench.still_boots();
        faults.reconnect();
    }
    assert_eq!((attempts, faults.pending()), (4, 0));
    bench.confirms(&next);
}

#[test]
fn r36_floor_moves_only_with_the_confirmation() {
    let floor = |device: &mut SimDevice| device.state().unwrap().floor;
    let mut cut_at = 0;
    loop {
        let mut bench = Bench::new();
        let mut plan = bench.next();
        plan.header.security_version = SecurityVersion(5);
        let bundle = plan.seal().bundle();
        let start = bench.device.flash().operations();
        bench.device.flash_mut().set_cut(Some(PowerCut {
            at: start + cut_at,
            how: Cut::Torn(Torn::Bits(cut_at)),
        }));
        // Download, trial and revert, as far as the power lasts.
        let device = &mut bench.device;
        let _ = device
            .update_from_bytes(&bundle)
            .and_then(|()| device.boot(ResetReason::Restart))
            .and_then(|_| device.revert())
            .and_then(|()| device.boot(ResetReason::Restart));
        let was_cut = device.flash().is_off();
        device.flash_mut().power_on();
        // Ports of one attempt do not outlive it; the next sees what the flash holds.
        assert_eq!(
            floor(device),
            SecurityVersion(1),
            "cut at operation {cut_at}"
        );
        device.boot(ResetReason::Power).unwrap();
        device.heal().unwrap();
        assert_eq!(
            floor(device),
            SecurityVersion(1),
            "cut at operation {cut_at}"
        );
        if device.boot_state().unwrap().is_on_trial() {
            device.revert().unwrap();
            device.boot(ResetReason::Restart).unwrap();
        }
        bench.still_boots();
        if !was_cut {
            break;
        }
        cut_at += 1;
    }
    assert!(cut_at > 50, "only {cut_at} operations were cut");
    let mut bench = Bench::new();
    let mut plan = bench.next();
    plan.header.security_version = SecurityVersion(5);
    bench.accepts(&plan.seal());
    assert_eq!(floor(&mut bench.device), SecurityVersion(5));
}

/// A megabyte in the default profile, on a device with room for it.
fn megabyte() -> (Bench, airseal_sim::fixture::Sealed) {
    let bench = Bench::with(|model| model.slot_len = (1 << 20) + 8192);
    let mut plan = bench.next();
    plan.header.profile = Profile::P2;
    plan.components[0].1 = Noise::new(40).bytes(1 << 20);
    let sealed = plan.seal();
    (bench, sealed)
}

#[test]
fn r40_without_faults_hardly_more_is_fetched_than_the_image() {
    let (mut bench, sealed) = megabyte();
    let mut fetched = 0;
    serve_counting(&mut bench.device, &sealed, &mut fetched).unwrap();
    let ratio = fetched as f64 / (1 << 20) as f64;
    println!("without faults: {fetched} bytes fetched, {ratio:.4} per byte of image");
    assert!(ratio <= 1.05, "{ratio}");
    bench.confirms(&sealed);
}

#[test]
fn r40_power_cut_every_40_chunks() {
    // Per chunk of one erase unit: erase, write, checkpoint.
    let operations = 3 * 40;
    for how in [
        Cut::Before,
        Cut::Torn(Torn::Half),
        Cut::Torn(Torn::Words(3)),
        Cut::After,
    ] {
        let (mut bench, sealed) = megabyte();
        let (mut fetched, mut cuts) = (0, 0);
        loop {
            let at = bench.device.flash().operations() + operations;
            bench.device.flash_mut().set_cut(Some(PowerCut { at, how }));
            match serve_counting(&mut bench.device, &sealed, &mut fetched) {
                Ok(()) => break,
                Err(refusal) => assert!(matches!(refusal, Refusal::Flash(_)), "{refusal:?}"),
            }
            cuts += 1;
            bench.device.flash_mut().power_on();
            bench.still_boots();
        }
        bench.device.flash_mut().power_on();
        let payload = sealed.payload.len();
        let ratio = fetched as f64 / payload as f64;
        println!("{cuts} cuts ({how:?}): {fetched} bytes fetched, {ratio:.4} x payload");
        assert_eq!(cuts, 6);
        assert!(ratio <= 1.1, "{ratio}");
        bench.confirms(&sealed);
    }
}
