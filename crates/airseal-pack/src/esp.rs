//! Espressif's files on the host: what they are, whether a chip would boot from them, and how they are made.

pub(crate) mod area;
pub mod boot_key;
pub mod chip_state;
pub mod dump;
pub mod efuse_audit;
pub mod flash_check;
pub mod flash_files;
pub mod flash_key;
pub mod flash_size;
pub mod info;
pub mod nvs;
pub mod otadata;
pub mod partitions;
pub mod sign;
pub mod signature_check;
pub mod signatures;
pub mod signatures_v1;

mod refusal;
