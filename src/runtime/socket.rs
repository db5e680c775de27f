//! TCP: listeners with multishot accept, streams that receive into the shard's pool or directly into a buffer.
//!
//! SOCK-1: no byte is lost between receives: a dropped `recv` leaves its operation to the next receive.
//! SOCK-2: a stream has at most one send and one receive at a time.
//!
//! A `recv` may be dropped at any time. A `send` or `recv_into` that is dropped before it completes breaks the stream:
//! its progress is unknown, and every later operation fails.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::buf::{AlignedBuf, Pool, Received, Slices};
use super::file::fill_iov;
use super::op::{self, Fd, OnDrop, Outcome, Payload, ResultResource, Submitted};
use super::reactor::Runtime;
use super::ring::Op;

const BACKLOG: i32 = 4096;

/// Accepts connections on one address.
pub struct Listener {
    fd: Rc<Fd>,
    accepting: RefCell<Option<Submitted>>,
}

impl Listener {
    /// With `reuse_port`, listeners of several shards share the address, and the kernel spreads connections over them.
    pub fn bind(addr: SocketAddr, reuse_port: bool) -> io::Result<Listener> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if reuse_port {
            socket.set_reuse_port(true)?;
        }
        // Accepted sockets inherit the option.
        socket.set_tcp_nodelay(true)?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        Ok(Listener { fd: Fd::of_socket(socket.into()), accepting: RefCell::new(None) })
    }

    /// The address that the listener is bound to.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        local_addr(&self.fd)
    }

    /// Accepts the next connection. Only one task at a time may call it.
    ///
    /// An error (mostly: out of descriptors) concerns one connection; the next call continues. The caller should pause
    /// before that call.
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let fd = std::future::poll_fn(|cx| self.poll_accept(cx)).await?;
        let stream = Stream::of_connected(fd)?;
        let peer = stream.inner.peer;
        Ok((stream, peer))
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<OwnedFd>> {
        loop {
            let mut accepting = self.accepting.borrow_mut();
            let op = accepting.get_or_insert_with(|| {
                let op = Op::AcceptMulti { fd: self.fd.as_raw_fd() };
                let on_drop = OnDrop { release: ResultResource::Descriptor, cancel: true };
                op::submit(Some(&self.fd), Payload::None, on_drop, |_| op)
            });
            match ready!(op.poll_next(cx)) {
                // SAFETY: the kernel just opened this descriptor; no other code owns it.
                Some(fd) if fd >= 0 => return Poll::Ready(Ok(unsafe { OwnedFd::from_raw_fd(fd) })),
                Some(error) => return Poll::Ready(Err(io::Error::from_raw_os_error(-error))),
                // The kernel ends a multishot operation that cannot continue (an error, a full completion queue).
                None => drop(accepting.take()),
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // The accept in flight keeps the socket open until it is cancelled; the shutdown frees the port now.
        let _ = SockRef::from(&self.fd.borrow()).shutdown(std::net::Shutdown::Both);
    }
}

/// A connection. A clone increments a reference count, so that one task can receive while another sends.
#[derive(Clone)]
pub struct Stream {
    inner: Rc<Inner>,
}

struct Inner {
    fd: Rc<Fd>,
    peer: SocketAddr,
    /// The receive in flight. It outlives the `recv` that submitted it (SOCK-1).
    receiving: RefCell<Option<Submitted>>,
    /// Bytes of a cancelled receive, for the next receive.
    stash: RefCell<Option<Received>>,
    /// The last receive emptied the socket: the next one polls for readiness first.
    drained: Cell<bool>,
    sending: Cell<bool>,
    receiving_into: Cell<bool>,
    state: Cell<StreamState>,
}

/// ```text
/// Open -> Broken         a send or a `recv_into` was dropped or failed
/// Open -> HandedOver     `into_fd` returned the descriptor
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum StreamState {
    Open,
    /// The position in the byte stream is unknown.
    Broken,
    HandedOver,
}

impl Stream {
    /// Connects to `addr`.
    pub async fn connect(addr: SocketAddr) -> io::Result<Stream> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_tcp_nodelay(true)?;
        let fd = Fd::of_socket(socket.into());
        let on_drop = OnDrop { cancel: true, ..OnDrop::default() };
        op::submit(Some(&fd), Payload::Addr(addr.into()), on_drop, |slot| {
            let Payload::Addr(addr) = &slot.payload else { unreachable!("just put there") };
            Op::Connect { fd: fd.as_raw_fd(), addr: addr.as_ptr().cast(), len: addr.len() }
        })
        .await
        .io()?;
        Ok(Stream::of(fd, addr))
    }

    /// A connection that another shard accepted, or handed over with [`into_fd`](Self::into_fd).
    pub fn from_fd(fd: OwnedFd) -> io::Result<Stream> {
        let socket = SockRef::from(&fd);
        socket.set_tcp_nodelay(true)?;
        Stream::of_connected(fd)
    }

    fn of_connected(fd: OwnedFd) -> io::Result<Stream> {
        let peer = SockRef::from(&fd).peer_addr()?;
        let peer = peer.as_socket().ok_or_else(|| io::Error::other("the peer has no internet address"))?;
        Ok(Stream::of(Fd::of_socket(fd), peer))
    }

    fn of(fd: Rc<Fd>, peer: SocketAddr) -> Stream {
        let inner = Inner {
            fd,
            peer,
            receiving: RefCell::new(None),
            stash: RefCell::new(None),
            drained: Cell::new(false),
            sending: Cell::new(false),
            receiving_into: Cell::new(false),
            state: Cell::new(StreamState::Open),
        };
        Stream { inner: Rc::new(inner) }
    }

    /// The address of the peer.
    pub fn peer_addr(&self) -> SocketAddr {
        self.inner.peer
    }

    /// The address of this end.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        local_addr(&self.inner.fd)
    }

    /// Receives the next bytes; empty at the end of the stream. Waits for bytes, and for a free buffer of the pool. A
    /// dropped call loses no bytes.
    pub async fn recv(&self) -> io::Result<Received> {
        std::future::poll_fn(|cx| self.inner.poll_recv(cx)).await
    }

    /// Receives directly into `buf[at..at + len]`: the available bytes, or with `all` the whole range. With `all`, the
    /// returned count is less than `len` only at the end of the stream.
    pub async fn recv_into(
        &self,
        mut buf: AlignedBuf,
        at: usize,
        len: usize,
        all: bool,
    ) -> (io::Result<usize>, AlignedBuf) {
        assert!(at <= buf.capacity() && len <= buf.capacity() - at, "{len} bytes at {at} of {}", buf.capacity());
        let inner = &*self.inner;
        if let Err(error) = inner.check_open() {
            return (Err(error), buf);
        }
        assert!(!inner.receiving_into.get(), "SOCK-2: one receive at a time");
        let guard = BreakOnDrop::set(inner, &inner.receiving_into);
        let mut filled = 0;
        if let Err(error) = inner.cancel_receive().await {
            return (Err(error), buf);
        }
        if let Some(mut stashed) = inner.stash.borrow_mut().take() {
            let n = stashed.len().min(len);
            buf[at..at + n].copy_from_slice(&stashed[..n]);
            filled = n;
            if n < stashed.len() {
                stashed.advance(n);
                *inner.stash.borrow_mut() = Some(stashed);
            }
        }
        while filled < len && (all || filled == 0) {
            // SAFETY: the offset is within the buffer (asserted above, `filled < len`).
            let ptr = unsafe { buf.as_mut_ptr().add(at + filled) };
            let want = (len - filled).min(1 << 30) as u32;
            let on_drop = OnDrop { cancel: true, ..OnDrop::default() };
            let outcome = op::submit(Some(&inner.fd), Payload::Buf(buf), on_drop, |_| Op::Recv {
                fd: inner.fd.as_raw_fd(),
                ptr,
                len: want,
                all,
            })
            .await;
            let n = outcome.io();
            let Payload::Buf(back) = outcome.payload else { unreachable!("OP-1: the slot keeps the payload") };
            buf = back;
            match n {
                Ok(0) => break,
                Ok(n) => filled += n as usize,
                Err(error) => return (Err(error), buf),
            }
        }
        guard.clear();
        (Ok(filled), buf)
    }

    /// Sends all bytes, up to 1,024 buffers per system call.
    pub async fn send(&self, bufs: impl Into<Slices>) -> io::Result<()> {
        let inner = &*self.inner;
        inner.check_open()?;
        assert!(!inner.sending.get(), "SOCK-2: one send at a time");
        let guard = BreakOnDrop::set(inner, &inner.sending);
        let mut bufs = bufs.into();
        let total = bufs.bytes();
        let mut sent = 0;
        while sent < total {
            let (result, back) = inner.send_once(bufs, sent, true).await;
            sent += result?;
            bufs = back;
        }
        guard.clear();
        Ok(())
    }

    /// Sends the bytes that the socket has room for now, possibly none. Does not keep the other bytes in memory.
    pub async fn send_some(&self, bufs: impl Into<Slices>) -> io::Result<usize> {
        let inner = &*self.inner;
        inner.check_open()?;
        assert!(!inner.sending.get(), "SOCK-2: one send at a time");
        let guard = BreakOnDrop::set(inner, &inner.sending);
        let (result, _) = inner.send_once(bufs.into(), 0, false).await;
        let sent = match result {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            other => other?,
        };
        guard.clear();
        Ok(sent)
    }

    /// Waits until a good part of the socket's buffer is free, or the connection ends.
    pub async fn writable(&self) -> io::Result<()> {
        let inner = &*self.inner;
        inner.check_open()?;
        let on_drop = OnDrop { cancel: true, ..OnDrop::default() };
        let fd = inner.fd.as_raw_fd();
        op::submit(Some(&inner.fd), Payload::None, on_drop, |_| Op::PollOut { fd }).await.io().map(drop)
    }

    /// Ends both directions now: a receive in flight gets the end of the stream, a send fails.
    pub fn shutdown(&self) {
        self.shut(std::net::Shutdown::Both);
    }

    /// Ends the sending direction: the peer gets the end of the stream.
    pub fn shutdown_write(&self) {
        self.shut(std::net::Shutdown::Write);
    }

    fn shut(&self, how: std::net::Shutdown) {
        // An error means that the connection has already ended.
        let _ = SockRef::from(&self.inner.fd.borrow()).shutdown(how);
    }

    /// Releases the socket for another shard's [`from_fd`](Self::from_fd). Cancels the receive in flight, and returns
    /// the bytes that it received. Clones of the stream fail afterwards. No send may be in flight.
    pub async fn into_fd(self) -> io::Result<(OwnedFd, Vec<u8>)> {
        let inner = &*self.inner;
        inner.check_open()?;
        assert!(!inner.sending.get() && !inner.receiving_into.get(), "SOCK-2: nothing is in flight at a hand-over");
        inner.cancel_receive().await?;
        inner.check_open()?;
        let bytes = inner.stash.borrow_mut().take().map_or_else(Vec::new, |stashed| stashed.to_vec());
        let fd = inner.fd.borrow().try_clone_to_owned()?;
        inner.leave_open(StreamState::HandedOver);
        Ok((fd, bytes))
    }
}

impl Inner {
    fn check_open(&self) -> io::Result<()> {
        match self.state.get() {
            StreamState::Open => Ok(()),
            StreamState::Broken => {
                Err(io::Error::new(io::ErrorKind::BrokenPipe, "an earlier operation did not complete"))
            }
            StreamState::HandedOver => {
                Err(io::Error::new(io::ErrorKind::NotConnected, "the connection was handed over"))
            }
        }
    }

    fn leave_open(&self, to: StreamState) {
        assert_ne!(to, StreamState::Open, "SOCK-1: a stream does not open again");
        assert_eq!(self.state.replace(to), StreamState::Open, "SOCK-1: only an open stream becomes {to:?}");
    }

    /// Sends `bufs` without their first `skip` bytes, in one system call. Returns the number of bytes sent.
    async fn send_once(&self, bufs: Slices, skip: usize, all: bool) -> (io::Result<usize>, Slices) {
        let on_drop = OnDrop { cancel: true, ..OnDrop::default() };
        let outcome = op::submit(Some(&self.fd), Payload::Slices(bufs), on_drop, |slot| {
            let Payload::Slices(bufs) = &slot.payload else { unreachable!("just put there") };
            let fd = self.fd.as_raw_fd();
            fill_iov(bufs.as_slice(), skip, |slice| slice.len(), &mut slot.iov);
            if let [one] = slot.iov.as_slice() {
                return Op::Send { fd, ptr: one.iov_base.cast_const().cast(), len: one.iov_len as u32, all };
            }
            slot.msg.msg_iov = slot.iov.as_mut_ptr();
            slot.msg.msg_iovlen = slot.iov.len();
            Op::SendMsg { fd, msg: &raw const slot.msg, all }
        })
        .await;
        let result = outcome.io().map(|sent| sent as usize);
        let Payload::Slices(bufs) = outcome.payload else { unreachable!("OP-1: the slot keeps the payload") };
        (result, bufs)
    }

    fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<io::Result<Received>> {
        self.check_open()?;
        assert!(!self.receiving_into.get(), "SOCK-2: one receive at a time");
        if let Some(stashed) = self.stash.borrow_mut().take() {
            return Poll::Ready(Ok(stashed));
        }
        loop {
            let mut receiving = self.receiving.borrow_mut();
            if receiving.is_none() {
                ready!(Runtime::with(|rt| rt.pool.poll_available(cx)));
                *receiving = Some(self.submit_recv());
            }
            let op = receiving.as_mut().expect("a receive is in flight");
            let outcome = ready!(op.poll_outcome(cx));
            *receiving = None;
            drop(receiving);
            if let Some(received) = self.received(outcome).transpose() {
                return Poll::Ready(received);
            }
        }
    }

    fn submit_recv(&self) -> Submitted {
        let op = Op::RecvProvided { fd: self.fd.as_raw_fd(), group: Pool::GROUP, poll_first: self.drained.get() };
        let on_drop = OnDrop { release: ResultResource::Buffer, cancel: true };
        op::submit(Some(&self.fd), Payload::None, on_drop, |_| op)
    }

    /// The bytes of a completed receive. `None` if the pool was empty or the receive was cancelled.
    fn received(&self, outcome: Outcome) -> io::Result<Option<Received>> {
        let buffer = io_uring::cqueue::buffer_select(outcome.flags);
        let received = buffer.map(|id| Runtime::with(|rt| rt.pool.received(id, outcome.result.max(0) as usize)));
        self.drained.set(!io_uring::cqueue::sock_nonempty(outcome.flags));
        match outcome.result {
            0 => Ok(Some(Received::end_of_stream())),
            n if n > 0 => Ok(Some(received.expect("bytes were received into a buffer"))),
            error if error == -libc::ENOBUFS || error == -libc::ECANCELED => Ok(None),
            _ => Err(outcome.io().expect_err("negative is an error")),
        }
    }

    /// Cancels the receive in flight, and puts the bytes that it received into the stash.
    async fn cancel_receive(&self) -> io::Result<()> {
        let Some(op) = self.receiving.borrow_mut().take() else { return Ok(()) };
        op.cancel();
        let outcome = op.await;
        if let Some(received) = self.received(outcome)?
            && !received.is_empty()
        {
            let earlier = self.stash.borrow_mut().replace(received);
            assert!(earlier.is_none(), "SOCK-1: a receive starts only when the stash is empty");
        }
        Ok(())
    }
}

/// Breaks the stream if an operation is dropped, or fails, before it completes.
struct BreakOnDrop<'a> {
    stream: &'a Inner,
    /// Whether the operation is in flight.
    flag: &'a Cell<bool>,
}

impl<'a> BreakOnDrop<'a> {
    fn set(stream: &'a Inner, flag: &'a Cell<bool>) -> BreakOnDrop<'a> {
        flag.set(true);
        BreakOnDrop { stream, flag }
    }

    fn clear(self) {
        self.flag.set(false);
        std::mem::forget(self);
    }
}

impl Drop for BreakOnDrop<'_> {
    fn drop(&mut self) {
        self.flag.set(false);
        // The other direction may have broken it before, or the connection was handed over.
        if self.stream.state.get() == StreamState::Open {
            self.stream.leave_open(StreamState::Broken);
        }
    }
}

fn local_addr(fd: &Rc<Fd>) -> io::Result<SocketAddr> {
    let addr = SockRef::from(&fd.borrow()).local_addr()?;
    addr.as_socket().ok_or_else(|| io::Error::other("the socket has no internet address"))
}
