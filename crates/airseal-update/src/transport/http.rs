//! The little of HTTP/1.1 (RFC 9112) that fetching a release needs, without I/O.
//!
//! A request is written into a caller's buffer; a response head is collected in another
//! one of a stated length. Bodies have a length, from `Content-Length`; anything else is
//! refused by name. One request at a time, on a connection that may be kept.
//!
//! ```
//! use airseal_update::transport::http::{Get, HeadReader};
//!
//! let mut request = [0; 256];
//! let get = Get { host: "updates.example", path: "/1.0.1.seal", range: None, if_range: None };
//! let len = get.encode(&mut request)?;
//! assert!(request[..len].starts_with(b"GET /1.0.1.seal HTTP/1.1\r\n"));
//!
//! let mut buffer = [0; 512];
//! let mut reader = HeadReader::new(&mut buffer);
//! let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
//! let taken = reader.push(answer)?;
//! assert_eq!(reader.head()?.whole()?, 5);
//! assert_eq!(&answer[taken..], b"hello");
//! # Ok::<(), airseal_update::Refusal>(())
//! ```

use core::fmt::{self, Write};

use crate::Refusal;

/// A request for a file or a part of it.
#[derive(Clone, Copy, Debug)]
pub struct Get<'a> {
    /// Host and port, as in the URL.
    pub host: &'a str,
    /// Path and query.
    pub path: &'a str,
    /// First byte and number of bytes; `None` asks for the whole file.
    pub range: Option<(u64, u64)>,
    /// Entity tag of the parts fetched before: a changed file then comes whole.
    pub if_range: Option<&'a str>,
}

impl Get<'_> {
    /// Writes the request and returns its length.
    ///
    /// # Errors
    /// `WrongCall` when `out` is too short, or a value has a control character or a space.
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, Refusal> {
        check_text(self.path)?;
        check_text(self.host)?;
        let mut w = Out::new(out);
        w.line(format_args!("GET {} HTTP/1.1", self.path))?;
        w.line(format_args!("Host: {}", self.host))?;
        if let Some((first, len)) = self.range {
            let last = len.checked_sub(1).and_then(|n| first.checked_add(n));
            let last = last.ok_or(Refusal::WrongCall)?;
            w.line(format_args!("Range: bytes={first}-{last}"))?;
            if let Some(tag) = self.if_range {
                check_text(tag)?;
                w.line(format_args!("If-Range: {tag}"))?;
            }
        }
        w.line(format_args!(""))?;
        Ok(w.len)
    }
}

/// A request that carries a message; its body follows.
#[derive(Clone, Copy, Debug)]
pub struct Post<'a> {
    /// Host and port, as in the URL.
    pub host: &'a str,
    /// Path.
    pub path: &'a str,
    /// Media type of the body.
    pub content_type: &'a str,
    /// Length of the body, bytes.
    pub content_len: usize,
}

impl Post<'_> {
    /// Writes the request's head and returns its length.
    ///
    /// # Errors
    /// `WrongCall` when `out` is too short, or a value has a control character or a space.
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, Refusal> {
        for text in [self.path, self.host, self.content_type] {
            check_text(text)?;
        }
        let mut w = Out::new(out);
        w.line(format_args!("POST {} HTTP/1.1", self.path))?;
        w.line(format_args!("Host: {}", self.host))?;
        w.line(format_args!("Content-Type: {}", self.content_type))?;
        w.line(format_args!("Content-Length: {}", self.content_len))?;
        w.line(format_args!(""))?;
        Ok(w.len)
    }
}

/// Collects a response head.
#[derive(Debug)]
pub struct HeadReader<'b> {
    buffer: &'b mut [u8],
    len: usize,
    is_complete: bool,
}

impl<'b> HeadReader<'b> {
    /// A reader whose heads fit `buffer`; 512 bytes do for our server, 1024 for most.
    pub fn new(buffer: &'b mut [u8]) -> Self {
        Self {
            buffer,
            len: 0,
            is_complete: false,
        }
    }

    /// Takes bytes up to the end of the head and returns how many; the body follows.
    ///
    /// # Errors
    /// `HeadTooLong`, or `RedirectTooLong` when that is why; `MalformedHead` when the first
    /// bytes are not HTTP.
    pub fn push(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        let mut taken = 0;
        for &byte in bytes {
            if self.is_complete {
                break;
            }
            let Some(room) = self.buffer.get_mut(self.len) else {
                let is_redirect = status_of(self.seen()).is_ok_and(|s| (300..400).contains(&s));
                return Err(if is_redirect {
                    Refusal::RedirectTooLong
                } else {
                    Refusal::HeadTooLong
                });
            };
            *room = byte;
            self.len += 1;
            taken += 1;
            if self.len == PROTOCOL.len() && self.seen() != PROTOCOL {
                return Err(Refusal::MalformedHead);
            }
            self.is_complete = self.seen().ends_with(b"\r\n\r\n");
        }
        Ok(taken)
    }

    /// True when the whole head is there.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// The head.
    ///
    /// # Errors
    /// `WrongCall` before it is complete, otherwise what is wrong with it.
    pub fn head(&self) -> Result<Head<'_>, Refusal> {
        if !self.is_complete {
            return Err(Refusal::WrongCall);
        }
        Head::parse(self.seen())
    }

    fn seen(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or_default()
    }
}

/// A response head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// The status code.
    pub status: u16,
    /// Length of the body, bytes.
    pub content_length: Option<u64>,
    /// Which part of the file the body is.
    pub content_range: Option<ContentRange>,
    /// The file's entity tag, with its quotes.
    pub etag: Option<&'a str>,
    /// Seconds to wait before the next request.
    pub retry_after: Option<u32>,
    /// The server closes the connection after the body.
    pub closes: bool,
}

/// The value of `Content-Range`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// First byte.
    pub first: u64,
    /// Last byte, inclusive.
    pub last: u64,
    /// Length of the whole file.
    pub total: u64,
}

/// How a body answers a request for a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Body {
    /// Bytes of the body to pass over: not 0 when the server sent the whole file instead.
    pub skip: u64,
    /// Length of the body, bytes.
    pub len: u64,
    /// Length of the whole file, bytes.
    pub total: u64,
}

impl<'a> Head<'a> {
    /// Reads a complete head, its empty line included.
    ///
    /// # Errors
    /// `MalformedHead`, `BadLength`, `BadRange` or `ChunkedEncoding`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Refusal> {
        let text = core::str::from_utf8(bytes).map_err(|_| Refusal::MalformedHead)?;
        let text = text
            .strip_suffix("\r\n\r\n")
            .ok_or(Refusal::MalformedHead)?;
        let mut lines = text.split("\r\n");
        let mut head = Head {
            status: status_of(lines.next().unwrap_or_default().as_bytes())?,
            content_length: None,
            content_range: None,
            etag: None,
            retry_after: None,
            closes: bytes.starts_with(b"HTTP/1.0"),
        };
        for line in lines {
            let (name, value) = line.split_once(':').ok_or(Refusal::MalformedHead)?;
            let value = value.trim_matches([' ', '\t']);
            head.take(name, value)?;
        }
        Ok(head)
    }

    /// Length of the body of a successful answer to a request for a whole file or message.
    ///
    /// # Errors
    /// `Redirect`, `HttpStatus` for any other status than 200, `BadLength`.
    pub fn whole(&self) -> Result<u64, Refusal> {
        self.check_status()?;
        if self.status != 200 {
            return Err(Refusal::HttpStatus(self.status));
        }
        self.content_length.ok_or(Refusal::BadLength)
    }

    /// Length of the body of any answer: 0 for 204 and 304.
    ///
    /// # Errors
    /// `BadLength` without a length.
    pub fn body_len(&self) -> Result<u64, Refusal> {
        match self.status {
            204 | 304 => Ok(0),
            _ => self.content_length.ok_or(Refusal::BadLength),
        }
    }

    /// The body of an answer to a request for `len` bytes from `offset`.
    ///
    /// # Errors
    /// `BadRange` for another part, `BadLength`, `Redirect`, or `HttpStatus`.
    pub fn part(&self, offset: u64, len: u64) -> Result<Body, Refusal> {
        self.check_status()?;
        let body_len = self.content_length.ok_or(Refusal::BadLength)?;
        match (self.status, self.content_range) {
            (206, Some(range)) => {
                let last = len.checked_sub(1).and_then(|n| offset.checked_add(n));
                if range.first != offset || Some(range.last) != last || range.last >= range.total {
                    return Err(Refusal::BadRange);
                }
                if body_len != len {
                    return Err(Refusal::BadLength);
                }
                Ok(Body {
                    skip: 0,
                    len,
                    total: range.total,
                })
            }
            (206, None) => Err(Refusal::BadRange),
            (200, _) => {
                let end = offset.checked_add(len).ok_or(Refusal::BadRange)?;
                if end > body_len {
                    return Err(Refusal::BadLength);
                }
                Ok(Body {
                    skip: offset,
                    len: body_len,
                    total: body_len,
                })
            }
            _ => Err(Refusal::HttpStatus(self.status)),
        }
    }

    fn check_status(&self) -> Result<(), Refusal> {
        match self.status {
            200..=299 => Ok(()),
            301..=303 | 307 | 308 => Err(Refusal::Redirect),
            status => Err(Refusal::HttpStatus(status)),
        }
    }

    fn take(&mut self, name: &str, value: &'a str) -> Result<(), Refusal> {
        if name.is_empty() || name.bytes().any(|b| b <= b' ' || b >= 0x7F) {
            return Err(Refusal::MalformedHead);
        }
        if name.eq_ignore_ascii_case("content-length") {
            let len = number(value).ok_or(Refusal::BadLength)?;
            if self.content_length.replace(len).is_some() {
                return Err(Refusal::BadLength);
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(Refusal::ChunkedEncoding);
        } else if name.eq_ignore_ascii_case("content-range") {
            // 416 answers with "bytes */total", which names no part.
            if self.status == 206 {
                let range = parse_range(value).ok_or(Refusal::BadRange)?;
                if self.content_range.replace(range).is_some() {
                    return Err(Refusal::BadRange);
                }
            }
        } else if name.eq_ignore_ascii_case("etag") {
            self.etag = Some(value).filter(|tag| check_text(tag).is_ok());
        } else if name.eq_ignore_ascii_case("retry-after") {
            self.retry_after = number(value).and_then(|n| u32::try_from(n).ok());
        } else if name.eq_ignore_ascii_case("connection") {
            self.closes |= value.eq_ignore_ascii_case("close");
        }
        Ok(())
    }
}

const PROTOCOL: &[u8; 7] = b"HTTP/1.";

/// A request under construction.
struct Out<'b> {
    buffer: &'b mut [u8],
    len: usize,
}

impl<'b> Out<'b> {
    fn new(buffer: &'b mut [u8]) -> Self {
        Self { buffer, len: 0 }
    }

    fn line(&mut self, arguments: fmt::Arguments<'_>) -> Result<(), Refusal> {
        self.write_fmt(arguments)
            .and_then(|()| self.write_str("\r\n"))
            .map_err(|_| Refusal::WrongCall)
    }
}

impl fmt::Write for Out<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len.checked_add(text.len()).ok_or(fmt::Error)?;
        let room = self.buffer.get_mut(self.len..end).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

/// Nothing that would end a line or a word.
fn check_text(text: &str) -> Result<(), Refusal> {
    if text.is_empty() || text.bytes().any(|byte| byte <= b' ' || byte >= 0x7F) {
        return Err(Refusal::WrongCall);
    }
    Ok(())
}

fn status_of(head: &[u8]) -> Result<u16, Refusal> {
    let rest = head.strip_prefix(PROTOCOL).ok_or(Refusal::MalformedHead)?;
    match rest {
        [
            b'0' | b'1',
            b' ',
            a @ b'1'..=b'5',
            b @ b'0'..=b'9',
            c @ b'0'..=b'9',
            after @ ..,
        ] if after
            .first()
            .is_none_or(|&byte| byte == b' ' || byte == b'\r') =>
        {
            let digit = |d: u8| u16::from(d - b'0');
            Ok(digit(*a) * 100 + digit(*b) * 10 + digit(*c))
        }
        _ => Err(Refusal::MalformedHead),
    }
}

/// Digits only: no sign, no space.
fn number(text: &str) -> Option<u64> {
    let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_digits.then(|| text.parse().ok()).flatten()
}

fn parse_range(value: &str) -> Option<ContentRange> {
    let (part, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = part.split_once('-')?;
    Some(ContentRange {
        first: number(first)?,
        last: number(last)?,
        total: number(total)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<Head<'_>, Refusal> {
        Head::parse(text.as_bytes())
    }

    #[test]
    fn requests_are_as_the_standard_writes_them() {
        let get = Get {
            host: "h:8443",
            path: "/d/v1/payload/00",
            range: Some((4096, 100)),
            if_range: Some("\"x\""),
        };
        let mut out = [0; 256];
        let len = get.encode(&mut out).expect("it fits");
        let expected = "GET /d/v1/payload/00 HTTP/1.1\r\nHost: h:8443\r\nRange: bytes=4096-4195\r\nIf-Range: \"x\"\r\n\r\n";
        assert_eq!(core::str::from_utf8(&out[..len]), Ok(expected));
    }

    #[test]
    fn a_header_can_not_be_smuggled_in() {
        let path = "/x HTTP/1.1\r\nEvil: 1";
        let get = Get {
            host: "h",
            path,
            range: None,
            if_range: None,
        };
        assert_eq!(get.encode(&mut [0; 256]), Err(Refusal::WrongCall));
    }

    #[test]
    fn the_part_that_was_asked_for_is_the_only_one_accepted() {
        let good = "HTTP/1.1 206 Partial Content\r\nContent-Length: 10\r\nContent-Range: bytes 5-14/100\r\nETag: \"t\"\r\n\r\n";
        let parsed = head(good).expect("well-formed");
        assert_eq!(
            parsed.part(5, 10),
            Ok(Body {
                skip: 0,
                len: 10,
                total: 100
            })
        );
        assert_eq!(parsed.etag, Some("\"t\""));
        assert_eq!(parsed.part(6, 10), Err(Refusal::BadRange));
        assert_eq!(parsed.part(5, 11), Err(Refusal::BadRange));
        let short = good.replace("Length: 10", "Length: 9");
        assert_eq!(
            head(&short).expect("well-formed").part(5, 10),
            Err(Refusal::BadLength)
        );
        let no_range = "HTTP/1.1 206 x\r\nContent-Length: 10\r\n\r\n";
        assert_eq!(
            head(no_range).expect("well-formed").part(5, 10),
            Err(Refusal::BadRange)
        );
        let whole = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n";
        let body = head(whole).expect("well-formed").part(5, 10);
        assert_eq!(
            body,
            Ok(Body {
                skip: 5,
                len: 100,
                total: 100
            })
        );
    }

    #[test]
    fn chunked_is_refused_by_name() {
        let text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(head(text), Err(Refusal::ChunkedEncoding));
    }

    #[test]
    fn two_lengths_are_refused() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n";
        assert_eq!(head(text), Err(Refusal::BadLength));
        let text = "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n";
        assert_eq!(head(text), Err(Refusal::BadLength));
    }

    #[test]
    fn a_redirect_longer_than_the_buffer_is_refused_by_name() {
        let mut buffer = [0; 64];
        let mut reader = HeadReader::new(&mut buffer);
        let start = b"HTTP/1.1 302 Found\r\nLocation: https://elsewhere.example/";
        assert_eq!(reader.push(start), Ok(start.len()));
        assert_eq!(reader.push(&[b'a'; 100]), Err(Refusal::RedirectTooLong));
        let mut buffer = [0; 64];
        let mut reader = HeadReader::new(&mut buffer);
        reader.push(b"HTTP/1.1 200 OK\r\nX: ").expect("it fits");
        assert_eq!(reader.push(&[b'a'; 100]), Err(Refusal::HeadTooLong));
    }

    #[test]
    fn a_short_redirect_is_refused_too() {
        let text = "HTTP/1.1 301 Moved\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(
            head(text).expect("well-formed").whole(),
            Err(Refusal::Redirect)
        );
    }

    #[test]
    fn a_4xx_names_its_status() {
        let text = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
        let parsed = head(text).expect("well-formed");
        assert_eq!(parsed.whole(), Err(Refusal::HttpStatus(403)));
        assert_eq!(parsed.part(0, 1), Err(Refusal::HttpStatus(403)));
    }

    #[test]
    fn another_protocol_is_refused_at_its_first_bytes() {
        let mut buffer = [0; 64];
        let mut reader = HeadReader::new(&mut buffer);
        assert_eq!(reader.push(b"SSH-2.0-OpenSSH"), Err(Refusal::MalformedHead));
    }
}
