//! The bootloader's own decisions, as ESP-IDF's compiled code makes them, and plans that no power cut turns into a third
//! state.
#![allow(
    clippy::unwrap_used,
    reason = "a test may unwrap, and documents itself by its name"
)]

use airseal_esp::otadata::{
    BootSlot, FlashStep, Layout, OtaData, OtaEntry, OtaState, Plan, PlanFault, Rollback,
    SecureVersions,
};
use proptest::prelude::*;
use serde_json::Value;

fn cases() -> Vec<Value> {
    let path = format!(
        "{}/../../vectors/esp/otadata/cases.json",
        env!("CARGO_MANIFEST_DIR")
    );
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn entry(case: &Value, name: &str) -> OtaEntry {
    let bytes = hex::decode(case[name].as_str().unwrap()).unwrap();
    OtaEntry::from_bytes(bytes[..].try_into().unwrap())
}

fn records(case: &Value, suffix: &str) -> OtaData {
    OtaData {
        entries: [
            entry(case, &format!("entry0{suffix}")),
            entry(case, &format!("entry1{suffix}")),
        ],
    }
}

fn slots(case: &Value) -> u8 {
    u8::try_from(case["ota_slots"].as_u64().unwrap()).unwrap()
}

#[test]
fn the_bootloader_starts_what_espressif_code_starts() {
    let mut count = 0;
    for case in cases() {
        if !case["op"].as_str().unwrap().contains("selected_boot") {
            continue;
        }
        count += 1;
        let layout = Layout {
            slots: slots(&case),
            factory: case["has_factory"].as_bool().unwrap(),
        };
        let versions: Vec<Option<u32>> = case["slot_secure_versions"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|version| Some(version.as_u64().unwrap() as u32))
            .collect();
        let efuse = case["efuse_secure_version"].as_u64().unwrap_or_default() as u32;
        let rollback = match case["config"].as_str().unwrap() {
            "no-rollback" => Rollback::Off,
            "rollback" => Rollback::On,
            _ => Rollback::Anti(SecureVersions {
                efuse,
                slots: &versions,
            }),
        };
        let selection = records(&case, "").selection(layout, rollback);
        let index = match selection.start {
            Some(BootSlot::Ota(slot)) => i64::from(slot),
            _ => -1,
        };
        assert_eq!(index, case["result"].as_i64().unwrap(), "{case}");
        let after = if case["op"].as_str().unwrap().contains("set_actual") {
            selection.after_loading(selection.start.unwrap())
        } else {
            selection.after
        };
        assert_eq!(after, records(&case, "_after"), "{case}");
        let raised = selection.raised.unwrap_or(efuse);
        assert_eq!(
            u64::from(raised),
            case["efuse_after"].as_u64().unwrap(),
            "{case}"
        );
    }
    assert_eq!(count, 118);
}

/// Slots without a factory image, and the one that the records say is running.
fn running(before: &OtaData, slots: u8) -> (Layout, BootSlot) {
    let layout = Layout {
        slots,
        factory: false,
    };
    let running = before
        .active()
        .and_then(|index| before.entries[index].slot(slots))
        .unwrap_or(0);
    (layout, BootSlot::Ota(running))
}

#[test]
fn selecting_a_slot_leaves_the_bytes_that_espressif_code_leaves() {
    let mut count = 0;
    for case in cases() {
        if case["op"] != "esp_rewrite_ota_data" {
            continue;
        }
        count += 1;
        let before = records(&case, "");
        let (layout, running) = running(&before, slots(&case));
        let state = match case["config"].as_str().unwrap() {
            "rollback" => OtaState::New,
            _ => OtaState::Undefined,
        };
        let target = case["target_slot"].as_u64().unwrap() as u8;
        let plan = before
            .select(layout, running, BootSlot::Ota(target), state)
            .unwrap();
        assert_eq!(before.after(&plan), records(&case, "_after"), "{case}");
    }
    assert_eq!(count, 36);
}

#[test]
fn confirming_and_refusing_leaves_the_bytes_that_espressif_code_leaves() {
    let mut count = 0;
    for case in cases() {
        if case["op"] != "esp_ota_current_ota_is_workable" {
            continue;
        }
        count += 1;
        let before = records(&case, "");
        let (layout, running) = running(&before, slots(&case));
        let state = match case["arg"].as_str().unwrap() {
            "valid" => OtaState::Valid,
            _ => OtaState::Invalid,
        };
        match before.mark(layout, running, state) {
            Ok(plan) => {
                assert_eq!(case["result"], 0, "{case}");
                assert_eq!(before.after(&plan), records(&case, "_after"), "{case}");
            }
            Err(fault) => {
                assert_eq!(case["result"], -1, "{case}: {fault}");
                assert_eq!(fault, PlanFault::NoRecord);
            }
        }
    }
    assert_eq!(count, 36);
}

#[test]
fn a_record_of_another_slot_is_not_confirmed() {
    let data = OtaData {
        entries: [
            OtaEntry::new(1, OtaState::Valid),
            OtaEntry::new(2, OtaState::New),
        ],
    };
    let layout = Layout {
        slots: 2,
        factory: false,
    };
    assert!(matches!(
        data.mark(layout, BootSlot::Ota(0), OtaState::Valid),
        Err(PlanFault::OtherSlot { .. })
    ));
}

#[test]
fn the_record_of_what_runs_is_kept_when_the_active_one_leads_to_a_damaged_image() {
    let running = OtaEntry::new(1, OtaState::Valid);
    let damaged = OtaEntry::new(2, OtaState::Undefined);
    let data = OtaData {
        entries: [running, damaged],
    };
    let layout = Layout {
        slots: 3,
        factory: false,
    };
    let plan = data
        .select(layout, BootSlot::Ota(0), BootSlot::Ota(2), OtaState::New)
        .unwrap();
    let after = data.after(&plan);
    assert_eq!(after.entries[0], running);
    assert_eq!(after.entries[1], OtaEntry::new(3, OtaState::New));
}

#[test]
fn a_slot_that_is_not_there_has_no_plan() {
    let layout = Layout {
        slots: 2,
        factory: false,
    };
    for slot in [BootSlot::Ota(2), BootSlot::Factory] {
        assert!(matches!(
            OtaData::ERASED.select(layout, BootSlot::Ota(0), slot, OtaState::New),
            Err(PlanFault::NoSuchSlot { .. })
        ));
    }
}

#[test]
fn a_partition_of_another_length_is_refused() {
    assert!(OtaData::from_partition(&[0xFF; 0x1000]).is_err());
    assert_eq!(
        OtaData::from_partition(&[0xFF; 0x2000]),
        Ok(OtaData::ERASED)
    );
}

/// The records after the first `steps` of a plan; with `torn`, the next write got half of its bytes.
fn cut(before: &OtaData, plan: &Plan, steps: usize, torn: bool) -> OtaData {
    let mut data = *before;
    for (number, step) in plan.steps().iter().enumerate() {
        if number > steps || (number == steps && !torn) {
            break;
        }
        let (offset, entry) = match step {
            FlashStep::EraseSector { offset } => (*offset, OtaEntry::ERASED),
            FlashStep::Write { offset, bytes } if number == steps => {
                let mut half = [0xFF; 32];
                half[..16].copy_from_slice(&bytes[..16]);
                (*offset, OtaEntry::from_bytes(&half))
            }
            FlashStep::Write { offset, bytes } => (*offset, OtaEntry::from_bytes(bytes)),
        };
        data.entries[usize::from(offset != 0)] = entry;
    }
    data
}

fn states() -> impl Strategy<Value = OtaState> {
    (0u32..7).prop_map(|number| OtaState::from_number(if number == 6 { u32::MAX } else { number }))
}

fn entries() -> impl Strategy<Value = OtaEntry> {
    prop_oneof![
        1 => Just(OtaEntry::ERASED),
        4 => (0u32..40, states()).prop_map(|(sequence, state)| OtaEntry::new(sequence, state)),
        1 => (any::<[u8; 32]>()).prop_map(|bytes| OtaEntry::from_bytes(&bytes)),
    ]
}

proptest! {
    #[test]
    fn a_power_cut_leaves_the_choice_before_or_after(
        entries in (entries(), entries()), slots in 2u8..6, running in 0u8..6, target in 0u8..6, confirm in any::<bool>(),
    ) {
        let data = OtaData { entries: [entries.0, entries.1] };
        let layout = Layout { slots, factory: false };
        let (running, target) = (running % slots, target % slots);
        let plan = if confirm {
            data.mark(layout, BootSlot::Ota(running), OtaState::Valid)
        } else {
            data.select(layout, BootSlot::Ota(running), BootSlot::Ota(target), OtaState::Undefined)
        };
        let Ok(plan) = plan else { return Ok(()) };
        let choice = |data: &OtaData| data.selection(layout, Rollback::Off).start;
        let after = data.after(&plan);
        if !confirm {
            prop_assert_eq!(choice(&after), Some(BootSlot::Ota(target)));
        }
        let rules_out_only = data.active().is_none();
        for steps in 0..=plan.steps().len() {
            for torn in [false, true] {
                let now = choice(&cut(&data, &plan, steps, torn));
                let fine = now == choice(&data)
                    || now == choice(&after)
                    || now == Some(BootSlot::Ota(running))
                    || (rules_out_only && matches!(now, None | Some(BootSlot::Ota(0))));
                prop_assert!(fine, "after {steps} steps (torn: {torn}): {now:?} {data:?} {plan:?}");
            }
        }
    }

    #[test]
    fn any_records_are_read_without_a_panic(first in any::<[u8; 32]>(), second in any::<[u8; 32]>(), slots in 0u8..20, factory in any::<bool>(), slot in 0u8..20) {
        let data = OtaData { entries: [OtaEntry::from_bytes(&first), OtaEntry::from_bytes(&second)] };
        let layout = Layout { slots, factory };
        let versions = [Some(3), None];
        for rollback in [Rollback::Off, Rollback::On, Rollback::Anti(SecureVersions { efuse: 2, slots: &versions })] {
            let selection = data.selection(layout, rollback);
            prop_assert!(layout.tried(selection.start).count() <= 300);
        }
        let _ = data.select(layout, BootSlot::Ota(slot), BootSlot::Ota(slot / 2), OtaState::New);
        let _ = data.mark(layout, BootSlot::Ota(slot), OtaState::Valid);
    }
}
