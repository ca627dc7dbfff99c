//! Reading and writing little-endian fields with their names.

use crate::{Error, Part, Reason};

/// A cursor over one part that remembers names and offsets for errors.
pub(crate) struct Reader<'a> {
    part: Part,
    bytes: &'a [u8],
    at: usize,
    field_at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(part: Part, bytes: &'a [u8]) -> Self {
        Self::at(part, bytes, 0)
    }

    /// Starts at `at`; a start past the end reads as truncated.
    pub(crate) fn at(part: Part, bytes: &'a [u8], at: usize) -> Self {
        Self {
            part,
            bytes,
            at,
            field_at: at,
        }
    }

    pub(crate) fn offset(&self) -> usize {
        self.at
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// An error about the field read last.
    pub(crate) fn refuse(&self, field: &'static str, reason: Reason) -> Error {
        Error::new(self.part, field, self.field_at, reason)
    }

    pub(crate) fn take(&mut self, len: usize, field: &'static str) -> Result<&'a [u8], Error> {
        self.field_at = self.at;
        let end = self.at.checked_add(len);
        match end.and_then(|end| Some((end, self.bytes.get(self.at..end)?))) {
            Some((end, taken)) => {
                self.at = end;
                Ok(taken)
            }
            None => Err(Error::new(
                self.part,
                field,
                self.bytes.len(),
                Reason::Truncated,
            )),
        }
    }

    pub(crate) fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Error> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N, field)?);
        Ok(out)
    }

    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, Error> {
        Ok(u8::from_le_bytes(self.array(field)?))
    }

    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, Error> {
        Ok(u16::from_le_bytes(self.array(field)?))
    }

    pub(crate) fn i16(&mut self, field: &'static str) -> Result<i16, Error> {
        Ok(i16::from_le_bytes(self.array(field)?))
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }

    pub(crate) fn u64(&mut self, field: &'static str) -> Result<u64, Error> {
        Ok(u64::from_le_bytes(self.array(field)?))
    }

    pub(crate) fn zeros(&mut self, len: usize, field: &'static str) -> Result<(), Error> {
        if self.take(len, field)?.iter().any(|&byte| byte != 0) {
            return Err(self.refuse(field, Reason::Reserved));
        }
        Ok(())
    }

    pub(crate) fn expect(
        &mut self,
        wanted: &[u8],
        field: &'static str,
        reason: Reason,
    ) -> Result<(), Error> {
        if self.take(wanted.len(), field)? != wanted {
            return Err(self.refuse(field, reason));
        }
        Ok(())
    }

    pub(crate) fn expect_u16(
        &mut self,
        wanted: u16,
        field: &'static str,
        reason: Reason,
    ) -> Result<(), Error> {
        self.expect(&wanted.to_le_bytes(), field, reason)
    }

    pub(crate) fn finish(&self) -> Result<(), Error> {
        if self.at < self.bytes.len() {
            return Err(Error::new(self.part, "end", self.at, Reason::TrailingBytes));
        }
        Ok(())
    }
}

/// Appends fields to a caller's buffer.
pub(crate) struct Writer<'a> {
    part: Part,
    out: &'a mut [u8],
    at: usize,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(part: Part, out: &'a mut [u8]) -> Self {
        Self { part, out, at: 0 }
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let room = self
            .at
            .checked_add(bytes.len())
            .and_then(|end| self.out.get_mut(self.at..end));
        let Some(room) = room else {
            return Err(Error::new(self.part, "output", self.at, Reason::Limit));
        };
        room.copy_from_slice(bytes);
        self.at += bytes.len();
        Ok(())
    }

    pub(crate) fn u8(&mut self, value: u8) -> Result<(), Error> {
        self.put(&value.to_le_bytes())
    }

    pub(crate) fn u16(&mut self, value: u16) -> Result<(), Error> {
        self.put(&value.to_le_bytes())
    }

    pub(crate) fn u32(&mut self, value: u32) -> Result<(), Error> {
        self.put(&value.to_le_bytes())
    }

    pub(crate) fn u64(&mut self, value: u64) -> Result<(), Error> {
        self.put(&value.to_le_bytes())
    }

    pub(crate) fn zeros(&mut self, len: usize) -> Result<(), Error> {
        for _ in 0..len {
            self.u8(0)?;
        }
        Ok(())
    }

    pub(crate) fn written(&self) -> usize {
        self.at
    }
}

/// Bytes of zero padding that bring `len` to a multiple of 4.
pub(crate) fn padding(len: usize) -> usize {
    (4 - len % 4) % 4
}
