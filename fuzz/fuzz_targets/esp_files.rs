//! Espressif images and partition tables: whatever is accepted lies inside the file.
#![no_main]

use airseal_esp::image::Image;
use airseal_esp::partition::PartitionTable;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut source = data;
    if let Ok(image) = Image::parse(&mut source) {
        assert!(image.len <= data.len() as u64);
        assert!(image.segments.as_slice().len() <= 16);
    }
    if let Ok(table) = PartitionTable::parse(data, 0x8000) {
        let smallest = table.smallest_ota_slot();
        assert!(smallest.is_none_or(|slot| table.as_slice().contains(slot)));
    }
});
