//! The settings of a batch as a flat list, so that a later run can name what changed.

use std::collections::BTreeMap;
use std::path::Path;

use airseal_pack::Error;
use airseal_pack::bundle::read_small;
use airseal_pack::source::Source;
use sha2::{Digest, Sha256};

use crate::config::MAX_CONFIG;
use crate::product::Product;

/// Every setting with its value, and for each file that one names the SHA-256 of its bytes.
pub(crate) fn settings(product: &Product) -> Result<BTreeMap<String, String>, Error> {
    let path = Path::new(&product.file);
    let text = read_small(path, MAX_CONFIG, "a configuration")?;
    let text = String::from_utf8_lossy(&text);
    let table: toml::Table = toml::from_str(&text)
        .map_err(|error| Error::refused(&product.file, error.message().to_owned(), ""))?;
    let mut flat = BTreeMap::new();
    let folder = path.parent().unwrap_or(Path::new(""));
    flatten("", &toml::Value::Table(table), folder, &mut flat)?;
    // An [idf] build names these two in the configuration's place.
    let flash = &product.config.flash;
    for (name, file) in [
        ("flash.bootloader", &flash.bootloader),
        ("flash.partition_table", &flash.partition_table),
    ] {
        if let Some(file) = file {
            flat.insert(format!("{name} (content)"), sha256(&folder.join(file))?);
        }
    }
    if let Some(key) = &product.development_key {
        let check = Sha256::new_with_prefix(b"airseal1 fe")
            .chain_update(&**key)
            .finalize();
        let check = hex::encode(check.get(..16).unwrap_or_default());
        flat.insert("flash_encryption.key (check value)".to_owned(), check);
    }
    Ok(flat)
}

fn flatten(
    name: &str,
    value: &toml::Value,
    folder: &Path,
    flat: &mut BTreeMap<String, String>,
) -> Result<(), Error> {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                let name = if name.is_empty() {
                    key.clone()
                } else {
                    format!("{name}.{key}")
                };
                flatten(&name, value, folder, flat)?;
            }
        }
        toml::Value::Array(array) => {
            for (index, value) in array.iter().enumerate() {
                flatten(&format!("{name}.{index}"), value, folder, flat)?;
            }
        }
        toml::Value::String(text) => {
            flat.insert(name.to_owned(), text.clone());
            let path = folder.join(text);
            if path.is_file() && !is_key(name) {
                flat.insert(format!("{name} (content)"), sha256(&path)?);
            }
        }
        other => {
            flat.insert(name.to_owned(), other.to_string());
        }
    }
    Ok(())
}

/// Keys that sign are named, not described: the digest of a private key is nobody's business.
fn is_key(name: &str) -> bool {
    name.starts_with("secure_boot.sign") || name.starts_with("flash_encryption.key")
}

fn sha256(path: &Path) -> Result<String, Error> {
    let source = Source::open(path)?;
    let mut hash = Sha256::new();
    let mut block = vec![0; 1 << 16];
    let mut offset = 0;
    while offset < source.len() {
        let len = block
            .len()
            .min(usize::try_from(source.len() - offset).unwrap_or(usize::MAX));
        let part = block.get_mut(..len).unwrap_or_default();
        source.read_at(offset, part)?;
        hash.update(part);
        offset += len as u64;
    }
    Ok(hex::encode(hash.finalize()))
}
