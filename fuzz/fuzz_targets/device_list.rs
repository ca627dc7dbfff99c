//! Lists of devices, JSON lines or CSV: an error names its line, a list has its keys.
#![no_main]

use airseal_pack::recipient::parse_device_list;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(devices) = parse_device_list("list", data) {
        let lines = data.split(|&byte| byte == b'\n').count();
        assert!(devices.len() <= lines);
    }
});
