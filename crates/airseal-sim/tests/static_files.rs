//! A device without a server of ours: a folder as any file server has it.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a test may unwrap, and documents itself by its name"
)]

use std::fs;

use airseal_format::component::FlashEncryption;
use airseal_sim::fixture::{CLASS, KeysetPlan, ReleasePlan, Sealed, To, VENDOR};
use airseal_sim::random::Noise;
use airseal_sim::static_files::{Exported, Folder};
use airseal_sim::{
    Agent, ClientError, Cut, Cuts, Event, FaultPlan, Model, Outcome, PowerCut, SimDevice,
};
use airseal_update::boot::ResetReason;
use airseal_update::{Factory, Policy, Refusal};

const CAPABILITY: &str = "00112233445566778899aabbccddeeff";

#[test]
fn installs_from_a_folder_and_resumes_after_a_power_cut() {
    let (mut device, mut folder, image, sealed, dir) = bench();
    let cut = PowerCut {
        at: device.flash().operations() + 20,
        how: Cut::After,
    };
    device.flash_mut().set_cut(Some(cut));
    let first = device.update_from_static(&mut folder, CAPABILITY, &mut |_, _| {});
    assert!(
        matches!(first, Err(ClientError::Refusal(Refusal::Flash(_)))),
        "{first:?}"
    );
    device.flash_mut().power_on();
    device.boot(ResetReason::Power).unwrap();
    let safe = device.checkpoint().unwrap().unwrap().position;
    assert!(safe > 0);
    let mut lowest = u64::MAX;
    device
        .update_from_static(&mut folder, CAPABILITY, &mut |written, _| {
            lowest = lowest.min(written);
        })
        .unwrap();
    assert!(lowest >= u64::from(safe), "it began again at {lowest}");
    assert!(device.boot(ResetReason::Restart).unwrap().on_trial);
    device.confirm().unwrap();
    assert_eq!(device.release().unwrap(), Some(sealed.digest));
    assert_eq!(device.image(image.len()), image);
    drop(dir);
}

#[test]
fn a_blob_that_was_changed_is_refused_before_any_slot_is_touched() {
    let (mut device, mut folder, _, sealed, dir) = bench();
    let blob = dir.path().join("blobs").join(sealed.digest.to_string());
    let mut bytes = fs::read(&blob).unwrap();
    bytes[40] ^= 1;
    fs::write(&blob, bytes).unwrap();
    device.flash_mut().clear_log();
    let refused = device.update_from_static(&mut folder, CAPABILITY, &mut |_, _| {});
    assert!(refused.is_err());
    assert_eq!(device.flash().touched(&device.slots()), 0);
}

#[test]
fn an_error_does_not_tell_the_path() {
    let (mut device, mut folder, _, _, dir) = bench();
    fs::remove_dir_all(dir.path().join(CAPABILITY)).unwrap();
    let error = device
        .update_from_static(&mut folder, CAPABILITY, &mut |_, _| {})
        .unwrap_err();
    assert!(!format!("{error} {error:?}").contains(CAPABILITY));
}

#[test]
fn faults_of_a_file_server_are_survived() {
    let (device, folder, _, sealed, dir) = bench();
    let mut agent = Agent::new(device, Exported::new(Box::new(folder), CAPABILITY.into()));
    let plan = "cut@9000\ngarbage@30000:64\nduplicate@50000:16";
    agent.faults = Some(FaultPlan::parse(plan).unwrap());
    let mut interruptions = 0;
    let outcome = agent.round(&mut |event| {
        interruptions += usize::from(matches!(event, Event::Interrupted { .. }));
    });
    assert_eq!(outcome.unwrap(), Outcome::Updated);
    assert_eq!(interruptions, 3);
    assert_eq!(agent.device.release().unwrap(), Some(sealed.digest));
    let again = agent.round(&mut |_| {});
    assert_eq!(again.unwrap(), Outcome::Idle);
    drop(dir);
}

#[test]
fn a_round_survives_a_power_cut_at_any_operation() {
    let mut operations = 0;
    for at in 0.. {
        let (device, folder, _, sealed, dir) = bench();
        let before = device.flash().operations();
        let mut agent = Agent::new(device, Exported::new(Box::new(folder), CAPABILITY.into()));
        agent.cuts = Cuts::At(at);
        let mut cuts = 0;
        let outcome = agent.round(&mut |event| {
            cuts += usize::from(matches!(event, Event::PowerLost { .. }));
        });
        assert_eq!(outcome.unwrap(), Outcome::Updated, "cut at {at}");
        assert_eq!(agent.device.release().unwrap(), Some(sealed.digest));
        operations = agent.device.flash().operations() - before;
        drop(dir);
        if cuts == 0 {
            break;
        }
    }
    assert!(operations > 30, "{operations}");
}

fn bench() -> (SimDevice, Folder, Vec<u8>, Sealed, tempfile::TempDir) {
    let model = Model {
        vendor_id: VENDOR,
        class_id: CLASS,
        hw_rev: 1,
        chip: 5,
        keyset: KeysetPlan::first().signed(),
        policy: Policy::default(),
        flash_encryption: FlashEncryption::None,
        slot_len: 32 * 4096,
        slots: None,
        factory: Some(Factory::default()),
    };
    let mut device = SimDevice::new(model, &[3; 32]);
    device.boot(ResetReason::Power).unwrap();
    let image = Noise::new(8).bytes(70_001);
    let plan = ReleasePlan::new(5, image.clone(), vec![To::X25519(device.public())]);
    let sealed = plan.seal();
    let bundle = sealed.bundle();
    let front = bundle.len() - sealed.payload.len();
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join(CAPABILITY)).unwrap();
    fs::create_dir_all(dir.path().join("blobs")).unwrap();
    fs::write(dir.path().join(CAPABILITY).join("index"), &bundle[..front]).unwrap();
    let blob = dir.path().join("blobs").join(sealed.digest.to_string());
    fs::write(blob, &sealed.payload).unwrap();
    let folder = Folder(dir.path().to_owned());
    (device, folder, image, sealed, dir)
}
