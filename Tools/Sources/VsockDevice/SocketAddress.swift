import Glibc
import VhostUser

/// An address of IPv4 or IPv6, with a port.
struct SocketAddress: Equatable {
    /// A `sockaddr_in` or `sockaddr_in6`.
    private var bytes: [UInt8]
    private let family: Int32

    /// The addresses that a name has, each once.
    static func all(of host: String) throws(HostError) -> [SocketAddress] {
        var hints = unsafe addrinfo()
        unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        unsafe hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV
        var found: UnsafeMutablePointer<addrinfo>?
        // SAFETY: the result is freed below, and not used after.
        let status = unsafe getaddrinfo(host, "0", &hints, &found)
        guard status == 0 else {
            // SAFETY: gai_strerror returns a C string, which is copied at once.
            let reason = unsafe String(cString: gai_strerror(status))
            throw HostError("\(host) is no address: \(reason)")
        }
        defer { unsafe freeaddrinfo(found) }
        return unsafe each(found)
    }

    /// The addresses in a resolver's list, each once: one that stands in `/etc/hosts` twice is in the
    /// list twice.
    @unsafe static func each(_ list: UnsafeMutablePointer<addrinfo>?) -> [SocketAddress] {
        var addresses: [SocketAddress] = []
        var next = unsafe list
        while let info = unsafe next {
            // SAFETY: the address is as long as the entry says.
            let bytes = unsafe UnsafeRawBufferPointer(
                start: info.pointee.ai_addr, count: Int(info.pointee.ai_addrlen))
            let address = unsafe SocketAddress(
                bytes: Array(bytes), family: info.pointee.ai_family)
            if !addresses.contains(address) { addresses.append(address) }
            unsafe next = info.pointee.ai_next
        }
        return addresses
    }

    /// Non-blocking sockets that listen on the same port of each address; 0 is one that is free
    /// everywhere. `name` is what messages call them.
    static func listen(
        _ addresses: [SocketAddress], _ port: UInt16, name: String
    ) throws(HostError) -> (files: [Int32], port: UInt16) {
        // A port that one address gives away may be in use on another.
        var attempts = port == 0 ? 64 : 1
        while true {
            attempts -= 1
            var files: [Int32] = []
            var bound = port
            var failure: Int32 = 0
            for address in addresses {
                let (file, error) = address.listen(bound, alone: addresses.count == 1)
                guard error == 0 else {
                    if failure == 0 || failure.isAbsence { failure = error }
                    continue
                }
                files.append(file)
                if bound == 0 { bound = localPort(file) ?? 0 }
            }
            if failure == 0 || failure.isAbsence && !files.isEmpty { return (files, bound) }
            for file in files { close(file) }
            if failure == EADDRINUSE, attempts > 0 { continue }
            errno = failure
            throw failure == EADDRINUSE
                ? HostError("\(name) is in use: choose another port")
                : .system("cannot listen on \(name)")
        }
    }

    /// A socket that listens there, or an `errno`. If it is `alone`, `::` stands for IPv4 too.
    private func listen(_ port: UInt16, alone: Bool) -> (file: Int32, error: Int32) {
        let flags = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
        let file = socket(family, flags, 0)
        guard file >= 0 else { return (-1, errno) }
        var one: Int32 = 1
        // SAFETY: the number outlives the call.
        _ = unsafe setsockopt(file, SOL_SOCKET, SO_REUSEADDR, &one, 4)
        if family == AF_INET6, !alone {
            // SAFETY: the number outlives the call.
            _ = unsafe setsockopt(file, Int32(IPPROTO_IPV6), IPV6_V6ONLY, &one, 4)
        }
        var address = bytes
        // The port is the second field, in network order, of both families' addresses.
        address[2] = UInt8(port >> 8)
        address[3] = UInt8(port & 0xff)
        // SAFETY: the structure is the length that the call is told.
        let result = unsafe address.withUnsafeBytes { raw in
            guard let base = unsafe raw.baseAddress?.assumingMemoryBound(to: sockaddr.self) else {
                return Int32(-1)
            }
            return unsafe bind(file, base, socklen_t(raw.count))
        }
        guard result == 0, Glibc.listen(file, 4096) == 0 else {
            let error = errno
            close(file)
            return (-1, error)
        }
        return (file, 0)
    }

    private static func localPort(_ file: Int32) -> UInt16? {
        var address = sockaddr_storage()
        var length = socklen_t(MemoryLayout.size(ofValue: address))
        // SAFETY: the structure is the length that the call is told.
        return unsafe withUnsafeMutableBytes(of: &address) { raw -> UInt16? in
            guard let base = unsafe raw.baseAddress?.assumingMemoryBound(to: sockaddr.self),
                unsafe getsockname(file, base, &length) == 0
            else { return nil }
            return unsafe UInt16(raw[2]) << 8 | UInt16(raw[3])
        }
    }
}

extension Int32 {
    /// Whether this `errno` says that the host lacks an address, or its whole family.
    fileprivate var isAbsence: Bool { self == EADDRNOTAVAIL || self == EAFNOSUPPORT }
}
