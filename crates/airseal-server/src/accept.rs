//! The accept loop: sockets in, requests with the proved client key out.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use crate::config::Limits;
use crate::door::{Door, Newcomer};
use crate::live::{Connection, Live};
use crate::tls::{self, KeyHash};

/// What one listener serves.
pub(crate) struct Listener {
    pub(crate) tcp: TcpListener,
    /// `None` for plain HTTP.
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) router: Router,
    pub(crate) limits: Limits,
    pub(crate) live: Arc<Live>,
}

impl Listener {
    /// Serves until `stop` becomes true, then lets open requests end for as long as the limits say.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let room = Arc::new(Semaphore::new(self.limits.connections));
        let most = self.limits.connections.div_ceil(2);
        let door = Door::new(self.limits.newcomers, most);
        let mut connections = JoinSet::new();
        let shared = Arc::new(Shared {
            tls: self.tls,
            router: self.router,
            limits: self.limits,
            live: self.live,
        });
        let stopped = stop.clone();
        loop {
            let next = async {
                let permit = Arc::clone(&room).acquire_owned().await;
                (permit, self.tcp.accept().await)
            };
            tokio::select! {
                () = stopping(&mut stop) => break,
                (permit, accepted) = next => match accepted {
                    Ok((tcp, from)) => {
                        let Some(newcomer) = door.knock(from.ip()) else {
                            tracing::debug!(address = %from.ip(), "too many newcomers");
                            continue;
                        };
                        let (shared, stop) = (Arc::clone(&shared), stopped.clone());
                        connections.spawn(async move {
                            shared.connection(tcp, newcomer, stop).await;
                            drop(permit);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "can't accept a connection");
                        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        }
        let drained = timeout(shared.limits.drain, async {
            while connections.join_next().await.is_some() {}
        });
        if drained.await.is_err() {
            connections.shutdown().await;
        }
    }
}

/// Ends when the server is to stop.
pub(crate) async fn stopping(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

struct Shared {
    tls: Option<TlsAcceptor>,
    router: Router,
    limits: Limits,
    live: Arc<Live>,
}

impl Shared {
    async fn connection(&self, tcp: TcpStream, newcomer: Newcomer, stop: watch::Receiver<bool>) {
        let _ = tcp.set_nodelay(true);
        let Some(acceptor) = &self.tls else {
            return self.serve(tcp, None, newcomer, stop).await;
        };
        let stream = match timeout(self.limits.handshake, acceptor.accept(tcp)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%error, "TLS handshake failed"),
            Err(_) => return tracing::debug!("TLS handshake timed out"),
        };
        let certificates = stream.get_ref().1.peer_certificates();
        let key = certificates.and_then(<[_]>::first).and_then(tls::peer_key);
        self.serve(stream, key, newcomer, stop).await;
    }

    async fn serve<S>(
        &self,
        stream: S,
        key: Option<KeyHash>,
        newcomer: Newcomer,
        mut stop: watch::Receiver<bool>,
    ) where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let activity = Arc::new(Activity::new());
        let stream = Watched {
            stream,
            activity: Arc::clone(&activity),
        };
        let router = self.router.clone();
        let newcomer = Arc::new(newcomer);
        let service = tower::service_fn(move |mut request: Request<Incoming>| {
            if let Some(key) = key {
                request.extensions_mut().insert(key);
            }
            answer(router.clone(), request, Arc::clone(&newcomer))
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.request)
            .max_buf_size(HEAD_MAX)
            .max_headers(HEADERS_MAX)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        let mut connection = std::pin::pin!(connection);
        let entered = key.map(|key| self.live.enter(key, self.limits.per_key));
        let mut is_stopping = false;
        loop {
            tokio::select! {
                biased;
                () = cut(entered.as_ref()) => return,
                () = stopping(&mut stop), if !is_stopping => {
                    is_stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = activity.idle_for(self.limits.idle) => return,
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "connection ended early");
                    }
                    return;
                }
            }
        }
    }
}

/// Only who is served gets an answer that is no refusal, and is let in by it; a newcomer's connection ends with its
/// first refusal.
async fn answer(
    router: Router,
    request: Request<Incoming>,
    newcomer: Arc<Newcomer>,
) -> Result<Response, Infallible> {
    let mut response = router.oneshot(request).await?;
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        newcomer.let_in();
    } else if newcomer.is_waiting() {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    Ok(response)
}

async fn cut(connection: Option<&Connection>) {
    match connection {
        Some(connection) => connection.cut().await,
        None => std::future::pending().await,
    }
}

/// When a connection last moved a byte.
struct Activity {
    start: Instant,
    last_ms: AtomicU64,
}

impl Activity {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            last_ms: AtomicU64::new(0),
        }
    }

    fn touch(&self) {
        self.last_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Ends once nothing has moved for `limit`.
    fn idle_for(&self, limit: std::time::Duration) -> impl Future<Output = ()> + '_ {
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        async move {
            loop {
                let idle = self
                    .now_ms()
                    .saturating_sub(self.last_ms.load(Ordering::Relaxed));
                match limit_ms.checked_sub(idle) {
                    None | Some(0) => return,
                    Some(rest) => {
                        tokio::time::sleep(std::time::Duration::from_millis(rest)).await;
                    }
                }
            }
        }
    }
}

/// A stream that notes when it moves a byte.
struct Watched<S> {
    stream: S,
    activity: Arc<Activity>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        if result.is_ready() {
            self.activity.touch();
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        if result.is_ready() {
            self.activity.touch();
        }
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        if result.is_ready() {
            self.activity.touch();
        }
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Largest head of a request in bytes, and read buffer of a connection; hyper asks for at least 8 KiB.
const HEAD_MAX: usize = 16 * 1024;

/// Most header lines of a request.
const HEADERS_MAX: usize = 48;
