//! A chip's eFuses against a policy: what is as it should be, and what of the rest can still be put right.
//!
//! The state is what `espefuse summary --format json` prints. An eFuse bit goes from 0 to 1 and never back, so each rule
//! that does not hold says about its repair: now, later, or never.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use airseal_esp::Chip;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Error;
use crate::bundle::read_small;

mod rules;

/// Longest summary or policy that is read, bytes.
const MAX_FILE: u64 = 4 << 20;

/// The eFuses of one chip, by name.
#[derive(Clone, Debug)]
pub struct EfuseState {
    name: String,
    fields: BTreeMap<String, Field>,
}

/// One eFuse field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its bits; `None` if they can't be read or are more than 64.
    pub bits: Option<u64>,
    /// The word that espefuse shows for the value.
    pub shown: String,
    /// True if any bit is set, as far as can be read.
    pub used: bool,
    /// False once read protection is burned.
    pub readable: bool,
    /// False once write protection is burned.
    pub writeable: bool,
}

/// What a chip is measured against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The name for people.
    pub name: String,
    base: Option<Base>,
    except: Vec<String>,
    extra: Vec<OwnRule>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Base {
    Release,
    Development,
}

/// A rule of a policy file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnRule {
    field: String,
    value: Option<u64>,
    readable: Option<bool>,
    writeable: Option<bool>,
}

impl OwnRule {
    fn asks_nothing(&self) -> bool {
        self.value.is_none() && self.readable.is_none() && self.writeable.is_none()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyFile {
    name: String,
    base: Option<Base>,
    #[serde(default)]
    except: Vec<String>,
    #[serde(default)]
    rules: Vec<OwnRule>,
}

/// Whether a rule that does not hold can be made to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Repair {
    /// Burn it.
    Now,
    /// Burn it, but something else comes first, or only the firmware can do it.
    Later,
    /// This chip will never be as the policy wants it.
    Never,
}

/// What became of one rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The eFuse field that decides.
    pub field: String,
    /// True if the rule holds.
    pub ok: bool,
    /// What the policy wants.
    pub want: String,
    /// What the chip has.
    pub found: String,
    /// For a rule that does not hold: what can be done.
    pub repair: Option<Repair>,
    /// What to do, or why nothing can be done; empty for a rule that holds.
    pub message: String,
}

/// The whole audit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Audit {
    /// The chip's name.
    pub chip: String,
    /// The policy's name.
    pub policy: String,
    /// True if every rule holds.
    pub ok: bool,
    /// One for each rule.
    pub rules: Vec<Verdict>,
}

impl EfuseState {
    /// Reads a summary file.
    ///
    /// # Errors
    /// `Io`; refused as [`EfuseState::parse`] does.
    pub fn read(path: &Path) -> Result<EfuseState, Error> {
        let text = read_small(path, MAX_FILE, "an eFuse summary")?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// Reads the text of a summary; `name` is for messages.
    ///
    /// # Errors
    /// Refused if it is not what `espefuse summary --format json` prints.
    pub fn parse(name: &str, text: &[u8]) -> Result<EfuseState, Error> {
        const REMEDY: &str = "make it with `espefuse --chip CHIP summary --format json`";
        let refuse = |message: String| Error::refused(name, message, REMEDY);
        // espefuse prints lines of its own before the object.
        let start = text.iter().position(|byte| *byte == b'{').unwrap_or(0);
        let body = text.get(start..).unwrap_or_default();
        let summary: BTreeMap<String, Value> = serde_json::from_slice(body)
            .map_err(|error| refuse(format!("is no eFuse summary: {error}")))?;
        let mut fields = BTreeMap::new();
        for (field, value) in summary {
            let parsed = Field::parse(&value)
                .ok_or_else(|| refuse(format!("{field} has no value, readable and writeable")))?;
            fields.insert(field, parsed);
        }
        Ok(EfuseState {
            name: name.to_owned(),
            fields,
        })
    }

    /// The field of this name, if the chip has it.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.get(name)
    }

    /// The bits of a field that decides what a chip does: what is not there must not read as switched off.
    ///
    /// # Errors
    /// Refused if the field is not there or can't be read.
    pub(super) fn needed(&self, name: &str) -> Result<u64, Error> {
        const REMEDY: &str = "make the summary anew with the current espefuse, on the chip itself";
        let field = self
            .field(name)
            .ok_or_else(|| Error::refused(&self.name, format!("has no field {name}"), REMEDY))?;
        field
            .bits
            .ok_or_else(|| Error::refused(&self.name, format!("{name} can't be read"), REMEDY))
    }

    /// The field that switches flash encryption on, which every summary of this chip has.
    ///
    /// # Errors
    /// Refused if it is not there.
    pub(super) fn counter_of(&self, chip: Chip) -> Result<&'static str, Error> {
        let counter = rules::counter(chip);
        if self.field(counter).is_some() {
            return Ok(counter);
        }
        Err(Error::refused(
            &self.name,
            format!("has no field {counter}: it is not the summary of an {chip}"),
            "give the chip's own summary, or the right --chip",
        ))
    }

    /// Blocks with this key purpose, by number.
    pub(super) fn blocks_for(&self, purpose: &str) -> Vec<u8> {
        let is = |number: &u8| {
            self.field(&format!("KEY_PURPOSE_{number}"))
                .is_some_and(|field| field.shown == purpose)
        };
        (0..=9).filter(is).collect()
    }
}

impl Field {
    /// The bytes of a block that can be read, in the order of the file they were burned from.
    pub(super) fn bytes(&self) -> Option<Vec<u8>> {
        let digits = self.shown.split(' ');
        digits
            .map(|digits| {
                hex::decode(digits)
                    .ok()
                    .and_then(|byte| <[u8; 1]>::try_from(byte).ok())
                    .map(|[byte]| byte)
            })
            .collect()
    }

    /// True only if every bit of a field can be read and one is set: what the rest of an audit may lean on.
    pub(super) fn is_set(&self) -> bool {
        self.bits.is_some_and(|bits| bits != 0)
    }

    fn parse(value: &Value) -> Option<Field> {
        let shown = match value.get("value")? {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let readable = value.get("readable")?.as_bool()?;
        let raw = match value.get("raw_value") {
            None => None,
            Some(raw) => Some(raw.as_str()?),
        };
        let bits = match (raw, value.get("value")?) {
            (Some(raw), _) => raw
                .strip_prefix("0x")
                .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
                .and_then(|digits| u64::from_str_radix(digits, 16).ok()),
            (None, Value::Bool(set)) => Some(u64::from(*set)),
            (None, number) => number.as_u64(),
        };
        let used = match (raw, bits) {
            (Some(raw), _) => raw
                .trim_start_matches("0x")
                .bytes()
                .any(|byte| byte.is_ascii_hexdigit() && byte != b'0'),
            (None, Some(bits)) => bits != 0,
            (None, None) => shown.bytes().any(|byte| !b"0 ?".contains(&byte)),
        };
        Some(Field {
            // What can't be read is shown as zeros.
            bits: bits.filter(|_| readable),
            shown,
            used,
            readable,
            writeable: value.get("writeable")?.as_bool()?,
        })
    }
}

impl Policy {
    /// For devices that leave the house: flash encryption and secure boot for good, no way in.
    pub fn release() -> Policy {
        Policy::of(Base::Release, "release")
    }

    /// For the bench: flash encryption is on, and the chip can still become a release chip.
    pub fn development() -> Policy {
        Policy::of(Base::Development, "development")
    }

    /// `release`, `development`, or a policy file.
    ///
    /// A policy file is JSON: `{"name": "..", "base": "release", "except": ["FIELD"], "rules": [{"field": "FIELD",
    /// "value": 1, "readable": true, "writeable": false}]}`; everything but the name may be left out.
    ///
    /// # Errors
    /// `Io`; refused if the file is none.
    pub fn open(name: &str) -> Result<Policy, Error> {
        match name {
            "release" => Ok(Self::release()),
            "development" => Ok(Self::development()),
            path if !Path::new(path).exists() => Err(Error::refused(
                path,
                "there is no such policy, and no such file",
                "known are release and development; or name a policy file",
            )),
            path => Self::parse(path, &read_small(Path::new(path), MAX_FILE, "a policy")?),
        }
    }

    /// Reads the text of a policy file; `name` is for messages.
    ///
    /// # Errors
    /// Refused if it is none, or has no rule.
    pub fn parse(name: &str, text: &[u8]) -> Result<Policy, Error> {
        let file: PolicyFile = serde_json::from_slice(text).map_err(|error| {
            Error::refused(
                name,
                format!("is no eFuse policy: {error}"),
                "a policy is release, development, or a JSON file with name, base, except and rules",
            )
        })?;
        if file.base.is_none() && file.rules.is_empty() {
            return Err(Error::refused(
                name,
                "the policy has no rule",
                "give base or rules",
            ));
        }
        if let Some(rule) = file.rules.iter().find(|rule| rule.asks_nothing()) {
            return Err(Error::refused(
                name,
                format!("the rule for {} asks for nothing", rule.field),
                "give value, readable or writeable",
            ));
        }
        Ok(Policy {
            name: file.name,
            base: file.base,
            except: file.except,
            extra: file.rules,
        })
    }

    fn of(base: Base, name: &str) -> Policy {
        Policy {
            name: name.to_owned(),
            base: Some(base),
            except: Vec::new(),
            extra: Vec::new(),
        }
    }
}

/// Measures a chip.
///
/// # Errors
/// Refused if the summary is not one of this chip, or a field that a rule needs is not in it.
pub fn audit(chip: Chip, state: &EfuseState, policy: &Policy) -> Result<Audit, Error> {
    state.counter_of(chip)?;
    let mut rules = match policy.base {
        Some(base) => rules::of(chip, base, state),
        None => Vec::new(),
    };
    let unknown = policy.except.iter().find(|field| {
        let has_rule = rules.iter().any(|verdict| verdict.field == **field);
        !has_rule && state.field(field).is_none()
    });
    if let Some(field) = unknown {
        return Err(Error::refused(
            &policy.name,
            format!("except names {field}, and {chip} has no such eFuse"),
            "take the names that the audit prints",
        ));
    }
    rules.retain(|verdict| !policy.except.contains(&verdict.field));
    for rule in &policy.extra {
        rules.push(rules::own(rule, state).ok_or_else(|| {
            Error::refused(
                &policy.name,
                format!("rule for {}: {chip} has no such eFuse", rule.field),
                "take the names that espefuse summary prints",
            )
        })?);
    }
    if rules.is_empty() {
        return Err(Error::refused(
            &policy.name,
            "except leaves no rule of the policy",
            "keep at least one rule",
        ));
    }
    Ok(Audit {
        chip: chip.name().to_owned(),
        policy: policy.name.clone(),
        ok: rules.iter().all(|verdict| verdict.ok),
        rules,
    })
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Repair::Now => "now",
            Repair::Later => "later",
            Repair::Never => "never",
        })
    }
}
