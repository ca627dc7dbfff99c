//! OTA data: whatever the records hold, a slot is chosen or not, and a plan that exists leads to its slot.
#![no_main]

use airseal_esp::otadata::{
    BootSlot, Layout, OtaData, OtaEntry, OtaState, Rollback, SecureVersions,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (Some(first), Some(second)) = (
        data.first_chunk(),
        data.get(32..).and_then(|rest| rest.first_chunk()),
    ) else {
        return;
    };
    let data_rest = data.get(64..).unwrap_or_default();
    let at = |index: usize| data_rest.get(index).copied().unwrap_or_default();
    let layout = Layout {
        slots: at(0) % 18,
        factory: at(1) & 1 == 1,
    };
    let mut records = OtaData {
        entries: [OtaEntry::from_bytes(first), OtaEntry::from_bytes(second)],
    };
    for (index, entry) in records.entries.iter_mut().enumerate() {
        assert_eq!(OtaEntry::from_bytes(&entry.to_bytes()), *entry);
        if at(2) >> index & 1 == 1 {
            *entry = OtaEntry::new(entry.sequence, entry.state);
        }
    }
    let versions = [Some(u32::from(at(3))), Some(u32::from(at(4))), None];
    for rollback in [
        Rollback::Off,
        Rollback::On,
        Rollback::Anti(SecureVersions {
            efuse: u32::from(at(5)),
            slots: &versions,
        }),
    ] {
        let selection = records.selection(layout, rollback);
        if let Some(BootSlot::Ota(slot)) = selection.start {
            assert!(slot < layout.slots.max(1));
        }
    }
    let (running, target) = (BootSlot::Ota(at(6) % 18), BootSlot::Ota(at(7) % 18));
    if let Ok(plan) = records.select(layout, running, target, OtaState::New) {
        let after = records.after(&plan);
        assert_eq!(after.selection(layout, Rollback::On).start, Some(target));
    }
    let _ = records.mark(layout, running, OtaState::Valid);
});
