//! Encrypts 64 MiB in memory on one core and prints the seconds: one side of `cargo xtask bench esp`, the other being
//! `xtask/src/bench/openssl_units.c`.

use std::time::Instant;

use airseal_esp::Chip;
use airseal_esp::flash_encryption::{DEFAULT_CRYPT_CONFIG, FlashKey};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let chip = Chip::from_name("esp32s3").ok_or("no such chip")?;
    let key = FlashKey::new(
        chip,
        &core::array::from_fn::<u8, 64, _>(|i| i as u8),
        DEFAULT_CRYPT_CONFIG,
    )?;
    let mut piece = vec![0; PIECE];
    let started = Instant::now();
    for address in (0..TOTAL).step_by(PIECE) {
        key.encrypt(address, &mut piece)?;
    }
    println!("{{\"seconds\": {}}}", started.elapsed().as_secs_f64());
    Ok(())
}

const TOTAL: u32 = 64 << 20;
const PIECE: usize = 1 << 18;
