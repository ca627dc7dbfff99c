//! The rules of a policy file.

use super::{burnable, describe};
use crate::esp::efuse_audit::{EfuseState, OwnRule, Repair, Verdict};

/// The verdict of a rule from a file; `None` if the chip has no such field.
pub(in crate::esp::efuse_audit) fn own(rule: &OwnRule, state: &EfuseState) -> Option<Verdict> {
    let field = state.field(&rule.field)?;
    let mut want = Vec::new();
    let mut verdict = Verdict::good(&rule.field, "", &describe(field));
    let mut fail = |repair: Repair, message: &str| {
        if verdict.repair != Some(Repair::Never) {
            verdict.ok = false;
            verdict.repair = Some(repair);
            message.clone_into(&mut verdict.message);
        }
    };
    if let Some(value) = rule.value {
        want.push(format!("{value:#x}"));
        if field.bits != Some(value) {
            match burnable(field, value) {
                Ok(()) => fail(Repair::Now, "burn it"),
                Err(why) => fail(Repair::Never, why),
            }
        }
    }
    if let Some(readable) = rule.readable {
        want.push(
            if readable {
                "readable"
            } else {
                "read-protected"
            }
            .to_owned(),
        );
        if readable != field.readable {
            let locked = state.field("RD_DIS").is_some_and(|field| !field.writeable);
            match (readable, locked) {
                (true, _) => fail(Repair::Never, "read protection can't be taken back"),
                (false, true) => fail(Repair::Never, "RD_DIS is write-protected"),
                (false, false) => fail(Repair::Now, "read-protect it"),
            }
        }
    }
    if let Some(writeable) = rule.writeable {
        want.push(
            if writeable {
                "writeable"
            } else {
                "write-protected"
            }
            .to_owned(),
        );
        if writeable != field.writeable {
            if writeable {
                fail(Repair::Never, "write protection can't be taken back");
            } else {
                fail(Repair::Now, "write-protect it");
            }
        }
    }
    verdict.want = want.join(", ");
    Some(verdict)
}
