//! Containers of others: what a fleet in the field already reads.

pub mod aes_cbc;
pub mod encrypted_img;
pub mod keys;
pub mod mcuboot;

mod gcm;
mod rsa_key;
