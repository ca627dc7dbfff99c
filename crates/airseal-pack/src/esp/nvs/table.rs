//! Writing a CSV that this command and Espressif's tool read again.

use airseal_esp::nvs::Name;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// Above this, blobs are written as base64: Python's reader takes no field above 128 KiB.
const HEX_MAX: usize = 65_536;

/// The CSV in the making.
pub(super) struct Table(Zeroizing<String>);

impl Table {
    pub(super) fn new() -> Table {
        Table(Zeroizing::new("key,type,encoding,value\n".to_owned()))
    }

    /// A row.
    pub(super) fn row(&mut self, key: &Name, kind: &str, encoding: &str, value: &str) {
        self.field(key.as_str());
        for field in [kind, encoding, value] {
            self.0.push(',');
            self.field(field);
        }
        self.0.push('\n');
    }

    /// A blob.
    pub(super) fn blob(&mut self, key: &Name, value: &[u8]) {
        if value.len() > HEX_MAX {
            let text = Zeroizing::new(STANDARD.encode(value));
            self.row(key, "data", "base64", &text);
        } else {
            let text = Zeroizing::new(hex::encode(value));
            self.row(key, "data", "hex2bin", &text);
        }
    }

    /// A line that is no row: a string that can't be one.
    pub(super) fn comment(&mut self, key: &Name, value: &[u8]) {
        self.0.push_str("# ");
        self.0.push_str(key.as_str());
        self.0.push_str(",data,string as hex,");
        self.0.push_str(&hex::encode(value));
        self.0.push('\n');
    }

    /// The text.
    pub(super) fn finish(self) -> Zeroizing<String> {
        self.0
    }

    /// In quotes where the field has a meaning of its own, and where the row would be a comment.
    fn field(&mut self, field: &str) {
        if !field.contains(['"', ',', '\n']) && !field.starts_with('#') {
            self.0.push_str(field);
            return;
        }
        self.0.push('"');
        self.0.push_str(&field.replace('"', "\"\""));
        self.0.push('"');
    }
}
