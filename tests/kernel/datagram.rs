//! Datagrams and raw packets together with the address that they were sent to, or are to be sent from.
//!
//! A server bound to the wildcard address has to answer from the address that the client used
//! (`IP_PKTINFO`, `IPV6_PKTINFO`: ip(7), ipv6(7)).

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::{from_mut, from_ref};

use nix::sys::socket::{SockaddrLike, SockaddrStorage, setsockopt, sockopt};

/// Room for one `pktinfo` of either family, aligned as control messages have to be.
#[repr(align(8))]
struct Control([u8; 64]);

/// What [`receive`] got.
pub struct Received {
    pub length: usize,
    pub peer: SocketAddr,
    /// The destination address of the packet.
    pub local: IpAddr,
}

/// Makes the kernel hand out the destination address of every packet.
pub fn tell_destination(socket: &OwnedFd, ipv6: bool) -> io::Result<()> {
    if ipv6 {
        setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?;
    } else {
        setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?;
    }
    Ok(())
}

/// Receives one packet without waiting; the socket must have been given to [`tell_destination`].
pub fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<Received> {
    let mut control = Control([0; 64]);
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: both are plain C structures for which all zeroes is a valid value.
    let (mut peer, mut header): (libc::sockaddr_storage, libc::msghdr) = unsafe { zeroed() };
    header.msg_name = from_mut(&mut peer).cast();
    header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    header.msg_iov = &mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = control.0.len();
    // SAFETY: the name, the part and the control buffer live through the call and are as long as stated.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut header, libc::MSG_DONTWAIT) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel wrote an address of this length into `peer`.
    let peer = unsafe { SockaddrStorage::from_raw(from_ref(&peer).cast(), Some(header.msg_namelen)) };
    let peer = peer.and_then(|peer| {
        let ipv4 = peer.as_sockaddr_in().map(|address| SocketAddr::V4(SocketAddrV4::from(*address)));
        ipv4.or_else(|| peer.as_sockaddr_in6().map(|address| SocketAddr::V6(SocketAddrV6::from(*address))))
    });
    let (Some(peer), Some(local)) = (peer, destination(&header)) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    Ok(Received { length, peer, local })
}

/// The first `pktinfo` among the control messages of a received packet.
fn destination(header: &libc::msghdr) -> Option<IpAddr> {
    // SAFETY: `recvmsg` filled in the header; its control buffer still lives in the caller.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !message.is_null() {
        // SAFETY: the CMSG functions return null or a message inside the control buffer; the data of these
        // two kinds are these two structures, and `read_unaligned` asks for no alignment.
        unsafe {
            let data = libc::CMSG_DATA(message);
            match ((*message).cmsg_level, (*message).cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = data.cast::<libc::in_pktinfo>().read_unaligned();
                    return Some(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()).into());
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info = data.cast::<libc::in6_pktinfo>().read_unaligned();
                    return Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
                }
                _ => message = libc::CMSG_NXTHDR(header, message),
            }
        }
    }
    None
}

/// Sends one datagram from this address of the machine.
pub fn send_from(socket: &OwnedFd, local: IpAddr, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
    match local {
        IpAddr::V4(local) => {
            let source = libc::in_addr { s_addr: u32::from_ne_bytes(local.octets()) };
            let any = libc::in_addr { s_addr: 0 };
            let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: source, ipi_addr: any };
            send_with(socket, to, bytes, (libc::IPPROTO_IP, libc::IP_PKTINFO), info)
        }
        IpAddr::V6(local) => {
            let source = libc::in6_addr { s6_addr: local.octets() };
            let info = libc::in6_pktinfo { ipi6_addr: source, ipi6_ifindex: 0 };
            send_with(socket, to, bytes, (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO), info)
        }
    }
}

/// Sends one datagram with one control message; `Info` is the C structure that belongs to its kind.
fn send_with<Info: Copy>(
    socket: &OwnedFd,
    to: SocketAddr,
    bytes: &[u8],
    (level, kind): (i32, i32),
    info: Info,
) -> io::Result<()> {
    let mut control = Control([0; 64]);
    let size = u32::try_from(size_of::<Info>()).expect("a small structure");
    let name = SockaddrStorage::from(to);
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: a plain C structure for which all zeroes is a valid value.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_name = name.as_ptr().cast_mut().cast();
    header.msg_namelen = name.len();
    header.msg_iov = &mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    // SAFETY: CMSG_SPACE and CMSG_LEN only compute; the message they describe fits the control buffer,
    // which is aligned for it, and `sendmsg` only reads what the header points to, all of it alive.
    let sent = unsafe {
        header.msg_controllen = libc::CMSG_SPACE(size) as usize;
        let message = libc::CMSG_FIRSTHDR(&header);
        (*message).cmsg_level = level;
        (*message).cmsg_type = kind;
        (*message).cmsg_len = libc::CMSG_LEN(size) as usize;
        libc::CMSG_DATA(message).cast::<Info>().write_unaligned(info);
        libc::sendmsg(socket.as_raw_fd(), &header, libc::MSG_DONTWAIT)
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
