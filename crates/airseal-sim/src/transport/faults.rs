//! A network that misbehaves at chosen places.
//!
//! A plan is written as words, separated by white space or commas:
//!
//! | word | what happens |
//! |---|---|
//! | `cut@63%` | the connection ends |
//! | `stall@40000:200` | nothing comes for 200 ms |
//! | `short@1000:50` | the next 50 reads give one byte each |
//! | `garbage@70%:16` | 16 bytes are replaced |
//! | `duplicate@8192:64` | the last 64 bytes come again |
//!
//! Places are bytes from the start of the payload (or of the bundle), or a percentage of it.
//! Each fault happens once, so that an update which resumes gets through.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use embedded_io::{ErrorKind, ErrorType, Read};

/// What happens, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub place: Place,
    /// What.
    pub kind: FaultKind,
}

/// A place in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Bytes from the start.
    Byte(u64),
    /// Per cent of the whole, 0 to 100.
    Percent(u8),
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The connection ends.
    Cut,
    /// Nothing comes for this long.
    Stall(Duration),
    /// This many reads give one byte each.
    ShortReads(u32),
    /// This many bytes are replaced.
    Garbage(u32),
    /// This many bytes come twice.
    Duplicate(u32),
}

/// The faults that are still to come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// The next fault in `from..to` of a stream of `total` bytes, taken off the plan.
    fn take(&mut self, from: u64, to: u64, total: u64) -> Option<(u64, FaultKind)> {
        let place = |fault: &Fault| match fault.place {
            Place::Byte(at) => at,
            Place::Percent(percent) => total.saturating_mul(u64::from(percent)) / 100,
        };
        let (index, at) = self
            .0
            .iter()
            .map(place)
            .enumerate()
            .filter(|(_, at)| (from..to).contains(at))
            .min_by_key(|&(_, at)| at)?;
        Some((at, self.0.remove(index).kind))
    }

    /// True when every fault has happened.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for Faults {
    type Err = FaultSyntax;

    fn from_str(text: &str) -> Result<Self, FaultSyntax> {
        text.split(|c: char| c == ',' || c.is_whitespace())
            .filter(|word| !word.is_empty())
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl FromStr for Fault {
    type Err = FaultSyntax;

    fn from_str(word: &str) -> Result<Self, FaultSyntax> {
        let refuse = || FaultSyntax(word.to_owned());
        let (name, rest) = word.split_once('@').ok_or_else(refuse)?;
        let (place, amount) = match rest.split_once(':') {
            Some((place, amount)) => (place, Some(amount.parse::<u32>().map_err(|_| refuse())?)),
            None => (rest, None),
        };
        let kind = match (name, amount) {
            ("cut", None) => FaultKind::Cut,
            ("stall", Some(ms)) => FaultKind::Stall(Duration::from_millis(ms.into())),
            ("short", Some(reads)) => FaultKind::ShortReads(reads),
            ("garbage", Some(len)) => FaultKind::Garbage(len),
            ("duplicate", Some(len)) => FaultKind::Duplicate(len),
            _ => return Err(refuse()),
        };
        let place = match place.strip_suffix('%') {
            Some(percent) => percent
                .parse()
                .ok()
                .filter(|percent| *percent <= 100)
                .map(Place::Percent),
            None => place.parse().ok().map(Place::Byte),
        };
        Ok(Self {
            place: place.ok_or_else(refuse)?,
            kind,
        })
    }
}

/// A word that is no fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultSyntax(String);

impl fmt::Display for FaultSyntax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is no fault: write cut@63%, stall@BYTE:MS, short@BYTE:READS, \
             garbage@BYTE:LEN or duplicate@BYTE:LEN",
            self.0
        )
    }
}

impl std::error::Error for FaultSyntax {}

/// A byte stream to which the faults of a plan happen.
pub struct FaultTransport<'f, R> {
    inner: R,
    faults: &'f mut Faults,
    position: u64,
    total: u64,
    is_cut: bool,
    short_reads: u32,
    garbage: u32,
    again: VecDeque<u8>,
    history: VecDeque<u8>,
}

impl<'f, R: Read> FaultTransport<'f, R> {
    /// Wraps a stream that starts at byte `position` of a whole of `total` bytes.
    pub fn new(inner: R, faults: &'f mut Faults, position: u64, total: u64) -> Self {
        Self {
            inner,
            faults,
            position,
            total,
            is_cut: false,
            short_reads: 0,
            garbage: 0,
            again: VecDeque::new(),
            history: VecDeque::new(),
        }
    }

    /// Starts what happens at `self.position`; returns the bytes until the next fault.
    fn until_next(&mut self, wanted: usize) -> usize {
        let Some((at, kind)) =
            self.faults
                .take(self.position, self.position + wanted as u64, self.total)
        else {
            return wanted;
        };
        if at > self.position {
            let place = Place::Byte(at);
            self.faults.0.push(Fault { place, kind });
            return usize::try_from(at - self.position).unwrap_or(wanted);
        }
        match kind {
            FaultKind::Cut => self.is_cut = true,
            FaultKind::Stall(time) => std::thread::sleep(time),
            FaultKind::ShortReads(reads) => self.short_reads = reads,
            FaultKind::Garbage(len) => self.garbage = len,
            FaultKind::Duplicate(len) => {
                let from = self.history.len().saturating_sub(len as usize);
                self.again = self.history.iter().skip(from).copied().collect();
            }
        }
        self.until_next(wanted)
    }

    fn remember(&mut self, bytes: &[u8]) {
        self.history.extend(bytes);
        let surplus = self.history.len().saturating_sub(HISTORY);
        self.history.drain(..surplus);
    }
}

/// How far back a duplicate can reach, bytes.
const HISTORY: usize = 64 * 1024;

impl<R: Read> ErrorType for FaultTransport<'_, R> {
    type Error = ErrorKind;
}

impl<R: Read> Read for FaultTransport<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> Result<usize, ErrorKind> {
        if out.is_empty() {
            return Ok(0);
        }
        let mut wanted = self.until_next(out.len());
        if self.is_cut {
            return Err(ErrorKind::ConnectionReset);
        }
        if !self.again.is_empty() {
            let len = self.again.len().min(out.len());
            for (out, byte) in out.iter_mut().zip(self.again.drain(..len)) {
                *out = byte;
            }
            return Ok(len);
        }
        if self.short_reads > 0 {
            self.short_reads -= 1;
            wanted = 1;
        }
        let out = &mut out[..wanted];
        let got = self.inner.read(out).map_err(|e| embedded_io::Error::kind(&e))?;
        self.position += got as u64;
        let spoilt = got.min(self.garbage as usize);
        self.garbage -= spoilt as u32;
        for byte in &mut out[..spoilt] {
            *byte ^= 0xA5;
        }
        self.remember(&out[..got]);
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(plan: &str, bytes: &[u8]) -> (Vec<u8>, Result<(), ErrorKind>) {
        let mut faults: Faults = plan.parse().expect("a plan");
        let mut stream = FaultTransport::new(bytes, &mut faults, 0, bytes.len() as u64);
        let (mut all, mut buffer) = (Vec::new(), [0; 100]);
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return (all, Ok(())),
                Ok(got) => all.extend(&buffer[..got]),
                Err(error) => return (all, Err(error)),
            }
        }
    }

    #[test]
    fn each_fault_happens_where_it_is_planned() {
        let bytes: Vec<u8> = (0..=255).cycle().take(1000).collect();
        assert_eq!(read_all("", &bytes), (bytes.clone(), Ok(())));
        let (got, end) = read_all("cut@63%", &bytes);
        assert_eq!((got, end), (bytes[..630].to_vec(), Err(ErrorKind::ConnectionReset)));
        let (got, _) = read_all("garbage@250:3", &bytes);
        let wrong: Vec<_> = (0..1000).filter(|&i| got[i] != bytes[i]).collect();
        assert_eq!(wrong, [250, 251, 252]);
        let (got, _) = read_all("duplicate@500:10", &bytes);
        assert_eq!(got, [&bytes[..500], &bytes[490..]].concat());
        let (got, end) = read_all("short@10:20 stall@70:1", &bytes);
        assert_eq!((got, end), (bytes, Ok(())));
    }

    #[test]
    fn a_fault_happens_once() {
        let bytes = [7; 100];
        let mut faults: Faults = "cut@50".parse().expect("a plan");
        let mut buffer = [0; 100];
        let mut first = FaultTransport::new(&bytes[..], &mut faults, 0, 100);
        assert_eq!(first.read(&mut buffer), Ok(50));
        assert!(first.read(&mut buffer).is_err());
        assert!(faults.is_empty());
        let mut again = FaultTransport::new(&bytes[50..], &mut faults, 50, 100);
        assert_eq!(again.read(&mut buffer), Ok(50));
    }

    #[test]
    fn a_word_that_is_no_fault_is_named() {
        for word in ["cut", "cut@101%", "boom@1", "stall@5", "cut@5:5", "garbage@x:1"] {
            let error = word.parse::<Faults>().expect_err(word);
            assert!(error.to_string().contains(word));
        }
    }
}
