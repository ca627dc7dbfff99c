//! Containers of others: what fleets in the field use already.

pub mod encrypted_img;

mod gcm;
mod rsa_key;
