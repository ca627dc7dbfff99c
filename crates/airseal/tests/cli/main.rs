//! The program as a whole process: fixed input, then standard output, standard error, files and exit status.
#![allow(
    clippy::unwrap_used,
    reason = "a test may unwrap, and documents itself by its name"
)]

mod bridge;
#[cfg(feature = "serve")]
mod demo;
mod edges;
mod esp_advice;
mod esp_bad_input;
mod esp_containers;
mod esp_data;
mod esp_flash_check;
mod esp_formats;
mod esp_nvs;
mod esp_sign;
#[cfg(all(unix, feature = "serve"))]
mod factory;
#[cfg(all(unix, feature = "serve"))]
mod factory_line;
#[cfg(all(unix, feature = "serve"))]
mod factory_room;
#[cfg(all(unix, feature = "serve"))]
mod factory_stops;
#[cfg(feature = "serve")]
mod groups;
mod harness;
#[cfg(unix)]
mod interrupted;
mod keys;
#[cfg(all(unix, feature = "serve"))]
mod readme;
mod releases;
mod seal_raw;
#[cfg(feature = "serve")]
mod server;
mod static_https;
mod terminal;
mod wrong_use;
