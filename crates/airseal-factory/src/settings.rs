//! The settings of a batch as a flat list, so that a later run can name what changed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use airseal_pack::Error;
use airseal_pack::source::Source;
use sha2::{Digest, Sha256};

use crate::config::Nvs;
use crate::prepare::KNOWN;
use crate::product::Product;
use crate::values::{Values, named_files};

/// Every setting with its value, and for each file that one names the SHA-256 of its bytes.
pub(crate) fn settings(product: &Product) -> Result<BTreeMap<String, String>, Error> {
    let table: toml::Table = toml::from_str(&product.text)
        .map_err(|error| Error::refused(&product.file, error.message().to_owned(), ""))?;
    let mut flat = BTreeMap::new();
    flatten("", &toml::Value::Table(table), &mut flat);
    let folder = product.folder();
    for (setting, file) in product.config.files() {
        flat.insert(
            format!("{setting} (content)"),
            hex::encode(sha256(&folder.join(file))?),
        );
    }
    for (name, nvs) in &product.config.nvs {
        if let Some(digest) = files_of_fields(product, nvs)? {
            flat.insert(format!("nvs.{name}.fields (files)"), digest);
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

/// One digest over all files that the rows of an NVS partition name for any device.
fn files_of_fields(product: &Product, nvs: &Nvs) -> Result<Option<String>, Error> {
    let fields = product.folder().join(&nvs.fields);
    let values = nvs.values.as_ref().map(|path| product.folder().join(path));
    let values = Values::read(&fields, values.as_deref(), &product.serials, &KNOWN)?;
    let written = named_files(values.fields());
    let files: BTreeSet<String> = if written.iter().any(|file| file.contains('{')) {
        let mut files = BTreeSet::new();
        for serial in &product.serials {
            let known = KNOWN.map(|name| match name {
                "serial" => (name, serial.as_str()),
                _ => (name, ""),
            });
            files.extend(named_files(&values.render(serial, &known)?.text));
        }
        files
    } else {
        written.into_iter().collect()
    };
    if files.is_empty() {
        return Ok(None);
    }
    let beside = fields.parent().unwrap_or(Path::new(""));
    let mut hash = Sha256::new();
    for file in files {
        hash.update(format!("{file}\n"));
        hash.update(sha256(&beside.join(&file))?);
    }
    Ok(Some(hex::encode(hash.finalize())))
}

fn flatten(name: &str, value: &toml::Value, flat: &mut BTreeMap<String, String>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                let name = if name.is_empty() {
                    key.clone()
                } else {
                    format!("{name}.{key}")
                };
                flatten(&name, value, flat);
            }
        }
        toml::Value::Array(array) => {
            for (index, value) in array.iter().enumerate() {
                flatten(&format!("{name}.{index}"), value, flat);
            }
        }
        toml::Value::String(text) => {
            flat.insert(name.to_owned(), text.clone());
        }
        other => {
            flat.insert(name.to_owned(), other.to_string());
        }
    }
}

fn sha256(path: &Path) -> Result<[u8; 32], Error> {
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
    Ok(hash.finalize().into())
}
