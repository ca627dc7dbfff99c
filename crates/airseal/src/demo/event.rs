use serde::Serialize;

use crate::failure::Failure;
use crate::interrupt;

/// Something that happened to somebody, as expected or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Event {
    /// Number of the chapter.
    pub(crate) step: u8,
    /// Title of the chapter.
    pub(crate) chapter: &'static str,
    /// Who: a device, the vendor, the server, the attacker.
    pub(crate) device: String,
    /// What was tried.
    pub(crate) event: String,
    /// What should come of it.
    pub(crate) expected: String,
    /// What came of it.
    pub(crate) seen: String,
    /// More, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
    /// Flash operations it took, where that is the point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) flash_operations: Option<usize>,
}

impl Event {
    /// True if it went as it should.
    pub(crate) fn is_as_expected(&self) -> bool {
        self.expected == self.seen
    }
}

/// Collects what happens and tells it at once.
pub(crate) struct Story<'t> {
    step: u8,
    chapter: &'static str,
    events: Vec<Event>,
    tell: &'t mut dyn FnMut(Told<'_>),
}

/// What a listener hears.
pub(crate) enum Told<'e> {
    /// A chapter begins.
    Chapter(u8, &'static str),
    /// Something happened.
    Event(&'e Event),
}

impl<'t> Story<'t> {
    /// A story told to `tell`.
    pub(crate) fn new(tell: &'t mut dyn FnMut(Told<'_>)) -> Story<'t> {
        Story {
            step: 0,
            chapter: "",
            events: Vec::new(),
            tell,
        }
    }

    /// Begins the next chapter.
    ///
    /// # Errors
    /// Interrupted, after Ctrl-C.
    pub(crate) fn chapter(&mut self, title: &'static str) -> Result<(), Failure> {
        interrupt::check()?;
        self.step += 1;
        self.chapter = title;
        (self.tell)(Told::Chapter(self.step, title));
        Ok(())
    }

    /// Something happened.
    pub(crate) fn event(
        &mut self,
        device: &str,
        event: impl Into<String>,
        expected: impl Into<String>,
        seen: impl Into<String>,
    ) {
        self.push(
            device,
            event.into(),
            expected.into(),
            seen.into(),
            None,
            None,
        );
    }

    /// As [`Story::event`], with something to add.
    pub(crate) fn event_with(
        &mut self,
        device: &str,
        event: impl Into<String>,
        expected: impl Into<String>,
        seen: impl Into<String>,
        detail: String,
    ) {
        self.push(
            device,
            event.into(),
            expected.into(),
            seen.into(),
            Some(detail),
            None,
        );
    }

    /// Something that must not touch the flash.
    pub(crate) fn attack(
        &mut self,
        device: &str,
        event: impl Into<String>,
        expected: &str,
        seen: String,
        operations: usize,
    ) {
        self.push(
            device,
            event.into(),
            format!("{expected}, nothing written"),
            if operations == 0 {
                format!("{seen}, nothing written")
            } else {
                format!("{seen}, {operations} flash operations")
            },
            None,
            Some(operations),
        );
    }

    /// Everything so far; the story begins anew.
    pub(crate) fn take(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    fn push(
        &mut self,
        device: &str,
        event: String,
        expected: String,
        seen: String,
        detail: Option<String>,
        flash_operations: Option<usize>,
    ) {
        let event = Event {
            step: self.step,
            chapter: self.chapter,
            device: device.to_owned(),
            event,
            expected,
            seen,
            detail,
            flash_operations,
        };
        (self.tell)(Told::Event(&event));
        self.events.push(event);
    }
}
