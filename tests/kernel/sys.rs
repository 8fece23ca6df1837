//! The few system calls that neither the standard library nor `nix` (with the features in use) wraps.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// IP protocol number of SCTP.
pub const IPPROTO_SCTP: i32 = 132;

fn checked(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A non-blocking raw socket for one IP protocol; made in the calling thread's network namespace.
pub fn raw_socket(ipv6: bool, protocol: i32) -> io::Result<OwnedFd> {
    let domain = if ipv6 { libc::AF_INET6 } else { libc::AF_INET };
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: socket(2) takes no pointers.
    let fd = checked(unsafe { libc::socket(domain, kind, protocol) })?;
    // SAFETY: the kernel has just handed out this descriptor; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Waits until one of the descriptors has something to say (data or an error) or the deadline passes.
///
/// Sets `revents`; returns how many are ready, 0 at the deadline.
pub fn poll(fds: &mut [libc::pollfd], deadline: Instant) -> io::Result<usize> {
    let left = deadline.saturating_duration_since(Instant::now());
    // Rounded up, so that the last wait is not a busy one.
    let milliseconds = i32::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
    let count = libc::nfds_t::try_from(fds.len()).expect("a window of sockets fits nfds_t");
    // SAFETY: the pointer and the length belong to one live slice.
    match checked(unsafe { libc::poll(fds.as_mut_ptr(), count, milliseconds) }) {
        Ok(ready) => Ok(usize::try_from(ready).expect("checked above")),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        Err(error) => Err(error),
    }
}

/// A `pollfd` that waits for input on a descriptor.
pub fn pollfd(fd: RawFd) -> libc::pollfd {
    libc::pollfd { fd, events: libc::POLLIN, revents: 0 }
}

/// An epoll instance whose events carry the descriptor they are about.
pub struct Epoll(OwnedFd);

impl Epoll {
    pub fn new() -> io::Result<Self> {
        // SAFETY: epoll_create1(2) takes no pointers.
        let fd = checked(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the kernel has just handed out this descriptor; nothing else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Watches a descriptor for input; closing it ends the watch.
    pub fn watch(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let fd = fd.as_raw_fd();
        let mut event = libc::epoll_event {
            events: (libc::EPOLLIN | libc::EPOLLRDHUP) as u32,
            u64: u64::try_from(fd).expect("an open descriptor is not negative"),
        };
        // SAFETY: `event` lives through the call, which copies it.
        checked(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &mut event) })?;
        Ok(())
    }

    /// Blocks until something happens and returns the descriptors it happened to.
    pub fn wait(&self) -> io::Result<Vec<RawFd>> {
        const AT_ONCE: usize = 64;
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; AT_ONCE];
        // SAFETY: the kernel writes at most AT_ONCE events into the array.
        let ready = checked(unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), AT_ONCE as i32, -1) });
        match ready {
            Ok(ready) => Ok(events
                .iter()
                .take(usize::try_from(ready).expect("checked above"))
                .map(|event| RawFd::try_from(event.u64).expect("`watch` stored a descriptor"))
                .collect()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

/// Raises the soft limit of open files to the hard one: one laboratory holds some hundred sockets.
pub fn raise_open_files() -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` lives through both calls.
    checked(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: as above.
    checked(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) })?;
    Ok(())
}

/// The time that is left until a deadline is at least this much in the future.
pub fn in_time(timeout: Duration) -> Instant {
    Instant::now() + timeout
}
