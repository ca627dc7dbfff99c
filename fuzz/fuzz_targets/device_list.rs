//! Lists of devices, JSON lines or CSV: an error names its line, a list has its keys.
#![no_main]

use airseal_pack::recipient::{parse_device_list, parse_import_list};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let lines = data.split(|&byte| byte == b'\n').count();
    if let Ok(devices) = parse_device_list("list", data) {
        assert!(devices.len() <= lines);
    }
    if let Ok(devices) = parse_import_list("list", data) {
        assert!(devices.len() <= lines && devices.iter().all(|device| !device.serial.is_empty()));
    }
});
