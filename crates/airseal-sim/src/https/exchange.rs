//! One request and its answer on a connection that is kept.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use airseal_protocol::{CONTENT_TYPE, Message, Problem, limits};
use airseal_update::transport::http::{Get, HeadReader, Post};
use airseal_update::{Fetch, Refusal};
use rustls::{ClientConnection, StreamOwned};

use super::{ClientError, HttpsClient, PIECE};
use crate::fault::FaultTransport;

pub(super) struct Link {
    pub(super) stream: StreamOwned<ClientConnection, TcpStream>,
    /// Bytes that came with the last head and belong to the body.
    pub(super) early: Vec<u8>,
    pub(super) body_left: u64,
    pub(super) closes: bool,
}

/// An answer's head, with the connection at the start of the body.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body_len: u64,
    pub(super) skip: u64,
    pub(super) total: u64,
}

impl HttpsClient {
    /// Sends a message and returns the body of the answer; the problem of one that failed.
    pub(super) fn exchange<'m>(
        &mut self,
        path: &str,
        message: &impl Message<'m>,
    ) -> Result<Vec<u8>, ClientError> {
        let mut body = [0; limits::MESSAGE_MAX];
        let len = message.encode(&mut body)?;
        let host = self.host_header();
        let mut request = vec![0; REQUEST_MAX];
        let head = Post {
            host: &host,
            path,
            content_type: CONTENT_TYPE,
            content_len: len,
        }
        .encode(&mut request)?;
        request.truncate(head);
        request.extend_from_slice(&body[..len]);
        let answer = self.send(&request, None)?;
        let mut out = vec![0; usize::try_from(answer.body_len).unwrap_or(usize::MAX)];
        self.body_exact(&mut out)?;
        Ok(out)
    }

    pub(super) fn get(&mut self, path: &str, part: Option<Fetch>) -> Result<Answer, ClientError> {
        let host = self.host_header();
        let mut request = vec![0; REQUEST_MAX];
        let len = Get {
            host: &host,
            path,
            range: part.map(|part| (part.offset, part.len)),
            if_range: None,
        }
        .encode(&mut request)?;
        request.truncate(len);
        self.send(&request, part)
    }

    /// Sends a request, once more on a new connection when the kept one turns out to be
    /// closed, and reads the head of the answer.
    fn send(&mut self, request: &[u8], part: Option<Fetch>) -> Result<Answer, ClientError> {
        let is_kept = self
            .link
            .as_ref()
            .is_some_and(|link| link.body_left == 0 && !link.closes);
        if !is_kept {
            self.link = None;
        }
        match self.try_send(request, part) {
            Err(ClientError::Io(_)) if is_kept => {
                self.link = None;
                self.try_send(request, part)
            }
            other => other,
        }
        .inspect_err(|_| self.link = None)
    }

    fn try_send(&mut self, request: &[u8], part: Option<Fetch>) -> Result<Answer, ClientError> {
        let link = match &mut self.link {
            Some(link) => link,
            none => {
                if let Some(faults) = &mut self.faults {
                    faults.reconnect();
                }
                let host = self.host.trim_start_matches('[').trim_end_matches(']');
                let socket = TcpStream::connect((host, self.port))?;
                socket.set_nodelay(true)?;
                socket.set_read_timeout(Some(TIMEOUT))?;
                let connection = ClientConnection::new(Arc::clone(&self.tls), self.name.clone())
                    .map_err(io::Error::other)?;
                none.insert(Link {
                    stream: StreamOwned::new(connection, socket),
                    early: Vec::new(),
                    body_left: 0,
                    closes: false,
                })
            }
        };
        link.stream.write_all(request)?;
        link.stream.flush()?;
        let mut buffer = [0; HEAD_MAX];
        let mut reader = HeadReader::new(&mut buffer);
        while !reader.is_complete() {
            let mut piece = [0; PIECE];
            let read = read_link(&mut link.stream, self.faults.as_mut(), &mut piece)?;
            if read == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            self.traffic.received += read as u64;
            let taken = reader.push(&piece[..read])?;
            link.early.extend_from_slice(&piece[taken..read]);
        }
        let head = reader.head()?;
        link.closes = head.closes;
        let retry_after = head.retry_after;
        if head.status >= 400 {
            let (status, len) = (head.status, head.body_len()?);
            link.body_left = len;
            return Err(self.read_problem(status, len, retry_after));
        }
        let answer = match part {
            Some(part) => {
                let body = head.part(part.offset, part.len)?;
                Answer {
                    status: head.status,
                    body_len: body.len,
                    skip: body.skip,
                    total: body.total,
                }
            }
            None => {
                let len = match head.status {
                    204 => 0,
                    _ => head.whole()?,
                };
                Answer {
                    status: head.status,
                    body_len: len,
                    skip: 0,
                    total: len,
                }
            }
        };
        if part.is_none() && answer.body_len > WHOLE_MAX {
            return Err(Refusal::BadLength.into());
        }
        debug_assert!(answer.status < 400);
        link.body_left = answer.body_len;
        Ok(answer)
    }

    fn read_problem(&mut self, status: u16, len: u64, retry_after: Option<u32>) -> ClientError {
        let mut body = vec![0; usize::try_from(len.min(PROBLEM_MAX)).unwrap_or(0)];
        let problem = match self.body_exact(&mut body) {
            Ok(()) => Problem::parse(&body).ok(),
            Err(_) => None,
        };
        ClientError::Problem {
            status,
            code: problem.map_or(0, |problem| problem.code),
            title: problem.map_or_else(
                || Refusal::HttpStatus(status).to_string(),
                |problem| problem.title.to_owned(),
            ),
            retry_after,
        }
    }

    /// Reads bytes of the body, at most `limit`.
    pub(super) fn body(&mut self, out: &mut [u8], limit: u64) -> Result<usize, ClientError> {
        let link = self.link.as_mut().ok_or(Refusal::Ended)?;
        let limit = limit.min(link.body_left);
        let len = usize::try_from(limit).unwrap_or(usize::MAX).min(out.len());
        if len == 0 {
            return Err(Refusal::Ended.into());
        }
        let read = if link.early.is_empty() {
            let read = read_link(&mut link.stream, self.faults.as_mut(), &mut out[..len])?;
            self.traffic.received += read as u64;
            read
        } else {
            let read = len.min(link.early.len());
            out[..read].copy_from_slice(&link.early[..read]);
            link.early.drain(..read);
            read
        };
        if read == 0 {
            return Err(Refusal::Ended.into());
        }
        link.body_left -= read as u64;
        Ok(read)
    }

    pub(super) fn body_exact(&mut self, out: &mut [u8]) -> Result<(), ClientError> {
        let mut done = 0;
        while done < out.len() {
            done += self.body(&mut out[done..], u64::MAX)?;
        }
        Ok(())
    }

    fn host_header(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// Reads decrypted bytes, with the faults of the plan among them.
fn read_link(
    stream: &mut StreamOwned<ClientConnection, TcpStream>,
    faults: Option<&mut FaultTransport>,
    buffer: &mut [u8],
) -> io::Result<usize> {
    match faults {
        Some(faults) => faults.read(stream, buffer),
        None => stream.read(buffer),
    }
}

const REQUEST_MAX: usize = 512;
const HEAD_MAX: usize = 1024;
const PROBLEM_MAX: u64 = 192;
/// Longest answer that is no payload: 32 keysets and a manifest.
const WHOLE_MAX: u64 = 256 * 1024;
const TIMEOUT: Duration = Duration::from_secs(30);
